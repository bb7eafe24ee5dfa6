"""What may come between the parts of a write of several records in DynamoDB, and of its receipt."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.player_data.adapters.dynamodb import TABLES, DynamoRecordStore
from services.player_data.models import (
    MOST_REMEMBERED,
    MOST_WRITES,
    Precondition,
    Receipt,
    Record,
    RecordKey,
    Write,
    Written,
)
from shared import errors
from shared.aws import Client
from tests.conformance.dynamodb import OnDynamo
from tests.conformance.records import ALICE, KEY, T0, T1, delete, in_saves, put
from tests.conformance.records_together import OTHER, RECEIPT, add, do, to
from tests.support.aws import new_tables
from tests.support.lost_replies import Contended, Interrupted, NeverAnswers, SentTwice

THIRD = RecordKey(ALICE, "saves", "slot3")
PASSING = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"]
CHANGES = [(to(KEY, add),), (to(KEY, add), to(OTHER, add))]
WITH_AND_WITHOUT = pytest.mark.parametrize("receipt", [None, RECEIPT], ids=["bare", "receipt"])


async def found(store: DynamoRecordStore, *keys: RecordKey) -> list[tuple[int, str] | None]:
    records = [await store.get(key) for key in keys]
    return [(one.version, one.value) if one else None for one in records]


def told(done: Sequence[Written]) -> list[tuple[int, str] | None]:
    return [(one.record.version, one.record.value) if one.record else None for one in done]


class RecordTransactions(OnDynamo):
    """Subclasses provide the fixture `endpoint`."""

    @pytest.fixture
    async def prefix(self, dynamodb: Client) -> str:
        return await new_tables(dynamodb, *TABLES)

    @pytest.fixture
    def store(self, dynamodb: Client, prefix: str) -> DynamoRecordStore:
        return DynamoRecordStore(dynamodb, prefix)

    @pytest.fixture
    def twice(self, dynamodb: Client) -> SentTwice:
        return SentTwice(dynamodb, among=["transact_write_items"])

    # Replies that are lost.

    @WITH_AND_WITHOUT
    async def test_several_records_are_written_once(
        self, twice: SentTwice, store: DynamoRecordStore, prefix: str, receipt: Receipt | None
    ) -> None:
        await put(store, value="5")
        await put(store, THIRD)
        unlucky = DynamoRecordStore(twice, prefix)
        writes = (to(KEY, add), to(OTHER, '"new"', Precondition.ABSENT), to(THIRD, None))
        done = await do(unlucky, *writes, receipt=receipt)
        assert told(done) == [(2, "6"), (1, '"new"'), None]
        assert await found(store, KEY, OTHER, THIRD) == told(done)
        assert [one.value for one in await store.versions(KEY)] == ["5"]

    @WITH_AND_WITHOUT
    async def test_that_others_change_them_in_between_is_not_in_the_way(
        self, twice: SentTwice, store: DynamoRecordStore, prefix: str, receipt: Receipt | None
    ) -> None:
        async def others() -> None:
            for _ in range(3):
                await do(store, to(KEY, add), to(OTHER, add))

        twice.meanwhile = others
        unlucky = DynamoRecordStore(twice, prefix)
        done = await do(unlucky, to(KEY, add), to(OTHER, add), receipt=receipt)
        assert told(done) == [(1, "1"), (1, "1")]
        assert await found(store, KEY, OTHER) == [(4, "4"), (4, "4")]

    async def test_one_record_that_nobody_changed_tells_that_all_were_written(
        self, twice: SentTwice, store: DynamoRecordStore, prefix: str
    ) -> None:
        async def others() -> None:
            for _ in range(8):
                await do(store, to(KEY, add))

        twice.meanwhile = others
        done = await do(DynamoRecordStore(twice, prefix), to(KEY, add), to(OTHER, add))
        assert told(done) == [(1, "1"), (1, "1")]
        assert await found(store, KEY, OTHER) == [(9, "9"), (1, "1")]

    @pytest.mark.parametrize("others", [3, 4, 9])
    @pytest.mark.parametrize("changes", CHANGES)
    async def test_without_a_receipt_it_happens_once_or_nobody_can_tell(
        self,
        dynamodb: Client,
        store: DynamoRecordStore,
        prefix: str,
        changes: Sequence[Write],
        others: int,
    ) -> None:
        """The id of the write is among the last four that an item keeps."""
        twice = SentTwice(dynamodb, among=["update_item", "transact_write_items"])
        await do(store, *changes)

        async def meanwhile() -> None:
            for _ in range(others):
                await do(store, *changes)

        twice.meanwhile = meanwhile
        unlucky = do(DynamoRecordStore(twice, prefix), *changes)
        if others > 3:
            with pytest.raises(errors.Unavailable):
                await unlucky
        else:
            assert told(await unlucky) == [(2, "2")] * len(changes)
        assert await found(store, KEY) == [(others + 2, str(others + 2))]

    @pytest.mark.parametrize("changes", CHANGES)
    async def test_with_a_receipt_it_happens_once_however_many_change_them_in_between(
        self, twice: SentTwice, store: DynamoRecordStore, prefix: str, changes: Sequence[Write]
    ) -> None:
        async def others() -> None:
            for _ in range(8):
                await do(store, *changes)
            await delete(store, KEY)

        twice.meanwhile = others
        done = await do(DynamoRecordStore(twice, prefix), *changes, receipt=RECEIPT)
        assert told(done) == [(1, "1")] * len(changes)
        assert list(await do(store, *changes, receipt=RECEIPT)) == list(done)
        current = await do(store, to(KEY, add))
        assert told(current) == [(11, "1")]

    async def test_without_any_reply_it_is_unavailable_and_a_repetition_is_answered_as_it_was_done(
        self, dynamodb: Client, store: DynamoRecordStore, prefix: str
    ) -> None:
        writes = (to(KEY, add), to(OTHER, '"new"', Precondition.ABSENT))
        with pytest.raises(errors.Unavailable):
            await do(DynamoRecordStore(NeverAnswers(dynamodb), prefix), *writes, receipt=RECEIPT)
        for _ in range(2):
            again = await do(store, *writes, now=T1, receipt=RECEIPT)
            assert told(again) == [(1, "1"), (1, '"new"')]
            assert again[0].record
            assert again[0].record.updated_at == T0

    # Others who are faster.

    async def test_where_a_repetition_overtakes_the_first_attempt_both_are_answered_alike(
        self, dynamodb: Client, store: DynamoRecordStore, prefix: str
    ) -> None:
        late = Interrupted(dynamodb, "transact_write_items")
        answers: list[Sequence[Written]] = []

        async def repeat() -> None:
            answers.append(await do(store, to(KEY, add), receipt=RECEIPT))

        late.meanwhile = repeat
        first = await do(DynamoRecordStore(late, prefix), to(KEY, add), receipt=RECEIPT)
        assert [list(one) for one in answers] == [list(first)]
        assert await found(store, KEY) == [(1, "1")]

    @pytest.mark.parametrize("key", [KEY, OTHER], ids=["the same record", "another record"])
    async def test_of_two_requests_with_one_key_at_once_one_is_done(
        self, dynamodb: Client, store: DynamoRecordStore, prefix: str, key: RecordKey
    ) -> None:
        late = Interrupted(dynamodb, "transact_write_items")
        another = replace(RECEIPT, request=b"s" * 32)
        late.meanwhile = lambda: do(store, to(key, '"theirs"'), receipt=another)
        with pytest.raises(errors.IdempotencyKeyReused):
            await do(DynamoRecordStore(late, prefix), to(KEY, '"mine"'), receipt=RECEIPT)
        assert await found(store, key) == [(1, '"theirs"')]
        assert await found(store, KEY if key == OTHER else OTHER) == [None]

    async def test_of_many_requests_with_one_key_one_is_done(
        self, store: DynamoRecordStore
    ) -> None:
        keys = in_saves(*(f"slot{number}" for number in range(12)))
        answers = await asyncio.gather(
            *(
                do(store, to(key, "1"), receipt=replace(RECEIPT, request=bytes([number]) * 32))
                for number, key in enumerate(keys)
            ),
            return_exceptions=True,
        )
        done = [one for one in answers if not isinstance(one, BaseException)]
        refused = [one for one in answers if isinstance(one, errors.IdempotencyKeyReused)]
        assert (len(done), len(refused)) == (1, 11)
        assert [one for one in await found(store, *keys) if one] == [(1, "1")]

    @WITH_AND_WITHOUT
    async def test_several_writes_that_others_came_before_are_made_of_what_those_left(
        self, dynamodb: Client, store: DynamoRecordStore, prefix: str, receipt: Receipt | None
    ) -> None:
        late = Interrupted(SentTwice(dynamodb), "transact_write_items")
        await put(store, value="5")
        late.meanwhile = lambda: put(store, value="7")
        writes = (to(KEY, add), to(OTHER, add))
        done = await do(DynamoRecordStore(late, prefix), *writes, receipt=receipt)
        assert told(done) == [(3, "8"), (1, "1")]
        assert [one.value for one in await store.versions(KEY)] == ["7", "5"]

    async def test_what_stays_as_it_is_still_does_when_the_others_are_written(
        self, dynamodb: Client, store: DynamoRecordStore, prefix: str
    ) -> None:
        """Otherwise two could each rely on what the other one changes."""
        late = Interrupted(dynamodb, "transact_write_items")
        await put(store, value="5")
        late.meanwhile = lambda: put(store, value="6")

        def stay(current: Record | None) -> str | None:
            return current.value if current else None

        done = await do(DynamoRecordStore(late, prefix), to(KEY, stay), to(OTHER, add))
        assert told(done) == [(2, "6"), (1, "1")] == await found(store, KEY, OTHER)

    async def test_several_that_all_stay_as_they_are_were_so_at_one_moment(
        self, dynamodb: Client, store: DynamoRecordStore, prefix: str
    ) -> None:
        late = Interrupted(dynamodb, "transact_write_items")
        late.meanwhile = lambda: do(store, to(KEY, "1"), to(OTHER, "1"))
        done = await do(DynamoRecordStore(late, prefix), to(KEY, None), to(OTHER, None))
        assert [one.version for one in done] == [2, 2]

    # What DynamoDB refuses.

    @WITH_AND_WITHOUT
    @pytest.mark.parametrize("done_before", [False, True], ids=["new", "done before"])
    @pytest.mark.parametrize("reason", PASSING)
    async def test_several_writes_that_met_others_are_tried_again_and_happen_once(
        self,
        dynamodb: Client,
        store: DynamoRecordStore,
        prefix: str,
        reason: str,
        receipt: Receipt | None,
        *,
        done_before: bool,
    ) -> None:
        contended = Contended(dynamodb, 2, reason, done_before=done_before)
        writes = (to(KEY, add), to(OTHER, add))
        done = await do(DynamoRecordStore(contended, prefix), *writes, receipt=receipt)
        assert told(done) == [(1, "1"), (1, "1")] == await found(store, KEY, OTHER)
        assert contended.transactions == 3

    async def test_several_writes_that_meet_others_for_too_long_are_unavailable_and_not_done(
        self, dynamodb: Client, store: DynamoRecordStore, prefix: str
    ) -> None:
        contended = DynamoRecordStore(Contended(dynamodb, 5, "TransactionConflict"), prefix)
        with pytest.raises(errors.Unavailable):
            await do(contended, to(KEY, add), to(OTHER, add), receipt=RECEIPT)
        assert await found(store, KEY, OTHER) == [None, None]
        another = replace(RECEIPT, request=b"s" * 32)
        assert told(await do(store, to(KEY, add), receipt=another)) == [(1, "1")]

    @WITH_AND_WITHOUT
    async def test_several_writes_of_which_one_cannot_be_copied_change_nothing(
        self, dynamodb: Client, store: DynamoRecordStore, prefix: str, receipt: Receipt | None
    ) -> None:
        crashing = Interrupted(dynamodb, "put_item")
        crashing.crash = True
        await put(store, value="5")
        current, writes = await store.get(KEY), (to(OTHER, add), to(KEY, add))
        with pytest.raises(errors.Unavailable):
            await do(DynamoRecordStore(crashing, prefix), *writes, receipt=receipt)
        assert [await store.get(KEY), await store.get(OTHER)] == [current, None]
        assert await store.versions(KEY) == []
        assert told(await do(store, *writes, receipt=receipt)) == [(1, "1"), (2, "6")]

    @WITH_AND_WITHOUT
    async def test_a_crash_between_the_copies_and_the_writes_changes_nothing(
        self, dynamodb: Client, store: DynamoRecordStore, prefix: str, receipt: Receipt | None
    ) -> None:
        crashing = Interrupted(dynamodb, "transact_write_items")
        crashing.crash = True
        for _ in range(5):
            await do(store, to(KEY, add, keep=2), to(OTHER, add, keep=2))
            before = [await store.get(KEY), await store.get(OTHER)]
            history = [await store.versions(KEY), await store.versions(OTHER)]
            with pytest.raises(errors.Unavailable):
                await do(
                    DynamoRecordStore(crashing, prefix),
                    to(KEY, add, keep=2),
                    to(OTHER, None, keep=2),
                    receipt=receipt,
                )
            assert [await store.get(KEY), await store.get(OTHER)] == before
            assert [await store.versions(KEY), await store.versions(OTHER)] == history

    async def test_what_the_largest_request_made_fits_into_its_receipt(
        self, store: DynamoRecordStore
    ) -> None:
        """All that may be written together, of characters that have four bytes."""
        keys = in_saves(*(f"slot{number:02}" for number in range(MOST_WRITES)))
        value = '"' + "\N{GAME DIE}" * (MOST_REMEMBERED - 2) + '"'
        writes = [to(key, lambda _: value) for key in keys]
        done = await do(store, *writes, receipt=RECEIPT)
        assert list(await do(store, *writes, receipt=RECEIPT)) == list(done)
