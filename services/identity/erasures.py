"""Erasing and exporting a player, here and at every service that keeps something of players.

First the account is marked: from then on nobody gets in, and nobody gets a token. Then everything
is removed, everywhere. Who still had an access token may have written since, so when the last one
has expired all is removed once more, and the account becomes a tombstone. Every step may be
repeated; the mark is there until all of them are done, so whoever finds it goes on.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from prometheus_client import Counter

from services.identity.accounts import Accounts
from services.identity.links import Links
from services.identity.models import RECOVERABLE_FOR, Account, Erasure, Mark, Session
from services.identity.ports import AccountStore, PlayerDataHolder, SessionStore
from shared import errors
from shared.clock import Clock

_log = structlog.get_logger()
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_AT_ONCE = 50_000
"""More than are under way at any time: they are found from the latest on, and it is the oldest
that are due."""
_PATIENCE = 5.0
"""Seconds for which a player waits for what will be done in any case."""
_MOST_EXPORTS = 32
_EXPORT_AGAIN = 30
_ERASED = Counter("playmesh_erased_accounts", "Accounts that have become tombstones.")


@dataclass(frozen=True, slots=True)
class Held:
    """What identity itself keeps of a player."""

    account: Account
    sessions: Collection[Session]


class Erasures:
    """`lifetime`: so long after it was issued, at most, a token is taken."""

    def __init__(
        self,
        store: AccountStore,
        accounts: Accounts,
        sessions: SessionStore,
        links: Links,
        holders: Collection[PlayerDataHolder],
        lifetime: timedelta,
        clock: Clock,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._sessions = sessions
        self._links = links
        self._holders = holders
        self._lifetime = lifetime
        self._clock = clock
        self._swept: set[str] = set()
        """Those that this process has removed since they were marked: no need to do it again."""

    async def request(
        self, user_id: str, *, only_if: Callable[[Account], bool] = lambda _account: True
    ) -> bool:
        """Erase a player. True where everything is removed by now; False where it will be.

        On return it will happen in any case. A repetition goes on with it; one that was given up,
        and could be recovered for a while, is erased now. An account that is not as `only_if`
        demands stays as it is, and is True. Raises NotFound, Unavailable.
        """
        now = self._clock.now()
        erasure = Erasure(requested_at=now, tokens_expire_at=now + self._lifetime)
        account = await self._accounts.change(
            user_id, lambda one: one.erasing(erasure) if only_if(one) else one, also_gone=True
        )
        if account is None:
            raise errors.NotFound("there is no such account")
        if account.erasure is None:  # it is a tombstone already, or not to be erased
            return True
        _log.info("account.erasing", user_id=user_id)
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._try(account)
        except TimeoutError:  # the loop goes on with it
            return False

    async def tick(self) -> None:
        """Go on with every erasure that is not complete. Raises Unavailable where it cannot look.

        One that fails does not hold the others up; it is tried again the next time.
        """
        marked = await self._store.marked_since(Mark.ERASING, _BEGINNING, limit=_MOST_AT_ONCE)
        self._swept &= {account.user_id for account in marked}
        for account in reversed(marked):  # the oldest first
            await self._try(account)

    async def end_recoveries(self) -> None:
        """Have those erased who were given up, and whom nobody recovered in time.

        From then on they are found by `tick`. Raises Unavailable.
        """
        now = self._clock.now()
        due = await self._store.marked_since(
            Mark.RECOVERABLE, _BEGINNING, limit=_MOST_AT_ONCE, until=now - RECOVERABLE_FOR
        )
        for account in due:
            if account.undo is None or now < account.undo.until:
                continue
            try:
                await self._store.replace(account.beyond_recovery())
            except errors.VersionConflict:  # recovered or erased, and the index was behind
                continue
            _log.info("account.erasing", user_id=account.user_id)

    async def remove_inactive_guests(self, inactive_for: timedelta) -> int:
        """Erase the guests who have not been here for so long; answer how many.

        Nobody has a token of theirs, so each is done at once. A guest who comes back meanwhile
        changes the account, and stays. Raises Unavailable where one cannot be done now: it is
        marked, and gone on with; to mark all the others as well would help nobody.
        """
        now = self._clock.now()
        removed = 0
        async for guest in self._store.inactive_guests(now - inactive_for):
            erasure = Erasure(requested_at=now, tokens_expire_at=now)
            try:
                marked = await self._store.replace(guest.erasing(erasure))
            except errors.VersionConflict:
                continue
            if not await self._try(marked):
                raise errors.Unavailable("an inactive guest cannot be removed at the moment")
            removed += 1
        return removed

    async def erase_again(self) -> int:
        """Remove what a restored backup has brought back of erased players; answer how many."""
        again = 0
        async for tombstone in self._store.tombstones():
            await self._sweep(tombstone)
            again += 1
        return again

    async def _try(self, account: Account) -> bool:
        try:
            await self._resume(account)
        except errors.Unavailable as error:
            _log.warning("erasure.postponed", user_id=account.user_id, reason=str(error))
            return False
        except Exception:  # noqa: BLE001 - a bug, too, must not hold up the others
            _log.exception("erasure.failed", user_id=account.user_id)
            return False
        return True

    async def _resume(self, account: Account) -> None:
        now = self._clock.now()
        is_last = account.erasure is not None and now >= account.erasure.tokens_expire_at
        if account.user_id in self._swept and not is_last:
            return
        await self._sweep(account)
        await self._links.give_back(account)  # last: no data waits for a platform
        self._swept.add(account.user_id)
        if not is_last:
            return
        try:
            await self._store.replace(account.erased(now))
        except errors.VersionConflict:  # another process was faster, or the index was behind
            return
        _ERASED.inc()
        _log.info("account.erased", user_id=account.user_id)

    async def _sweep(self, account: Account) -> None:
        # First what needs nobody else, so that who wants to begin anew can.
        await self._links.release(account)
        for holder in self._holders:
            await holder.erase(account.user_id)
        await self._sessions.delete_all(account.user_id)


class Exports:
    """Everything that is held of a player.

    One takes as long as its client wants to read it, so only a few are under way at once: they
    must not be all that this process does.
    """

    def __init__(
        self, accounts: Accounts, sessions: SessionStore, holders: Collection[PlayerDataHolder]
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._holders = holders
        self._under_way: set[str] = set()

    @contextlib.contextmanager
    def turn(self, user_id: str) -> Iterator[None]:
        """For as long as an export takes. Raises TooManyRequests, Unavailable."""
        if user_id in self._under_way:
            raise errors.TooManyRequests(
                "an export of this player is under way", retry_after=_EXPORT_AGAIN
            )
        if len(self._under_way) >= _MOST_EXPORTS:
            raise errors.Unavailable("too many exports are under way", retry_after=_EXPORT_AGAIN)
        self._under_way.add(user_id)
        try:
            yield
        finally:
            self._under_way.discard(user_id)

    async def own(self, user_id: str) -> Held:
        """Raises NotFound."""
        account = await self._accounts.get(user_id)
        if account is None:
            raise errors.NotFound("there is no such account")
        return Held(account, await self._sessions.list(user_id))

    async def others(self, user_id: str) -> AsyncIterator[tuple[str, bytes]]:
        """A holder's name and a page of what it holds, JSON, one page after the other."""
        for holder in self._holders:
            async for page in holder.export(user_id):
                yield holder.name, page
