"""What each player has, counted beside the records in an item of the player's own in DynamoDB.

The item is written after the records, so a crash in between leaves it wrong; and only where it is
worth a write: a record counts in whole KB, so that most of what is overwritten changes nothing.
That is good enough to admit. Nobody is refused by it: before, the records themselves are counted,
and the item is mended. What was counted lately is kept exact, to the byte, so that who tries on is
refused without counting again. It is counted anew after a week as well.

A process looks at the item every few seconds, and adds its own writes under way to what it saw.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog

from services.player_data.models import Record
from services.player_data.usage import Quota, Usage
from shared import errors
from shared.clock import from_millis, to_millis
from shared.dynamodb import ConditionFailed, Item, Table, number, string

_log = structlog.get_logger()
_SORT = "!usage"
"""Before every record of the player: `!` sorts before the characters of names and before `#`."""
_STEP = 1024
_FRESH = timedelta(seconds=10)
_EXACT = timedelta(seconds=60)
_GOOD = timedelta(days=7)
_CHEAP = 1024 * 1024
"""Bytes that are counted whenever somebody asks: 256 read units at most."""
_MOST_PLAYERS = 10_000


class Ledger:
    """`count` counts the records of a player. Without a quota nothing is written."""

    def __init__(
        self, table: Table, quota: Quota, count: Callable[[str], Awaitable[Usage]]
    ) -> None:
        self._table = table
        self._quota = quota
        self._count = count
        self._players: OrderedDict[str, _Player] = OrderedDict()

    @contextlib.asynccontextmanager
    async def counting(
        self,
        player: str,
        values: Sequence[str | None],
        current: Sequence[Record | None],
        now: datetime,
        *,
        within_quota: bool,
    ) -> AsyncIterator[None]:
        """Around writes that make `values` of the `current` records. Raises QuotaExceeded."""
        growth = Usage.growth(values, current)
        if not (self._quota.is_set and growth):
            yield
            return
        seen = self._player(player)
        if within_quota and growth.growing:
            await self._admit(seen, growth, now)
        seen.begin(growth)
        try:
            yield
            steps = Usage.growth(values, current, _STEP)
            await self._add(seen, growth if seen.is_exact(now) else steps, now)
        finally:
            seen.end(growth)

    async def usage(self, player: str, now: datetime) -> Usage:
        if not self._quota.is_set:
            return await self._count(player)
        seen = self._player(player)
        async with seen.lock:
            item = await self._table.get(seen.key)
            if item is None:  # which only a write makes: of who was erased nothing comes back
                return await self._count(player)
            seen.see(item, now)
            is_cheap = seen.used.bytes <= _CHEAP
            if not seen.is_within(_EXACT if is_cheap else _GOOD, now):
                await self._mend(seen, item, now)
            return seen.used

    def forget(self, player: str) -> None:
        self._players.pop(player, None)

    def _player(self, player: str) -> "_Player":
        seen = self._players.setdefault(player, _Player(player))
        self._players.move_to_end(player)
        if len(self._players) > _MOST_PLAYERS:
            self._players.popitem(last=False)
        return seen

    async def _admit(self, seen: "_Player", growth: Usage, now: datetime) -> None:
        async with seen.lock:
            if not seen.is_fresh(now):
                await self._look(seen, now)
            if self._quota.admits(seen.used + seen.under_way, growth):
                return
            # Those under way will have failed or been counted, and another process may have made
            # room. Whoever comes meanwhile waits for the lock.
            await seen.idle.wait()
            item = await self._look(seen, now)
            if not seen.is_exact(now) and not self._quota.admits(seen.used, growth):
                await self._mend(seen, item, now)
            self._quota.check(seen.used + seen.under_way, growth)

    async def _look(self, seen: "_Player", now: datetime) -> Item | None:
        """Afterwards `seen.used` is good to admit by."""
        item = await self._table.get(seen.key)
        seen.see(item, now)
        if item is None or not seen.is_within(_GOOD, now):
            await self._mend(seen, item, now)
        return item

    async def _mend(self, seen: "_Player", item: Item | None, now: datetime) -> None:
        """Count the records, and keep that unless the `item` was written meanwhile."""
        await seen.idle.wait()
        counted = await self._count(seen.name)
        values = {
            ":records": number(counted.records),
            ":bytes": number(counted.bytes),
            ":now": number(to_millis(now)),
        }
        condition = "attribute_not_exists(#records)"
        if item is not None:
            condition, values = "#o0 = :seen", {**values, ":seen": item["o0"]}
        seen.used = counted
        with contextlib.suppress(ConditionFailed):
            applied = await self._table.update(
                seen.key,
                assignments=["#records = :records", "#bytes = :bytes", "#counted_at = :now"],
                condition=condition,
                values=values,
            )
            seen.see(applied.item, now)

    async def _add(self, seen: "_Player", change: Usage, now: datetime) -> None:
        """The writes are done: that they could not be counted is nobody's failure."""
        if not change:
            return
        try:
            applied = await self._table.update(
                seen.key,
                assignments=["#records = #records + :records", "#bytes = #bytes + :bytes"],
                condition="attribute_exists(#records)",
                values={":records": number(change.records), ":bytes": number(change.bytes)},
            )
        except ConditionFailed:
            self.forget(seen.name)  # it is counted when the player writes
        except errors.Unavailable:
            _log.warning("usage.not_counted")
            self.forget(seen.name)
        else:
            seen.see(applied.item, now)


class _Player:
    """What a process knows of one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.key: Item = {"player": string(name), "sort": string(_SORT)}
        self.lock = asyncio.Lock()
        self.idle = asyncio.Event()
        self.idle.set()
        self.used = Usage()
        self.under_way = Usage()
        self._writers = 0
        self._seen_at: datetime | None = None
        self._counted_at: datetime | None = None

    def begin(self, growth: Usage) -> None:
        self._writers += 1
        self.under_way += growth.growing
        self.idle.clear()

    def end(self, growth: Usage) -> None:
        self._writers -= 1
        self.under_way -= growth.growing
        if not self._writers:
            self.idle.set()

    def see(self, item: Item | None, now: datetime) -> None:
        self._seen_at, self._counted_at = now, None
        if item is not None:
            self.used = Usage(int(item["records"]["N"]), int(item["bytes"]["N"])).growing
            self._counted_at = from_millis(int(item["counted_at"]["N"]))

    def is_fresh(self, now: datetime) -> bool:
        return self._seen_at is not None and abs(now - self._seen_at) < _FRESH

    def is_exact(self, now: datetime) -> bool:
        return self.is_within(_EXACT, now)

    def is_within(self, limit: timedelta, now: datetime) -> bool:
        """Since it was counted. The clocks of two processes may differ a little."""
        return self._counted_at is not None and abs(now - self._counted_at) < limit
