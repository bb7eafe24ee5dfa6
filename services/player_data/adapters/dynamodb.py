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
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from weakref import WeakValueDictionary

from services.player_data.models import (
    LARGEST_PAGE,
    CollectionSummary,
    ExportPage,
    Held,
    Page,
    Position,
    Precondition,
    Record,
    RecordKey,
    Written,
    fill_page,
)
from shared import errors, ids
from shared.aws import Client
from shared.clock import from_millis, to_millis
from shared.dynamodb import (
    NONE,
    Applied,
    ConditionFailed,
    Item,
    Table,
    TableDefinition,
    every,
    number,
    shift,
    string,
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
    operations=("get_item", "update_item", "query", "batch_write_item"),
)
RECORD_VERSIONS = TableDefinition(
    name="record-versions",
    schema=_SCHEMA,
    operations=("put_item", "query", "batch_write_item"),
)

_HIGHEST = "\U0010ffff"
_EXISTS = "attribute_exists(#value)"
_ABSENT = "attribute_not_exists(#value)"
_SUMMED_UP = ("value", "updated_at")
_MOST_OPERANDS = 100
_CREATED = ("created_at", "c1", "c2", "c3", "c4")
"""When the record was created, as of now and as of each of the last writes before."""
_COUNT = [
    "#version = if_not_exists(#version, :zero) + :one",
    "#birth = if_not_exists(#birth, :birth)",
    "#updated_at = :now",
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
    def __init__(self, client: Client, prefix: str) -> None:
        self._table = Table(client, prefix, RECORDS)
        self._history = Table(client, prefix, RECORD_VERSIONS)
        self._turns: WeakValueDictionary[RecordKey, asyncio.Lock] = WeakValueDictionary()

    async def get(self, key: RecordKey) -> Record | None:
        return _record(await self._table.get(_key(key)))

    async def put(
        self,
        key: RecordKey,
        value: str,
        *,
        precondition: Precondition,
        keep: int,
        now: datetime,
    ) -> Written:
        change = _Change(
            ["#created_at = if_not_exists(#created_at, :now)", "#value = :value"],
            {":value": string(value)},
        )
        applied = await self._write(key, change, precondition, keep, now)
        created_at = _created_at(applied, 0) or now
        return Written(
            Record(key, value, _version(applied), created_at, updated_at=now),
            created=_created_at(applied, 1) is None,
        )

    async def delete(
        self, key: RecordKey, *, precondition: Precondition, keep: int, now: datetime
    ) -> int | None:
        change = _Change([], {}, remove="#value, #created_at")
        exists = replace(precondition, may_be_absent=False)
        try:
            return _version(await self._write(key, change, exists, keep, now))
        except errors.VersionConflict as conflict:
            if conflict.current is None and precondition.may_be_absent:
                return None
            raise

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
            size, written = len(item["value"]["S"].encode()), _number(item, "updated_at")
            before = found.get(name, CollectionSummary(name, 0, 0, from_millis(written)))
            found[name] = CollectionSummary(
                name,
                before.records + 1,
                before.bytes + size,
                max(before.updated_at, from_millis(written)),
            )
        return list(found.values())

    async def erase(self, player: str, *, limit: int) -> bool:
        left = limit
        for table in (self._history, self._table):
            keys, more = await table.query(
                "#player = :player", {":player": string(player)}, limit=left, keys_only=True
            )
            await table.delete_many(keys)
            left -= len(keys)
            if more or left == 0:
                return False
        return True

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

    async def _write(
        self,
        key: RecordKey,
        change: "_Change",
        precondition: Precondition,
        keep: int,
        now: datetime,
    ) -> Applied:
        """Raises VersionConflict, TooLarge."""
        change = replace(
            change,
            values={
                **change.values,
                ":zero": number(0),
                ":one": number(1),
                ":now": number(to_millis(now)),
                ":keep": number(keep),
                ":birth": string(ids.new_id()[:_LENGTH_OF_BIRTH]),
            },
        )
        if keep == 0 or not precondition.may_overwrite:
            try:
                return await self._apply(key, change, *_condition(precondition))
            except ConditionFailed as failed:
                raise errors.VersionConflict(current=_record(failed.item)) from None
        async with self._turn(key):
            return await self._copy_and_apply(key, change, precondition, keep)

    @contextlib.asynccontextmanager
    async def _turn(self, key: RecordKey) -> AsyncIterator[None]:
        """Writers of one key, as far as they are of one process, go one after the other.

        Of those that try at once all but one would have paid for nothing.
        """
        turn = self._turns.setdefault(key, asyncio.Lock())
        try:
            async with asyncio.timeout(_LONGEST_WAIT):
                await turn.acquire()
        except TimeoutError:
            raise errors.Unavailable("the record is being changed too often") from None
        try:
            yield
        finally:
            turn.release()

    async def _copy_and_apply(
        self, key: RecordKey, change: "_Change", precondition: Precondition, keep: int
    ) -> Applied:
        seen = await self._table.get(_key(key))
        for _ in range(_ATTEMPTS):
            current = _record(seen)
            if not precondition.admits(current):
                raise errors.VersionConflict(current=current)
            if seen is not None and current is not None:
                await self._history.put_newer(_copy(current, _birth(seen), keep), by="version")
            try:
                return await self._apply(key, change, *_unchanged(seen))
            except ConditionFailed as failed:
                seen = failed.item
        raise errors.Unavailable("the record is being changed too often")

    async def _apply(
        self, key: RecordKey, change: "_Change", condition: str, values: Item
    ) -> Applied:
        return await self._table.update(
            _key(key),
            assignments=[*shift(*_CREATED), *change.assignments, *_COUNT],
            remove=change.remove,
            condition=condition,
            values={**change.values, **values},
        )


@dataclass(frozen=True, slots=True)
class _Change:
    """What a write does to an item, besides what every write does."""

    assignments: Sequence[str]
    values: Item
    remove: str = ""


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
        "value": string(record.value),
    }


def _condition(precondition: Precondition) -> tuple[str, Item]:
    """That the precondition holds, and the values which that needs."""
    if precondition.versions is None:
        return ("" if precondition.may_be_absent else _EXISTS), {}
    # No record has version 0: the condition for an empty list.
    versions = {
        f":version{version}": number(version) for version in sorted(precondition.versions or {0})
    }
    names = list(versions)
    lists = [names[i : i + _MOST_OPERANDS] for i in range(0, len(names), _MOST_OPERANDS)]
    one_of = " OR ".join(f"#version IN ({', '.join(names)})" for names in lists)
    present = f"{_EXISTS} AND ({one_of})"
    return (f"{_ABSENT} OR ({present})" if precondition.may_be_absent else present), versions


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


def _version(applied: Applied) -> int:
    return _number(applied.item, "version") - applied.later


def _created_at(applied: Applied, before: int) -> datetime | None:
    """When the record was created that there was `before` writes before this one."""
    kept = applied.item.get(_CREATED[applied.later + before], NONE)
    return None if kept == NONE else from_millis(int(kept["N"]))


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
    )
