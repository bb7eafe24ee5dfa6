"""A dict that behaves as every store of records promises, and any sequence of calls on both."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from services.player_data.models import (
    Held,
    Page,
    Position,
    Precondition,
    Record,
    RecordKey,
    Write,
    Written,
)
from services.player_data.ports import RecordStore
from shared import errors

OpenStore = Callable[[], AbstractAsyncContextManager[RecordStore]]

PLAYERS = ["a" * 32, "a" * 31 + "b"]
COLLECTIONS = ["a", "a-b"]
KEYS = ["a", "a_", "aB"]
"""Few, so that a run comes back to a key often."""
KEEP = {"a": 3, "a_": 1, "aB": 0}

keys = st.builds(
    RecordKey, st.sampled_from(PLAYERS), st.sampled_from(COLLECTIONS), st.sampled_from(KEYS)
)
preconditions = st.one_of(
    st.just(Precondition.ALWAYS),
    st.sampled_from([Precondition.ABSENT, Precondition.EXISTS]),
    st.builds(
        Precondition,
        st.frozensets(st.integers(min_value=1, max_value=6), max_size=4),
        may_be_absent=st.booleans(),
    ),
)


@dataclass
class Model:
    """The promise, in the plainest words."""

    records: dict[RecordKey, Record] = field(default_factory=dict)
    last: dict[RecordKey, int] = field(default_factory=dict)
    """The number of the last version of every key."""
    overwritten: list[Record] = field(default_factory=list)

    def put(
        self, key: RecordKey, value: str, precondition: Precondition, now: datetime
    ) -> Record | errors.VersionConflict:
        current = self.records.get(key)
        if not precondition.admits(current):
            return errors.VersionConflict(current=current)
        if current:
            self.overwritten.append(current)
        self.last[key] = self.last.get(key, 0) + 1
        created_at = current.created_at if current else now
        self.records[key] = Record(key, value, self.last[key], created_at, now)
        return self.records[key]

    def delete(
        self, key: RecordKey, precondition: Precondition
    ) -> int | errors.VersionConflict | None:
        current = self.records.get(key)
        if not precondition.admits(current):
            return errors.VersionConflict(current=current)
        if current is None:
            return None
        self.overwritten.append(current)
        self.last[key] += 1
        del self.records[key]
        return self.last[key]

    def versions(self, key: RecordKey) -> Sequence[Record]:
        oldest = self.last.get(key, 0) - KEEP[key.key]
        return [
            record
            for record in reversed(self.overwritten)
            if record.key == key and record.version >= oldest
        ]

    def export(self, player: str) -> Sequence[Held]:
        held = []
        for key in sorted(self.last, key=lambda key: (key.collection, key.key)):
            if key.player == player:
                if current := self.records.get(key):
                    held.append(Held(current, is_current=True))
                held += [Held(record, is_current=False) for record in self.versions(key)]
        return held

    def erase(self, player: str) -> None:
        """As if there had never been anything."""
        self.records = {key: one for key, one in self.records.items() if key.player != player}
        self.last = {key: one for key, one in self.last.items() if key.player != player}
        self.overwritten = [one for one in self.overwritten if one.key.player != player]

    def list(
        self,
        player: str,
        *,
        collection: str | None,
        prefix: str,
        after: RecordKey | None,
        limit: int,
    ) -> Page:
        start = (after.collection, after.key) if after else ("", "")
        found = sorted(
            (
                record
                for key, record in self.records.items()
                if key.player == player
                and collection in (None, key.collection)
                and key.key.startswith(prefix)
                and (key.collection, key.key) > start
            ),
            key=lambda record: (record.key.collection, record.key.key),
        )
        return Page(found[:limit], found[limit - 1].key if len(found) > limit else None)

    def summary(self, player: str) -> Sequence[tuple[str, int, int, datetime]]:
        of = [record for key, record in self.records.items() if key.player == player]
        by_name = {
            name: [one for one in of if one.key.collection == name]
            for name in sorted({one.key.collection for one in of})
        }
        return [
            (
                name,
                len(held),
                sum(len(one.value) for one in held),
                max(one.updated_at for one in held),
            )
            for name, held in by_name.items()
        ]


class RecordStoreMachine(RuleBasedStateMachine):
    """Every answer of the store is the model's. Give each run an empty store of its own."""

    def __init__(self, open_store: OpenStore) -> None:
        super().__init__()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.model = Model()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.store = self.runner.run(self.stack.enter_async_context(open_store()))

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    def write(self, one: Write) -> Written:
        try:
            (written,) = self.runner.run(self.store.write([one], by="", now=self.now))
        except errors.BatchFailed as failed:
            raise failed.failures[0] from None
        return written

    @rule(key=keys, value=st.integers(0, 9).map(str), precondition=preconditions)
    def put(self, key: RecordKey, value: str, precondition: Precondition) -> None:
        self.now += timedelta(milliseconds=1)

        expected = self.model.put(key, value, precondition, self.now)
        try:
            same(self.write(Write(key, value, precondition, KEEP[key.key])).record, expected)
        except errors.VersionConflict as conflict:
            same(conflict, expected)

    @rule(key=keys, precondition=preconditions)
    def delete(self, key: RecordKey, precondition: Precondition) -> None:
        self.now += timedelta(milliseconds=1)

        expected = self.model.delete(key, precondition)
        try:
            same(self.write(Write(key, None, precondition, KEEP[key.key])).version, expected)
        except errors.VersionConflict as conflict:
            same(conflict, expected)

    @rule(key=keys)
    def get(self, key: RecordKey) -> None:
        async def read() -> Record | None:
            return await self.store.get(key)

        assert self.runner.run(read()) == self.model.records.get(key)

    @rule(key=keys)
    def versions(self, key: RecordKey) -> None:
        async def read() -> Sequence[Record]:
            return await self.store.versions(key)

        assert self.runner.run(read()) == self.model.versions(key)

    @rule(player=st.sampled_from(PLAYERS), limit=st.integers(1, 9))
    def export(self, player: str, limit: int) -> None:
        async def read() -> Sequence[Held]:
            held: Sequence[Held] = []
            after: Position | None = None
            while True:
                page = await self.store.export(player, after=after, limit=limit)
                held = [*held, *page.held]
                after = page.next_after
                if after is None:
                    return held

        assert self.runner.run(read()) == self.model.export(player)

    @rule(player=st.sampled_from(PLAYERS))
    def summary(self, player: str) -> None:
        async def read() -> Sequence[tuple[str, int, int, datetime]]:
            found = await self.store.summary(player)
            return [(one.name, one.records, one.bytes, one.updated_at) for one in found]

        assert self.runner.run(read()) == self.model.summary(player)

    @rule(player=st.sampled_from(PLAYERS), limit=st.integers(1, 9), often=st.integers(0, 9))
    def erase(self, player: str, limit: int, often: int) -> None:
        """Rarely, so that there is something to erase."""
        if often:
            return

        async def erase_all() -> None:
            while not await self.store.erase(player, limit=limit):
                pass

        self.runner.run(erase_all())
        self.model.erase(player)

    @rule(
        start=keys,
        from_start=st.booleans(),
        whole_player=st.booleans(),
        prefix=st.sampled_from(["", "a", "a_", "c"]),
        limit=st.integers(1, 4),
    )
    def list(
        self,
        start: RecordKey,
        from_start: bool,  # noqa: FBT001 - Hypothesis passes by name
        whole_player: bool,  # noqa: FBT001
        prefix: str,
        limit: int,
    ) -> None:
        collection = None if whole_player else start.collection
        prefix = "" if whole_player else prefix
        after = start if from_start else None

        async def read() -> Page:
            return await self.store.list(
                start.player, collection=collection, prefix=prefix, after=after, limit=limit
            )

        expected = self.model.list(
            start.player, collection=collection, prefix=prefix, after=after, limit=limit
        )
        assert self.runner.run(read()) == expected


def same(actual: object, expected: object) -> None:
    """Two conflicts are the same when they carry the same record."""
    if isinstance(expected, errors.VersionConflict):
        assert isinstance(actual, errors.VersionConflict), (actual, expected.current)
        assert actual.current == expected.current
    else:
        assert actual == expected
