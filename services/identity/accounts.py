"""Accounts: who they are, how guests prove it, and how they change."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from services.identity.models import Account
from services.identity.ports import AccountStore
from shared import errors
from shared.clock import Clock
from shared.ids import digest, is_id, is_secret, matches, new_id, new_secret

# Compared with when there is nothing to compare with, so that an unknown user costs the same.
_NOBODY = digest(new_secret())
_ATTEMPTS = 8
_SEEN_EVERY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class NewGuest:
    """The only place where a guest's secret exists outside the client."""

    account: Account
    secret: str = field(repr=False)


class Accounts:
    def __init__(self, store: AccountStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create_guest(self) -> NewGuest:
        guest = self._guest(new_id(), new_secret())
        await self._store.create(guest.account)
        return guest

    async def create_guest_once(self, user_id: str, secret: str) -> NewGuest:
        """The guest of this id and secret, whether it is made now or was made before.

        Raises InvalidCredential where that account has another secret by now, or none.
        """
        guest = self._guest(user_id, secret)
        try:
            await self._store.create(guest.account)
        except errors.AlreadyExists:
            return NewGuest(await self.authenticate_guest(user_id, secret), secret)
        return guest

    async def authenticate_guest(self, user_id: str, secret: str) -> Account:
        """Raises InvalidCredential, the same for an unknown user and a wrong secret."""
        account = await self._store.get(user_id) if is_id(user_id) else None
        expected = account.guest_secret_digest if account else None
        holds = is_secret(secret) and matches(secret, expected or _NOBODY)
        if account is None or not holds:
            raise errors.InvalidCredential("the user id and the guest secret do not match")
        return account

    async def find(self, user_id: str) -> Account | None:
        """Also one that is gone."""
        return await self._store.get(user_id)

    async def get(self, user_id: str) -> Account | None:
        """None as well where the account is gone."""
        account = await self.find(user_id)
        return None if account is None or account.is_gone else account

    async def seen(self, account: Account) -> Account | None:
        """Note once a day that the player is here. None where the account is gone meanwhile.

        Asked before anything is handed out: so who is removed for not having been here was not.
        """
        now = self._clock.now()

        def seen(current: Account) -> Account:
            # One of many requests at once notes it for all of them.
            return current if now - current.seen_at < _SEEN_EVERY else current.seen(now)

        if seen(account) is account:
            return account
        return await self.change(account.user_id, seen)

    async def new_guest_secret(self, user_id: str) -> NewGuest:
        """The one before is dead. Raises NotFound, and Conflict where another request did so too.

        Not tried again then: both would be answered, and one of the two secrets be dead.
        """
        account = await self.get(user_id)
        if account is None:
            raise errors.NotFound("there is no such account")
        secret = new_secret()
        try:
            changed = await self._store.replace(account.with_guest_secret(digest(secret)))
        except errors.VersionConflict:
            raise errors.Conflict("the account is being changed by another request") from None
        return NewGuest(changed, secret)

    async def change(
        self, user_id: str, change: Callable[[Account], Account], *, also_gone: bool = False
    ) -> Account | None:
        """Apply `change` to the account as it is, also while others change it.

        None where there is no such account, or it is gone, unless that is `also` to be changed.
        """
        for _ in range(_ATTEMPTS):
            account = await (self.find if also_gone else self.get)(user_id)
            if account is None:
                return None
            changed = change(account)
            if changed == account:
                return account
            try:
                return await self._store.replace(changed)
            except errors.VersionConflict:
                continue
        raise errors.Unavailable("the account is being changed all the time")

    def _guest(self, user_id: str, secret: str) -> NewGuest:
        now = self._clock.now()
        account = Account(
            user_id=user_id,
            created_at=now,
            guest_secret_digest=digest(secret),
            seen_at=now,
        )
        return NewGuest(account, secret)
