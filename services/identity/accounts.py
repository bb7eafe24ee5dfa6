"""Guests: who they are and how they prove it."""

from dataclasses import dataclass, field

from services.identity.models import Account
from services.identity.ports import AccountStore
from shared import errors
from shared.clock import Clock
from shared.ids import digest, is_id, is_secret, matches, new_id, new_secret

# Compared with when there is nothing to compare with, so that an unknown user costs the same.
_NOBODY = digest(new_secret())


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

    async def get(self, user_id: str) -> Account | None:
        return await self._store.get(user_id)

    def _guest(self, user_id: str, secret: str) -> NewGuest:
        now = self._clock.now()
        account = Account(
            user_id=user_id,
            created_at=now,
            guest_secret_digest=digest(secret),
            seen_at=now,
        )
        return NewGuest(account, secret)
