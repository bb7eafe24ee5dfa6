"""DynamoDB: tables as plain data, and writes that happen once though their reply may get lost.

A write whose reply is lost is sent again, by botocore, and must not happen again. So every write
has an operation id: it is kept on the item, among those of the last four writes, and the write's
condition says that it is not there yet. Where the condition fails and it is there, the write has
happened, and its outcome is told from the item.

Expressions are written with `#name` for the attribute `name`, so no name is a reserved word.
"""

import asyncio
import contextlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from shared import errors, ids
from shared.aws import AwsError, Client, call
from shared.aws_check import probe
from shared.start_check import Probe

Item = Mapping[str, Mapping[str, Any]]

_log = structlog.get_logger()
_OPERATIONS = ("o0", "o1", "o2", "o3")
"""The last writes' ids, newest first."""
NONE: Mapping[str, Any] = {"NULL": True}
_PASSING = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
_PAUSES = (0.02, 0.05, 0.1, 0.2)
"""Between the attempts of a transaction, in seconds."""
_NOBODY = {"S": {"S": "playmesh:start-check"}, "B": {"B": b"playmesh:start-check"}}
"""No key, by its type: ids are hexadecimal, digests are 32 bytes, and other keys have a `#`."""
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

    `operations` are what a service does with its items, and its role must allow.
    """

    name: str
    schema: Mapping[str, Any]
    ttl_attribute: str | None = None
    operations: Sequence[str] = ("get_item", "put_item", "update_item")


@dataclass(frozen=True, slots=True)
class Applied:
    """A write that has happened: the item since then, and how many writes came after it."""

    item: Item
    later: int


class ConditionFailed(Exception):
    """`item` is what is stored, None where nothing is; the write has changed nothing."""

    def __init__(self, item: Item | None) -> None:
        super().__init__("the condition does not hold")
        self.item = item


class Table:
    """Raises Unavailable in bad weather. Reads see every acknowledged write."""

    def __init__(self, client: Client, prefix: str, definition: TableDefinition) -> None:
        self._client = client
        self.name = prefix + definition.name
        self._key_names = [key["AttributeName"] for key in definition.schema["KeySchema"]]

    async def get(self, key: Item) -> Item | None:
        answer = await self._call("get_item", Key=key, ConsistentRead=True)
        item: Item | None = answer.get("Item")
        return item

    async def create(self, item: Item) -> None:
        """Put an item where there is none. Raises ConditionFailed."""
        operation = binary(ids.new_operation())
        try:
            await self._call("put_item", **self.creation(item, operation))
        except ConditionFailed as failed:
            if _position(failed.item, operation) is None:
                raise

    def creation(self, item: Item, operation: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters of a Put where there is nothing yet."""
        condition = f"attribute_not_exists(#{self._key_names[0]})"
        return {
            "Item": {**item, _OPERATIONS[0]: operation},
            "ConditionExpression": condition,
            "ExpressionAttributeNames": _names(condition),
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
        all_assignments = [*shift(*_OPERATIONS), f"#{_OPERATIONS[0]} = :operation", *assignments]
        change = "SET " + ", ".join(all_assignments) + (f" REMOVE {remove}" if remove else "")
        condition = f"{_NOT_YET_HERE} AND ({condition})" if condition else _NOT_YET_HERE
        try:
            answer = await self._call(
                "update_item",
                Key=key,
                UpdateExpression=change,
                ConditionExpression=condition,
                ExpressionAttributeNames=_names(change, condition),
                ExpressionAttributeValues={**values, ":operation": operation, ":none": NONE},
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ConditionFailed as failed:
            later = _position(failed.item, operation)
            if failed.item is None or later is None:
                raise
            return Applied(failed.item, later)
        return Applied(answer["Attributes"], 0)

    async def query(
        self, condition: str, values: Item, *, where: str, limit: int, start: Item | None
    ) -> tuple[list[Item], Item | None]:
        """Of `limit` items in the order of their keys those that `where` holds for.

        Also the key to start after next time, None at the end. There may be more than none has.
        """
        start_key = {"ExclusiveStartKey": start} if start else {}
        answer = await self._call(
            "query",
            KeyConditionExpression=condition,
            FilterExpression=where,
            ExpressionAttributeNames=_names(condition, where),
            ExpressionAttributeValues=values,
            Limit=limit,
            ConsistentRead=True,
            **start_key,
        )
        return answer["Items"], answer.get("LastEvaluatedKey")

    async def _call(self, operation: str, **parameters: object) -> Mapping[str, Any]:
        try:
            return await call(getattr(self._client, operation), TableName=self.name, **parameters)
        except AwsError as error:
            if error.kind is errors.VersionConflict:
                raise ConditionFailed(error.response.get("Item")) from None
            message = error.response["Error"].get("Message", "")
            if error.kind is errors.InvalidRequest and "Item size" in message:
                raise errors.TooLarge("the item is larger than the store can hold") from None
            raise _refused(error, self.name, operation) from error


async def create_all(client: Client, items: Sequence[tuple[Table, Item]]) -> None:
    """Put items where there are none: all of them or nothing. Raises ConditionFailed, Unavailable.

    Transactions that touch one item at the same moment cancel each other, so the losers try
    again: by then the winner's item is there to be told of.
    """
    operation = binary(ids.new_operation())
    puts = [
        {"Put": {"TableName": table.name, **table.creation(item, operation)}}
        for table, item in items
    ]

    async def attempts() -> Mapping[str, Any]:
        for pause in _PAUSES:
            try:
                return await call(client.transact_write_items, TransactItems=puts)
            except AwsError as error:
                if not _is_passing(error):
                    raise
            await asyncio.sleep(pause * ids.jitter(0.5))
        return await call(client.transact_write_items, TransactItems=puts)

    try:
        await call(attempts)  # so that one deadline holds for all of them
    except AwsError as error:
        in_the_way = _in_the_way(error)
        if not in_the_way:
            names = ", ".join(table.name for table, _ in items)
            raise _refused(error, names, "transact_write_items") from error
        if all(_position(item, operation) is None for item in in_the_way):
            raise ConditionFailed(in_the_way[0]) from None


def probes(client: Client, prefix: str, *definitions: TableDefinition) -> list[Probe]:
    """That the tables are there and what is done with them is allowed."""
    return [
        probe(
            client,
            operation,
            f"table {prefix}{definition.name}",
            passes=["ConditionalCheckFailedException"],
            TableName=prefix + definition.name,
            **_in_vain(operation, definition),
        )
        for definition in definitions
        for operation in definition.operations
    ]


async def create_table(client: Client, prefix: str, definition: TableDefinition) -> None:
    """Create the table where it does not exist, and wait until it can be used."""
    name = prefix + definition.name
    try:
        await call(client.create_table, TableName=name, **definition.schema)
    except AwsError as error:
        if error.kind is not errors.AlreadyExists:
            raise
    await client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    if definition.ttl_attribute is None:
        return
    answer = await call(client.describe_time_to_live, TableName=name)
    if answer["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED":
        await call(
            client.update_time_to_live,
            TableName=name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": definition.ttl_attribute},
        )


def _in_vain(operation: str, definition: TableDefinition) -> Mapping[str, Any]:
    """Parameters that find nothing and change nothing."""
    types = {
        each["AttributeName"]: each["AttributeType"]
        for each in definition.schema["AttributeDefinitions"]
    }
    names = [each["AttributeName"] for each in definition.schema["KeySchema"]]
    key = {name: _NOBODY[types[name]] for name in names}
    partition_key = names[0]
    if operation == "query":
        condition = f"#{partition_key} = :key"
        return {
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": _names(condition),
            "ExpressionAttributeValues": {":key": key[partition_key]},
            "Limit": 1,
        }
    if operation == "get_item":
        return {"Key": key}
    condition = f"attribute_exists(#{partition_key})"
    return {
        "Item" if operation == "put_item" else "Key": key,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": _names(condition),
    }


def _in_the_way(error: AwsError) -> list[Item]:
    """The items for which a condition of a cancelled transaction failed."""
    return [
        reason.get("Item", {})
        for reason in error.response.get("CancellationReasons", ())
        if reason["Code"] == "ConditionalCheckFailed"
    ]


def _is_passing(error: AwsError) -> bool:
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
