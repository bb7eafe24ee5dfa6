"""What every store of records promises of how much a player has, and may have."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import structlog

from services.player_data.models import HISTORY, Precondition, RecordKey, Write
from services.player_data.ports import RecordStore
from services.player_data.usage import Quota, Usage
from shared import errors
from tests.conformance.records import ALICE, BOB, KEY, T0, delete, erase, in_saves, put
from tests.conformance.records_together import RECEIPT, add, to

OPEN = Quota(records=3, bytes=20)
RIVALS = 50
WEEK = timedelta(days=7)
LATER = T0 + timedelta(minutes=2)

OpenStore = Callable[[Quota], Awaitable[RecordStore]]
"""Another process, over what is stored already."""


async def save(
    store: RecordStore,
    value: str | None,
    key: RecordKey = KEY,
    *,
    now: datetime = T0,
    precondition: Precondition = Precondition.ALWAYS,
) -> None:
    """As a player does."""
    write = Write(key, value, precondition, HISTORY)
    await store.write([write], by=ALICE, now=now, within_quota=True)


async def refused(
    store: RecordStore, value: str, key: RecordKey = KEY, *, now: datetime = T0
) -> tuple[Usage, Quota]:
    """What the error says."""
    before = await store.get(key)
    with pytest.raises(errors.QuotaExceeded) as failed:
        await save(store, value, key, now=now)
    assert await store.get(key) == before
    return Usage(**failed.value.used), Quota(**failed.value.allowed)


async def used(store: RecordStore, player: str = ALICE, *, now: datetime = T0) -> Usage:
    """Which is what the summary has."""
    found = await store.usage(player, now=now)
    assert found == Usage.of(await store.summary(player))
    return found


async def race(writes: Iterable[Awaitable[object]]) -> tuple[int, int]:
    """How many were done; and of how many a slow machine has not heard, or not counted them."""
    with structlog.testing.capture_logs() as logs:
        answers = await asyncio.gather(*writes, return_exceptions=True)
    failed = [one for one in answers if isinstance(one, BaseException)]
    lost = sum(isinstance(one, errors.Unavailable) for one in failed)
    assert lost + sum(isinstance(one, errors.QuotaExceeded) for one in failed) == len(failed)
    not_counted = sum(log["event"] == "usage.not_counted" for log in logs)
    return len(answers) - len(failed), lost + not_counted


class UsageContract:
    """How much a player has. Subclasses provide the fixture `open_store`."""

    @pytest.fixture
    async def store(self, open_store: OpenStore) -> RecordStore:
        return await open_store(OPEN)

    async def test_of_a_player_that_was_never_heard_of_it_is_nothing(
        self, store: RecordStore
    ) -> None:
        assert await used(store) == Usage(0, 0)

    async def test_current_records_count_and_the_bytes_of_their_values(
        self, store: RecordStore
    ) -> None:
        one, two = in_saves("slot1", "slot2")
        await save(store, '"é"', one)
        await save(store, "22", two)
        assert await used(store) == Usage(2, 6)
        await put(store, replace(KEY, player=BOB), "1")
        assert await used(store) == Usage(2, 6)

    async def test_neither_versions_nor_what_was_deleted_count(self, store: RecordStore) -> None:
        await save(store, "1234567890")
        await save(store, "1")
        assert await used(store) == Usage(1, 1)
        await save(store, None)
        assert await used(store) == Usage(0, 0)
        await save(store, "22")
        assert await used(store) == Usage(1, 2)

    async def test_writes_without_the_quota_count(self, store: RecordStore) -> None:
        await save(store, "1")
        await put(store, in_saves("slot2")[0], "1" * 30)
        assert await used(store) == Usage(2, 31)
        await delete(store)
        assert await used(store) == Usage(1, 30)

    async def test_what_several_writes_change_counts_once(self, store: RecordStore) -> None:
        one, two, three = in_saves("slot1", "slot2", "slot3")
        await store.write([to(one, "1"), to(two, "22")], by=ALICE, now=T0, within_quota=True)
        changes = [to(one, None), to(two, "2"), to(three, "333")]
        await store.write(changes, by=ALICE, now=T0, within_quota=True)
        assert await used(store) == Usage(2, 4)

    async def test_what_comes_again_counts_once(self, store: RecordStore) -> None:
        for _ in range(2):
            await store.write([to(KEY, add)], by=ALICE, now=T0, receipt=RECEIPT, within_quota=True)
        assert await used(store) == Usage(1, 1)

    async def test_what_failed_does_not_count(self, store: RecordStore) -> None:
        await save(store, "1")
        for precondition in (Precondition.ABSENT, Precondition.at(7)):
            with pytest.raises(errors.BatchFailed):
                await save(store, "22", precondition=precondition)
        assert await used(store) == Usage(1, 1)

    async def test_of_who_was_erased_nothing_counts(self, store: RecordStore) -> None:
        await save(store, "1" * 20)
        await erase(store)
        assert await used(store) == Usage(0, 0)
        await save(store, "1" * 20)
        assert await used(store) == Usage(1, 20)

    async def test_what_is_left_in_an_erasure_counts(self, store: RecordStore) -> None:
        keys = in_saves("slot1", "slot2", "slot3")
        for key in keys:
            await save(store, "1", key)
        assert await store.erase(ALICE, limit=2) is False
        left = [key for key in keys if await store.get(key)]
        assert len(left) < len(keys)
        assert await used(store) == Usage(len(left), len(left))

    async def test_what_was_there_before_anybody_counted_does(self, open_store: OpenStore) -> None:
        await put(await open_store(Quota()), value="1" * 20)
        store = await open_store(OPEN)
        assert await used(store) == Usage(1, 20)
        assert await refused(store, "1", in_saves("slot2")[0]) == (Usage(1, 20), OPEN)

    async def test_without_a_quota_everything_is_admitted_and_counted(
        self, open_store: OpenStore
    ) -> None:
        store = await open_store(Quota())
        await save(store, "1" * 1000)
        await save(store, "1", in_saves("slot2")[0])
        assert await used(store) == Usage(2, 1001)


class QuotaContract:
    """What players are refused."""

    @pytest.fixture
    async def store(self, open_store: OpenStore) -> RecordStore:
        return await open_store(OPEN)

    async def test_the_quota_may_be_used_up_and_no_more(self, store: RecordStore) -> None:
        *keys, one_more = in_saves("slot1", "slot2", "slot3", "slot4")
        for key in keys:
            await save(store, "1", key)
        assert await refused(store, "1", one_more) == (Usage(3, 3), OPEN)
        await save(store, "1" * 18, keys[0])
        assert await refused(store, "22", keys[1]) == (Usage(3, 20), OPEN)
        assert await used(store) == Usage(3, 20)

    async def test_a_first_write_may_be_too_much(self, store: RecordStore) -> None:
        assert await refused(store, "1" * 21) == (Usage(0, 0), OPEN)
        await save(store, "1" * 20)

    async def test_each_quota_stands_alone(self, open_store: OpenStore) -> None:
        store = await open_store(Quota(records=1))
        await save(store, "1" * 1000)
        assert await refused(store, "1", in_saves("slot2")[0]) == (
            Usage(1, 1000),
            Quota(records=1),
        )
        bob = replace(KEY, player=BOB)
        store = await open_store(Quota(bytes=2))
        for number in range(2):
            await save(store, "1", replace(bob, key=f"slot{number}"))
        assert await refused(store, "22", replace(bob, key="slot0")) == (
            Usage(2, 2),
            Quota(bytes=2),
        )

    async def test_who_has_too_much_may_shrink_and_keep_it(self, store: RecordStore) -> None:
        """A service gave more than a player may have."""
        for number in range(5):
            await put(store, RecordKey(ALICE, "saves", f"slot{number}"), "1" * 10)
        await save(store, "2" * 10, in_saves("slot0")[0])
        await save(store, "2" * 9, in_saves("slot0")[0])
        assert await refused(store, "2" * 10, in_saves("slot0")[0]) == (Usage(5, 49), OPEN)
        await save(store, None, in_saves("slot0")[0])
        assert await used(store) == Usage(4, 40)

    async def test_room_that_was_made_can_be_used_at_once(self, store: RecordStore) -> None:
        one, two = in_saves("slot1", "slot2")
        await save(store, "1" * 20, one)
        await refused(store, "1", two)
        await save(store, "1" * 19, one)
        await save(store, "1", two)
        await refused(store, "22", two)
        await save(store, None, one)
        await save(store, "1" * 20, two)

    async def test_several_writes_are_admitted_by_what_they_come_to(
        self, store: RecordStore
    ) -> None:
        one, two = in_saves("slot1", "slot2")
        await save(store, "1" * 20, one)
        changes = [to(one, "1" * 10), to(two, "1" * 11)]
        with pytest.raises(errors.QuotaExceeded):
            await store.write(changes, by=ALICE, now=T0, within_quota=True)
        assert await store.get(two) is None
        await store.write([changes[0], to(two, "1" * 10)], by=ALICE, now=T0, within_quota=True)
        assert await used(store) == Usage(2, 20)

    async def test_a_precondition_that_does_not_hold_is_told_first(
        self, store: RecordStore
    ) -> None:
        await save(store, "1" * 20)
        for precondition in (Precondition.ABSENT, Precondition.at(7)):
            with pytest.raises(errors.BatchFailed):
                await save(store, "1" * 30, precondition=precondition)

    async def test_what_was_done_before_is_answered_to_who_has_no_room_left(
        self, store: RecordStore
    ) -> None:
        write = [to(KEY, "1" * 20)]
        first = await store.write(write, by=ALICE, now=T0, receipt=RECEIPT, within_quota=True)
        again = await store.write(write, by=ALICE, now=T0, receipt=RECEIPT, within_quota=True)
        assert list(again) == list(first)

    async def test_what_was_refused_leaves_no_receipt(self, store: RecordStore) -> None:
        await put(store, in_saves("slot2")[0], "1" * 20)
        with pytest.raises(errors.QuotaExceeded):
            await store.write([to(KEY, "1")], by=ALICE, now=T0, receipt=RECEIPT, within_quota=True)
        await delete(store, in_saves("slot2")[0])
        write = [to(KEY, "1")]
        done = await store.write(write, by=ALICE, now=T0, receipt=RECEIPT, within_quota=True)
        assert done[0].created

    async def test_other_players_have_a_quota_of_their_own(self, store: RecordStore) -> None:
        await save(store, "1" * 20)
        await save(store, "1" * 20, replace(KEY, player=BOB))

    async def test_of_many_at_once_as_many_are_admitted_as_have_room(
        self, open_store: OpenStore
    ) -> None:
        store = await open_store(Quota(records=RIVALS // 2, bytes=10_000))
        keys = [RecordKey(ALICE, "saves", f"slot{number}") for number in range(RIVALS)]
        done, missed = await race(save(store, "1", key) for key in keys)
        has = await used(store, now=LATER)
        assert RIVALS // 2 - missed <= done <= has.records <= RIVALS // 2 + missed

    async def test_many_that_grow_one_record_stay_within_the_bytes(
        self, open_store: OpenStore
    ) -> None:
        store = await open_store(Quota(bytes=20))

        def lengthen(current: object) -> str:
            return getattr(current, "value", "") + "1"

        done, missed = await race(
            store.write([to(KEY, lengthen)], by=ALICE, now=T0, within_quota=True) for _ in range(30)
        )
        has = await used(store, now=LATER)
        assert 20 - missed <= done <= has.bytes <= 20 + missed
