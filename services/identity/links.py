"""Which account an external identity belongs to: to at most one, whatever happens at once.

The callers have had the identity confirmed by its platform.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from services.identity.accounts import Accounts
from services.identity.bans import Bans
from services.identity.grants import Grants
from services.identity.models import Account, Erasure, LinkedIdentity
from services.identity.ports import IdentityStore
from shared import errors
from shared.clock import Clock
from shared.ids import new_id

_ATTEMPTS = 8
_LONGEST_WAIT = timedelta(days=7)
"""For a platform that cannot be asked: over a weekend, and for an operator to mend a key."""


class Links:
    """Every method raises Unavailable."""

    def __init__(
        self,
        store: IdentityStore,
        accounts: Accounts,
        bans: Bans,
        grants: Grants,
        clock: Clock,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._bans = bans
        self._grants = grants
        self._clock = clock

    async def account_of(
        self, provider: str, external_id: str, *, former: str | None = None
    ) -> Account:
        """The account of an identity, created with its first login. Raises Banned.

        Of many first logins at once all are answered the same account. `former` is an external id
        that the platform says was the player's before: who has an account by that one alone keeps
        it under the new one. An identity that has an account itself is not looked for elsewhere.
        """
        for _ in range(_ATTEMPTS):
            owner = await self._owner_by_either(provider, external_id, former)
            if owner is not None:
                return owner
            now = self._clock.now()
            new = Account(new_id(), created_at=now, guest_secret_digest=None, seen_at=now)
            identity = LinkedIdentity(provider, external_id, new.user_id, linked_at=now)
            try:
                return await self._store.create_account(new, identity)
            except errors.AlreadyExists:  # another login was faster: it is that one's
                continue
        raise _restless()

    async def link(
        self, user_id: str, provider: str, external_id: str, *, former: str | None = None
    ) -> Account:
        """Give a player one more way in; one that is theirs already changes nothing.

        `former` as in `account_of`. Raises AlreadyLinked where it is another account's, Banned,
        NotFound, and Conflict as `Account.linked`.
        """
        for _ in range(_ATTEMPTS):
            owner = await self._owner_by_either(provider, external_id, former)
            if owner is not None and owner.user_id != user_id:
                raise errors.AlreadyLinked(owner=owner.user_id)
            account = await self._get(user_id)
            identity = LinkedIdentity(provider, external_id, user_id, self._clock.now())
            try:
                return await self._store.link(account, identity)
            except errors.VersionConflict:
                continue
        raise _restless()

    async def unlink(self, user_id: str, provider: str) -> Account:
        """Where nothing of the provider is linked nothing changes. Its platform gets back what it
        wants, if it takes it now.

        Raises NotFound, Conflict for the last way in, and Banned: who is banned keeps what the
        ban holds on to.
        """
        for _ in range(_ATTEMPTS):
            account = await self._get(user_id)
            _admit(account, self._clock.now())
            identity = next((one for one in account.identities if one.provider == provider), None)
            if identity is None:
                return account
            account.unlinked(*identity.key)  # raises where it may not be
            # First, since nobody would look for a grant of what is nobody's.
            await self._grants.abandon(*identity.key)
            try:
                unlinked = await self._store.unlink(account, *identity.key)
            except errors.VersionConflict:
                continue
            await self._grants.abandon(*identity.key)  # of a login that came meanwhile
            return unlinked
        raise _restless()

    async def still_has(self, user_id: str, provider: str, external_id: str) -> bool:
        """For who has begun a session: what takes it away may have looked for those before."""
        found = await self._store.find(provider, external_id)
        return found is not None and found.user_id == user_id

    async def admit_owner(self, provider: str, external_id: str) -> Account | None:
        """Whose an identity is: nobody's if it was that of an account which is gone, and then it is
        released. Raises Banned where the identity is.
        """
        for _ in range(_ATTEMPTS):
            found = await self._store.find(provider, external_id)
            owner = await self._accounts.find(found.user_id) if found else None
            if found is None or (owner is not None and not owner.is_gone):
                # After the look: where a banned player's identity was freed, its ban came before.
                await self._bans.admit_identity(provider, external_id)
                return owner
            await self._release(found, owner)
        raise _restless()

    async def move(
        self,
        provider: str,
        external_id: str,
        target: str,
        *,
        seen: LinkedIdentity | None = None,
        erasure: Erasure | None = None,
    ) -> Account:
        """Link to the account `target` what is another's; answer it. For who is in both.

        `erasure` is what becomes of the other account where this was the last way in; without one
        that raises Conflict. So does an identity that is nobody's, or that has changed hands since
        it was `seen`. Raises NotFound, Banned where either player or the identity is, and Conflict
        as `Account.linked`.
        """
        for _ in range(_ATTEMPTS):
            owner = await self.admit_owner(provider, external_id)
            account = await self._get(target)
            if owner is None:
                raise errors.Conflict("the identity is not linked")
            if owner.user_id == target:
                return account
            if seen is not None and seen not in owner.identities:
                raise errors.Conflict("the identity has changed hands")
            now = self._clock.now()
            _admit(owner, now)
            _admit(account, now)
            is_last = owner.guest_secret_digest is None and len(owner.identities) == 1
            source = owner.erasing(erasure) if is_last and erasure else owner
            identity = LinkedIdentity(provider, external_id, target, linked_at=now)
            try:
                _, moved = await self._store.move(identity, source, account)
            except errors.VersionConflict:
                continue
            return moved
        raise _restless()

    async def release(self, account: Account) -> None:
        """Free the identities of an account that is gone. Repeating it is safe.

        Those of a player who is banned are banned before, so that nobody evades a ban by being
        erased. What was freed once is not looked at again: it may be somebody's new beginning.
        """
        for identity in account.identities:
            found = await self._store.find(*identity.key)
            if found is not None and found.user_id == account.user_id:
                await self._release(found, account)

    async def give_back(self, account: Account) -> None:
        """Give platforms what they want back of an account that was released. Repeating it is safe.

        What is somebody's new beginning by now stays theirs. Raises Unavailable where a platform
        cannot be asked, or does not take our key, until a week after the erasure was requested:
        after that what is left is forgotten.
        """
        since = account.erasure.requested_at if account.erasure else account.erased_at
        is_over = since is not None and self._clock.now() >= since + _LONGEST_WAIT
        trouble: errors.PlaymeshError | None = None
        for identity in account.identities:
            found = await self._store.find(*identity.key)
            if found is not None and found.user_id != account.user_id:
                continue
            try:
                await (self._grants.abandon if is_over else self._grants.give_back)(*identity.key)
            except (errors.ProviderUnavailable, errors.ProviderMisconfigured) as error:
                trouble = error
        if trouble is not None:
            raise errors.Unavailable(f"a platform does not take back what it wants: {trouble.code}")

    async def find_owner(self, provider: str, external_id: str) -> Account | None:
        """As `admit_owner`, whoever is banned, and nothing is released."""
        found = await self._store.find(provider, external_id)
        return await self._accounts.get(found.user_id) if found else None

    async def withdraw(self, provider: str, external_id: str) -> Account | None:
        """Unlink what its platform has withdrawn. Whose only way in it is, stays, and is answered.

        That of a player who is banned is banned before, as with an erasure. What is nobody's, or
        that of an account which is gone, is nobody's then.
        """
        for _ in range(_ATTEMPTS):
            found = await self._store.find(provider, external_id)
            if found is None:
                return None
            owner = await self._accounts.find(found.user_id)
            if owner is None or owner.is_gone:
                await self._release(found, owner)
                return None
            if is_only_way_in(owner, provider, external_id):
                return owner
            await self._carry_over(found, owner)
            try:
                await self._store.unlink(owner, provider, external_id)
            except errors.VersionConflict:
                continue
            return None
        raise _restless()

    async def _owner_by_either(
        self, provider: str, external_id: str, former: str | None
    ) -> Account | None:
        """As `admit_owner`. Who is known by the former id alone is from now on by the other one."""
        if former is not None:
            # Else who was banned would be let in again by a change of ids.
            await self._bans.follow(provider, former, external_id)
        for _ in range(_ATTEMPTS):
            owner = await self.admit_owner(provider, external_id)
            if owner is not None or former is None:
                return owner
            owner = await self.admit_owner(provider, former)
            if owner is None:
                return None
            known = next((one for one in owner.identities if one.key == (provider, former)), None)
            if known is None:  # not any more, or not yet when the account was read
                continue
            try:
                renamed = replace(known, external_id=external_id)
                return await self._store.rename(owner, former, renamed)
            except (errors.AlreadyLinked, errors.VersionConflict):  # somebody was faster
                continue
        raise _restless()

    async def _release(self, identity: LinkedIdentity, account: Account | None) -> None:
        await self._carry_over(identity, account)
        await self._store.release(identity)

    async def _carry_over(self, identity: LinkedIdentity, account: Account | None) -> None:
        ban = account.ban(self._clock.now()) if account else None
        if ban is not None:
            await self._bans.carry_over(*identity.key, ban)

    async def _get(self, user_id: str) -> Account:
        account = await self._accounts.get(user_id)
        if account is None:
            raise errors.NotFound("there is no such account")
        return account


def is_only_way_in(account: Account, provider: str, external_id: str) -> bool:
    keys = [one.key for one in account.identities]
    return account.guest_secret_digest is None and keys == [(provider, external_id)]


def _admit(account: Account, now: datetime) -> None:
    ban = account.ban(now)
    if ban is not None:
        raise errors.Banned(ban.reason, until=ban.until)


def _restless() -> errors.Unavailable:
    return errors.Unavailable("the account or the identity is being changed all the time")
