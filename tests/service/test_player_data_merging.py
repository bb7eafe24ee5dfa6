"""One player's records taken over into another's: on every store, and interrupted anywhere."""

import contextlib
import functools
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from services.player_data.adapters.dynamodb import TABLES, DynamoRecordStore
from services.player_data.adapters.files import FileBlobStore
from services.player_data.adapters.sqlite import MIGRATIONS, SqliteRecordStore
from services.player_data.blobs import Blobs
from services.player_data.collections import Access, Collection, Collections, Merge
from services.player_data.merging import Action, Merged, Merging
from services.player_data.models import (
    HISTORY,
    MOST_REMEMBERED,
    Precondition,
    RecordKey,
    Write,
)
from services.player_data.ports import RecordStore
from services.player_data.records import Records
from services.player_data.schemas import schema_check
from shared import errors
from shared.ids import new_id
from shared.sqlite import Database
from tests.support.aws import client, new_tables
from tests.support.clock import ManualClock
from tests.support.interruptions import Crash, Interruption, When

DAY = timedelta(days=1)
LARGEST = 2**53 - 1
COLLECTIONS = Collections(
    named={
        **{policy.value: Collection(merge=policy) for policy in Merge},
        "internal": Collection(Access.INTERNAL, merge=Merge.SUM),
        "forgetful": Collection(history=0, merge=Merge.EXISTING),
        "small": Collection(
            merge=Merge.SUM, check=schema_check("small", {"type": "integer", "maximum": 9})
        ),
    }
)
BY = "service:identity"

Wrap = Callable[[Interruption], RecordStore]


@dataclass(frozen=True)
class Stored:
    """`wrap` is the same store before an interruption of what it does."""

    store: RecordStore
    wrap: Callable[[Interruption], Any]
    operations: frozenset[str]


@contextlib.asynccontextmanager
async def on_sqlite(folder: Path) -> AsyncIterator[Stored]:
    database = Database(folder / "player_data.db", MIGRATIONS)
    await database.open()
    store = SqliteRecordStore(database)
    yield Stored(store, lambda one: one.around(store), frozenset({"write"}))
    await database.close()


@contextlib.asynccontextmanager
async def on_dynamodb(endpoint: str) -> AsyncIterator[Stored]:
    async with client("dynamodb", endpoint) as opened:
        prefix = await new_tables(opened, *TABLES)
        yield Stored(
            DynamoRecordStore(opened, prefix),
            lambda one: DynamoRecordStore(one.around(opened), prefix),
            frozenset({"transact_write_items", "put_item", "update_item"}),
        )


@pytest.fixture(params=["sqlite", "dynamodb"])
async def stored(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stored]:
    if request.param == "sqlite":
        async with on_sqlite(tmp_path) as one:
            yield one
    else:
        async with on_dynamodb(request.getfixturevalue("moto")) as one:
            yield one


@dataclass
class Pair:
    """Two players who turn out to be one: what `source` has is taken over into `target`."""

    store: RecordStore
    clock: ManualClock
    source: str = field(default_factory=new_id)
    target: str = field(default_factory=new_id)

    async def put(
        self, player: str, place: str, value: object, now: datetime | None = None
    ) -> None:
        collection, key = place.split("/")
        text = json.dumps(value, separators=(",", ":"))
        write = Write(RecordKey(player, collection, key), text, Precondition.ALWAYS, HISTORY)
        await self.store.write([write], by=player, now=now or self.clock.now())

    async def give(self, theirs: Mapping[str, object], mine: Mapping[str, object]) -> None:
        """`theirs` were written a day later."""
        for place, value in mine.items():
            await self.put(self.target, place, value, self.clock.now() - 2 * DAY)
        for place, value in theirs.items():
            await self.put(self.source, place, value, self.clock.now() - DAY)

    async def merge(
        self, *, dry_run: bool = False, store: RecordStore | None = None
    ) -> list[Merged]:
        """All pages."""
        store = store or self.store
        records = Records(store, COLLECTIONS, self.clock)
        contents = FileBlobStore(Path("there-is-none"))
        blobs = Blobs(records, store, contents, COLLECTIONS, largest=1)
        merging = Merging(store, COLLECTIONS, self.clock, blobs)
        found: list[Merged] = []
        after = None
        while True:
            step = await merging.step(self.source, self.target, after=after, by=BY, dry_run=dry_run)
            found += step.merged
            after = step.next_after
            if after is None:
                return found

    async def value(self, place: str, player: str | None = None) -> Any:  # noqa: ANN401 - parsed JSON
        record = await self.store.get(RecordKey(player or self.target, *place.split("/")))
        return json.loads(record.value) if record else None

    async def history(self, place: str) -> list[Any]:
        """Values before the current one, newest first."""
        kept = await self.store.versions(RecordKey(self.target, *place.split("/")))
        return [json.loads(one.value) for one in kept]

    async def state(self, player: str) -> dict[str, object]:
        """Everything that is kept, but when and by whom."""
        page = await self.store.export(player, after=None, limit=1000)
        assert page.next_after is None
        return {
            f"{one.record.key.collection}/{one.record.key.key}/{one.record.version}": (
                one.record.value,
                one.is_current,
            )
            for one in page.held
        }


@pytest.fixture
def pair(stored: Stored, clock: ManualClock) -> Pair:
    return Pair(stored.store, clock)


def actions(merged: Sequence[Merged]) -> dict[str, str]:
    return {f"{one.collection}/{one.key}": one.action.value for one in merged}


THEIRS = {"gold": 5, "best": {"arena": 9}, "name": "theirs", "only": 1, "on": True}
MINE = {"gold": 7, "best": {"arena": 4, "race": 2}, "name": "mine", "on": False}
RESULTS: Mapping[Merge, tuple[str, object]] = {
    Merge.NEWER: ("replaced", THEIRS),
    Merge.CURRENT: ("kept", MINE),
    Merge.EXISTING: ("replaced", THEIRS),
    Merge.SUM: (
        "combined",
        {"gold": 12, "best": {"arena": 13, "race": 2}, "name": "theirs", "on": True, "only": 1},
    ),
    Merge.MAX: (
        "combined",
        {"gold": 7, "best": {"arena": 9, "race": 2}, "name": "theirs", "on": True, "only": 1},
    ),
}


@pytest.mark.parametrize("policy", Merge)
async def test_of_what_both_have_the_policy_decides(pair: Pair, policy: Merge) -> None:
    place = f"{policy.value}/k"
    await pair.give({place: THEIRS}, {place: MINE})
    (merged,) = await pair.merge()
    action, value = RESULTS[policy]
    assert (merged.policy, merged.action.value) == (policy, action)
    assert merged.version == (1 if action == "kept" else 2)
    assert await pair.value(place) == value
    assert await pair.history(place) == ([] if action == "kept" else [MINE])
    assert await pair.value(place, pair.source) == THEIRS


@pytest.mark.parametrize("policy", Merge)
async def test_what_only_the_other_one_has_is_added(pair: Pair, policy: Merge) -> None:
    place = f"{policy.value}/k"
    await pair.give({place: THEIRS}, {})
    (merged,) = await pair.merge()
    assert (merged.action, merged.version) == (Action.ADDED, 1)
    assert await pair.value(place) == THEIRS


async def test_what_only_the_one_has_who_stays_is_left_alone(pair: Pair) -> None:
    await pair.give({}, {"sum/k": 1})
    assert await pair.merge() == []
    assert await pair.value("sum/k") == 1


async def test_what_the_one_wrote_later_who_stays_is_kept(pair: Pair) -> None:
    await pair.give({"newer/k": "theirs"}, {})
    await pair.put(pair.target, "newer/k", "mine")
    assert actions(await pair.merge()) == {"newer/k": "kept"}
    assert await pair.value("newer/k") == "mine"


@pytest.mark.parametrize(
    ("theirs", "mine", "result"),
    [(5, 7, 12), (1.5, 1, 2.5), ("x", 1, "x"), (1, "x", 1), ([1], [2], [1]), (True, 1, True)],
)
async def test_a_sum_is_one_of_numbers_and_else_what_is_newer(
    pair: Pair, theirs: object, mine: object, result: object
) -> None:
    await pair.give({"sum/k": theirs}, {"sum/k": mine})
    await pair.merge()
    assert await pair.value("sum/k") == result


async def test_what_makes_no_difference_makes_no_version(pair: Pair) -> None:
    theirs = {"sum/k": 0, "max/k": 1, "existing/k": "same"}
    await pair.give(theirs, {"sum/k": 5, "max/k": 5, "existing/k": "same"})
    merged = await pair.merge()
    assert [(one.action, one.version) for one in merged] == [(Action.KEPT, 1)] * 3


async def test_internal_records_are_taken_over_as_well(pair: Pair) -> None:
    await pair.give({"internal/k": 1}, {"internal/k": 2})
    await pair.merge()
    assert await pair.value("internal/k") == 3


async def test_deleted_records_are_not(pair: Pair) -> None:
    await pair.give({"sum/k": 1}, {})
    gone = Write(RecordKey(pair.source, "sum", "k"), None, Precondition.ALWAYS, HISTORY)
    await pair.store.write([gone], by=pair.source, now=pair.clock.now())
    assert await pair.merge() == []


async def test_what_is_replaced_is_kept_where_no_history_is(pair: Pair) -> None:
    await pair.give({"forgetful/k": "theirs"}, {"forgetful/k": "mine"})
    await pair.merge()
    assert await pair.history("forgetful/k") == ["mine"]


REFUSED: Mapping[str, tuple[str, object, object]] = {
    "too high a sum": ("sum/k", LARGEST, 1),
    "too low a sum": ("sum/k", {"a": -LARGEST}, {"a": -1}),
    "too large together": ("sum/k", {"a": "x" * 200_000}, {"b": "x" * 200_000}),
    "not as the schema says": ("small/k", 5, 5),
}


@pytest.mark.parametrize(("place", "theirs", "mine"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("dry_run", [False, True], ids=["real", "dry"])
async def test_what_does_not_fit_is_told_and_left_and_the_rest_goes_on(
    pair: Pair,
    place: str,
    theirs: object,
    mine: object,
    dry_run: bool,  # noqa: FBT001 - a parameter
) -> None:
    await pair.give({place: theirs, "sum/later": 1}, {place: mine})
    merged = await pair.merge(dry_run=dry_run)
    assert actions(merged) == {place: "refused", "sum/later": "added"}
    assert merged[0].version is None
    assert await pair.value(place) == mine
    assert await pair.history(place) == []


async def test_what_was_refused_is_taken_over_once_it_fits(pair: Pair) -> None:
    await pair.give({"small/k": 5}, {"small/k": 5})
    await pair.merge()
    await pair.put(pair.target, "small/k", 2)
    assert actions(await pair.merge()) == {"small/k": "combined"}
    assert await pair.value("small/k") == 7


ALL_THEIRS = {f"{policy.value}/both": THEIRS for policy in Merge} | {"sum/new": 3}
ALL_MINE = {f"{policy.value}/both": MINE for policy in Merge}


async def test_a_dry_run_tells_what_a_real_one_does_and_does_nothing(pair: Pair) -> None:
    await pair.give(
        {**ALL_THEIRS, "small/k": 5, "forgetful/k": 1},
        {**ALL_MINE, "small/k": 5, "forgetful/k": 2},
    )
    before = [await pair.state(one) for one in (pair.source, pair.target)]
    dry = await pair.merge(dry_run=True)
    assert [await pair.state(one) for one in (pair.source, pair.target)] == before
    assert all(one.version is None for one in dry)
    real = await pair.merge()
    assert [replace(one, version=None) for one in real] == dry
    again = await pair.merge(dry_run=True)
    assert await pair.merge() == again
    assert {one.action for one in again} == {Action.DONE, Action.REFUSED}


async def test_repeated_it_changes_nothing(pair: Pair) -> None:
    await pair.give(ALL_THEIRS, ALL_MINE)
    first = await pair.merge()
    state = await pair.state(pair.target)
    for _ in range(2):
        pair.clock.advance(DAY.total_seconds())
        again = await pair.merge()
        assert [(one.action, one.version) for one in again] == [
            (Action.DONE, one.version) for one in first
        ]
        assert await pair.state(pair.target) == state


async def test_repeated_it_leaves_what_was_made_of_it_since(pair: Pair) -> None:
    await pair.give({"sum/k": 5, "sum/gone": 1}, {"sum/k": 7})
    await pair.merge()
    await pair.put(pair.target, "sum/k", 1)
    gone = Write(RecordKey(pair.target, "sum", "gone"), None, Precondition.ALWAYS, HISTORY)
    await pair.store.write([gone], by=pair.target, now=pair.clock.now())
    assert actions(await pair.merge()) == {"sum/k": "done", "sum/gone": "done"}
    assert (await pair.value("sum/k"), await pair.value("sum/gone")) == (1, None)


async def test_a_long_value_that_is_not_kept_any_more_is_not_taken_over_again(pair: Pair) -> None:
    await pair.give({"existing/k": "x" * (MOST_REMEMBERED + 1)}, {"existing/k": 0})
    await pair.merge()
    for number in range(HISTORY + 1):
        await pair.put(pair.target, "existing/k", number)
    (again,) = await pair.merge()
    assert (again.action, again.version) == (Action.DONE, None)
    assert await pair.value("existing/k") == HISTORY


async def test_what_the_other_one_has_written_since_is_told_and_not_added_twice(
    pair: Pair,
) -> None:
    await pair.give({"sum/k": 5}, {"sum/k": 7})
    await pair.merge()
    await pair.put(pair.source, "sum/k", 6)
    for dry_run in (True, False):
        (again,) = await pair.merge(dry_run=dry_run)
        assert (again.action, again.version) == (Action.CHANGED, None)
    assert await pair.value("sum/k") == 12


async def test_two_players_are_taken_over_into_one(pair: Pair) -> None:
    await pair.give({"sum/k": 5}, {"sum/k": 7})
    await pair.merge()
    second = Pair(pair.store, pair.clock, target=pair.target)
    await second.give({"sum/k": 100}, {})
    assert actions(await second.merge()) == {"sum/k": "combined"}
    assert await pair.value("sum/k") == 112


async def test_a_player_is_not_merged_into_itself(pair: Pair) -> None:
    with pytest.raises(errors.InvalidRequest):
        await Pair(pair.store, pair.clock, source="a" * 32, target="a" * 32).merge()


async def test_many_records_take_more_than_one_page(pair: Pair) -> None:
    places = {f"sum/k{number:03}": number for number in range(55)}
    await pair.give(places, {"sum/k000": 1})
    merged = await pair.merge()
    assert list(actions(merged)) == list(places)
    assert await pair.value("sum/k054") == 54


async def calls(pair: Pair, stored: Stored) -> int:
    """How many there are to interrupt."""
    counting = Interruption(stored.operations)
    await pair.merge(store=stored.wrap(counting))
    return counting.calls


lost = functools.partial(ReadTimeoutError, endpoint_url="http://dynamodb")


@pytest.mark.parametrize("when", When, ids=lambda when: when.value)
async def test_interrupted_anywhere_and_resumed_it_comes_to_the_same(
    stored: Stored, clock: ManualClock, when: When
) -> None:
    whole = Pair(stored.store, clock)
    await whole.give(ALL_THEIRS, ALL_MINE)
    points = await calls(whole, stored)
    assert points >= len(ALL_THEIRS)
    expected = await whole.state(whole.target)
    for at in range(1, points + 1):
        pair = Pair(stored.store, clock)
        await pair.give(ALL_THEIRS, ALL_MINE)
        interrupted = Interruption(stored.operations, at=at, when=when, loss=lost)
        with contextlib.suppress(Crash, ReadTimeoutError, errors.Unavailable):
            await pair.merge(store=stored.wrap(interrupted))
        await pair.merge()
        assert await pair.state(pair.target) == expected, at
        assert set(actions(await pair.merge()).values()) == {"done"}


@pytest.mark.parametrize("at", range(1, 4))
async def test_interrupted_twice_it_comes_to_the_same(
    stored: Stored, clock: ManualClock, at: int
) -> None:
    whole = Pair(stored.store, clock)
    await whole.give(ALL_THEIRS, ALL_MINE)
    await whole.merge()
    pair = Pair(stored.store, clock)
    await pair.give(ALL_THEIRS, ALL_MINE)
    for point, when in itertools.product((at, at + 2), (When.AFTER, When.BEFORE)):
        interrupted = Interruption(stored.operations, at=point, when=when)
        with contextlib.suppress(Crash):
            await pair.merge(store=stored.wrap(interrupted))
    await pair.merge()
    assert await pair.state(pair.target) == await whole.state(whole.target)


async def test_every_value_that_was_replaced_can_be_found(pair: Pair) -> None:
    await pair.give(ALL_THEIRS, ALL_MINE)
    for one in await pair.merge():
        if one.action in (Action.REPLACED, Action.COMBINED):
            assert MINE in await pair.history(f"{one.collection}/{one.key}")
