"""Sessions: opened by a login, continued by refresh tokens."""

from dataclasses import dataclass, field
from datetime import timedelta

from services.identity.access_tokens import AccessTokens
from services.identity.accounts import Accounts
from services.identity.models import Account, Session, SessionKey
from services.identity.ports import SessionStore
from services.identity.refresh_tokens import RefreshToken, RefreshTokens
from shared import errors
from shared.clock import Clock
from shared.ids import new_id

_FIRST = 1


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """A session ends after `idle` without a refresh, and after `absolute` in any case."""

    idle: timedelta
    absolute: timedelta


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
        return self._issue(account, session)

    async def refresh(self, token: str) -> IssuedTokens:
        """Consume `token` and issue its successor. Raises InvalidRefreshToken.

        Whatever can fail on the way is asked first, so that no token is consumed for nothing.
        """
        presented = self._refresh_tokens.parse(token)
        if presented is None:
            raise errors.InvalidRefreshToken
        self._access_tokens.require_key()
        account = await self._accounts.get(presented.session.user_id)
        if account is None:
            raise errors.InvalidRefreshToken
        now = self._clock.now()
        try:
            session = await self._store.consume_refresh_token(
                presented.session,
                counter=presented.counter,
                now=now,
                idle_expires_at=now + self._limits.idle,
            )
        except errors.VersionConflict:
            raise errors.InvalidRefreshToken from None
        return self._issue(account, session)

    def _issue(self, account: Account, session: Session) -> IssuedTokens:
        refresh_token = RefreshToken(session.key, session.counter)
        lifetime = session.expires_at - session.refreshed_at
        return IssuedTokens(
            user_id=account.user_id,
            access_token=self._access_tokens.for_player(
                account.user_id, session_id=session.key.session_id, scope=account.scope
            ),
            expires_in=self._access_tokens.expires_in,
            refresh_token=self._refresh_tokens.render(refresh_token),
            refresh_expires_in=max(1, int(lifetime.total_seconds())),
        )
