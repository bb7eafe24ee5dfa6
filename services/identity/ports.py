"""What identity keeps, and the law that every store of it obeys."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from services.identity.models import (
    Account,
    CollectionSummary,
    ExternalIdentity,
    Grant,
    IdempotencyRecord,
    IdentityBan,
    LinkedIdentity,
    Mark,
    Notice,
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
        """Sees every change that has been acknowledged."""
        ...

    async def replace(self, account: Account) -> Account:
        """Store `account` in place of its own revision; answer it with the next revision.

        Raises VersionConflict where another revision is stored, or none, and changes nothing
        then. The check and the change are one atomic step. `created_at` stays as it was.
        """
        ...

    async def marked_since(
        self, mark: Mark, moment: datetime, *, limit: int, until: datetime | None = None
    ) -> Sequence[Account]:
        """The accounts that have been marked so at `moment` or later, the latest first.

        With `until` at that moment or earlier as well. May be a few seconds behind the changes.
        """
        ...

    def inactive_guests(self, before: datetime) -> AsyncIterator[Account]:
        """Accounts of scope guest that were last seen before a moment and are not gone.

        For maintenance: it may read everything, in steps. One that does not change meanwhile is
        answered exactly once.
        """
        ...

    def tombstones(self) -> AsyncIterator[Account]:
        """The accounts that were erased; as `inactive_guests`."""
        ...


class IdentityStore(Protocol):
    """Linked identities by provider and external id. Every method raises Unavailable.

    An external identity is linked to at most one account. An account that is not gone lists
    exactly the identities that are linked to it, and has a way in: every change of an identity
    changes the lists of its accounts in the same atomic step. `AccountStore.replace` leaves the
    list as it was read. External ids are compared byte for byte.
    """

    async def find(self, provider: str, external_id: str) -> LinkedIdentity | None:
        """Sees every change that has been acknowledged."""
        ...

    async def create_account(self, account: Account, identity: LinkedIdentity) -> Account:
        """Create the account and link the identity to it, both or neither; answer the account.

        Raises AlreadyExists where the external identity is linked or the user id is taken, and
        changes nothing then. Of many first logins of one external identity exactly one creates
        an account.
        """
        ...

    async def link(self, account: Account, identity: LinkedIdentity) -> Account:
        """Link the identity to `account`, both or neither; answer the next revision of it.

        Raises AlreadyLinked where the identity is another account's, VersionConflict where
        another revision of `account` is stored, or none, and what `Account.linked` raises; it
        changes nothing then. Nor does it where the identity is this account's already.
        """
        ...

    async def unlink(self, account: Account, provider: str, external_id: str) -> Account:
        """The reverse of `link`. Raises VersionConflict, and what `Account.unlinked` raises.

        An identity that is not listed changes nothing.
        """
        ...

    async def rename(
        self, account: Account, former_external_id: str, identity: LinkedIdentity
    ) -> Account:
        """Link the identity in the place of a former one of its provider, which is free then.

        All or nothing; answer the next revision of `account`. Raises AlreadyLinked where the
        identity is another account's, VersionConflict where another revision of `account` is
        stored or the former identity is not its, and what `Account.renamed` raises. An identity
        that is this account's already changes nothing.
        """
        ...

    async def move(
        self, identity: LinkedIdentity, source: Account, target: Account
    ) -> tuple[Account, Account]:
        """Link to `target` what is linked to `source`; answer the next revisions of the two.

        All or nothing, and `linked_at` is the identity's new one. Raises VersionConflict where
        another revision of either is stored or the identity is not `source`'s, and what
        `unlinked` and `linked` raise. Where it is the last way into `source`, that account is
        given up: whoever means it hands it in as `source.erasing(...)`, which is stored with it.
        So is a `target.recovered(...)`, which was given up and gets its way in back.
        """
        ...

    async def release(self, identity: LinkedIdentity) -> None:
        """Free an identity whose account is gone; what that lists goes with the tombstone.

        Where it is another account's by now, or nobody's, nothing changes: twice is as once.
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
        a token of the future, so that nobody ends a session by guessing. Of a session that has
        ended it is SessionEnded, with the reason.

        The check and the change are one atomic step: of many callers with one token exactly one
        is ADVANCED, and after a session has ended nobody is.
        """
        ...

    async def end(self, key: SessionKey, *, now: datetime, reason: str) -> Session | None:
        """End a session; answer it as it is since then, None where there is none.

        One that has ended before stays as it was. After this nobody redeems a token of it.
        """
        ...

    async def list(self, user_id: str) -> Sequence[Session]:
        """All that are kept of a player, also those that are over. Sees every acknowledged change.

        In any order.
        """
        ...

    async def ended_since(self, moment: datetime, *, limit: int) -> Sequence[SessionKey]:
        """The sessions that have been ended at `moment` or later, the latest first.

        May be a few seconds behind the changes.
        """
        ...

    async def delete_all(self, user_id: str) -> None:
        """Remove every session of a player that there is when it begins."""
        ...

    async def delete_expired(self, before: datetime, *, limit: int) -> int:
        """Remove sessions that reached a limit before a moment, at most `limit`; answer how many.

        A store that removes them by itself does nothing, and answers 0.
        """
        ...


class IdentityBanStore(Protocol):
    """Bans by provider and external id. Every method raises Unavailable."""

    async def find(self, provider: str, external_id: str) -> IdentityBan | None:
        """Sees every change that has been acknowledged; also one that is over, while it is kept."""
        ...

    async def put(self, ban: IdentityBan) -> None:
        """In place of the one that there is."""
        ...

    async def delete(self, provider: str, external_id: str) -> None:
        """Where there is none, nothing changes."""
        ...


class GrantStore(Protocol):
    """What platforms want back, by provider and external id. Every method raises Unavailable."""

    async def find(self, provider: str, external_id: str) -> Grant | None:
        """Sees every change that has been acknowledged."""
        ...

    async def put(self, grant: Grant) -> None:
        """In place of the one that there is."""
        ...

    async def delete(self, grant: Grant) -> None:
        """Where another one is stored by now, or none, nothing changes: twice is as once.

        The check and the change are one atomic step, so nobody's later grant is lost.
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


class PlayerDataHolder(Protocol):
    """A service that keeps something of players. Every method raises Unavailable."""

    @property
    def name(self) -> str: ...

    async def erase(self, user_id: str) -> None:
        """Remove everything of a player. On return it is confirmed; repeating it is safe.

        Of much it may remove a part, and raise Unavailable: the next time it goes on.
        """
        ...

    def export(self, user_id: str) -> AsyncIterator[bytes]:
        """Everything of a player, in pages of JSON, each a bounded number of bytes."""
        ...


class PlayerDataSummaries(Protocol):
    """How much there is of a player: what helps to choose between two accounts."""

    async def summary(self, user_id: str) -> Sequence[CollectionSummary]:
        """By collection, in the order of their names; empty of a player of whom there is nothing.

        Raises Unavailable.
        """
        ...


class UserPool(Protocol):
    """Where players of the game have a name and a password, which are kept there alone.

    Every method raises InvalidRequest, TooManyRequests, RefusedByPolicy, ActionRequired,
    ProviderUnavailable and ProviderMisconfigured. Nothing tells a stranger which names there are:
    no refusal, and no success where a mail is asked for.
    """

    async def sign_up(self, username: str, password: str, email: str | None) -> bool:
        """Whether the player is confirmed already. False as well where the name is taken, unless
        the settings say that AlreadyExists is raised. Raises WeakPassword.
        """
        ...

    async def confirm_sign_up(self, username: str, code: str) -> None:
        """Raises InvalidCode, ExpiredCode, Conflict where the address is another player's."""
        ...

    async def resend_code(self, username: str) -> None: ...

    async def forgot_password(self, username: str) -> None:
        """A code is sent, if there is somebody to send it to."""
        ...

    async def reset_password(self, username: str, code: str, password: str) -> None:
        """Raises InvalidCode, ExpiredCode, WeakPassword."""
        ...

    async def whose(self, access_token: str) -> ExternalIdentity:
        """Of a token of the pool's, which stays as good as it is. Raises as `IdentityProvider`."""
        ...

    async def sign_out(self, access_token: str) -> None:
        """Nothing that the pool has issued to the player is renewed any more; twice is as once."""
        ...


class IdentityProvider(Protocol):
    """A platform that says who somebody is, asked in the way that clients call `name`."""

    @property
    def name(self) -> str: ...

    async def verify(self, credential: Mapping[str, str]) -> ExternalIdentity:
        """Within ten seconds. What `credential` holds is the platform's, by the names of ours.

        Raises InvalidRequest where a part is missing; InvalidCredential, ExpiredCredential or
        WrongAudience where it does not hold; ProviderBanned or NotOwned where the platform knows
        the player and the game's policy refuses them; TooManyRequests where it has had enough of
        this player; ProviderUnavailable, never one of those, where the platform cannot be asked or
        makes no sense; ProviderMisconfigured where it takes no key of ours. A bug is
        ProviderUnavailable: it lets nobody in. No error says what the platform said, or has an URL,
        a key or a credential in it or behind it.
        """
        ...


class GrantTaker(Protocol):
    """A platform that takes back what it has granted."""

    async def revoke(self, grant: str) -> None:
        """On return it is good for nothing. Repeating it is safe.

        Raises ProviderUnavailable where the platform cannot be asked, ProviderMisconfigured where
        it takes no key of ours. `grant` is as it was in `ExternalIdentity.grant`; one that cannot
        be read is good for nothing.
        """
        ...


class NoticeReader(Protocol):
    """A platform that tells us, by calls of its own, what its players do there."""

    async def read(self, sent: str) -> Notice:
        """Raises InvalidCredential where it was not this platform, or long ago, and Unavailable
        where that cannot be known.
        """
        ...
