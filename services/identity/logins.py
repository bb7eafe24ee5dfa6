"""Ways in: a new guest, a guest who comes back."""

from dataclasses import dataclass, field

from services.identity.access_tokens import AccessTokens
from services.identity.accounts import Accounts
from services.identity.sessions import IssuedTokens, Sessions


@dataclass(frozen=True, slots=True)
class GuestLogin:
    tokens: IssuedTokens
    guest_secret: str = field(repr=False)


class Logins:
    def __init__(self, accounts: Accounts, sessions: Sessions, access_tokens: AccessTokens) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._access_tokens = access_tokens

    async def new_guest(self, *, device: str | None = None) -> GuestLogin:
        """A crash on the way leaves an account that nobody knows of: harmless."""
        self._access_tokens.require_key()
        guest = await self._accounts.create_guest()
        return GuestLogin(await self._sessions.open(guest.account, device=device), guest.secret)

    async def guest(self, user_id: str, secret: str, *, device: str | None = None) -> GuestLogin:
        """Raises InvalidCredential."""
        self._access_tokens.require_key()
        account = await self._accounts.authenticate_guest(user_id, secret)
        return GuestLogin(await self._sessions.open(account, device=device), secret)
