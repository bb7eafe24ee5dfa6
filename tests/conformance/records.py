"""What every store of records promises."""

import asyncio
import json
import string
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from services.player_data.models import (
    HISTORY,
    LARGEST_PAGE,
    LARGEST_VALUE,
    CollectionSummary,
    Held,
    Page,
    Position,
    Precondition,
    Record,
    RecordKey,
    Write,
    Written,
    check_name,
)
from services.player_data.ports import RecordStore
from shared import errors

ALICE = "a" * 32
BOB = "b" * 32
KEY = RecordKey(ALICE, "saves", "slot1")
ALPHABET = "".join(sorted(string.ascii_letters + string.digits + "._~:@-"))

T0 = datetime(2037, 10, 25, 0, 59, 59, 1000, tzinfo=UTC)
"""Later than tests are run: DynamoDB Local deletes what has expired, too."""
T1 = T0 + timedelta(milliseconds=1)
T2 = T0 + timedelta(hours=1)
T3 = T0 + timedelta(days=4000)


async def write(store: RecordStore, one: Write, *, now: datetime = T0) -> Written:
    """Raises what is in its way."""
    try:
        (written,) = await store.write([one], by="", now=now)
    except errors.BatchFailed as failed:
        raise failed.failures[0] from None
    return written


async def put(
    store: RecordStore,
    key: RecordKey = KEY,
    value: str = "1",
    *,
    precondition: Precondition = Precondition.ALWAYS,
    keep: int = HISTORY,
    now: datetime = T0,
) -> Record:
    written = await write(store, Write(key, value, precondition, keep), now=now)
    assert written.record
    return written.record


async def delete(
    store: RecordStore,
    key: RecordKey = KEY,
    *,
    precondition: Precondition = Precondition.ALWAYS,
    keep: int = HISTORY,
    now: datetime = T0,
) -> int | None:
    return (await write(store, Write(key, None, precondition, keep), now=now)).version


async def numbers(store: RecordStore, key: RecordKey = KEY) -> list[int]:
    """The versions that are kept."""
    return [record.version for record in await store.versions(key)]


async def fill(store: RecordStore, *keys: RecordKey) -> None:
    for key in keys:
        await put(store, key)


async def page(
    store: RecordStore,
    *,
    player: str = ALICE,
    collection: str | None = None,
    prefix: str = "",
    after: RecordKey | None = None,
    limit: int = 100,
) -> Page:
    return await store.list(player, collection=collection, prefix=prefix, after=after, limit=limit)


async def walk(
    store: RecordStore,
    *,
    collection: str | None = None,
    prefix: str = "",
    limit: int = 100,
    between: Callable[[], Awaitable[object]] | None = None,
) -> list[list[RecordKey]]:
    """The keys of every page, `between` done once after the first."""
    pages = [await page(store, collection=collection, prefix=prefix, limit=limit)]
    if between is not None:
        await between()
    while (after := pages[-1].next_after) is not None:
        pages.append(
            await page(store, collection=collection, prefix=prefix, after=after, limit=limit)
        )
    return [[record.key for record in one.records] for one in pages]


async def export(
    store: RecordStore,
    player: str = ALICE,
    *,
    limit: int = 100,
    between: Callable[[], Awaitable[object]] | None = None,
) -> list[Held]:
    """All pages, `between` done after each but the last."""
    held: list[Held] = []
    after: Position | None = None
    while True:
        found = await store.export(player, after=after, limit=limit)
        assert len(found.held) <= limit
        held += found.held
        assert len(held) < 100, "the walk goes in circles"
        after = found.next_after
        if after is None:
            return held
        if between is not None:
            await between()


async def exported(store: RecordStore, player: str = ALICE, *, limit: int = 100) -> set[str]:
    """Keys with versions; a star is at those that are current."""
    return {
        f"{one.record.key.key} {one.record.version}{'*' * one.is_current}"
        for one in await export(store, player, limit=limit)
    }


async def erase(store: RecordStore, player: str = ALICE, *, limit: int = 100) -> int:
    """All steps; how many there were."""
    steps = 1
    while not await store.erase(player, limit=limit):
        steps += 1
    return steps


def in_saves(*names: str) -> list[RecordKey]:
    return [RecordKey(ALICE, "saves", name) for name in names]


async def absent(store: RecordStore) -> int:
    """The last version of a key that was never written."""
    await put(store, RecordKey(ALICE, "saves", "another"))
    return 0


async def present(store: RecordStore) -> int:
    return (await put(store)).version


async def deleted(store: RecordStore) -> int:
    last = await put(store)
    await delete(store)
    return last.version + 1


STATES = {"absent": absent, "present": present, "deleted": deleted}
# Versions are 0 (absent), 1 (present), 2 (deleted).
ADMITTED = {
    "always": (Precondition.ALWAYS, {"absent", "present", "deleted"}),
    "absent": (Precondition.ABSENT, {"absent", "deleted"}),
    "exists": (Precondition.EXISTS, {"present"}),
    "at the current version": (Precondition.at(1), {"present"}),
    "at the version of the deletion": (Precondition.at(2), set()),
    "at no version ever": (Precondition.at(0), set()),
    "at one of several": (Precondition.at(7, 1, 9), {"present"}),
    "at none of several": (Precondition.at(7, 8, 9), set()),
    "at an empty list": (Precondition.at(), set()),
    "at a version or absent": (
        Precondition(frozenset({1}), may_be_absent=True),
        {"absent", "present", "deleted"},
    ),
}
CASES = [
    (precondition, state, state in admitted)
    for precondition, admitted in ADMITTED.values()
    for state in STATES
]
CASE_IDS = [f"{kind}-{state}" for kind in ADMITTED for state in STATES]
HOLDS = [case[:2] for case in CASES if case[2]]
HOLD_IDS = [name for name, case in zip(CASE_IDS, CASES, strict=True) if case[2]]
FAILS = [case[:2] for case in CASES if not case[2]]
FAIL_IDS = [name for name, case in zip(CASE_IDS, CASES, strict=True) if not case[2]]


class RecordReadContract:
    """What comes back is what was written, where it was written."""

    async def test_an_unknown_record_is_none(self, store: RecordStore) -> None:
        await put(store, RecordKey(ALICE, "saves", "slot2"))
        assert await store.get(KEY) is None

    async def test_a_first_put_makes_version_1(self, store: RecordStore) -> None:
        record = await put(store, value='{"level":1}', now=T1)
        assert record == Record(KEY, '{"level":1}', 1, created_at=T1, updated_at=T1)

    async def test_get_answers_what_put_answered(self, store: RecordStore) -> None:
        await put(store, now=T1)
        record = await put(store, value="2", now=T3)
        assert await store.get(KEY) == record

    async def test_created_at_stays_and_updated_at_moves_when_a_record_is_replaced(
        self, store: RecordStore
    ) -> None:
        await put(store, now=T0)
        await put(store, now=T1)
        record = await put(store, now=T2)
        assert (record.created_at, record.updated_at) == (T0, T2)

    async def test_created_at_is_that_of_the_last_creation(self, store: RecordStore) -> None:
        await put(store, now=T0)
        await delete(store, now=T1)
        record = await put(store, now=T2)
        assert (record.created_at, record.updated_at) == (T2, T2)

    async def test_every_moment_comes_back_in_utc(self, store: RecordStore) -> None:
        await put(store)
        found = await store.get(KEY)
        assert found is not None
        assert (found.created_at.tzinfo, found.updated_at.tzinfo) == (UTC, UTC)

    @pytest.mark.parametrize(
        "value",
        [
            "null",
            '""',
            "{}",
            '{"b":1,"a":[1.50,1e2,-0.0]}',
            json.dumps("Zoë 日本 🎮 \U0010ffff \u2028", ensure_ascii=False),
            json.dumps("\x00\x1f\x7f'\";--%_"),
            "18446744073709551615",
        ],
    )
    async def test_a_value_comes_back_to_the_letter(self, store: RecordStore, value: str) -> None:
        await put(store, value=value)
        found = await store.get(KEY)
        assert found is not None
        assert found.value == value

    @pytest.mark.parametrize("character", ["x", "🎮"])
    async def test_the_largest_value_comes_back_whole(
        self, store: RecordStore, character: str
    ) -> None:
        text = character * ((LARGEST_VALUE - 2) // len(character.encode()))
        await put(store, value=f'"{text}"')
        found = await store.get(KEY)
        assert found is not None
        assert found.value == f'"{text}"'

    @pytest.mark.parametrize(
        "name",
        [ALPHABET, "-", "_", "0", "...", "~" * 128, "z" * 128, "me", "A:b@c~d"],
    )
    async def test_every_allowed_name_is_a_key_and_a_collection(
        self, store: RecordStore, name: str
    ) -> None:
        check_name(name, "name")
        key = RecordKey(ALICE, name, name)
        record = await put(store, key)
        assert await store.get(key) == record
        assert (await page(store, collection=name)).records == [record]

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (RecordKey(ALICE, "saves", "slot"), RecordKey(ALICE, "saves", "SLOT")),
            (RecordKey(ALICE, "saves", "slot"), RecordKey(ALICE, "Saves", "slot")),
            (RecordKey(ALICE, "saves", "1"), RecordKey(ALICE, "saves", "01")),
            (RecordKey(ALICE, "a:b", "c"), RecordKey(ALICE, "a", "b:c")),
            (RecordKey(ALICE, "a-b", "c"), RecordKey(ALICE, "a", "b-c")),
            (RecordKey(ALICE, "ab", "c"), RecordKey(ALICE, "a", "bc")),
            (RecordKey(ALICE, "saves", "slot"), RecordKey(BOB, "saves", "slot")),
            (RecordKey("a", "saves", "slot"), RecordKey("a:saves", "saves", "slot")),
        ],
    )
    async def test_two_keys_never_meet(
        self, store: RecordStore, one: RecordKey, other: RecordKey
    ) -> None:
        record = await put(store, one)
        await put(store, other, "2")
        await delete(store, other)
        assert await store.get(one) == record
        assert await store.get(other) is None


class RecordWriteContract:
    """Versions, preconditions, races."""

    async def test_each_put_makes_the_next_version(self, store: RecordStore) -> None:
        assert [(await put(store)).version for _ in range(5)] == [1, 2, 3, 4, 5]

    async def test_a_deletion_counts_as_a_version(self, store: RecordStore) -> None:
        versions = []
        for _ in range(3):
            versions.append((await put(store)).version)
            await delete(store)
        assert versions == [1, 3, 5]

    async def test_versions_of_different_keys_are_independent(self, store: RecordStore) -> None:
        for _ in range(3):
            await put(store)
        assert (await put(store, RecordKey(ALICE, "saves", "slot2"))).version == 1

    async def test_delete_answers_the_version_of_the_deletion(self, store: RecordStore) -> None:
        record = await put(store, value="7", now=T1)
        assert await delete(store, now=T2) == record.version + 1

    async def test_a_deleted_record_is_gone(self, store: RecordStore) -> None:
        await put(store)
        await delete(store)
        assert await store.get(KEY) is None

    @pytest.mark.parametrize("state", ["absent", "deleted"])
    async def test_deleting_what_is_not_there_is_no_change(
        self, store: RecordStore, state: str
    ) -> None:
        last_version = await STATES[state](store)
        assert await delete(store) is None
        assert (await put(store)).version == last_version + 1

    async def test_a_refused_put_counts_no_version(self, store: RecordStore) -> None:
        await put(store)
        for _ in range(3):
            with pytest.raises(errors.VersionConflict):
                await put(store, precondition=Precondition.ABSENT)
        assert (await put(store)).version == 2

    @pytest.mark.parametrize("keep", [0, HISTORY])
    @pytest.mark.parametrize(("precondition", "state"), HOLDS, ids=HOLD_IDS)
    async def test_a_put_whose_precondition_holds_makes_the_next_version(
        self, store: RecordStore, precondition: Precondition, state: str, keep: int
    ) -> None:
        last_version = await STATES[state](store)
        record = await put(store, value='"new"', precondition=precondition, keep=keep, now=T2)
        assert (record.version, record.value) == (last_version + 1, '"new"')
        assert await store.get(KEY) == record

    @pytest.mark.parametrize("keep", [0, HISTORY])
    @pytest.mark.parametrize(("precondition", "state"), FAILS, ids=FAIL_IDS)
    async def test_a_put_whose_precondition_fails_carries_the_current_record_and_changes_nothing(
        self, store: RecordStore, precondition: Precondition, state: str, keep: int
    ) -> None:
        await STATES[state](store)
        current = await store.get(KEY)
        with pytest.raises(errors.VersionConflict) as conflict:
            await put(store, value='"new"', precondition=precondition, keep=keep, now=T2)
        assert conflict.value.current == current
        assert await store.get(KEY) == current

    @pytest.mark.parametrize("keep", [0, HISTORY])
    @pytest.mark.parametrize(("precondition", "state"), HOLDS, ids=HOLD_IDS)
    async def test_a_delete_whose_precondition_holds_leaves_no_record(
        self, store: RecordStore, precondition: Precondition, state: str, keep: int
    ) -> None:
        await STATES[state](store)
        current = await store.get(KEY)
        expected = current.version + 1 if current else None
        assert await delete(store, precondition=precondition, keep=keep, now=T2) == expected
        assert await store.get(KEY) is None

    @pytest.mark.parametrize("keep", [0, HISTORY])
    @pytest.mark.parametrize(("precondition", "state"), FAILS, ids=FAIL_IDS)
    async def test_a_delete_whose_precondition_fails_carries_the_current_record_and_changes_nothing(
        self, store: RecordStore, precondition: Precondition, state: str, keep: int
    ) -> None:
        last_version = await STATES[state](store)
        current = await store.get(KEY)
        with pytest.raises(errors.VersionConflict) as conflict:
            await delete(store, precondition=precondition, keep=keep, now=T2)
        assert conflict.value.current == current
        assert await store.get(KEY) == current
        assert (await put(store)).version == last_version + 1

    async def test_a_stale_version_carries_the_record_of_the_winner(
        self, store: RecordStore
    ) -> None:
        seen = await put(store)
        winner = await put(store, value='"winner"', precondition=Precondition.at(seen.version))
        with pytest.raises(errors.VersionConflict) as conflict:
            await put(store, value='"loser"', precondition=Precondition.at(seen.version))
        assert conflict.value.current == winner

    async def test_a_version_does_not_hold_for_the_record_that_came_after_a_deletion(
        self, store: RecordStore
    ) -> None:
        seen = await put(store)
        await delete(store)
        again = await put(store, value='"again"')
        with pytest.raises(errors.VersionConflict) as conflict:
            await put(store, value='"late"', precondition=Precondition.at(seen.version))
        assert conflict.value.current == again

    @pytest.mark.parametrize("state", list(STATES))
    async def test_of_20_racing_writers_who_saw_the_same_exactly_one_wins(
        self, store: RecordStore, state: str
    ) -> None:
        last_version = await STATES[state](store)
        current = await store.get(KEY)
        seen = Precondition.at(current.version) if current else Precondition.ABSENT
        outcomes = await asyncio.gather(
            *(put(store, value=str(number), precondition=seen) for number in range(20)),
            return_exceptions=True,
        )
        winners = [outcome for outcome in outcomes if isinstance(outcome, Record)]
        losers = [outcome for outcome in outcomes if isinstance(outcome, errors.VersionConflict)]
        assert (len(winners), len(losers)) == (1, 19)
        assert winners[0].version == last_version + 1
        assert await store.get(KEY) == winners[0]
        assert {loser.current for loser in losers} == {winners[0]}

    async def test_of_a_racing_put_and_delete_who_saw_the_same_exactly_one_wins(
        self, store: RecordStore
    ) -> None:
        for _ in range(10):
            seen = Precondition.at((await put(store)).version)
            outcomes = await asyncio.gather(
                put(store, value='"put"', precondition=seen),
                delete(store, precondition=seen),
                return_exceptions=True,
            )
            losers = [one for one in outcomes if isinstance(one, errors.VersionConflict)]
            assert len(losers) == 1

    async def test_20_parallel_writes_without_precondition_make_20_versions(
        self, store: RecordStore
    ) -> None:
        records = await asyncio.gather(*(put(store, value=str(number)) for number in range(20)))
        assert sorted(record.version for record in records) == list(range(1, 21))
        last = max(records, key=lambda record: record.version)
        assert await store.get(KEY) == last


class RecordListContract:
    """Order, prefix, pages, walks."""

    async def test_a_player_without_records_has_one_empty_page(self, store: RecordStore) -> None:
        await put(store, RecordKey(BOB, "saves", "slot1"))
        assert await page(store) == Page([], None)

    async def test_a_list_answers_records_as_get_does(self, store: RecordStore) -> None:
        await put(store, value='{"a":"ü"}', now=T0)
        record = await put(store, value='{"a":"é"}', now=T3)
        assert await page(store) == Page([record], None)

    async def test_keys_are_in_the_order_of_their_code_points(self, store: RecordStore) -> None:
        keys = in_saves(*sorted({*ALPHABET, "10", "9", "ab", "aB", "a.b", "a~b", "..."} - {"."}))
        await fill(store, *reversed(keys))
        assert await walk(store, collection="saves") == [keys]

    async def test_collections_come_one_after_the_other_whatever_follows_their_name(
        self, store: RecordStore
    ) -> None:
        collections = sorted(["a", "a-", "a-b", "a.b", "a:b", "a@b", "a~", "aa", "A", "b"])
        keys = [
            RecordKey(ALICE, collection, key) for collection in collections for key in ("-", "~")
        ]
        await fill(store, *reversed(keys))
        assert await walk(store, limit=3) == [keys[i : i + 3] for i in range(0, len(keys), 3)]

    async def test_a_collection_is_listed_without_the_others(self, store: RecordStore) -> None:
        for collection in ("save", "saves", "saves-", "savesA", "Saves", "t"):
            await put(store, RecordKey(ALICE, collection, "k"))
        assert await walk(store, collection="saves") == [in_saves("k")]

    @pytest.mark.parametrize(
        ("prefix", "expected"),
        [
            ("a", ["a", "a-b", "a.b", "a_b", "aa", "ab", "a~", "a~~"]),
            ("a_", ["a_b"]),
            ("a.", ["a.b"]),
            ("a~", ["a~", "a~~"]),
            ("A", ["A"]),
            ("ab", ["ab"]),
            ("abc", []),
            ("", ["A", "a", "a-b", "a.b", "a_b", "aa", "ab", "a~", "a~~", "b"]),
        ],
    )
    async def test_a_prefix_is_taken_to_the_letter(
        self, store: RecordStore, prefix: str, expected: list[str]
    ) -> None:
        await fill(store, *in_saves("A", "a", "a-b", "a.b", "a_b", "aa", "ab", "a~", "a~~", "b"))
        assert await walk(store, collection="saves", prefix=prefix) == [in_saves(*expected)]

    async def test_a_prefix_holds_on_every_page(self, store: RecordStore) -> None:
        await fill(store, *in_saves("a", "b1", "b2", "b3", "c"))
        pages = await walk(store, collection="saves", prefix="b", limit=2)
        assert pages == [in_saves("b1", "b2"), in_saves("b3")]

    async def test_pages_of_one_record_hold_every_record_once(self, store: RecordStore) -> None:
        keys = [RecordKey(ALICE, collection, key) for collection in "ab" for key in "xyz"]
        await fill(store, *keys)
        assert await walk(store, limit=1) == [[key] for key in keys]

    async def test_a_page_that_holds_exactly_all_has_no_successor(self, store: RecordStore) -> None:
        await fill(store, *in_saves("a", "b", "c"))
        assert (await page(store, limit=3)).next_after is None

    async def test_a_page_that_lacks_one_record_has_a_successor(self, store: RecordStore) -> None:
        await fill(store, *in_saves("a", "b", "c", "d"))
        assert (await page(store, limit=3)).next_after == in_saves("c")[0]

    async def test_a_page_after_the_last_record_is_empty(self, store: RecordStore) -> None:
        await fill(store, *in_saves("a", "b"))
        assert await page(store, after=in_saves("b")[0]) == Page([], None)

    async def test_a_page_may_start_after_a_key_that_does_not_exist(
        self, store: RecordStore
    ) -> None:
        await fill(store, *in_saves("a", "c"))
        found = await page(store, collection="saves", after=in_saves("b")[0])
        assert [record.key for record in found.records] == in_saves("c")

    async def test_deleted_records_are_not_listed_and_fill_no_page(
        self, store: RecordStore
    ) -> None:
        keys = in_saves(*"abcdef")
        await fill(store, *keys)
        for key in keys[1:5]:
            await delete(store, key)
        assert await walk(store, limit=2) == [[keys[0], keys[5]]]

    async def test_a_record_that_was_written_again_is_listed_again(
        self, store: RecordStore
    ) -> None:
        await put(store)
        await delete(store)
        record = await put(store)
        assert await page(store) == Page([record], None)

    async def test_a_walk_survives_the_deletion_of_the_record_that_it_stands_on(
        self, store: RecordStore
    ) -> None:
        keys = in_saves("a", "b", "c", "d")
        await fill(store, *keys)
        pages = await walk(store, limit=2, between=lambda: delete(store, keys[1]))
        assert pages == [keys[:2], keys[2:]]

    async def test_a_walk_sees_every_lasting_record_once_whatever_is_written_meanwhile(
        self, store: RecordStore
    ) -> None:
        keys = in_saves(*"bdfhjl")
        await fill(store, *keys)

        async def meddle() -> None:
            await fill(store, *in_saves("a", "c", "e", "k", "m"))  # before and behind the walk
            await put(store, keys[0], "2")
            await put(store, keys[5], "2")
            await delete(store, keys[3])

        seen = [key for one in await walk(store, limit=2, between=meddle) for key in one]
        lasting = [key for key in keys if key != keys[3]]
        assert [key for key in seen if key in lasting] == lasting
        assert seen == sorted(set(seen), key=lambda key: key.key)

    @pytest.mark.parametrize("other", [BOB, "a", "a" * 31 + "0", "a" * 33])
    async def test_a_player_never_sees_the_records_of_another(
        self, store: RecordStore, other: str
    ) -> None:
        await put(store)
        record = await put(store, RecordKey(other, "saves", "slot1"), "2")
        assert await page(store, player=other) == Page([record], None)
        assert await page(store, player=other, collection="saves", prefix="s") == Page(
            [record], None
        )


class RecordHistoryContract:
    """What a key held before."""

    @pytest.mark.parametrize("state", ["absent", "present"])
    async def test_what_was_never_overwritten_has_no_history(
        self, store: RecordStore, state: str
    ) -> None:
        await STATES[state](store)
        assert await store.versions(KEY) == []

    async def test_earlier_versions_come_newest_first_as_they_were(
        self, store: RecordStore
    ) -> None:
        written = [
            await put(store, value=json.dumps(f"Zoë 🎮 {now}"), now=now) for now in (T0, T1, T2)
        ]
        await put(store, now=T3)
        assert await store.versions(KEY) == written[::-1]

    @pytest.mark.parametrize("keep", [1, 2, 3, 10])
    async def test_as_many_versions_are_kept_as_the_writes_say(
        self, store: RecordStore, keep: int
    ) -> None:
        for version in range(1, 26):
            await put(store, keep=keep)
            assert await numbers(store) == list(range(version - 1, 0, -1))[:keep]

    async def test_a_write_that_keeps_none_leaves_no_history(self, store: RecordStore) -> None:
        await put(store)
        await put(store)
        await put(store, keep=0)
        assert await store.versions(KEY) == []

    async def test_a_deletion_that_keeps_none_leaves_no_history(self, store: RecordStore) -> None:
        await put(store)
        await put(store)
        assert await delete(store, keep=0) == 3
        assert await store.versions(KEY) == []

    @pytest.mark.parametrize(("before", "after"), [(10, 3), (3, 10), (7, 1), (0, 2), (10, 20)])
    async def test_where_another_number_is_kept_the_newest_is_there_and_none_is_too_old(
        self, store: RecordStore, before: int, after: int
    ) -> None:
        for _ in range(12):
            await put(store, keep=before)
        for version in range(13, 40):
            await put(store, keep=after)
            kept = await numbers(store)
            assert kept == sorted(set(kept), reverse=True)
            assert kept[0] == version - 1
            assert kept[-1] >= version - after

    async def test_after_a_deletion_the_value_before_it_is_the_newest(
        self, store: RecordStore
    ) -> None:
        first = await put(store, value='"first"')
        second = await put(store, value='"second"', now=T1)
        await delete(store, now=T2)
        assert await store.versions(KEY) == [second, first]

    async def test_a_deletion_is_no_version_of_the_history_but_counts_as_one(
        self, store: RecordStore
    ) -> None:
        for _ in range(3):
            await put(store, keep=4)
            await delete(store, keep=4)
        assert await numbers(store) == [5, 3]

    async def test_a_key_that_was_created_again_has_the_history_of_its_life_before(
        self, store: RecordStore
    ) -> None:
        before = await put(store, now=T0)
        await delete(store, now=T1)
        again = await put(store, precondition=Precondition.ABSENT, now=T2)
        assert await store.versions(KEY) == [before]
        await put(store, now=T3)
        assert await store.versions(KEY) == [again, before]

    async def test_a_creation_pushes_out_what_is_too_old_by_then(self, store: RecordStore) -> None:
        await put(store, keep=2)
        await put(store, keep=2)
        await delete(store, keep=2)
        assert await numbers(store) == [2, 1]
        await put(store, precondition=Precondition.ABSENT, keep=2)
        assert await numbers(store) == [2]

    async def test_refused_writes_and_deletions_of_nothing_leave_the_history_as_it_is(
        self, store: RecordStore
    ) -> None:
        for _ in range(3):
            await put(store, keep=2)
        for write in (put, delete):
            for precondition in (Precondition.at(1, 2, 4), Precondition.ABSENT):
                with pytest.raises(errors.VersionConflict):
                    await write(store, precondition=precondition, keep=2)
        assert await numbers(store) == [2, 1]
        await delete(store, keep=2)
        assert await delete(store, keep=2) is None
        assert await numbers(store) == [3, 2]

    @pytest.mark.parametrize(
        "other",
        [
            RecordKey(ALICE, "saves", "slot"),
            RecordKey(ALICE, "saves", "slot10"),
            RecordKey(ALICE, "saves", "slot1-1"),
            RecordKey(ALICE, "saves-", "slot1"),
            RecordKey(ALICE, "s", "slot1"),
            RecordKey(BOB, "saves", "slot1"),
        ],
    )
    async def test_two_keys_have_two_histories(self, store: RecordStore, other: RecordKey) -> None:
        mine = await put(store)
        await put(store)
        theirs = await put(store, other, '"theirs"')
        await put(store, other)
        assert await store.versions(KEY) == [mine]
        assert await store.versions(other) == [theirs]

    async def test_the_history_is_no_part_of_a_list(self, store: RecordStore) -> None:
        await put(store)
        record = await put(store)
        assert await page(store) == Page([record], None)

    async def test_a_history_ends_where_the_values_reach_the_size_of_a_page(
        self, store: RecordStore
    ) -> None:
        for _ in range(8):
            await put(store, value="x" * (LARGEST_PAGE // 6))
        await delete(store)
        assert await numbers(store) == [8, 7, 6, 5, 4, 3]

    async def test_of_parallel_writes_none_is_missing_in_the_history(
        self, store: RecordStore
    ) -> None:
        records = await asyncio.gather(
            *(put(store, value=str(number), keep=12) for number in range(20))
        )
        newest_first = sorted(records, key=lambda record: record.version, reverse=True)
        assert await store.versions(KEY) == newest_first[1:13]

    async def test_of_parallel_puts_and_deletions_no_value_is_missing_in_the_history(
        self, store: RecordStore
    ) -> None:
        first = await put(store)
        outcomes = await asyncio.gather(
            *(put(store, value=str(number), keep=30) for number in range(10)),
            *(delete(store, keep=30) for _ in range(5)),
        )
        written = [first, *(outcome for outcome in outcomes if isinstance(outcome, Record))]
        current = await store.get(KEY)
        newest_first = sorted(written, key=lambda record: record.version, reverse=True)
        expected = [record for record in newest_first if record != current]
        assert await store.versions(KEY) == expected


class RecordExportContract:
    """All that is kept of a player."""

    async def test_of_a_player_without_records_nothing_is_exported(
        self, store: RecordStore
    ) -> None:
        await put(store, RecordKey(BOB, "saves", "slot1"))
        found = await store.export(ALICE, after=None, limit=10)
        assert (found.held, found.next_after) == ([], None)

    async def test_an_export_has_every_record_and_its_versions_as_they_were(
        self, store: RecordStore
    ) -> None:
        other = await put(store, RecordKey(ALICE, "saves", "slot0"), '"other"', now=T3)
        first = await put(store, value=json.dumps("Zoë 🎮", ensure_ascii=False), now=T0)
        second = await put(store, value='{"b":1,"a":[1.50]}', now=T1)
        third = await put(store, value="null", now=T2)
        assert await export(store) == [
            Held(other, is_current=True),
            Held(third, is_current=True),
            Held(second, is_current=False),
            Held(first, is_current=False),
        ]

    async def test_the_versions_of_a_deleted_record_are_exported(self, store: RecordStore) -> None:
        first = await put(store, value='"first"')
        await delete(store)
        assert await export(store) == [Held(first, is_current=False)]
        again = await put(store, value='"again"', precondition=Precondition.ABSENT)
        assert await export(store) == [
            Held(again, is_current=True),
            Held(first, is_current=False),
        ]

    async def test_what_is_no_longer_kept_is_not_exported(self, store: RecordStore) -> None:
        for _ in range(7):
            await put(store, keep=2)
        assert await exported(store) == {"slot1 7*", "slot1 6", "slot1 5"}
        await put(store, keep=0)
        assert await exported(store) == {"slot1 8*"}
        await delete(store, keep=0)
        assert await exported(store) == set()

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
    async def test_a_walk_over_pages_exports_everything_once_and_in_order(
        self, store: RecordStore, limit: int
    ) -> None:
        expected = []
        for collection, key in [("A", "x"), ("a", "1"), ("a", "10"), ("a", "9"), ("a-b", "a")]:
            for _ in range(3):
                await put(store, RecordKey(ALICE, collection, key))
            expected += [(collection, key, version) for version in (3, 2, 1)]
        await delete(store, RecordKey(ALICE, "a", "10"))
        found = [one.record for one in await export(store, limit=limit)]
        assert [(one.key.collection, one.key.key, one.version) for one in found] == expected

    @pytest.mark.parametrize("limit", [1, 2, 3])
    async def test_what_is_kept_throughout_is_exported_once_whatever_is_written_meanwhile(
        self, store: RecordStore, limit: int
    ) -> None:
        """Every current version becomes an earlier one while the export goes on."""
        keys = in_saves("b", "d", "f")
        for key in keys * 3:
            await put(store, key)
        before = {(key, version) for key in keys for version in (1, 2, 3)}
        further = iter(in_saves("a", "c", "e", "g") + keys * 2)

        async def write() -> None:
            if key := next(further, None):
                await put(store, key)

        found = await export(store, limit=limit, between=write)
        versions = [(one.record.key, one.record.version) for one in found]
        assert len(set(versions)) == len(versions)
        assert before <= set(versions)
        assert len([one for one in found if one.is_current]) >= len(keys)

    @pytest.mark.parametrize("other", ["a", "a" * 31, "a" * 33, BOB])
    async def test_nothing_of_another_player_is_exported(
        self, store: RecordStore, other: str
    ) -> None:
        for player in (ALICE, other):
            await put(store, RecordKey(player, "saves", "slot1"))
            await put(store, RecordKey(player, "saves", "slot1"))
        for player in (ALICE, other):
            assert {one.record.key.player for one in await export(store, player)} == {player}

    async def test_a_page_of_an_export_ends_where_the_values_reach_its_size(
        self, store: RecordStore
    ) -> None:
        """Also in the middle of the versions of a key."""
        for key in in_saves("a", "b", "c"):
            for _ in range(4):
                await put(store, key, "x" * (LARGEST_PAGE // 6))
        sizes: list[int] = []
        after = None
        while not sizes or after is not None:
            found = await store.export(ALICE, after=after, limit=100)
            sizes.append(len(found.held))
            after = found.next_after
        assert [size for size in sizes if size] == [6, 6]


class RecordSummaryContract:
    """How much there is, and nothing of what there was."""

    async def test_of_a_player_without_records_there_is_no_collection(
        self, store: RecordStore
    ) -> None:
        await put(store, RecordKey(BOB, "saves", "slot1"))
        assert list(await store.summary(ALICE)) == []

    async def test_the_current_records_of_each_collection_are_counted_in_their_order(
        self, store: RecordStore
    ) -> None:
        for collection in ("saves", "a-b", "a", "Z"):
            await put(store, RecordKey(ALICE, collection, "one"), "12", now=T1)
        await put(store, RecordKey(ALICE, "a", "two"), "345", now=T0)
        await put(store, RecordKey(BOB, "a", "three"), "6", now=T3)
        assert list(await store.summary(ALICE)) == [
            CollectionSummary("Z", 1, 2, T1),
            CollectionSummary("a", 2, 5, T1),
            CollectionSummary("a-b", 1, 2, T1),
            CollectionSummary("saves", 1, 2, T1),
        ]

    async def test_the_bytes_are_those_of_the_json_in_utf_8(self, store: RecordStore) -> None:
        await put(store, KEY, '"Zoë 🎮"')
        assert list(await store.summary(ALICE)) == [CollectionSummary("saves", 1, 11, T0)]

    async def test_earlier_versions_and_what_was_deleted_count_for_nothing(
        self, store: RecordStore
    ) -> None:
        gone, emptied = RecordKey(ALICE, "saves", "slot2"), RecordKey(ALICE, "emptied", "one")
        for key in (KEY, KEY, gone, emptied):
            await put(store, key, "12345", now=T1)
        await put(store, KEY, "1", now=T2)
        for key in (gone, emptied):
            await delete(store, key, now=T3)
        assert list(await store.summary(ALICE)) == [CollectionSummary("saves", 1, 1, T2)]

    async def test_more_than_a_page_of_values_is_counted_as_well(self, store: RecordStore) -> None:
        for key in in_saves("a", "b", "c", "d", "e"):
            await put(store, key, "x" * LARGEST_VALUE)
        expected = CollectionSummary("saves", 5, 5 * LARGEST_VALUE, T0)
        assert list(await store.summary(ALICE)) == [expected]


class RecordErasureContract:
    """Nothing is left of a player, and of the others everything."""

    async def test_erasing_a_player_without_records_is_done_at_once(
        self, store: RecordStore
    ) -> None:
        assert await store.erase(ALICE, limit=1)
        assert await store.erase(ALICE, limit=1)

    @pytest.mark.parametrize("limit", [1, 3, 7, 500])
    async def test_an_erasure_leaves_no_record_no_version_and_no_trace_of_a_deletion(
        self, store: RecordStore, limit: int
    ) -> None:
        for key in in_saves("a", "b", "c"):
            for _ in range(3):
                await put(store, key)
        await delete(store, RecordKey(ALICE, "saves", "b"))
        await erase(store, limit=limit)
        assert await export(store) == []
        assert await page(store) == Page([], None)
        for key in in_saves("a", "b", "c"):
            assert await store.get(key) is None
            assert await store.versions(key) == []
            # A deletion that had left its version would be followed by the next one.
            assert (await put(store, key)).version == 1

    async def test_an_erasure_of_large_values_leaves_nothing(self, store: RecordStore) -> None:
        """A store may see fewer of them at once than a step may have."""
        keys = in_saves("a", "b", "c", "d", "e")
        for key in keys:
            await put(store, key, "x" * LARGEST_VALUE)
        await erase(store, limit=500)
        assert await export(store) == []

    async def test_a_step_of_an_erasure_is_not_much_larger_than_it_may_be(
        self, store: RecordStore
    ) -> None:
        for key in in_saves(*map(str, range(30))):
            await put(store, key)
            await put(store, key)
        assert 6 <= await erase(store, limit=10) <= 8

    @pytest.mark.parametrize("other", ["a", "a" * 31, "a" * 33, "a#", BOB])
    async def test_an_erasure_touches_no_other_player(self, store: RecordStore, other: str) -> None:
        theirs = RecordKey(other, "saves", "slot1")
        for key in (KEY, theirs):
            await put(store, key, '"first"')
            await put(store, key, '"second"')
        before = await export(store, other)
        await erase(store, limit=1)
        assert await export(store, other) == before
        assert len(before) == 2

    @pytest.mark.parametrize("steps", range(6))
    async def test_what_is_written_between_two_steps_of_an_erasure_is_whole_until_it_is_erased(
        self, store: RecordStore, steps: int
    ) -> None:
        """Versions of before are neither in the way of new ones nor taken for them."""
        for _ in range(3):
            await put(store, keep=2)
        for _ in range(steps):
            await store.erase(ALICE, limit=1)
        begun = await put(store, value='"new"', keep=2)
        for _ in range(5):
            newer = await put(store, value='"new"', keep=2)
            kept = await numbers(store)
            assert kept[0] == newer.version - 1
            assert set(kept) <= {newer.version - 1, newer.version - 2}
        assert begun.version == (1 if steps >= 3 else 4)
        await erase(store, limit=2)
        assert await export(store) == []

    async def test_a_key_that_is_written_after_an_erasure_has_the_history_since_then(
        self, store: RecordStore
    ) -> None:
        for _ in range(14):
            await put(store, value='"before"')
        await erase(store)
        written = [await put(store, value=str(number)) for number in range(14)]
        assert [record.version for record in written] == list(range(1, 15))
        assert await store.versions(KEY) == written[3:13][::-1]

    async def test_of_writes_and_an_erasure_at_once_nothing_is_left_that_misleads(
        self, store: RecordStore
    ) -> None:
        for _ in range(5):
            await put(store, keep=3)

        async def erase_and_write() -> None:
            await erase(store, limit=2)
            await put(store, value='"after"', keep=3)

        outcomes = await asyncio.gather(
            erase_and_write(),
            *(put(store, value=str(number), keep=3) for number in range(12)),
            return_exceptions=True,
        )
        assert all(isinstance(one, Record | errors.Unavailable | None) for one in outcomes), (
            outcomes
        )
        last = await store.get(KEY)
        assert last is not None
        newer = [await put(store, keep=3) for _ in range(8)]
        expected = [last.version + number for number in range(8)]
        assert [record.version for record in newer] == [version + 1 for version in expected]
        assert await numbers(store) == expected[:-4:-1]
        await erase(store)
        assert await export(store) == []


class RecordStoreContract(
    RecordReadContract,
    RecordWriteContract,
    RecordListContract,
    RecordHistoryContract,
    RecordExportContract,
    RecordSummaryContract,
    RecordErasureContract,
):
    """Subclasses provide the fixture `store`, empty."""
