"""DynamoDB: tables as plain data, and writes that happen once though their reply may get lost.

A write whose reply is lost is sent again, by botocore, and must not happen again. So every write
has an operation id: it is kept on the item, among those of the last four writes, and the write's
condition says that it is not there yet. Where the condition fails and it is there, the write has
happened, and its outcome is told from the item.

Expressions are written with `#name` for the attribute `name`, so no name is a reserved word.
"""

import asyncio
import contextlib
import functools
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from shared import errors, ids
from shared.aws import AwsError, Client, attempt, call
from shared.aws_check import probe
from shared.start_check import Probe

Item = Mapping[str, Mapping[str, Any]]

_log = structlog.get_logger()
_OPERATIONS = ("o0", "o1", "o2", "o3")
"""The last writes' ids, newest first."""
REMEMBERED = len(_OPERATIONS)
"""Where as many came after a write, its item does not tell any more that it has happened."""
NONE: Mapping[str, Any] = {"NULL": True}
_PASSING = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
_PAUSES = (0.02, 0.05, 0.1, 0.2)
"""Between the attempts of a transaction, in seconds."""
_LARGEST_BATCH = 25
"""Items that DynamoDB takes in one."""
_BATCH_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Before what is left of a batch is sent again: a table that is throttled needs some time."""
_NOBODY: Mapping[str, Mapping[str, Any]] = {
    "S": {"S": "playmesh:start-check"},
    "B": {"B": b"playmesh:start-check"},
    "N": {"N": "-1"},
}
"""No key, by its type: ids are hexadecimal, digests are 32 bytes, other keys have a `#`, and
numbers count from 0."""
_NO_TABLE = ("Requested resource not found", "non-existent table")
"""DynamoDB's and DynamoDB Local's words. The probes of the table itself tell the operator."""
_WAIT_FOR_INDEX = 1.0
_NOT_YET_HERE = " AND ".join(f"#{name} <> :operation" for name in _OPERATIONS)


def string(text: str) -> Mapping[str, Any]:
    return {"S": text}


def number(value: int) -> Mapping[str, Any]:
    return {"N": str(value)}


def binary(data: bytes) -> Mapping[str, Any]:
    return {"B": data}


def shift(*names: str) -> list[str]:
    """Assignments that give every attribute the value of the one before it, from the last on."""
    return [
        f"#{older} = if_not_exists(#{newer}, :none)"
        for newer, older in reversed(list(itertools.pairwise(names)))
    ]


@dataclass(frozen=True)
class TableDefinition:
    """`schema` as CreateTable takes it; `name` comes after an installation's prefix.

    `operations` are what a service does with its items, and its role must allow. It queries the
    indexes as well.
    """

    name: str
    schema: Mapping[str, Any]
    ttl_attribute: str | None = None
    operations: Sequence[str] = ("get_item", "put_item", "update_item")

    @property
    def indexes(self) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self.schema.get("GlobalSecondaryIndexes", ())
        return found


@dataclass(frozen=True, slots=True)
class Applied:
    """A write that has happened: the item since then, and how many writes came after it."""

    item: Item
    later: int


class ConditionFailed(Exception):
    """`item` is what is stored, None where nothing is; the write has changed nothing.

    `items` are all of a transaction that were in its way, empty where nothing is stored.
    """

    def __init__(self, item: Item | None, *others: Item) -> None:
        super().__init__("the condition does not hold")
        self.item = item
        self.items: Sequence[Item] = [item or {}, *others]


class Table:
    """Raises Unavailable in bad weather. Reads see every acknowledged write, but for `latest`."""

    def __init__(self, client: Client, prefix: str, definition: TableDefinition) -> None:
        self._client = client
        self.name = prefix + definition.name
        self._key_names = _key_names(definition.schema["KeySchema"])

    async def get(self, key: Item) -> Item | None:
        answer = await self._call("get_item", Key=key, ConsistentRead=True)
        item: Item | None = answer.get("Item")
        return item

    async def create(self, item: Item) -> None:
        """Put an item where there is none. Raises ConditionFailed."""
        operation = binary(ids.new_operation())
        try:
            await self._send("put_item", **self.creation(item, operation))
        except ConditionFailed as failed:
            if _position(failed.item, operation) is None:
                raise

    def creation(
        self,
        item: Item,
        operation: Mapping[str, Any],
        *,
        unless: str = "",
        values: Item | None = None,
    ) -> Mapping[str, Any]:
        """The parameters of a Put where there is nothing yet, or only what `unless` holds for."""
        condition = f"attribute_not_exists(#{self._key_names[0]})"
        if unless:
            condition = f"{condition} OR {unless}"
        return {
            "TableName": self.name,
            "Item": {**item, _OPERATIONS[0]: operation},
            "ConditionExpression": condition,
            "ExpressionAttributeNames": _names(condition),
            **({"ExpressionAttributeValues": values} if values else {}),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    async def put_newer(self, item: Item, *, by: str) -> None:
        """Put an item where there is none, or one whose number `by` is smaller; or leave it.

        Doing so twice is doing so once, so it needs no operation id.
        """
        condition = f"attribute_not_exists(#{by}) OR #{by} < :new"
        with contextlib.suppress(ConditionFailed):
            await self._call(
                "put_item",
                Item=item,
                ConditionExpression=condition,
                ExpressionAttributeNames=_names(condition),
                ExpressionAttributeValues={":new": item[by]},
            )

    async def update(
        self,
        key: Item,
        *,
        assignments: Sequence[str],
        remove: str = "",
        condition: str = "",
        values: Item,
    ) -> Applied:
        """Change an item, or make it. Raises ConditionFailed, TooLarge.

        Of a condition that fails for an earlier attempt of this very write nobody hears. That
        holds as long as no more than three other writes came in between.
        """
        operation = binary(ids.new_operation())
        change = self.change(
            key,
            operation,
            assignments=assignments,
            remove=remove,
            condition=condition,
            values=values,
        )
        try:
            answer = await self._send("update_item", **change, ReturnValues="ALL_NEW")
        except ConditionFailed as failed:
            later = _position(failed.item, operation)
            if failed.item is None or later is None:
                raise
            return Applied(failed.item, later)
        return Applied(answer["Attributes"], 0)

    def change(
        self,
        key: Item,
        operation: Mapping[str, Any],
        *,
        assignments: Sequence[str],
        remove: str = "",
        condition: str = "",
        values: Item,
    ) -> Mapping[str, Any]:
        """The parameters of an Update, which is done once."""
        all_assignments = [*shift(*_OPERATIONS), f"#{_OPERATIONS[0]} = :operation", *assignments]
        change = "SET " + ", ".join(all_assignments) + (f" REMOVE {remove}" if remove else "")
        condition = f"{_NOT_YET_HERE} AND ({condition})" if condition else _NOT_YET_HERE
        return {
            "TableName": self.name,
            "Key": key,
            "UpdateExpression": change,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": _names(change, condition),
            "ExpressionAttributeValues": {**values, ":operation": operation, ":none": NONE},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def check(self, key: Item, condition: str, values: Item) -> Mapping[str, Any]:
        """The parameters of a ConditionCheck, which changes nothing."""
        used = {name: value for name, value in values.items() if name in condition}
        return {
            "TableName": self.name,
            "Key": key,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": _names(condition),
            **({"ExpressionAttributeValues": used} if used else {}),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def deletion(self, key: Item, condition: str, values: Item) -> Mapping[str, Any]:
        """The parameters of a Delete. Nothing stays that would say that it was done."""
        return {
            "TableName": self.name,
            "Key": key,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": _names(condition),
            "ExpressionAttributeValues": values,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    async def delete_where(self, key: Item, condition: str, values: Item) -> None:
        """Delete an item that a condition holds for, or leave it. Doing so twice is as once."""
        with contextlib.suppress(ConditionFailed):
            await self._send("delete_item", **self.deletion(key, condition, values))

    async def delete(self, seen: Item) -> None:
        """Delete an item that was read, unless it was written since.

        Where it was, the deletion counts as done before: so nobody's later write is lost when it
        is sent again.
        """
        key = {name: seen[name] for name in self._key_names}
        newest = _OPERATIONS[0]
        await self.delete_where(key, f"#{newest} = :seen", {":seen": seen[newest]})

    async def delete_many(self, keys: Sequence[Item]) -> None:
        """Delete the items of these keys, none of them given twice, as far as they are there.

        One deadline holds for all of them. Where that fails any of them may be deleted, and who
        repeats it deletes the others. There is no condition: a batch that is sent again also takes
        what came back under a key meanwhile.
        """

        async def batches() -> Mapping[str, Any]:
            for first in range(0, len(keys), _LARGEST_BATCH):
                batch = keys[first : first + _LARGEST_BATCH]
                await self._write_batch([{"DeleteRequest": {"Key": key}} for key in batch])
            return {}

        await call(batches)

    async def query(
        self,
        condition: str,
        values: Item,
        *,
        where: str = "",
        limit: int | None = None,
        start: Item | None = None,
        keys_only: bool = False,
        only: Sequence[str] = (),
    ) -> tuple[list[Item], Item | None]:
        """Of `limit` items in the order of their keys those that `where` holds for.

        Also the key to start after next time, None at the end. There may be more than none has.
        `keys_only`, and attributes that are wanted `only` besides the keys, spare the way here,
        not the units: whole items are read, a MB at most.
        """
        return await self._read(
            "query",
            where,
            values,
            start,
            limit,
            condition,
            attributes=(*self._key_names, *only) if keys_only or only else (),
            ConsistentRead=True,
        )

    async def scan(
        self, where: str, values: Item, *, start: Item | None = None
    ) -> tuple[list[Item], Item | None]:
        """Of a page of all items, in no order, those that `where` holds for; as `query`."""
        return await self._read("scan", where, values, start, ConsistentRead=True)

    async def latest(
        self, index: str, condition: str, values: Item, *, limit: int
    ) -> Sequence[Item]:
        """The last items of an index, from the end on. It is a little behind the writes."""
        found: list[Item] = []
        start: Item | None = None
        while True:
            items, start = await self._read(
                "query",
                "",
                values,
                start,
                limit - len(found),
                condition,
                IndexName=index,
                ScanIndexForward=False,
            )
            found += items
            if start is None or len(found) == limit:
                return found

    async def _read(
        self,
        operation: str,
        where: str,
        values: Item,
        start: Item | None,
        limit: int | None = None,
        condition: str = "",
        *,
        attributes: Sequence[str] = (),
        **parameters: object,
    ) -> tuple[list[Item], Item | None]:
        projection = ", ".join(f"#{name}" for name in attributes)
        optional = {
            "KeyConditionExpression": condition,
            "FilterExpression": where,
            "ProjectionExpression": projection,
            "ExpressionAttributeNames": _names(condition, where, projection),
            "ExpressionAttributeValues": values,
            "Limit": limit,
            "ExclusiveStartKey": start,
        }
        given = {name: value for name, value in optional.items() if value}
        answer = await self._call(operation, **given, **parameters)
        return answer["Items"], answer.get("LastEvaluatedKey")

    async def _write_batch(self, requests: Sequence[Mapping[str, Any]]) -> None:
        """DynamoDB may do a part of a batch, and answers the others."""
        for pause in (0, *_BATCH_PAUSES):
            await asyncio.sleep(pause * ids.jitter(0.5))
            answer = await self._send("batch_write_item", RequestItems={self.name: requests})
            requests = answer["UnprocessedItems"].get(self.name, ())
            if not requests:
                return
        _log.error("dynamodb.unprocessed", table=self.name, items=len(requests))
        raise errors.Unavailable("the store has too much to do at the moment")

    async def _call(self, operation: str, **parameters: object) -> Mapping[str, Any]:
        return await self._send(operation, TableName=self.name, **parameters)

    async def _send(self, operation: str, **parameters: object) -> Mapping[str, Any]:
        try:
            return await _call_alone(getattr(self._client, operation), **parameters)
        except AwsError as error:
            if error.kind is errors.VersionConflict:
                raise ConditionFailed(error.response.get("Item")) from None
            message = error.response["Error"].get("Message", "")
            if error.kind is errors.InvalidRequest and "Item size" in message:
                raise errors.TooLarge("the item is larger than the store can hold") from None
            raise _refused(error, self.name, operation) from error


async def transact(
    client: Client, operation: Mapping[str, Any], writes: Sequence[tuple[str, Mapping[str, Any]]]
) -> None:
    """Do several writes of several items, all of them or nothing.

    A write is its kind, as TransactWriteItems has it, with the parameters that a table makes for
    it; one at least of those that change something must carry `operation`. Raises ConditionFailed
    with the item of the first write whose condition fails, and Unavailable.
    """
    items = [{kind: parameters} for kind, parameters in writes]

    try:
        await _call_alone(client.transact_write_items, TransactItems=items)
    except AwsError as error:
        in_the_way = _in_the_way(error)
        if not in_the_way:
            names = ", ".join(parameters["TableName"] for _, parameters in writes)
            raise _refused(error, names, "transact_write_items") from error
        if all(_position(item, operation) is None for item in in_the_way):
            raise ConditionFailed(in_the_way[0] or None, *in_the_way[1:]) from None


async def every(
    read: Callable[[Item | None], Awaitable[tuple[list[Item], Item | None]]],
) -> AsyncIterator[Item]:
    """The items of all pages of a `query` or `scan`, which is handed where to start."""
    start: Item | None = None
    while True:
        items, start = await read(start)
        for item in items:
            yield item
        if start is None:
            return


def probes(client: Client, prefix: str, *definitions: TableDefinition) -> list[Probe]:
    """That the tables and indexes are there and what is done with them is allowed."""
    found: list[Probe] = []
    for definition in definitions:
        name = prefix + definition.name
        found += [
            probe(
                client,
                operation,
                f"table {name}",
                passes=["ConditionalCheckFailedException", "TransactionCanceledException"],
                **_in_vain(operation, name, definition),
            )
            for operation in definition.operations
        ]
        found += [
            probe(
                client,
                "query",
                f"index {index['IndexName']} of table {name}",
                passes=_NO_TABLE,
                TableName=name,
                IndexName=index["IndexName"],
                **_query_in_vain(definition, index["KeySchema"]),
            )
            for index in definition.indexes
        ]
    return found


async def create_table(client: Client, prefix: str, definition: TableDefinition) -> None:
    """Create the table where it does not exist, and its indexes; wait until it can be used.

    A new index of a table with many items takes its time.
    """
    name = prefix + definition.name
    try:
        await call(client.create_table, TableName=name, **definition.schema)
    except AwsError as error:
        if error.kind is not errors.AlreadyExists:
            raise
    await client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    for index in definition.indexes:
        await _create_index(client, name, definition, index)
    if definition.ttl_attribute is None:
        return
    answer = await call(client.describe_time_to_live, TableName=name)
    if answer["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED":
        await call(
            client.update_time_to_live,
            TableName=name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": definition.ttl_attribute},
        )


async def _create_index(
    client: Client, table: str, definition: TableDefinition, index: Mapping[str, Any]
) -> None:
    status = await _index_status(client, table, index["IndexName"])
    if status is None:
        keys = _key_names(definition.schema["KeySchema"]) + _key_names(index["KeySchema"])
        attributes = definition.schema["AttributeDefinitions"]
        await call(
            client.update_table,
            TableName=table,
            AttributeDefinitions=[each for each in attributes if each["AttributeName"] in keys],
            GlobalSecondaryIndexUpdates=[{"Create": index}],
        )
    while True:
        if await _index_status(client, table, index["IndexName"]) == "ACTIVE":
            return
        await asyncio.sleep(_WAIT_FOR_INDEX)


async def _index_status(client: Client, table: str, index: str) -> str | None:
    """None where there is no such index."""
    described = await call(client.describe_table, TableName=table)
    found: Mapping[str, str] = {
        each["IndexName"]: each["IndexStatus"]
        for each in described["Table"].get("GlobalSecondaryIndexes", ())
    }
    return found.get(index)


def _in_vain(operation: str, table: str, definition: TableDefinition) -> Mapping[str, Any]:
    """Parameters that find nothing and change nothing."""
    key = _nobody(definition, definition.schema["KeySchema"])
    if operation == "batch_write_item":
        return {"RequestItems": {table: [{"DeleteRequest": {"Key": key}}]}}
    if operation == "scan":  # which cannot look for nobody
        return {"TableName": table, "Limit": 1, "Select": "COUNT"}
    if operation == "query":
        found = _query_in_vain(definition, definition.schema["KeySchema"])
        return {"TableName": table, **found}
    if operation == "get_item":
        return {"TableName": table, "Key": key}
    condition = f"attribute_exists(#{next(iter(key))})"
    if operation == "transact_write_items":  # whose writes need the actions of their own
        check = {
            "TableName": table,
            "Key": key,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": _names(condition),
        }
        return {"TransactItems": [{"ConditionCheck": check}]}
    return {
        "TableName": table,
        "Item" if operation == "put_item" else "Key": key,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": _names(condition),
    }


def _query_in_vain(
    definition: TableDefinition, key_schema: Sequence[Mapping[str, str]]
) -> Mapping[str, Any]:
    (name, value), *_ = _nobody(definition, key_schema).items()
    condition = f"#{name} = :key"
    return {
        "KeyConditionExpression": condition,
        "ExpressionAttributeNames": _names(condition),
        "ExpressionAttributeValues": {":key": value},
        "Limit": 1,
    }


def _nobody(definition: TableDefinition, key_schema: Sequence[Mapping[str, str]]) -> Item:
    """A key of the table or of an index, the partition key first."""
    types = {
        each["AttributeName"]: each["AttributeType"]
        for each in definition.schema["AttributeDefinitions"]
    }
    return {name: _NOBODY[types[name]] for name in _key_names(key_schema)}


def _key_names(key_schema: Sequence[Mapping[str, str]]) -> list[str]:
    return [each["AttributeName"] for each in key_schema]


async def _call_alone(
    operation: Callable[..., Awaitable[Mapping[str, Any]]], **parameters: object
) -> Mapping[str, Any]:
    """As `call`, and again after a while where a transaction of another was in the way.

    Transactions that touch one item at the same moment cancel each other, and refuse single
    writes of it. By the time of the next attempt the winner's item is there to be told of.
    """

    @functools.wraps(operation)
    async def attempts() -> Mapping[str, Any]:
        for pause in _PAUSES:
            try:
                return await attempt(operation, **parameters)
            except AwsError as error:
                if not _is_passing(error):
                    raise
            await asyncio.sleep(pause * ids.jitter(0.5))
        return await attempt(operation, **parameters)

    return await call(attempts)  # so that one deadline holds for all of them


def _in_the_way(error: AwsError) -> list[Item]:
    """The items for which a condition of a cancelled transaction failed."""
    return [
        reason.get("Item", {})
        for reason in error.response.get("CancellationReasons", ())
        if reason["Code"] == "ConditionalCheckFailed"
    ]


def _is_passing(error: AwsError) -> bool:
    if error.code == "TransactionConflictException":
        return True
    codes = {reason["Code"] for reason in error.response.get("CancellationReasons", ())}
    return "ConditionalCheckFailed" not in codes and not codes.isdisjoint(_PASSING)


def _refused(error: AwsError, table: str, operation: str) -> errors.Unavailable:
    _log.error(
        "dynamodb.refused",
        table=table,
        operation=operation,
        code=error.code,
        error=error.response["Error"].get("Message", ""),
    )
    return errors.Unavailable("the store cannot answer at the moment")


def _names(*expressions: str) -> dict[str, str]:
    return {f"#{name}": name for name in re.findall(r"#(\w+)", " ".join(expressions))}


def _position(item: Item | None, operation: Mapping[str, Any]) -> int | None:
    """How many writes came after `operation`; None where it is not among the last."""
    kept = [(item or {}).get(name) for name in _OPERATIONS]
    return kept.index(operation) if operation in kept else None
