"""player_data's store in DynamoDB, moments as milliseconds.

A deleted record leaves its item without `value` and `created_at`, so that its version is never
given again. The sort key is collection, `#`, key: `#` sorts before every character of a name, so
the order of the sort keys is that of collection and key.

Earlier versions have a table of their own, in which a key has one slot more than versions to keep;
a version goes to the slot of its remainder. Before a record changes it is copied to its slot, which
pushes out a version that is too old already, and it changes on the condition that it still is what
was copied. So whenever a writer crashes, every version to keep is there; what may be there besides
is a copy of the current one.

The slots of a key belong to its `birth`, a random word that it gets with its first version. A copy
that comes after the player was erased is in the slots of a birth that is over: nobody lists it, it
hides no version of the key's next life, though that may have the same numbers, and the next erasure
finds it. An item from before there were births keeps the slots without one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

from services.player_data.adapters import receipts
from services.player_data.adapters.ledger import Ledger
from services.player_data.models import (
    LARGEST_PAGE,
    CollectionSummary,
    ExportPage,
    Held,
    Page,
    Position,
    Precondition,
    Receipt,
    Record,
    RecordKey,
    Write,
    Written,
    fill_page,
    outcomes,
    size_of,
)
from services.player_data.past import Past, PastPage, State, at
from services.player_data.usage import Quota, Usage
from shared import errors, ids
from shared.aws import Client
from shared.clock import from_millis, to_millis, to_seconds
from shared.dynamodb import (
    REMEMBERED,
    ConditionFailed,
    Item,
    Table,
    TableDefinition,
    binary,
    every,
    number,
    string,
    transact,
)

_SCHEMA = {
    "KeySchema": [
        {"AttributeName": "player", "KeyType": "HASH"},
        {"AttributeName": "sort", "KeyType": "RANGE"},
    ],
    "AttributeDefinitions": [
        {"AttributeName": "player", "AttributeType": "S"},
        {"AttributeName": "sort", "AttributeType": "S"},
    ],
    "BillingMode": "PAY_PER_REQUEST",
}
RECORDS = TableDefinition(
    name="records",
    schema=_SCHEMA,
    operations=("get_item", "update_item", "query", "batch_write_item", "transact_write_items"),
)
RECORD_VERSIONS = TableDefinition(
    name="record-versions",
    schema=_SCHEMA,
    operations=("put_item", "query", "batch_write_item"),
)
RECEIPTS = TableDefinition(
    name="receipts",
    schema=_SCHEMA,
    ttl_attribute="expires_at",
    operations=("get_item", "put_item", "query", "batch_write_item"),
)
TABLES = (RECORDS, RECORD_VERSIONS, RECEIPTS)

_HIGHEST = "\U0010ffff"
_NO_QUOTA = Quota()
_EXISTS = "attribute_exists(#value)"
_ABSENT = "attribute_not_exists(#value)"
_SUMMED_UP = ("value", "updated_at")
_COUNT = [
    "#version = if_not_exists(#version, :zero) + :one",
    "#birth = if_not_exists(#birth, :birth)",
    "#previous_at = if_not_exists(#updated_at, :zero)",
    "#updated_at = :now",
    "#written_by = :by",
    "#keep = :keep",
]
_LENGTH_OF_BIRTH = 8
"""Hexadecimal digits: births of one key are few."""
_ATTEMPTS = 8
_LONGEST_WAIT = 5.0
"""Seconds behind other writers of a key: as long as a call may take, and an outage is noticed."""
_MOST_SLOTS = 100
"""Of a query, which goes on behind them."""


class DynamoRecordStore:
    def __init__(self, client: Client, prefix: str, quota: Quota = _NO_QUOTA) -> None:
        self._client = client
        self._table = Table(client, prefix, RECORDS)
        self._history = Table(client, prefix, RECORD_VERSIONS)
        self._receipts = Table(client, prefix, RECEIPTS)
        self._ledger = Ledger(self._table, quota, self._counted)
        self._turns: WeakValueDictionary[RecordKey, asyncio.Lock] = WeakValueDictionary()

    async def get(self, key: RecordKey) -> Record | None:
        return _record(await self._table.get(_key(key)))

    async def get_many(self, keys: Collection[RecordKey]) -> Collection[Record]:
        found = await asyncio.gather(*(self.get(key) for key in keys))
        return [record for record in found if record is not None]

    async def write(
        self,
        writes: Sequence[Write],
        *,
        by: str,
        now: datetime,
        receipt: Receipt | None = None,
        within_quota: bool = False,
    ) -> Sequence[Written]:
        player = writes[0].key.player
        if receipt is None and len(writes) == 1 and _is_creation(writes[0]):
            value = writes[0].outcome(None)
            # Who is refused goes on below: a record that is in the way is what has to be told.
            with contextlib.suppress(errors.QuotaExceeded):
                async with self._ledger.counting(
                    player, [value], [None], now, within_quota=within_quota
                ):
                    return [await self._create(writes[0], by, now)]
        async with self._turn(writes):
            for _ in range(_ATTEMPTS):
                seen = await asyncio.gather(*(self._table.get(_key(one.key)) for one in writes))
                # After the look: of what is not in `seen` yet the receipt is not there either.
                if receipt and (answer := await self._answer(receipt, now)) is not None:
                    return [await self._whole(one) for one in receipts.read(answer, writes)]
                current = [_record(item) for item in seen]
                values = outcomes(writes, current)
                changes = [_Change(*one, by, now) for one in zip(writes, values, seen, strict=True)]
                try:
                    async with self._ledger.counting(
                        player, values, current, now, within_quota=within_quota
                    ):
                        await self._keep(changes)
                        await self._commit(changes, receipt, now)
                except ConditionFailed as failed:
                    if receipt is None and _may_have_happened(changes, failed.items):
                        break
                    continue
                except errors.QuotaExceeded:
                    # Another process may have done this very request, and taken the room for it.
                    if receipt is None or await self._answer(receipt, now) is None:
                        raise
                    continue
                return [change.written for change in changes]
        raise errors.Unavailable("the record is being changed too often")

    async def list(
        self,
        player: str,
        *,
        collection: str | None,
        prefix: str,
        after: RecordKey | None,
        limit: int,
    ) -> Page:
        within = "" if collection is None else _sort(collection, prefix)
        # Bounds instead of a start key, which has to lie within them. Nothing sorts between
        # a key and itself with `#`.
        low = max(within or "#", f"{_sort(after.collection, after.key)}#" if after else "")
        high = within + _HIGHEST
        if low > high:
            return Page([], None)  # which DynamoDB would refuse
        bounds = {":player": string(player), ":low": string(low), ":high": string(high)}
        records: list[Record] = []
        size = 0
        start: Item | None = None
        most = limit + 1
        while True:
            items, start = await self._table.query(
                "#player = :player AND #sort BETWEEN :low AND :high",
                bounds,
                where=_EXISTS,
                limit=most,
                start=start,
            )
            for record in filter(None, map(_record, items)):
                full = len(records) == limit or (
                    records and size + len(record.value) > LARGEST_PAGE
                )
                if full:
                    return Page(records, records[-1].key)
                records.append(record)
                size += len(record.value)
            if start is None:
                return Page(records, None)
            most *= 2  # so that a desert of deleted records is crossed in few steps

    async def versions(self, key: RecordKey) -> Sequence[Record]:
        # The record first: what its write has copied is in the slots by now.
        return fill_page(await self._kept(key, await self._table.get(_key(key))))

    async def export(self, player: str, *, after: Position | None, limit: int) -> ExportPage:
        low = "#"
        if after:
            behind = "#" if after.version == 0 else ""
            low = _sort(after.key.collection, after.key.key) + behind
        items, start = await self._table.query(
            "#player = :player AND #sort BETWEEN :low AND :high",
            {":player": string(player), ":low": string(low), ":high": string(_HIGHEST)},
            where="attribute_exists(#version)",  # also of deleted ones, which have versions
            limit=limit,
            start=None,
        )
        held: list[Held] = []
        size = 0
        for item in items:
            key = _record_key(item)
            current = _record(item)
            for record in [*filter(None, [current]), *await self._kept(key, item)]:
                if after and key == after.key and record.version >= after.version:
                    continue
                size += len(record.value)
                if len(held) == limit or (held and size > LARGEST_PAGE):
                    last = held[-1].record
                    return ExportPage(held, Position(last.key, last.version))
                held.append(Held(record, is_current=record == current))
        return ExportPage(held, Position(_record_key(start), 0) if start else None)

    async def summary(self, player: str) -> Sequence[CollectionSummary]:
        found: dict[str, CollectionSummary] = {}
        values = {":player": string(player)}
        async for item in every(
            lambda start: self._table.query(
                "#player = :player", values, where=_EXISTS, start=start, only=_SUMMED_UP
            )
        ):
            # In the order of the sort key, so in that of the collections.
            name = _record_key(item).collection
            size, written = size_of(item["value"]["S"]), _number(item, "updated_at")
            before = found.get(name, CollectionSummary(name, 0, 0, from_millis(written)))
            found[name] = CollectionSummary(
                name,
                before.records + 1,
                before.bytes + size,
                max(before.updated_at, from_millis(written)),
            )
        return list(found.values())

    async def usage(self, player: str, *, now: datetime) -> Usage:
        return await self._ledger.usage(player, now)

    async def as_of(
        self,
        player: str,
        moment: datetime,
        *,
        collection: str | None,
        after: RecordKey | None,
        limit: int,
    ) -> PastPage:
        within = "#" if collection is None else f"{collection}#"
        low = max(within, f"{_sort(after.collection, after.key)}#" if after else "")
        high = _HIGHEST if collection is None else within + _HIGHEST
        if low > high:
            return PastPage([], None)  # which DynamoDB would refuse
        items, start = await self._table.query(
            "#player = :player AND #sort BETWEEN :low AND :high",
            {":player": string(player), ":low": string(low), ":high": string(high)},
            limit=limit,
        )
        held: list[Past] = []
        last: RecordKey | None = None
        size = 0
        for item in items:
            key = _record_key(item)
            found = await self._at(key, moment, item)
            size += len(found.record.value) if found and found.record else 0
            if held and size > LARGEST_PAGE:
                return PastPage(held, last)
            held += [found] if found else []
            last = key
        return PastPage(held, last if start else None)

    async def _at(self, key: RecordKey, moment: datetime, item: Item) -> Past | None:
        previous = _number(item, "previous_at")
        last = State(
            version=_number(item, "version"),
            updated_at=from_millis(_number(item, "updated_at")),
            previous_at=from_millis(previous) if previous else None,
            record=_record(item),
        )
        kept = [] if last.updated_at <= moment else await self._kept(key, item)
        return at(key, moment, last, kept)

    async def erase(self, player: str, *, limit: int) -> bool:
        self._ledger.forget(player)
        left = limit
        for table in (self._history, self._table, self._receipts):
            keys, more = await table.query(
                "#player = :player", {":player": string(player)}, limit=left, keys_only=True
            )
            await table.delete_many(keys)
            left -= len(keys)
            if more or left == 0:
                return False
        return True

    async def _counted(self, player: str) -> Usage:
        return Usage.of(await self.summary(player))

    async def _kept(self, key: RecordKey, item: Item | None) -> Sequence[Record]:
        """The versions before that of `item`, newest first, as far as nobody pushed them out."""
        keep, version = _number(item, "keep"), _number(item, "version")
        if item is None or keep == 0 or version == 1:
            return []
        bounds = {
            ":player": string(key.player),
            ":slots": string(_slots(key, _birth(item))),
            ":oldest": number(version - keep),
            ":newest": number(version - 1),
        }
        found: list[Record] = []
        start: Item | None = None
        while True:
            items, start = await self._history.query(
                "#player = :player AND begins_with(#sort, :slots)",
                bounds,
                where="#version BETWEEN :oldest AND :newest",
                limit=_MOST_SLOTS,
                start=start,
            )
            found += filter(None, map(_record, items))
            if start is None:
                return sorted(found, key=lambda record: record.version, reverse=True)

    async def _create(self, write: Write, by: str, now: datetime) -> Written:
        """In one call: there is nothing to copy, and whether there is, its condition says."""
        change = _Change(write, write.outcome(None), None, by, now)
        try:
            applied = await self._table.update(
                _key(write.key), **{**change.parameters, "condition": _ABSENT}
            )
        except ConditionFailed as failed:
            conflict = errors.VersionConflict(current=_record(failed.item))
            raise errors.BatchFailed(failures={0: conflict}) from None
        return change.written_at(_number(applied.item, "version") - applied.later)

    async def _keep(self, changes: Sequence["_Change"]) -> None:
        """Copy what will be overwritten to its slot."""
        copies = [change.copy for change in changes if change.copy]
        await asyncio.gather(*(self._history.put_newer(copy, by="version") for copy in copies))

    async def _commit(
        self, changes: Sequence["_Change"], receipt: Receipt | None, now: datetime
    ) -> None:
        """Raises ConditionFailed."""
        if receipt is None and len(changes) == 1:
            for change in changes:
                if not change.idle:
                    await self._table.update(_key(change.write.key), **change.parameters)
            return
        operation = binary(ids.new_operation())
        # One that stays as it is stays so until the others are written.
        writes = [
            self._part(change, operation)
            for change in changes
            if len(changes) > 1 or not change.idle
        ]
        if receipt:
            answer = receipts.render(
                [change.written for change in changes], [change.write for change in changes]
            )
            writes.append(("Put", self._receipt(receipt, answer, operation, now)))
        await transact(self._client, operation, writes)

    def _part(
        self, change: "_Change", operation: Mapping[str, Any]
    ) -> tuple[str, Mapping[str, Any]]:
        key = _key(change.write.key)
        if change.idle:
            return "ConditionCheck", self._table.check(key, *_unchanged(change.seen))
        return "Update", self._table.change(key, operation=operation, **change.parameters)

    def _receipt(
        self, receipt: Receipt, answer: str, operation: Mapping[str, Any], now: datetime
    ) -> Mapping[str, Any]:
        item = {
            **_receipt_key(receipt),
            "request": binary(receipt.request),
            "answer": string(answer),
            "valid_until": number(to_millis(receipt.expires_at)),
            "expires_at": number(to_seconds(receipt.expires_at)),
        }
        return self._receipts.creation(
            item, operation, unless="#valid_until <= :now", values={":now": number(to_millis(now))}
        )

    async def _answer(self, receipt: Receipt, now: datetime) -> str | None:
        """Raises IdempotencyKeyReused."""
        item = await self._receipts.get(_receipt_key(receipt))
        if item is None or _number(item, "valid_until") <= to_millis(now):
            return None
        receipts.check(receipt, item["request"]["B"])
        answer: str = item["answer"]["S"]
        return answer

    async def _whole(self, written: Written) -> Written:
        if receipts.is_whole(written):
            return written
        item = await self._table.get(_key(written.key))
        return receipts.complete(written, [_record(item), *await self._kept(written.key, item)])

    @contextlib.asynccontextmanager
    async def _turn(self, writes: Sequence[Write]) -> AsyncIterator[None]:
        """Writers of one key, as far as they are of one process, go one after the other.

        Of those that try at once all but one would have paid for nothing.
        """
        async with contextlib.AsyncExitStack() as turns:
            try:
                async with asyncio.timeout(_LONGEST_WAIT):
                    # In one order, so that no two wait for each other.
                    for key in sorted((one.key for one in writes), key=lambda key: key.place):
                        await turns.enter_async_context(self._turns.setdefault(key, asyncio.Lock()))
            except TimeoutError:
                raise errors.Unavailable("the record is being changed too often") from None
            yield


class _Change:
    """What a write does to the item that was `seen`, on the condition that it is as it was."""

    def __init__(
        self, write: Write, value: str | None, seen: Item | None, by: str, now: datetime
    ) -> None:
        self.write = write
        self._value = value
        self.seen = seen
        self._by = by
        self._now = now
        self._current = _record(seen)

    @property
    def idle(self) -> Written | None:
        return self.write.idle(self._value, self._current)

    @property
    def copy(self) -> Item | None:
        """Of what it overwrites; None where there is nothing to keep."""
        if self.seen is None or self._current is None or self.write.keep == 0 or self.idle:
            return None
        return _copy(self._current, _birth(self.seen), self.write.keep)

    @property
    def written(self) -> Written:
        return self.idle or self.written_at(_number(self.seen, "version") + 1)

    def written_at(self, version: int) -> Written:
        key, current = self.write.key, self._current
        if self._value is None:
            return Written(key, version, record=None, created=False)
        created_at = current.created_at if current else self._now
        record = Record(key, self._value, version, created_at, self._now, self._by)
        return Written(key, version, record, created=current is None)

    @property
    def parameters(self) -> dict[str, Any]:
        condition, values = _unchanged(self.seen)
        kept = self._value is not None
        return {
            "assignments": [
                *(["#value = :value", "#created_at = if_not_exists(#created_at, :now)"] * kept),
                *_COUNT,
            ],
            "remove": "" if kept else "#value, #created_at",
            "condition": condition,
            "values": {
                ":zero": number(0),
                ":one": number(1),
                ":now": number(to_millis(self._now)),
                ":keep": number(self.write.keep),
                ":by": string(self._by),
                ":birth": string(ids.new_id()[:_LENGTH_OF_BIRTH]),
                **({":value": string(self._value)} if self._value is not None else {}),
                **values,
            },
        }


def _may_have_happened(changes: Sequence[_Change], in_the_way: Sequence[Item]) -> bool:
    """Whether so much was written since what was seen that a first attempt left no trace."""
    found = {item["sort"]["S"]: item for item in in_the_way if item}
    later = [
        _number(found[sort], "version") - _number(change.seen, "version")
        for change in changes
        if not change.idle and (sort := _key(change.write.key)["sort"]["S"]) in found
    ]
    return bool(later) and min(later) > REMEMBERED


def _is_creation(write: Write) -> bool:
    """Whether it needs no look at what there is: it is for nothing."""
    return isinstance(write.change, str) and write.precondition == Precondition.ABSENT


def _receipt_key(receipt: Receipt) -> Item:
    return {"player": string(receipt.player), "sort": string(receipt.key.hex())}


def _sort(collection: str, key: str) -> str:
    return f"{collection}#{key}"


def _key(key: RecordKey) -> Item:
    return {"player": string(key.player), "sort": string(_sort(key.collection, key.key))}


def _birth(item: Item) -> str:
    """Empty of an item that is older than births."""
    birth: str = item.get("birth", string(""))["S"]
    return birth


def _slots(key: RecordKey, birth: str) -> str:
    """What the sort keys of a key's versions begin with, and those of no other key."""
    return _sort(key.collection, f"{key.key}#{birth}#" if birth else f"{key.key}#")


def _copy(record: Record, birth: str, keep: int) -> Item:
    return {
        "player": string(record.key.player),
        "sort": string(f"{_slots(record.key, birth)}{record.version % (keep + 1):03}"),
        "version": number(record.version),
        "created_at": number(to_millis(record.created_at)),
        "updated_at": number(to_millis(record.updated_at)),
        "previous_at": number(to_millis(record.previous_at) if record.previous_at else 0),
        "written_by": string(record.written_by),
        "value": string(record.value),
    }


def _unchanged(seen: Item | None) -> tuple[str, Item]:
    """That there was no write since; a version of one birth never comes back."""
    if seen is None:
        return "attribute_not_exists(#version)", {}
    same = "#birth = :birth" if "birth" in seen else "attribute_not_exists(#birth)"
    values = {":seen": seen["version"], ":birth": string(_birth(seen))}
    return f"#version = :seen AND {same}", values


def _number(item: Item | None, name: str) -> int:
    """0 where there is no item, or not the attribute, which is younger than the item."""
    return int((item or {}).get(name, number(0))["N"])


def _record_key(item: Item) -> RecordKey:
    """Of an item of either table."""
    collection, key, *_ = item["sort"]["S"].split("#")
    return RecordKey(item["player"]["S"], collection, key)


def _record(item: Item | None) -> Record | None:
    """Of an item of either table."""
    if item is None or "value" not in item:
        return None
    return Record(
        key=_record_key(item),
        value=item["value"]["S"],
        version=int(item["version"]["N"]),
        created_at=from_millis(int(item["created_at"]["N"])),
        updated_at=from_millis(int(item["updated_at"]["N"])),
        written_by=item.get("written_by", string(""))["S"],
        previous_at=from_millis(previous) if (previous := _number(item, "previous_at")) else None,
    )
