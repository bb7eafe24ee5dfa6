"""An erasure in DynamoDB that is refused, broken off or raced goes on, and leaves nothing."""

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
import structlog
from botocore.exceptions import ClientError

from services.player_data.adapters.dynamodb import RECORDS, TABLES, DynamoRecordStore
from services.player_data.models import Precondition, RecordKey
from shared import errors
from shared.aws import Client
from shared.dynamodb import Item, Table, TableDefinition, string
from tests.conformance.dynamodb import OnDynamo
from tests.conformance.records import (
    ALICE,
    BOB,
    KEY,
    delete,
    erase,
    export,
    numbers,
    put,
)
from tests.support.aws import new_tables
from tests.support.interruptions import Crash, Interruption, When
from tests.support.lost_replies import Interrupted, NeverAnswers, SentTwice

Write = Callable[..., Awaitable[object]]
"""`put` or `delete`."""
OPERATIONS = frozenset({"query", "batch_write_item"})
CALLS = 12
"""Of an erasure of five versions and four records in steps of three."""


class Unprocessed:
    """Of the first `times` batches only the first item is done, and the others are answered."""

    def __init__(self, client: Client, times: int) -> None:
        self._client = client
        self._left = times
        self.items: list[int] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        return getattr(self._client, name)

    async def batch_write_item(self, *, RequestItems: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: N803 - boto3's
        ((table, requests),) = RequestItems.items()
        self.items.append(len(requests))
        if not self._left:
            answer: Mapping[str, Any] = await self._client.batch_write_item(
                RequestItems=RequestItems
            )
            return answer
        self._left -= 1
        await self._client.batch_write_item(RequestItems={table: requests[:1]})
        return {"UnprocessedItems": {table: requests[1:]} if requests[1:] else {}}


class Throttled:
    """Every `every`-th batch is refused, when botocore has given up."""

    def __init__(self, client: Client, every: int) -> None:
        self._client = client
        self._every = every
        self._batches = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        return getattr(self._client, name)

    async def batch_write_item(self, **parameters: object) -> Mapping[str, Any]:
        self._batches += 1
        if self._batches % self._every == 0:
            code = "ProvisionedThroughputExceededException"
            raise ClientError({"Error": {"Code": code, "Message": "slow down"}}, "BatchWriteItem")
        answer: Mapping[str, Any] = await self._client.batch_write_item(**parameters)
        return answer


class RecordErasureFaults(OnDynamo):
    """Subclasses provide the fixture `endpoint`."""

    @pytest.fixture
    async def prefix(self, dynamodb: Client) -> str:
        return await new_tables(dynamodb, *TABLES)

    @pytest.fixture
    def store(self, dynamodb: Client, prefix: str) -> DynamoRecordStore:
        return DynamoRecordStore(dynamodb, prefix)

    # Deleting many.

    @pytest.mark.parametrize("number", [0, 1, 25, 26, 60])
    async def test_any_number_of_items_is_deleted_and_no_other(
        self, dynamodb: Client, prefix: str, store: DynamoRecordStore, number: int
    ) -> None:
        await _fill(store, number)
        kept = await put(store, RecordKey(BOB, "saves", "slot0"))
        keys = [_item_key(f"saves#slot{each}") for each in range(number)]
        await Table(dynamodb, prefix, RECORDS).delete_many(keys)
        assert await _sorts(dynamodb, prefix, ALICE) == []
        assert await store.get(kept.key) == kept

    async def test_deleting_what_is_not_there_is_no_error(
        self, dynamodb: Client, prefix: str
    ) -> None:
        for _ in range(2):
            await Table(dynamodb, prefix, RECORDS).delete_many([_item_key("saves#nothing")])

    async def test_what_was_not_processed_is_sent_again_and_nothing_besides(
        self, dynamodb: Client, prefix: str, store: DynamoRecordStore
    ) -> None:
        await _fill(store, 30)
        unlucky = Unprocessed(dynamodb, 3)
        keys = [_item_key(f"saves#slot{each}") for each in range(30)]
        await Table(unlucky, prefix, RECORDS).delete_many(keys)
        assert unlucky.items == [25, 24, 23, 22, 5]
        assert await _sorts(dynamodb, prefix, ALICE) == []

    async def test_what_is_never_processed_is_bad_weather_and_the_next_erasure_goes_on(
        self, dynamodb: Client, prefix: str, store: DynamoRecordStore
    ) -> None:
        await _fill(store, 30)
        unlucky = Unprocessed(dynamodb, 1000)
        with structlog.testing.capture_logs() as logs, pytest.raises(errors.Unavailable):
            await DynamoRecordStore(unlucky, prefix).erase(ALICE, limit=100)
        assert [(log["event"], log["table"], log["items"]) for log in logs] == [
            ("dynamodb.unprocessed", f"{prefix}records", 19)
        ]
        assert len(await export(store)) == 24
        await erase(store)
        assert await _sorts(dynamodb, prefix, ALICE) == []

    async def test_throttled_erasures_are_bad_weather_and_each_comes_further(
        self, dynamodb: Client, prefix: str, store: DynamoRecordStore
    ) -> None:
        await _fill(store, 60)
        throttled = DynamoRecordStore(Throttled(dynamodb, 2), prefix)
        left = [60]
        while left[-1]:
            with contextlib.suppress(errors.Unavailable):
                await throttled.erase(ALICE, limit=100)
            left.append(len(await _sorts(dynamodb, prefix, ALICE)))
        assert left == [60, 35, 10, 0]

    async def test_a_missing_table_is_bad_weather_and_the_log_names_it(
        self, dynamodb: Client
    ) -> None:
        store = DynamoRecordStore(dynamodb, "nowhere-")
        for operation, table in (
            (store.erase(ALICE, limit=1), "nowhere-record-versions"),
            (store.export(ALICE, after=None, limit=1), "nowhere-records"),
            (Table(dynamodb, "nowhere-", RECORDS).delete_many([_item_key("a")]), "nowhere-records"),
        ):
            with structlog.testing.capture_logs() as logs, pytest.raises(errors.Unavailable):
                await operation
            assert [(log["table"], log["code"]) for log in logs] == [
                (table, "ResourceNotFoundException")
            ]

    async def test_keys_are_those_of_a_partition_as_they_are_now(
        self, dynamodb: Client, prefix: str, store: DynamoRecordStore
    ) -> None:
        await _fill(store, 3)
        await put(store, RecordKey(BOB, "saves", "slot0"))
        query = functools.partial(
            Table(dynamodb, prefix, RECORDS).query,
            "#player = :player",
            {":player": string(ALICE)},
            keys_only=True,
        )
        everything = [_item_key(f"saves#slot{each}") for each in range(3)]
        assert await query(limit=2) == (everything[:2], everything[1])
        assert await query(limit=4) == (everything, None)

    # Crashes and lost replies.

    @pytest.mark.parametrize("when", [When.AFTER, When.LOST, When.TWICE])
    @pytest.mark.parametrize("at", range(1, CALLS + 1))
    async def test_an_erasure_that_is_broken_off_anywhere_is_finished_by_the_next(
        self, dynamodb: Client, prefix: str, store: DynamoRecordStore, at: int, when: When
    ) -> None:
        await _fill(store, 4, often=2)
        await delete(store, RecordKey(ALICE, "saves", "slot3"))
        theirs = [await put(store, RecordKey(BOB, "saves", "slot0")) for _ in range(2)]
        interruption = Interruption(OPERATIONS, at, when)
        erasing = DynamoRecordStore(interruption.around(dynamodb), prefix)
        with contextlib.suppress(Crash, errors.Unavailable):
            await erase(erasing, limit=3)
        assert interruption.calls == (at if when is not When.TWICE else CALLS)
        await erase(store)
        assert await _sorts(dynamodb, prefix, ALICE) == []
        assert [one.record for one in await export(store, BOB)] == theirs[::-1]

    async def test_an_erasure_without_any_reply_is_unavailable_and_goes_on(
        self, dynamodb: Client, prefix: str, store: DynamoRecordStore
    ) -> None:
        await _fill(store, 5, often=2)
        silent = DynamoRecordStore(NeverAnswers(dynamodb), prefix)
        with pytest.raises(errors.Unavailable):
            await silent.erase(ALICE, limit=100)
        await erase(store)
        assert await _sorts(dynamodb, prefix, ALICE) == []

    async def test_an_erasure_whose_every_batch_is_sent_twice_touches_no_other_player(
        self, dynamodb: Client, prefix: str, store: DynamoRecordStore
    ) -> None:
        await _fill(store, 5, often=2)
        theirs = await put(store, RecordKey(BOB, "saves", "slot0"))
        await erase(DynamoRecordStore(SentTwice(dynamodb), prefix))
        assert await _sorts(dynamodb, prefix, ALICE) == []
        assert await store.get(theirs.key) == theirs

    # Writers that an erasure overtakes.

    @pytest.mark.parametrize("operation", ["put_item", "update_item"])
    @pytest.mark.parametrize("written", range(1, 5))
    async def test_a_write_that_an_erasure_overtakes_begins_anew_and_its_copy_is_in_nobodys_way(
        self,
        dynamodb: Client,
        prefix: str,
        store: DynamoRecordStore,
        operation: str,
        written: int,
    ) -> None:
        """A copy of the version `written` comes after all slots are empty, or just before."""
        for _ in range(written):
            await put(store, value='"before"', keep=1)
        late = Interrupted(dynamodb, operation)
        late.meanwhile = lambda: erase(store)
        assert (await put(DynamoRecordStore(late, prefix), value='"late"', keep=1)).version == 1
        assert await store.versions(KEY) == []
        assert [one.record.value for one in await export(store)] == ['"late"']
        for version in range(2, 10):
            await put(store, value='"new"', keep=1)
            assert await numbers(store) == [version - 1]
        await erase(store)
        assert await _sorts(dynamodb, prefix, ALICE) == []

    async def test_a_copy_that_comes_long_after_an_erasure_takes_no_version_from_its_slot(
        self, dynamodb: Client, prefix: str, store: DynamoRecordStore
    ) -> None:
        """Its version is the higher one, and its writer is gone."""
        for _ in range(6):
            await put(store, value='"before"', keep=1)
        late = Interrupted(dynamodb, "put_item")

        async def erase_and_write() -> None:
            await erase(store)
            for _ in range(3):
                await put(store, value='"new"', keep=1)

        late.meanwhile = erase_and_write
        with pytest.raises(errors.VersionConflict):
            await put(DynamoRecordStore(late, prefix), precondition=Precondition.at(6), keep=1)
        assert [one.value for one in await store.versions(KEY)] == ['"new"']
        assert await numbers(store) == [2]
        await erase(store)
        assert await _sorts(dynamodb, prefix, ALICE) == []

    @pytest.mark.parametrize("write", [put, delete])
    async def test_a_write_does_not_take_the_same_version_of_the_next_life_for_what_it_copied(
        self, dynamodb: Client, prefix: str, store: DynamoRecordStore, write: Write
    ) -> None:
        await put(store, value='"before"')

        async def erase_and_write() -> None:
            await erase(store)
            await put(store, value='"new"')

        late = Interrupted(SentTwice(dynamodb), "update_item")
        late.meanwhile = erase_and_write
        await write(DynamoRecordStore(late, prefix))
        assert [(one.version, one.value) for one in await store.versions(KEY)] == [(1, '"new"')]

    async def test_a_crash_after_the_copy_leaves_what_the_next_erasure_finds(
        self, dynamodb: Client, prefix: str, store: DynamoRecordStore
    ) -> None:
        await put(store)
        interruption = Interruption(frozenset({"put_item"}), at=1, when=When.AFTER)

        async def write_and_die() -> None:
            with pytest.raises(Crash):
                await put(DynamoRecordStore(interruption.around(dynamodb), prefix))

        late = Interrupted(dynamodb, "query")
        late.meanwhile = write_and_die
        await erase(DynamoRecordStore(late, prefix))
        await erase(store)
        assert await _sorts(dynamodb, prefix, ALICE) == []

    # Items from before there were births.

    async def test_a_record_from_before_there_were_births_keeps_its_history_and_is_erased(
        self, dynamodb: Client, prefix: str, store: DynamoRecordStore
    ) -> None:
        written = [await put(store, value=str(number)) for number in range(3)]
        await _forget_births(dynamodb, prefix)
        assert await store.versions(KEY) == written[1::-1]
        written += [await put(store, value=str(number)) for number in range(3, 6)]
        assert await store.versions(KEY) == written[4::-1]
        assert [one.record for one in await export(store)] == written[::-1]
        await erase(store)
        assert await _sorts(dynamodb, prefix, ALICE) == []


async def _fill(store: DynamoRecordStore, number: int, *, often: int = 1) -> None:
    for each in range(number):
        key = RecordKey(ALICE, "saves", f"slot{each}")
        await put(store, key, precondition=Precondition.ABSENT)
        for _ in range(often - 1):
            await put(store, key)


def _item_key(sort: str) -> Item:
    return {"player": string(ALICE), "sort": string(sort)}


async def _items(
    client: Client, prefix: str, player: str
) -> AsyncIterator[tuple[TableDefinition, Item]]:
    for definition in TABLES:
        answer = await client.scan(TableName=prefix + definition.name, ConsistentRead=True)
        for item in answer["Items"]:
            if item["player"] == string(player):
                yield definition, item


async def _sorts(client: Client, prefix: str, player: str) -> list[str]:
    """The sort keys of everything that there is of a player."""
    return [item["sort"]["S"] async for _, item in _items(client, prefix, player)]


async def _forget_births(client: Client, prefix: str) -> None:
    found = [one async for one in _items(client, prefix, ALICE)]
    for definition, item in found:
        older = {name: value for name, value in item.items() if name != "birth"}
        if definition is not RECORDS:
            collection, key, _, slot = item["sort"]["S"].split("#")
            older["sort"] = string(f"{collection}#{key}#{slot}")
            await Table(client, prefix, definition).delete_many([_item_key(item["sort"]["S"])])
        await client.put_item(TableName=prefix + definition.name, Item=older)
