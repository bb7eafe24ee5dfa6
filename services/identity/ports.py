"""What identity keeps, and the law that every store of it obeys."""

from datetime import datetime, timedelta
from typing import Protocol

from services.identity.models import (
    Account,
    IdempotencyRecord,
    LinkedIdentity,
    Redeemed,
    Session,
    SessionKey,
)


class AccountStore(Protocol):
    """Accounts by user id. Every method raises Unavailable in bad weather."""

    async def create(self, account: Account) -> None:
        """Raises AlreadyExists where the user id is taken, and changes nothing then."""
        ...

    async def get(self, user_id: str) -> Account | None:
        """Sees every account whose `create` has returned."""
        ...


class IdentityStore(Protocol):
    """Linked identities by provider and external id. Every method raises Unavailable.

    An external identity is linked to at most one account, and every linked identity's account
    exists.
    """

    async def find(self, provider: str, external_id: str) -> LinkedIdentity | None:
        """Sees every identity whose `create_account` has returned."""
        ...

    async def create_account(self, account: Account, identity: LinkedIdentity) -> None:
        """Create the account of `identity.user_id` and link the identity to it: both or neither.

        Raises AlreadyExists where the external identity is linked or the user id is taken, and
        changes nothing then. Of many first logins of one external identity exactly one creates
        an account.
        """
        ...


class SessionStore(Protocol):
    """Sessions by player and id. Every method raises Unavailable in bad weather."""

    async def create(self, session: Session) -> None:
        """Raises AlreadyExists where the key is taken, and changes nothing then."""
        ...

    async def get(self, key: SessionKey) -> Session | None:
        """Sees every change that has been acknowledged."""
        ...

    async def redeem(
        self,
        key: SessionKey,
        *,
        counter: int,
        now: datetime,
        idle_expires_at: datetime,
        grace: timedelta,
    ) -> Redeemed:
        """Take refresh token `counter` of a session that lives at `now`.

        A session lives if it exists, has not ended, and has reached neither of its limits; a
        limit is reached *at* its instant. Of a living session

        - the current token is ADVANCED: counter plus one, `refreshed_at` now, the idle limit
          moved;
        - its predecessor is REPLAYED, if the counter has advanced at most `grace` ago (0: never)
          and there were fewer than MOST_REPLAYS since; that is counted and changes nothing else.
          One more raises TooManyRequests and changes nothing;
        - a predecessor that comes later, and whatever is older, raises RefreshTokenReused and
          ends the session.

        All else raises InvalidRefreshToken and changes nothing: a session that does not live, and
        a token of the future, so that nobody ends a session by guessing.

        The check and the change are one atomic step: of many callers with one token exactly one
        is ADVANCED, and after a session has ended nobody is.
        """
        ...


class IdempotencyStore(Protocol):
    """Idempotency records by key. Raises Unavailable in bad weather."""

    async def claim(self, record: IdempotencyRecord, *, now: datetime) -> IdempotencyRecord:
        """Store `record` unless there is one of its key, and answer the one that is stored then.

        One that has expired at `now`, which it has *at* its instant, counts as none. The check
        and the change are one atomic step: of many callers with one key exactly one stores, and
        all are answered its record.
        """
        ...
