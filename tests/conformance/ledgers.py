"""What a player has, counted beside the records in DynamoDB: its costs, and what goes wrong."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import structlog
from botocore.exceptions import ReadTimeoutError
from hypothesis.stateful import run_state_machine_as_test

from services.player_data.adapters.dynamodb import TABLES, DynamoRecordStore
from services.player_data.models import Precondition, RecordKey
from services.player_data.usage import Quota, Usage
from shared import errors
from shared.aws import Client
from shared.dynamodb import string
from tests.conformance.dynamodb import OnDynamo
from tests.conformance.records import ALICE, KEY, T0, erase, in_saves
from tests.conformance.records_as_of_model import LARGEST, AsOfMachine
from tests.conformance.records_model import FEW
from tests.conformance.records_together import RECEIPT, to
from tests.conformance.records_usage import (
    OPEN,
    RIVALS,
    WEEK,
    OpenStore,
    QuotaContract,
    UsageContract,
    race,
    refused,
    save,
    used,
)
from tests.support.aws import client, new_tables
from tests.support.interruptions import Crash, Interruption, When
from tests.support.lost_replies import SentTwice

KILOBYTE = 1024
MINUTE = timedelta(minutes=1)
SECONDS = timedelta(seconds=10)
ROOM = Quota(records=5, bytes=100 * KILOBYTE)


class Counted:
    """Counts the calls by their names."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        operation = getattr(self._client, name)

        async def counted(**parameters: object) -> object:
            self.calls[name] += 1
            return await operation(**parameters)

        return counted

    async def of(self, work: Awaitable[object]) -> dict[str, int]:
        self.calls.clear()
        await work
        return dict(self.calls)


def lost() -> Exception:
    error: Exception = ReadTimeoutError(endpoint_url="http://dynamodb")
    return error


@contextlib.asynccontextmanager
async def _opened(endpoint: str, around: Callable[[Client], Any]) -> AsyncIterator[Any]:
    async with client("dynamodb", endpoint) as dynamodb:
        yield DynamoRecordStore(
            around(dynamodb), await new_tables(dynamodb, *TABLES), Quota(bytes=LARGEST)
        )


class DynamoUsageTests(OnDynamo, UsageContract, QuotaContract):
    """Subclasses provide the fixture `endpoint`."""

    @pytest.fixture
    async def open_store(self, dynamodb: Client) -> OpenStore:
        prefix = await new_tables(dynamodb, *TABLES)

        async def opened(quota: Quota) -> DynamoRecordStore:
            return DynamoRecordStore(dynamodb, prefix, quota)

        return opened

    @pytest.mark.parametrize("around", [lambda one: one, SentTwice], ids=["once", "sent twice"])
    def test_it_tells_of_any_moment_what_there_was(
        self, endpoint: str, around: Callable[[Client], Any]
    ) -> None:
        class Machine(AsOfMachine):
            def __init__(self) -> None:
                super().__init__(lambda: _opened(endpoint, around))

        run_state_machine_as_test(Machine, settings=FEW)


class LedgerTests(OnDynamo):
    """Subclasses provide the fixture `endpoint`."""

    @pytest.fixture
    async def prefix(self, dynamodb: Client) -> str:
        return await new_tables(dynamodb, *TABLES)

    @pytest.fixture
    def counted(self, dynamodb: Client) -> Counted:
        return Counted(dynamodb)

    @pytest.fixture
    def store(self, counted: Counted, prefix: str) -> DynamoRecordStore:
        return DynamoRecordStore(counted, prefix, ROOM)

    @pytest.fixture
    def another(self, dynamodb: Client, prefix: str) -> DynamoRecordStore:
        """Another process."""
        return DynamoRecordStore(dynamodb, prefix, ROOM)

    # What it costs.

    async def test_a_record_that_stays_within_its_kilobyte_is_not_counted_again(
        self, store: DynamoRecordStore, counted: Counted
    ) -> None:
        await save(store, "1")
        later = T0 + MINUTE
        overwrite = {"get_item": 1, "put_item": 1, "update_item": 1}
        # The player is looked at once more after some seconds, and not with the next write.
        assert await counted.of(save(store, "22", now=later)) == {**overwrite, "get_item": 2}
        assert await counted.of(save(store, "333", now=later)) == overwrite
        assert await counted.of(save(store, "1", now=later)) == overwrite
        assert await counted.of(save(store, "1" * KILOBYTE, now=later)) == overwrite
        grown = {**overwrite, "update_item": 2}
        assert await counted.of(save(store, "1" * (KILOBYTE + 1), now=later)) == grown
        assert await counted.of(save(store, None, now=later)) == grown

    async def test_without_a_quota_nothing_is_counted(self, dynamodb: Client, prefix: str) -> None:
        counted = Counted(dynamodb)
        store = DynamoRecordStore(counted, prefix)
        create = save(store, "1", precondition=Precondition.ABSENT)
        assert await counted.of(create) == {"update_item": 1}
        assert await counted.of(save(store, "1" * 5000)) == {
            "get_item": 1,
            "put_item": 1,
            "update_item": 1,
        }

    async def test_who_tries_on_is_refused_without_counting_again(
        self, store: DynamoRecordStore, counted: Counted
    ) -> None:
        await save(store, "1" * 100 * KILOBYTE)
        later = T0 + 2 * MINUTE
        assert (await counted.of(refused(store, "1" * 101 * KILOBYTE, now=later)))["query"] == 1
        soon = later + MINUTE / 2
        assert "query" not in await counted.of(refused(store, "1" * 101 * KILOBYTE, now=soon))
        at_last = later + MINUTE
        again = await counted.of(refused(store, "1" * 101 * KILOBYTE, now=at_last))
        assert again["query"] == 1

    async def test_much_is_not_counted_whenever_somebody_asks(
        self, dynamodb: Client, prefix: str
    ) -> None:
        counted = Counted(dynamodb)
        store = DynamoRecordStore(counted, prefix, Quota(records=9))
        keys = in_saves(*"abcdefgh")
        for key in keys:
            await save(store, "1" * 150 * KILOBYTE, key)
        later = T0 + MINUTE
        await save(store, "1" * (150 * KILOBYTE - 1), keys[0], now=later)
        about = await store.usage(ALICE, now=later)
        assert about == Usage(8, 1200 * KILOBYTE)
        assert await counted.of(store.usage(ALICE, now=later)) == {"get_item": 1}
        exactly = Usage(8, 1200 * KILOBYTE - 1)
        assert await store.usage(ALICE, now=T0 + WEEK) == exactly
        assert await store.usage(ALICE, now=T0 + WEEK + MINUTE) == exactly

    async def test_a_player_who_writes_is_counted_anew_after_a_week(
        self, store: DynamoRecordStore, counted: Counted
    ) -> None:
        await save(store, "1")
        soon = await counted.of(save(store, "22", now=T0 + WEEK - SECONDS))
        assert "query" not in soon
        assert (await counted.of(save(store, "333", now=T0 + WEEK)))["query"] == 1

    # What others do.

    async def test_room_that_another_process_makes_can_be_used_at_once(
        self, store: DynamoRecordStore, another: DynamoRecordStore
    ) -> None:
        await save(store, "1" * 100 * KILOBYTE)
        await refused(store, "1", in_saves("slot2")[0])
        await save(another, None)
        await save(store, "1", in_saves("slot2")[0])
        assert await used(store) == await used(another) == Usage(1, 1)

    async def test_what_another_process_writes_is_seen_after_ten_seconds(
        self, store: DynamoRecordStore, another: DynamoRecordStore
    ) -> None:
        """Until then each may use up the same room."""
        one, two, three = in_saves("slot1", "slot2", "slot3")
        await save(store, "1", one)
        await save(another, "1" * 99 * KILOBYTE, two)
        await save(store, "1" * 90 * KILOBYTE, three)
        await refused(store, "1" * 91 * KILOBYTE, three, now=T0 + SECONDS)
        await refused(another, "1" * 2 * KILOBYTE, one, now=T0 + SECONDS)

    async def test_of_two_processes_each_admits_no_more_than_there_was_room_when_it_looked(
        self, dynamodb: Client, prefix: str
    ) -> None:
        quota = Quota(records=RIVALS // 2)
        stores = [DynamoRecordStore(dynamodb, prefix, quota) for _ in range(2)]
        done, missed = await race(
            save(stores[number % 2], "1", RecordKey(ALICE, "saves", f"slot{number}"))
            for number in range(RIVALS)
        )
        has = await used(stores[0], now=T0 + MINUTE)
        assert RIVALS // 2 - missed <= done <= has.records <= RIVALS + missed
        for store in stores:
            await refused(store, "1", in_saves("one_more")[0], now=T0 + MINUTE)

    async def test_who_asks_for_what_another_process_does_meanwhile_is_answered_alike(
        self, dynamodb: Client, prefix: str, another: DynamoRecordStore
    ) -> None:
        """Though that took the room for it."""
        write = [to(KEY, "1" * 100 * KILOBYTE)]
        answers: list[object] = []

        class Meanwhile(Counted):
            """The other is done between the look at the receipt and that at the usage."""

            async def get_item(self, **parameters: Any) -> object:  # noqa: ANN401 - boto3's
                if parameters["Key"]["sort"] == string("!usage") and not answers:
                    answers.append(
                        await another.write(
                            write, by=ALICE, now=T0, receipt=RECEIPT, within_quota=True
                        )
                    )
                found: object = await dynamodb.get_item(**parameters)
                return found

        store = DynamoRecordStore(Meanwhile(dynamodb), prefix, ROOM)
        answers.append(
            await store.write(write, by=ALICE, now=T0, receipt=RECEIPT, within_quota=True)
        )
        assert answers[0] == answers[1]

    # What goes wrong.

    @pytest.mark.parametrize("when", [When.BEFORE, When.AFTER])
    @pytest.mark.parametrize("at", range(1, 4))
    async def test_wherever_a_writer_crashes_usage_is_right_after_a_minute(
        self, dynamodb: Client, prefix: str, another: DynamoRecordStore, at: int, when: When
    ) -> None:
        """The writes of a first save: the count, the record, and the record counted."""
        interruption = Interruption(frozenset({"update_item"}), at, when)
        store = DynamoRecordStore(interruption.around(dynamodb), prefix, OPEN)
        with pytest.raises(Crash):
            await save(store, "1" * 10)
        later = T0 + MINUTE
        has = await used(another, now=later)
        is_written = at == 3 or (at == 2 and when is When.AFTER)
        assert has == (Usage(1, 10) if is_written else Usage())

    @pytest.mark.parametrize("at", range(1, 4))
    async def test_wherever_a_writer_crashes_nobody_is_refused_wrongly_after_a_minute(
        self, dynamodb: Client, prefix: str, at: int
    ) -> None:
        interruption = Interruption(frozenset({"update_item"}), at, When.BEFORE)
        crashing = DynamoRecordStore(interruption.around(dynamodb), prefix, OPEN)
        store = DynamoRecordStore(dynamodb, prefix, OPEN)
        await save(store, "1" * 20)
        with contextlib.suppress(Crash):
            for value in (None, "1" * 15, None):
                await save(crashing, value)
        later = T0 + MINUTE
        left = await store.get(KEY)
        free = 20 - (len(left.value) if left else 0)
        two = in_saves("slot2")[0]
        if free:
            await save(store, "1" * free, two, now=later)
        await refused(store, "1" * (free + 1), two, now=later)

    async def test_a_write_that_could_not_be_counted_is_done_and_answered(
        self, dynamodb: Client, prefix: str, another: DynamoRecordStore
    ) -> None:
        interruption = Interruption(frozenset({"update_item"}), 3, When.DROPPED, lost)
        store = DynamoRecordStore(interruption.around(dynamodb), prefix, ROOM)
        with structlog.testing.capture_logs() as logs:
            await save(store, "1")
        assert "usage.not_counted" in [log["event"] for log in logs]
        assert await used(another, now=T0 + MINUTE) == Usage(1, 1)

    async def test_a_count_that_others_write_into_is_not_kept(
        self, dynamodb: Client, prefix: str, another: DynamoRecordStore
    ) -> None:
        one, two = in_saves("slot1", "slot2")
        await save(another, "1" * 60 * KILOBYTE, one)
        later = T0 + MINUTE

        class Meanwhile(Counted):
            """The record is counted, and deleted before that is kept."""

            async def query(self, **parameters: object) -> object:
                found: object = await dynamodb.query(**parameters)
                await save(another, None, one, now=later)
                return found

        store = DynamoRecordStore(Meanwhile(dynamodb), prefix, ROOM)
        await refused(store, "1" * 90 * KILOBYTE, two, now=later)
        await save(store, "1" * 90 * KILOBYTE, two, now=later)
        assert await used(another, now=later + MINUTE) == Usage(1, 90 * KILOBYTE)

    async def test_nothing_is_left_of_who_was_erased_though_somebody_asks(
        self, dynamodb: Client, prefix: str, store: DynamoRecordStore
    ) -> None:
        await save(store, "1")
        await erase(store)
        assert await store.usage(ALICE, now=T0) == Usage()
        left = await dynamodb.query(
            TableName=f"{prefix}records",
            KeyConditionExpression="player = :player",
            ExpressionAttributeValues={":player": string(ALICE)},
            ConsistentRead=True,
        )
        assert left["Items"] == []

    async def test_a_count_is_in_no_list_nor_export(self, store: DynamoRecordStore) -> None:
        await save(store, "1")
        listed = await store.list(ALICE, collection=None, prefix="", after=None, limit=1)
        assert (len(listed.records), listed.next_after) == (1, None)
        exported = await store.export(ALICE, after=None, limit=1)
        assert [one.record.key for one in exported.held] == [KEY]
        past = await store.as_of(ALICE, T0, collection=None, after=None, limit=1)
        assert [one.key for one in past.held] == [KEY]

    async def test_who_is_told_that_a_write_failed_may_have_been_counted_or_not(
        self, dynamodb: Client, prefix: str, another: DynamoRecordStore
    ) -> None:
        """The record's own write is done, and its reply lost for good."""
        interruption = Interruption(frozenset({"update_item"}), 2, When.LOST, lost)
        store = DynamoRecordStore(interruption.around(dynamodb), prefix, ROOM)
        with pytest.raises(errors.Unavailable):
            await save(store, "1")
        assert await used(another, now=T0 + MINUTE) == Usage(1, 1)
