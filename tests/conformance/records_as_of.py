"""What every store of records promises of a player as of a moment."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from services.player_data.models import LARGEST_PAGE, LARGEST_VALUE, Record, RecordKey
from services.player_data.past import Past
from services.player_data.ports import RecordStore
from tests.conformance.records import ALICE, BOB, KEY, T0, delete, erase, in_saves, put

MILLISECOND = timedelta(milliseconds=1)


def minute(number: float) -> datetime:
    return T0 + timedelta(minutes=number)


async def as_of(
    store: RecordStore, moment: datetime, *, collection: str | None = None, limit: int = 100
) -> list[Past]:
    """All pages."""
    held: list[Past] = []
    after: RecordKey | None = None
    for _ in range(100):
        page = await store.as_of(ALICE, moment, collection=collection, after=after, limit=limit)
        assert len(page.held) <= limit
        held += page.held
        after = page.next_after
        if after is None:
            return held
    raise AssertionError("the walk goes in circles")


def whole(*records: Record) -> list[Past]:
    return [Past(record.key, record, is_complete=True) for record in records]


def lost(record: Record | None, key: RecordKey = KEY) -> list[Past]:
    return [Past(key, record, is_complete=False)]


class AsOfContract:
    """Subclasses provide the fixture `store`."""

    async def test_each_version_holds_from_its_write_to_the_next(self, store: RecordStore) -> None:
        first, second, third = [
            await put(store, value=str(number), now=minute(number)) for number in range(3)
        ]
        assert await as_of(store, minute(0) - MILLISECOND) == []
        assert await as_of(store, minute(0)) == whole(first)
        assert await as_of(store, minute(1) - MILLISECOND) == whole(first)
        assert await as_of(store, minute(1)) == whole(second)
        assert await as_of(store, minute(2)) == whole(third)
        assert await as_of(store, minute(1000)) == whole(third)

    async def test_what_was_deleted_since_is_there_and_what_was_deleted_before_is_not(
        self, store: RecordStore
    ) -> None:
        first = await put(store, now=minute(0))
        await delete(store, now=minute(1))
        assert await as_of(store, minute(0)) == whole(first)
        assert await as_of(store, minute(1) - MILLISECOND) == whole(first)
        assert await as_of(store, minute(1)) == []

    async def test_between_a_deletion_and_the_next_write_there_is_nothing(
        self, store: RecordStore
    ) -> None:
        first = await put(store, now=minute(0))
        await delete(store, now=minute(2))
        again = await put(store, now=minute(4))
        third = await put(store, now=minute(6))
        expected = {1: [first], 2: [], 3: [], 4: [again], 5: [again], 6: [third]}
        for number, records in expected.items():
            assert await as_of(store, minute(number)) == whole(*records), number
        assert await as_of(store, minute(-1)) == []

    async def test_of_writes_at_one_moment_the_last_holds(self, store: RecordStore) -> None:
        await put(store, value="1", now=minute(0))
        last = await put(store, value="2", now=minute(0))
        await put(store, now=minute(1))
        assert await as_of(store, minute(0)) == whole(last)

    async def test_what_is_not_kept_any_more_is_incomplete(self, store: RecordStore) -> None:
        """Before that only what the versions themselves tell is known."""
        written = [
            await put(store, value=str(number), keep=2, now=minute(number)) for number in range(5)
        ]
        assert await as_of(store, minute(4)) == whole(written[4])
        assert await as_of(store, minute(2)) == whole(written[2])
        for number in (1, 0, -1):
            assert await as_of(store, minute(number)) == lost(None), number

    async def test_without_a_history_it_is_known_where_the_last_but_one_began(
        self, store: RecordStore
    ) -> None:
        await put(store, keep=0, now=minute(0))
        last = await put(store, keep=0, now=minute(1))
        assert await as_of(store, minute(1)) == whole(last)
        assert await as_of(store, minute(0)) == lost(None)
        assert await as_of(store, minute(0) - MILLISECOND) == []

    async def test_without_a_history_a_deletion_is_known_nevertheless(
        self, store: RecordStore
    ) -> None:
        await put(store, keep=0, now=minute(0))
        await delete(store, keep=0, now=minute(1))
        assert await as_of(store, minute(0)) == lost(None)
        assert await as_of(store, minute(1)) == []
        again = await put(store, keep=0, now=minute(2))
        assert await as_of(store, minute(2)) == whole(again)
        assert await as_of(store, minute(1)) == []
        assert await as_of(store, minute(0)) == lost(None)

    async def test_what_was_kept_before_there_was_less_to_keep_is_not_taken_for_what_is_lost(
        self, store: RecordStore
    ) -> None:
        """The versions between are gone; the one before them is the best that there is."""
        for number in range(3):
            await put(store, value=str(number), keep=10, now=minute(number))
        await put(store, value="3", keep=0, now=minute(3))
        last = await put(store, value="4", keep=10, now=minute(4))
        for past in await as_of(store, minute(2)):
            assert not past.is_complete
        assert await as_of(store, minute(4)) == whole(last)

    async def test_all_keys_come_in_order_whether_they_hold_something_now_or_not(
        self, store: RecordStore
    ) -> None:
        keys = [RecordKey(ALICE, "profile", "z"), *in_saves("a", "b", "c", "d")]
        records = [await put(store, key, now=minute(0)) for key in keys]
        await put(store, replace(KEY, player=BOB), now=minute(0))
        await delete(store, keys[1], now=minute(2))
        await put(store, keys[2], now=minute(2))
        late = await put(store, in_saves("bb")[0], now=minute(2))
        for limit in (1, 2, 3, 100):
            assert await as_of(store, minute(1), limit=limit) == whole(*records)
            of_saves = await as_of(store, minute(1), collection="saves", limit=limit)
            assert of_saves == whole(*records[1:])
        assert late in [one.record for one in await as_of(store, minute(2))]
        assert await as_of(store, minute(1), collection="s") == []

    async def test_a_page_is_as_large_as_a_page_may_be(self, store: RecordStore) -> None:
        keys = in_saves("a", "b", "c", "d", "e")
        value = '"' + "x" * (LARGEST_VALUE - 2) + '"'
        for key in keys:
            await put(store, key, value, now=minute(0))
            await delete(store, key, now=minute(1))
        page = await store.as_of(ALICE, minute(0), collection=None, after=None, limit=100)
        assert [one.key for one in page.held] == keys[: LARGEST_PAGE // LARGEST_VALUE]
        assert page.next_after == page.held[-1].key
        assert [one.key for one in await as_of(store, minute(0))] == keys

    async def test_of_who_was_erased_there_is_nothing_at_any_moment(
        self, store: RecordStore
    ) -> None:
        for number in range(3):
            await put(store, now=minute(number))
        await erase(store)
        again = await put(store, now=minute(5))
        assert await as_of(store, minute(1)) == []
        assert await as_of(store, minute(5)) == whole(again)

    async def test_any_moment_can_be_asked_for(self, store: RecordStore) -> None:
        record = await put(store)
        assert await as_of(store, datetime(1, 1, 1, tzinfo=UTC)) == []
        assert await as_of(store, datetime(9999, 12, 31, tzinfo=UTC)) == whole(record)
