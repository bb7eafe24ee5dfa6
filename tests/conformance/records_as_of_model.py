"""Any sequence of writes, and what there was at any moment: a list of all that ever was."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from services.player_data.models import Precondition, Record, RecordKey, Write
from services.player_data.past import Past
from services.player_data.ports import RecordStore
from services.player_data.usage import Usage
from shared import errors
from tests.conformance.records import ALICE, T0

OpenStore = Callable[[], AbstractAsyncContextManager[RecordStore]]
"""Of a store with LARGEST bytes."""
LARGEST = 12
STEP = timedelta(milliseconds=1)
keys = st.sampled_from(
    [RecordKey(ALICE, collection, key) for collection in ("a", "b") for key in ("x", "y")]
)


@dataclass(frozen=True)
class Event:
    """`record` is None of a deletion."""

    key: RecordKey
    at: datetime
    record: Record | None


class AsOfMachine(RuleBasedStateMachine):
    """What is complete is what there was; what is not may be anything but wrong about the key.

    Give each run an empty store of its own.
    """

    def __init__(self, open_store: OpenStore) -> None:
        super().__init__()
        self.now = T0
        self.events: list[Event] = []
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.store = self.runner.run(self.stack.enter_async_context(open_store()))

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    @rule(
        key=keys,
        length=st.none() | st.integers(1, 9),
        keep=st.sampled_from([0, 1, 2, 10]),
        wait=st.integers(0, 2),
        is_players=st.booleans(),
    )
    def write(
        self,
        key: RecordKey,
        length: int | None,
        keep: int,
        wait: int,
        is_players: bool,  # noqa: FBT001 - Hypothesis passes by name
    ) -> None:
        self.now += wait * STEP
        value = None if length is None else str(len(self.events) % 10) * length
        before = self.used()
        change = Write(key, value, Precondition.ALWAYS, keep)
        growth = (length or 0) - self.size(self.holding(key, self.now))
        too_much = is_players and growth > 0 and before.bytes + growth > LARGEST
        doing = self.store.write([change], by="", now=self.now, within_quota=is_players)
        if too_much:
            with pytest.raises(errors.QuotaExceeded) as refusal:
                self.runner.run(doing)
            assert Usage(**refusal.value.used) == before
            return
        (written,) = self.runner.run(doing)
        if written.version is not None:
            self.events.append(Event(key, self.now, written.record))

    @rule(back=st.integers(0, 30), limit=st.integers(1, 5))
    def as_of(self, back: int, limit: int) -> None:
        moment = self.now - back * STEP
        for key in {event.key for event in self.events}:
            held = [one for one in self.runner.run(self.read(moment, limit)) if one.key == key]
            expected = self.holding(key, moment)
            if not held:
                assert expected is None
            elif held[0].is_complete:
                assert held[0].record == expected
            elif held[0].record:
                assert held[0].record.updated_at <= moment
            if self.is_recent(key, moment):
                assert all(one.is_complete for one in held)

    @rule()
    def usage(self) -> None:
        expected = self.used()
        assert self.runner.run(self.asked()) == expected

    async def asked(self) -> Usage:
        return await self.store.usage(ALICE, now=self.now)

    async def read(self, moment: datetime, limit: int) -> Sequence[Past]:
        held: list[Past] = []
        after: RecordKey | None = None
        while True:
            page = await self.store.as_of(ALICE, moment, collection=None, after=after, limit=limit)
            held += page.held
            after = page.next_after
            if after is None:
                return held

    def holding(self, key: RecordKey, moment: datetime) -> Record | None:
        held = [one for one in self.events if one.key == key and one.at <= moment]
        return held[-1].record if held else None

    def is_recent(self, key: RecordKey, moment: datetime) -> bool:
        """Whether nothing was written since, so that no history is needed."""
        return all(one.at <= moment for one in self.events if one.key == key)

    def used(self) -> Usage:
        held = [self.holding(key, self.now) for key in {event.key for event in self.events}]
        return Usage(sum(one is not None for one in held), sum(map(self.size, held)))

    @staticmethod
    def size(record: Record | None) -> int:
        return len(record.value) if record else 0
