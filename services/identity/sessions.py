"""Sessions: opened by a login, continued by refresh tokens.

A client whose answer was lost asks again with the token that it has, so the predecessor of the
current token is answered once more for a while, with the current token itself. Later, or with an
older token, somebody has a copy: the session ends for both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter

from services.identity.access_tokens import AccessTokens
from services.identity.accounts import Accounts
from services.identity.models import (
    SIGNED_IN_ELSEWHERE,
    Account,
    Outcome,
    Redeemed,
    Session,
    SessionKey,
)
from services.identity.ports import SessionStore
from services.identity.refresh_tokens import RefreshToken, RefreshTokens
from shared import errors
from shared.clock import Clock
from shared.ids import new_id

_FIRST = 1
_MILLISECOND = timedelta(milliseconds=1)
_LONGER_THAN_A_TOKEN = timedelta(days=1)
_log = structlog.get_logger()
_REFRESHES = Counter("playmesh_refreshes", "Refresh tokens that were presented.", ("outcome",))
for _outcome in (Outcome.ADVANCED, Outcome.REPLAYED, Outcome.REUSED, Outcome.REFUSED):
    _REFRESHES.labels(_outcome.value)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """A session ends after `idle` without a refresh, and after `absolute` in any case.

    A refresh may be repeated for `grace`. `single`: a login ends the player's other sessions.
    """

    idle: timedelta
    absolute: timedelta
    grace: timedelta
    single: bool = False


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """Lifetimes are in seconds from now."""

    user_id: str
    access_token: str = field(repr=False)
    expires_in: int
    refresh_token: str = field(repr=False)
    refresh_expires_in: int


class Sessions:
    def __init__(
        self,
        store: SessionStore,
        accounts: Accounts,
        access_tokens: AccessTokens,
        refresh_tokens: RefreshTokens,
        limits: SessionLimits,
        clock: Clock,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._access_tokens = access_tokens
        self._refresh_tokens = refresh_tokens
        self._limits = limits
        self._clock = clock

    async def open(
        self, account: Account, *, device: str | None = None, provider: str | None = None
    ) -> IssuedTokens:
        """For who has proven to be the player, by an identity of `provider` or as a guest.

        Raises Banned, InvalidCredential, Unavailable.
        """
        now = self._clock.now()
        _admit(account, now)
        seen = await self._accounts.seen(account)
        if seen is None:
            raise errors.InvalidCredential("the account does not exist any more")
        _admit(seen, now)  # who was banned meanwhile
        begins = await self._next_moment(account.user_id, now) if self._limits.single else now
        session = Session(
            key=SessionKey(account.user_id, new_id()),
            device=device,
            counter=_FIRST,
            created_at=begins,
            refreshed_at=now,
            idle_expires_at=now + self._limits.idle,
            absolute_expires_at=now + self._limits.absolute,
            provider=provider,
        )
        await self._store.create(session)
        if self._limits.single:
            await self._displace(session, now)
        return self._issue(seen, session, now)

    async def living(self, user_id: str) -> Sequence[Session]:
        """Those that can still be refreshed, the one that was refreshed last first."""
        now = self._clock.now()
        living = [one for one in await self._store.list(user_id) if one.lives(now)]
        return sorted(living, key=lambda session: session.refreshed_at, reverse=True)

    async def end(self, key: SessionKey, *, reason: str) -> None:
        """Nobody refreshes it from now on. Raises NotFound; one that had ended is well enough."""
        if await self._store.end(key, now=self._clock.now(), reason=reason) is None:
            raise errors.NotFound("there is no such session")

    async def end_all(
        self, user_id: str, *, reason: str, but: str | None = None, provider: str | None = None
    ) -> None:
        """End every session of a player, except the one of the id `but`.

        With `provider` those alone that began with an identity of it. Also one that has expired:
        an access token of it may be good for a while yet.
        """
        for session in await self._usable(user_id):
            if session.key.session_id != but and provider in (None, session.provider):
                await self._store.end(session.key, now=self._clock.now(), reason=reason)

    async def _usable(self, user_id: str) -> Sequence[Session]:
        """Those that have not ended, and have an access token that may be good."""
        since = self._clock.now() - _LONGER_THAN_A_TOKEN
        sessions = await self._store.list(user_id)
        return [one for one in sessions if one.ended_at is None and since < one.expires_at]

    async def _next_moment(self, user_id: str, now: datetime) -> datetime:
        """Later than every session that there is, whatever the clock was that it began by."""
        begun = [one.created_at + _MILLISECOND for one in await self._usable(user_id)]
        return max(now, *begun) if begun else now

    async def _displace(self, session: Session, now: datetime) -> None:
        """Of sessions that begin at once, too, exactly one stays: the last, by moment and id."""
        for other in await self._usable(session.key.user_id):
            if other.key != session.key:
                older = min(session, other, key=lambda one: (one.created_at, one.key.session_id))
                await self._store.end(older.key, now=now, reason=SIGNED_IN_ELSEWHERE)

    async def refresh(self, token: str) -> IssuedTokens:
        """Issue `token`'s successor and a new access token.

        Raises InvalidRefreshToken, TooManyRequests, Banned, Unavailable; RefreshTokenReused where
        the session has been ended for it, SessionEnded where it had been before.
        """
        try:
            account, redeemed = await self._redeem(token)
        except errors.RefreshTokenReused:
            _count(Outcome.REUSED)
            raise
        except (errors.InvalidRefreshToken, errors.TooManyRequests, errors.Banned):
            _count(Outcome.REFUSED)
            raise
        _count(redeemed.outcome)
        return self._issue(account, redeemed.session, self._clock.now())

    async def _redeem(self, token: str) -> tuple[Account, Redeemed]:
        """Whatever can fail on the way is asked first, so that no token is consumed for nothing."""
        presented = self._refresh_tokens.parse(token)
        if presented is None:
            raise errors.InvalidRefreshToken
        self._access_tokens.require_key()
        account = await self._accounts.get(presented.session.user_id)
        account = await self._accounts.seen(account) if account else None
        if account is None:
            raise errors.InvalidRefreshToken
        now = self._clock.now()
        _admit(account, now)
        try:
            redeemed = await self._store.redeem(
                presented.session,
                counter=presented.counter,
                now=now,
                idle_expires_at=now + self._limits.idle,
                grace=self._limits.grace,
            )
        except errors.RefreshTokenReused:
            _log.warning(
                "session.refresh_reused",
                user_id=presented.session.user_id,
                session_id=presented.session.session_id,
            )
            raise
        return account, redeemed

    def _issue(self, account: Account, session: Session, now: datetime) -> IssuedTokens:
        refresh_token = RefreshToken(session.key, session.counter)
        lifetime = session.expires_at - now
        return IssuedTokens(
            user_id=account.user_id,
            access_token=self._access_tokens.for_player(
                account.user_id,
                session_id=session.key.session_id,
                scope=account.scope,
                bans=[ban.scope for ban in account.bans if ban.holds(now)],
            ),
            expires_in=self._access_tokens.expires_in,
            refresh_token=self._refresh_tokens.render(refresh_token),
            refresh_expires_in=max(1, int(lifetime.total_seconds())),
        )


def _admit(account: Account, now: datetime) -> None:
    ban = account.ban(now)
    if ban is not None:
        raise errors.Banned(ban.reason, until=ban.until)


def _count(outcome: Outcome) -> None:
    _REFRESHES.labels(outcome.value).inc()
