"""Bans of players, and of those whom a platform knows, made and lifted by operators."""

from datetime import datetime

from services.identity.accounts import Accounts
from services.identity.models import EVERYTHING, Account, Ban, IdentityBan
from services.identity.ports import IdentityBanStore
from shared import errors
from shared.clock import Clock


class Bans:
    """A ban of everything keeps a player out at once: see `revocations`.

    It needs no bans of the player's identities beside it: as long as the account has them, nobody
    else can link them, and who is banned cannot give them away. Only with the account's erasure do
    they become free, and then the ban goes over to them: see `links`.

    One of another scope is told in the player's next access token, for services to honour.
    """

    def __init__(self, accounts: Accounts, identities: IdentityBanStore, clock: Clock) -> None:
        self._accounts = accounts
        self._identities = identities
        self._clock = clock

    async def ban(
        self, user_id: str, *, reason: str, until: datetime | None, scope: str = EVERYTHING
    ) -> None:
        """In place of a ban of the same scope. Raises NotFound, Conflict, InvalidRequest."""
        ban = self._ban(reason, until, scope)
        _require(await self._accounts.change(user_id, lambda account: account.banned(ban)))

    async def unban(self, user_id: str, *, scope: str = EVERYTHING) -> None:
        """Where there is no such ban nothing changes. Raises NotFound."""
        _require(await self._accounts.change(user_id, lambda account: account.unbanned(scope)))

    async def ban_identity(
        self, provider: str, external_id: str, *, reason: str, until: datetime | None
    ) -> IdentityBan:
        """Whoever has this identity neither logs in with it nor links it, whichever account it is.

        Raises InvalidRequest.
        """
        banned = IdentityBan(provider, external_id, self._ban(reason, until, EVERYTHING))
        await self._identities.put(banned)
        return banned

    async def carry_over(self, provider: str, external_id: str, ban: Ban) -> None:
        """Ban an identity as its player was, unless it is banned for longer already."""
        found = await self._identities.find(provider, external_id)
        if found is None or not found.ban.outlasts(ban):
            await self._identities.put(IdentityBan(provider, external_id, ban))

    async def follow(self, provider: str, former: str, external_id: str) -> None:
        """Whom a platform has given another id keeps the ban of the former one."""
        found = await self._identities.find(provider, former)
        if found is not None and found.ban.holds(self._clock.now()):
            await self.carry_over(provider, external_id, found.ban)

    async def unban_identity(self, provider: str, external_id: str) -> None:
        await self._identities.delete(provider, external_id)

    async def find_identity(self, provider: str, external_id: str) -> IdentityBan | None:
        """Also one that is over."""
        return await self._identities.find(provider, external_id)

    async def admit_identity(self, provider: str, external_id: str) -> None:
        """Raises Banned. For every way in and every link, after the platform has confirmed it."""
        found = await self._identities.find(provider, external_id)
        if found is not None and found.ban.holds(self._clock.now()):
            raise errors.Banned(found.ban.reason, until=found.ban.until)

    def _ban(self, reason: str, until: datetime | None, scope: str) -> Ban:
        now = self._clock.now()
        if until is not None and until <= now:
            raise errors.InvalidRequest("the ban would be over already")
        return Ban(reason, since=now, until=until, scope=scope)


def _require(account: Account | None) -> None:
    if account is None:
        raise errors.NotFound("there is no such account")
