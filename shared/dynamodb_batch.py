"""DynamoDB: the items of one partition, found by their keys and deleted many at a time.

Nothing here needs an operation id: deleting twice is deleting once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog

from shared import errors, ids
from shared.aws import AwsError, Client, call
from shared.aws_check import probe
from shared.dynamodb import Item, TableDefinition, string
from shared.start_check import Probe

_log = structlog.get_logger()
_LARGEST_BATCH = 25
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Before what was not processed is sent again, in seconds."""
_NOBODY = string("playmesh:start-check")


async def query_keys(
    client: Client, table: str, partition: Item, *, sort: str, limit: int
) -> tuple[list[Item], bool]:
    """The keys of a partition's first items, and whether there may be more of them.

    At most `limit`, and no more than lie in the first MB of items: that much is read, and paid
    for, though only the keys are answered. Sees every acknowledged write. Raises Unavailable.
    """
    ((name, value),) = partition.items()
    answer = await _ask(
        client.query,
        table,
        TableName=table,
        KeyConditionExpression="#partition = :partition",
        ProjectionExpression="#partition, #sort",
        ExpressionAttributeNames={"#partition": name, "#sort": sort},
        ExpressionAttributeValues={":partition": value},
        Limit=limit,
        ConsistentRead=True,
    )
    return answer["Items"], "LastEvaluatedKey" in answer


async def delete_all(client: Client, table: str, keys: Sequence[Item]) -> None:
    """Delete the items of these keys, as far as they are there; no key may be given twice.

    One deadline holds for all of them. Raises Unavailable; some may be deleted by then, any of
    them, and whoever repeats it deletes the others.
    """

    async def batches() -> Mapping[str, Any]:
        for first in range(0, len(keys), _LARGEST_BATCH):
            await _delete(client, table, keys[first : first + _LARGEST_BATCH])
        return {}

    await _ask(batches, table)


def deletion_probes(client: Client, prefix: str, *definitions: TableDefinition) -> list[Probe]:
    """That items of these tables may be deleted; their keys must be strings.

    The item that is asked for does not exist, so that nothing is deleted.
    """
    return [
        probe(
            client,
            "batch_write_item",
            f"table {prefix}{definition.name}",
            RequestItems=_deletions(
                prefix + definition.name,
                [{key["AttributeName"]: _NOBODY for key in definition.schema["KeySchema"]}],
            ),
        )
        for definition in definitions
    ]


async def _delete(client: Client, table: str, keys: Sequence[Item]) -> None:
    left: Mapping[str, Any] = _deletions(table, keys)
    for pause in (0, *_PAUSES):
        await asyncio.sleep(pause * ids.jitter(0.5))
        answer = await _ask(client.batch_write_item, table, RequestItems=left)
        left = answer.get("UnprocessedItems", {})
        if not left:
            return
    _log.error("dynamodb.unprocessed", table=table, items=len(left[table]))
    raise errors.Unavailable("the store cannot answer at the moment")


def _deletions(table: str, keys: Sequence[Item]) -> Mapping[str, Any]:
    return {table: [{"DeleteRequest": {"Key": key}} for key in keys]}


async def _ask(
    operation: Callable[..., Awaitable[Mapping[str, Any]]], table: str, **parameters: object
) -> Mapping[str, Any]:
    try:
        return await call(operation, **parameters)
    except AwsError as error:
        _log.error(
            "dynamodb.refused",
            table=table,
            operation=getattr(operation, "__name__", "?"),
            code=error.code,
            error=error.message,
        )
        raise errors.Unavailable("the store cannot answer at the moment") from error
