"""player_data's store in DynamoDB, moments as milliseconds.

A deleted record leaves its item without `value` and `created_at`, so that its version is never
given again. The sort key is collection, `#`, key: `#` sorts before every character of a name, so
the order of the sort keys is that of collection and key.
"""

from datetime import datetime

from services.player_data.models import (
    LARGEST_PAGE,
    Page,
    Precondition,
    Record,
    RecordKey,
    Written,
)
from shared import errors
from shared.aws import Client
from shared.clock import from_millis, to_millis
from shared.dynamodb import (
    NONE,
    Applied,
    ConditionFailed,
    Item,
    Table,
    TableDefinition,
    number,
    shift,
    string,
)

RECORDS = TableDefinition(
    name="records",
    schema={
        "KeySchema": [
            {"AttributeName": "player", "KeyType": "HASH"},
            {"AttributeName": "sort", "KeyType": "RANGE"},
        ],
        "AttributeDefinitions": [
            {"AttributeName": "player", "AttributeType": "S"},
            {"AttributeName": "sort", "AttributeType": "S"},
        ],
        "BillingMode": "PAY_PER_REQUEST",
    },
    operations=("get_item", "update_item", "query"),
)

_HIGHEST = "\U0010ffff"
_EXISTS = "attribute_exists(#value)"
_ABSENT = "attribute_not_exists(#value)"
_MOST_OPERANDS = 100
_CREATED = ("created_at", "c1", "c2", "c3", "c4")
"""When the record was created, as of now and as of each of the last writes before."""
_COUNT = ["#version = if_not_exists(#version, :zero) + :one", "#updated_at = :now"]


class DynamoRecordStore:
    def __init__(self, client: Client, prefix: str) -> None:
        self._table = Table(client, prefix, RECORDS)

    async def get(self, key: RecordKey) -> Record | None:
        return _record(await self._table.get(_key(key)))

    async def put(
        self, key: RecordKey, value: str, *, precondition: Precondition, now: datetime
    ) -> Written:
        present, versions = _present(precondition)
        if not precondition.may_be_absent:
            condition = present
        elif precondition.versions is None:
            condition = ""
        else:
            condition = f"{_ABSENT} OR ({present})"
        try:
            applied = await self._table.update(
                _key(key),
                assignments=[
                    *shift(*_CREATED),
                    "#created_at = if_not_exists(#created_at, :now)",
                    "#value = :value",
                    *_COUNT,
                ],
                condition=condition,
                values={
                    ":value": string(value),
                    ":zero": number(0),
                    ":one": number(1),
                    ":now": number(to_millis(now)),
                    **(versions if condition else {}),
                },
            )
        except ConditionFailed as failed:
            raise errors.VersionConflict(current=_record(failed.item)) from None
        created_at = _created_at(applied, 0) or now
        return Written(
            Record(key, value, _version(applied), created_at, updated_at=now),
            created=_created_at(applied, 1) is None,
        )

    async def delete(
        self, key: RecordKey, *, precondition: Precondition, now: datetime
    ) -> int | None:
        present, versions = _present(precondition)
        try:
            applied = await self._table.update(
                _key(key),
                assignments=[*shift(*_CREATED), *_COUNT],
                remove="#value, #created_at",
                condition=present,
                values={
                    ":zero": number(0),
                    ":one": number(1),
                    ":now": number(to_millis(now)),
                    **versions,
                },
            )
        except ConditionFailed as failed:
            current = _record(failed.item)
            if current is None and precondition.may_be_absent:
                return None
            raise errors.VersionConflict(current=current) from None
        return _version(applied)

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


def _sort(collection: str, key: str) -> str:
    return f"{collection}#{key}"


def _key(key: RecordKey) -> Item:
    return {"player": string(key.player), "sort": string(_sort(key.collection, key.key))}


def _present(precondition: Precondition) -> tuple[str, Item]:
    """That there is a record of an admitted version, and the values which that needs."""
    if precondition.versions is None:
        return _EXISTS, {}
    # No record has version 0: the condition for an empty list.
    versions = {
        f":version{version}": number(version) for version in sorted(precondition.versions or {0})
    }
    names = list(versions)
    lists = [names[i : i + _MOST_OPERANDS] for i in range(0, len(names), _MOST_OPERANDS)]
    one_of = " OR ".join(f"#version IN ({', '.join(names)})" for names in lists)
    return f"{_EXISTS} AND ({one_of})", versions


def _version(applied: Applied) -> int:
    return int(applied.item["version"]["N"]) - applied.later


def _created_at(applied: Applied, before: int) -> datetime | None:
    """When the record was created that there was `before` writes before this one."""
    kept = applied.item.get(_CREATED[applied.later + before], NONE)
    return None if kept == NONE else from_millis(int(kept["N"]))


def _record(item: Item | None) -> Record | None:
    if item is None or "value" not in item:
        return None
    collection, _, key = item["sort"]["S"].partition("#")
    return Record(
        key=RecordKey(item["player"]["S"], collection, key),
        value=item["value"]["S"],
        version=int(item["version"]["N"]),
        created_at=from_millis(int(item["created_at"]["N"])),
        updated_at=from_millis(int(item["updated_at"]["N"])),
    )
