"""Sessions: opened by a login, continued by refresh tokens.

A client whose answer was lost asks again with the token that it has, so the predecessor of the
current token is answered once more for a while, with the current token itself. Later, or with an
older token, somebody has a copy: the session ends for both.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter

from services.identity.access_tokens import AccessTokens
from services.identity.accounts import Accounts
from services.identity.models import Account, Outcome, Redeemed, Session, SessionKey
from services.identity.ports import SessionStore
from services.identity.refresh_tokens import RefreshToken, RefreshTokens
from shared import errors
from shared.clock import Clock
from shared.ids import new_id

_FIRST = 1
_log = structlog.get_logger()
_REFRESHES = Counter("playmesh_refreshes", "Refresh tokens that were presented.", ("outcome",))
for _outcome in (Outcome.ADVANCED, Outcome.REPLAYED, Outcome.REUSED, Outcome.REFUSED):
    _REFRESHES.labels(_outcome.value)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """A session ends after `idle` without a refresh, and after `absolute` in any case.

    A refresh may be repeated for `grace`.
    """

    idle: timedelta
    absolute: timedelta
    grace: timedelta


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

    async def open(self, account: Account, *, device: str | None = None) -> IssuedTokens:
        """Raises Unavailable."""
        now = self._clock.now()
        session = Session(
            key=SessionKey(account.user_id, new_id()),
            device=device,
            counter=_FIRST,
            created_at=now,
            refreshed_at=now,
            idle_expires_at=now + self._limits.idle,
            absolute_expires_at=now + self._limits.absolute,
        )
        await self._store.create(session)
        return self._issue(account, session, now)

    async def refresh(self, token: str) -> IssuedTokens:
        """Issue `token`'s successor and a new access token.

        Raises InvalidRefreshToken, TooManyRequests, Unavailable; RefreshTokenReused where the
        session has been ended.
        """
        try:
            account, redeemed = await self._redeem(token)
        except errors.RefreshTokenReused:
            _count(Outcome.REUSED)
            raise
        except (errors.InvalidRefreshToken, errors.TooManyRequests):
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
        if account is None:
            raise errors.InvalidRefreshToken
        now = self._clock.now()
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
                account.user_id, session_id=session.key.session_id, scope=account.scope
            ),
            expires_in=self._access_tokens.expires_in,
            refresh_token=self._refresh_tokens.render(refresh_token),
            refresh_expires_in=max(1, int(lifetime.total_seconds())),
        )


def _count(outcome: Outcome) -> None:
    _REFRESHES.labels(outcome.value).inc()
