"""Players with a name and a password at a user pool: what they do there before they can log in."""

from services.identity.limits import LoginLimits
from services.identity.models import SIGNED_OUT
from services.identity.ports import IdentityStore, UserPool
from services.identity.sessions import Sessions


class PoolPlayers:
    """Every method raises TooManyRequests and what the UserPool's raises.

    The limit by name is one for each kind of request, and the same whether there is such a player
    or not.
    """

    def __init__(
        self,
        pool: UserPool,
        identities: IdentityStore,
        sessions: Sessions,
        limits: LoginLimits,
    ) -> None:
        self._pool = pool
        self._identities = identities
        self._sessions = sessions
        self._limits = limits

    async def sign_up(
        self, username: str, password: str, email: str | None, *, address: str
    ) -> bool:
        """Whether the player can log in now, without a code to confirm it."""
        self._admit("sign up", username, address)
        return await self._pool.sign_up(username, password, email)

    async def confirm(self, username: str, code: str, *, address: str) -> None:
        self._admit("confirm", username, address)
        await self._pool.confirm_sign_up(username, code)

    async def resend(self, username: str, *, address: str) -> None:
        self._admit("resend", username, address)
        await self._pool.resend_code(username)

    async def forgot_password(self, username: str, *, address: str) -> None:
        self._admit("forgot password", username, address)
        await self._pool.forgot_password(username)

    async def reset_password(
        self, username: str, code: str, password: str, *, address: str
    ) -> None:
        self._admit("reset password", username, address)
        await self._pool.reset_password(username, code, password)

    async def sign_out(self, access_token: str, *, address: str) -> None:
        """End every session of the player whose token of the pool it is: here, and over there.

        Who has that token could log in as the player, so it may end what that would begin. Here
        first: where the pool does not answer, only the rest is left to repeat. Whose token was
        never linked has nothing to end here, and gets no account by it.
        """
        self._limits.attempt(address)
        identity = await self._pool.whose(access_token)
        found = await self._identities.find(identity.provider, identity.external_id)
        if found is not None:
            await self._sessions.end_all(found.user_id, reason=SIGNED_OUT)
        await self._pool.sign_out(access_token)

    def _admit(self, kind: str, username: str, address: str) -> None:
        self._limits.attempt(address)
        self._limits.pool_request(kind, username)
