"""What every store of records promises of several writes at once, of functions, of receipts."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from services.player_data.models import (
    HISTORY,
    MOST_REMEMBERED,
    MOST_WRITES,
    Change,
    Precondition,
    Receipt,
    Record,
    RecordKey,
    Write,
    Written,
)
from services.player_data.ports import RecordStore
from shared import errors
from tests.conformance.records import ALICE, BOB, KEY, T0, T1, delete, in_saves, numbers, put

OTHER = RecordKey(ALICE, "saves", "slot2")
DAY = timedelta(hours=24)
RECEIPT = Receipt(ALICE, key=b"k" * 32, request=b"r" * 32, expires_at=T0 + DAY)


def to(
    key: RecordKey,
    change: str | Change | None,
    precondition: Precondition = Precondition.ALWAYS,
    keep: int = HISTORY,
) -> Write:
    return Write(key, change, precondition, keep)


async def do(
    store: RecordStore,
    *writes: Write,
    by: str = ALICE,
    now: datetime = T0,
    receipt: Receipt | None = None,
) -> Sequence[Written]:
    return await store.write(writes, by=by, now=now, receipt=receipt)


async def failures(
    store: RecordStore, *writes: Write, receipt: Receipt | None = None
) -> dict[int, errors.PlaymeshError]:
    with pytest.raises(errors.BatchFailed) as failed:
        await do(store, *writes, receipt=receipt)
    return dict(failed.value.failures)


def add(current: Record | None) -> str:
    return str((int(current.value) if current else 0) + 1)


def refuse(_: Record | None) -> str:
    raise errors.Conflict("not this one")


class RecordsTogetherContract:
    """All of several writes are done, or none."""

    async def test_several_records_are_written_at_once_and_answered_in_order(
        self, store: RecordStore
    ) -> None:
        before = await put(store, OTHER, '"before"')
        done = await do(store, to(OTHER, '"after"'), to(KEY, '"new"'), now=T1)
        assert [one.record for one in done] == [await store.get(OTHER), await store.get(KEY)]
        assert [(one.key, one.version, one.created) for one in done] == [
            (OTHER, 2, False),
            (KEY, 1, True),
        ]
        assert await store.versions(OTHER) == [before]

    async def test_one_of_them_may_delete(self, store: RecordStore) -> None:
        await put(store)
        done = await do(store, to(KEY, None), to(OTHER, "2"))
        assert done[0] == Written(KEY, 2, record=None, created=False)
        assert await store.get(KEY) is None
        assert await store.get(OTHER) == done[1].record

    async def test_where_one_cannot_be_done_none_is(self, store: RecordStore) -> None:
        current = await put(store)
        failed = await failures(
            store,
            to(OTHER, "1", Precondition.ABSENT),
            to(KEY, "2", Precondition.at(7)),
            to(RecordKey(ALICE, "saves", "slot3"), refuse),
        )
        assert sorted(failed) == [1, 2]
        assert isinstance(failed[1], errors.VersionConflict)
        assert failed[1].current == current
        assert isinstance(failed[2], errors.Conflict)
        assert await store.get(OTHER) is None
        assert await store.get(KEY) == current
        assert await store.versions(KEY) == []

    async def test_as_many_as_are_allowed_are_done_together(self, store: RecordStore) -> None:
        keys = in_saves(*(f"slot{number:02}" for number in range(MOST_WRITES)))
        await do(store, *(to(key, "1") for key in keys))
        done = await do(store, *(to(key, "2") for key in keys))
        assert {one.version for one in done} == {2}
        assert [(await store.get(key)) for key in keys] == [one.record for one in done]

    async def test_values_that_are_too_large_together_are_refused(self, store: RecordStore) -> None:
        keys = in_saves(*(f"slot{number:02}" for number in range(10)))
        failed = await failures(store, *(to(key, '"' + "x" * 340_000 + '"') for key in keys))
        assert {type(error) for error in failed.values()} == {errors.TooLarge}
        assert await store.get(keys[0]) is None

    async def test_of_many_that_swap_two_records_each_sees_what_the_one_before_has_left(
        self, store: RecordStore
    ) -> None:
        """The sum stays, whatever is done at once."""
        await do(store, to(KEY, "100"), to(OTHER, "100"))

        def move(amount: int) -> list[Write]:
            def shift(by: int) -> Change:
                return lambda current: str(int(current.value) + by) if current else "0"

            return [to(KEY, shift(-amount)), to(OTHER, shift(amount))]

        moved = await asyncio.gather(
            *(do(store, *move(amount)) for amount in range(8)), return_exceptions=True
        )
        assert all(isinstance(one, list | errors.Unavailable) for one in moved)
        done = sum(number for number, one in enumerate(moved) if isinstance(one, list))
        found = [await store.get(KEY), await store.get(OTHER)]
        assert [one.value for one in found if one] == [str(100 - done), str(100 + done)]

    async def test_a_player_is_not_told_from_another_by_anything_but_the_key(
        self, store: RecordStore
    ) -> None:
        theirs = await put(store, replace(KEY, player=BOB), '"theirs"')
        await do(store, to(KEY, '"mine"'))
        assert await store.get(theirs.key) == theirs


class RecordChangeContract:
    """What a function makes of a record is stored in place of that one."""

    async def test_a_function_is_asked_with_the_record_as_it_is(self, store: RecordStore) -> None:
        first = (await do(store, to(KEY, add)))[0]
        assert (first.record and first.record.value, first.created) == ("1", True)
        second = (await do(store, to(KEY, add), now=T1))[0]
        assert second == Written(KEY, 2, await store.get(KEY), created=False)
        assert second.record
        assert second.record.value == "2"

    async def test_of_parallel_increments_none_is_lost(self, store: RecordStore) -> None:
        done = await asyncio.gather(*(do(store, to(KEY, add)) for _ in range(20)))
        assert sorted(one[0].version or 0 for one in done) == list(range(1, 21))
        record = await store.get(KEY)
        assert record
        assert record.value == "20"

    async def test_what_makes_the_text_that_is_there_makes_no_version(
        self, store: RecordStore
    ) -> None:
        current = await put(store, value="5")
        same = await do(store, to(KEY, lambda _: "5"), now=T1)
        assert same[0] == Written(KEY, 1, current, created=False)
        assert await store.get(KEY) == current
        assert await store.versions(KEY) == []

    async def test_a_value_that_is_put_again_is_a_version(self, store: RecordStore) -> None:
        await put(store, value="5")
        assert (await put(store, value="5")).version == 2

    async def test_a_function_may_delete(self, store: RecordStore) -> None:
        await put(store)
        assert (await do(store, to(KEY, lambda _: None)))[0].version == 2
        assert await store.get(KEY) is None

    async def test_nothing_becomes_of_nothing(self, store: RecordStore) -> None:
        await put(store)
        await delete(store)
        assert (await do(store, to(KEY, lambda _: None)))[0] == Written(
            KEY, None, record=None, created=False
        )
        assert (await put(store)).version == 3

    async def test_what_a_function_raises_changes_nothing(self, store: RecordStore) -> None:
        current = await put(store)
        failed = await failures(store, to(KEY, refuse))
        assert isinstance(failed[0], errors.Conflict)
        assert await store.get(KEY) == current

    async def test_a_function_is_asked_only_where_the_precondition_holds(
        self, store: RecordStore
    ) -> None:
        failed = await failures(store, to(KEY, refuse, Precondition.EXISTS))
        assert isinstance(failed[0], errors.VersionConflict)


class RecordWriterContract:
    """Each version says who wrote it, and when the one before ended."""

    async def test_a_record_says_who_wrote_it_and_so_do_its_versions(
        self, store: RecordStore
    ) -> None:
        await do(store, to(KEY, "1"), by=ALICE)
        await do(store, to(KEY, "2"), by="service:shop")
        current = await store.get(KEY)
        assert current
        assert current.written_by == "service:shop"
        assert [one.written_by for one in await store.versions(KEY)] == [ALICE]

    async def test_a_version_knows_when_the_one_before_was_written(
        self, store: RecordStore
    ) -> None:
        moments = [T0 + timedelta(minutes=number) for number in range(3)]
        for now in moments:
            await put(store, now=now)
        current = await store.get(KEY)
        assert current
        kept = [current, *await store.versions(KEY)]
        assert [one.previous_at for one in kept] == [moments[1], moments[0], None]

    async def test_after_a_deletion_it_is_the_deletion(self, store: RecordStore) -> None:
        await put(store, now=T0)
        await delete(store, now=T1)
        for precondition in (Precondition.ABSENT, Precondition.ALWAYS):
            found = await put(store, precondition=precondition, now=T1 + DAY)
            current = await store.get(KEY)
            assert current
            assert current.previous_at == T1
            assert await numbers(store) == list(range(found.version - 2, 0, -2))
            await delete(store, now=T1)


class ReceiptContract:
    """A request that comes again is answered as it was, and done once."""

    async def test_a_write_is_done_once_and_answered_alike(self, store: RecordStore) -> None:
        first = await do(store, to(KEY, '"mine"'), receipt=RECEIPT)
        again = await do(store, to(KEY, '"mine"'), now=T1, receipt=RECEIPT)
        assert list(again) == list(first)
        assert await store.versions(KEY) == []

    async def test_that_holds_whatever_was_written_since(self, store: RecordStore) -> None:
        first = await do(store, to(KEY, "1", Precondition.ABSENT), to(OTHER, add), receipt=RECEIPT)
        for _ in range(HISTORY + 3):
            await do(store, to(KEY, '"later"'), to(OTHER, add))
        await delete(store)
        again = await do(store, to(KEY, "1", Precondition.ABSENT), to(OTHER, add), receipt=RECEIPT)
        assert list(again) == list(first)

    async def test_a_deletion_is_done_once(self, store: RecordStore) -> None:
        await put(store)
        first = await do(store, to(KEY, None, Precondition.EXISTS), receipt=RECEIPT)
        again = await do(store, to(KEY, None, Precondition.EXISTS), receipt=RECEIPT)
        assert list(again) == list(first) == [Written(KEY, 2, record=None, created=False)]

    async def test_what_changed_nothing_is_remembered_as_well(self, store: RecordStore) -> None:
        current = await put(store, value="5")
        for _ in range(2):
            done = await do(store, to(KEY, lambda _: "5"), to(OTHER, None), receipt=RECEIPT)
            assert list(done) == [
                Written(KEY, 1, current, created=False),
                Written(OTHER, None, record=None, created=False),
            ]
            await put(store, value="6")

    async def test_another_request_with_the_same_key_is_refused(self, store: RecordStore) -> None:
        await do(store, to(KEY, "1"), receipt=RECEIPT)
        with pytest.raises(errors.IdempotencyKeyReused):
            await do(store, to(KEY, "2"), receipt=replace(RECEIPT, request=b"s" * 32))
        assert (await do(store, to(KEY, "1"), receipt=RECEIPT))[0].version == 1

    async def test_a_key_is_of_one_player(self, store: RecordStore) -> None:
        await do(store, to(KEY, "1"), receipt=RECEIPT)
        theirs = replace(RECEIPT, player=BOB)
        done = await do(store, to(replace(KEY, player=BOB), "1"), by=BOB, receipt=theirs)
        assert done[0].created

    async def test_a_receipt_holds_until_it_expires(self, store: RecordStore) -> None:
        await do(store, to(KEY, add), receipt=RECEIPT)
        last = RECEIPT.expires_at - timedelta(milliseconds=1)
        assert (await do(store, to(KEY, add), now=last, receipt=RECEIPT))[0].version == 1
        anew = replace(RECEIPT, expires_at=RECEIPT.expires_at + DAY)
        for _ in range(2):
            done = await do(store, to(KEY, add), now=RECEIPT.expires_at, receipt=anew)
            assert done[0].version == 2

    async def test_what_failed_leaves_no_receipt(self, store: RecordStore) -> None:
        await failures(store, to(KEY, "1", Precondition.EXISTS), receipt=RECEIPT)
        other = replace(RECEIPT, request=b"s" * 32)
        assert (await do(store, to(KEY, "2"), receipt=other))[0].created

    async def test_of_many_at_once_one_writes_and_all_are_answered_alike(
        self, store: RecordStore
    ) -> None:
        answers = await asyncio.gather(
            *(do(store, to(KEY, add), receipt=RECEIPT) for _ in range(20))
        )
        assert all(list(one) == list(answers[0]) for one in answers)
        record = await store.get(KEY)
        assert record
        assert (record.version, record.value) == (1, "1")

    async def test_a_long_value_is_answered_as_long_as_it_is_kept(self, store: RecordStore) -> None:
        def long(current: Record | None) -> str:
            return '"' + "x" * MOST_REMEMBERED + f'{current.version if current else 0}"'

        first = await do(store, to(KEY, long), receipt=RECEIPT)
        assert list(await do(store, to(KEY, long), receipt=RECEIPT)) == list(first)
        for _ in range(HISTORY):
            await put(store)
        assert list(await do(store, to(KEY, long), receipt=RECEIPT)) == list(first)
        await put(store)
        with pytest.raises(errors.Conflict, match="not kept any more"):
            await do(store, to(KEY, long), receipt=RECEIPT)

    async def test_an_erasure_takes_receipts_with_it(self, store: RecordStore) -> None:
        await do(store, to(KEY, add), receipt=RECEIPT)
        while not await store.erase(ALICE, limit=100):
            pass
        other = replace(RECEIPT, request=b"s" * 32)
        assert (await do(store, to(KEY, "2"), receipt=other))[0].version == 1


class WritesContract(
    RecordsTogetherContract, RecordChangeContract, RecordWriterContract, ReceiptContract
):
    """Subclasses provide the fixture `store`."""
