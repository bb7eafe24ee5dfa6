"""An account that was given up for another one, and gets its way in back: by operators."""

import structlog

from services.identity.accounts import Accounts
from services.identity.links import Links
from services.identity.models import IDENTITY_MOVED, Account, LinkedIdentity, Undo
from services.identity.ports import IdentityStore
from services.identity.sessions import Sessions
from shared import errors
from shared.clock import Clock

_ATTEMPTS = 8
_log = structlog.get_logger()


class Recoveries:
    def __init__(
        self,
        store: IdentityStore,
        accounts: Accounts,
        links: Links,
        sessions: Sessions,
        clock: Clock,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._links = links
        self._sessions = sessions
        self._clock = clock

    async def recover(self, user_id: str) -> None:
        """The account lives again, with the identity that was taken from it. Repeating it is safe.

        Raises NotFound, Unavailable, and Conflict where its time is over, or where the identity is
        banned, a banned player's, the last way in of who has it, or another one by now, or somebody
        else's.
        """
        for _ in range(_ATTEMPTS):
            account = await self._accounts.find(user_id)
            if account is None:
                raise errors.NotFound("there is no such account")
            if not account.is_gone:
                return
            now = self._clock.now()
            recovered = account.recovered(now)
            if account.undo is None:
                continue
            key = account.undo.provider, account.undo.external_id
            identity = LinkedIdentity(*key, user_id, linked_at=now)
            holder = await self._holder(account.undo)
            try:
                if holder is None:
                    await self._store.link(recovered, identity)
                else:
                    await self._take(identity, holder, recovered)
            except (errors.VersionConflict, errors.AlreadyLinked):
                continue
            _log.info("account.recovered", user_id=user_id)
            return
        raise errors.Unavailable("the account or the identity is being changed all the time")

    async def _holder(self, undo: Undo) -> Account | None:
        """Who has the identity now; None where it is free.

        Not where it may be free because its platform has given the player another id: the account
        would live again for somebody who never comes by the former one.
        """
        try:
            holder = await self._links.admit_owner(undo.provider, undo.external_id)
        except errors.Banned:
            raise errors.Conflict("the identity is banned") from None
        if holder is None:
            taker = await self._accounts.get(undo.taken_by)
            if taker and undo.provider in [one.provider for one in taker.identities]:
                raise errors.Conflict("who took the identity has another one of its platform")
            return None
        if holder.user_id != undo.taken_by:
            raise errors.Conflict("the identity is somebody else's by now")
        if holder.ban(self._clock.now()) is not None:
            raise errors.Conflict("who has the identity is banned")
        return holder

    async def _take(self, identity: LinkedIdentity, holder: Account, recovered: Account) -> None:
        holder.unlinked(*identity.key)  # raises Conflict where it is the last way in
        # Before it: a repetition would find nothing to do, and leave them. After it: those that
        # have begun since.
        await self._end(holder, identity)
        await self._store.move(identity, holder, recovered)
        await self._end(holder, identity)

    async def _end(self, holder: Account, identity: LinkedIdentity) -> None:
        await self._sessions.end_all(
            holder.user_id, reason=IDENTITY_MOVED, provider=identity.provider
        )
