"""Any sequence of calls on a store of records and on a dict, with the same answers."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from services.player_data.models import (
    MOST_REMEMBERED,
    Change,
    Held,
    Position,
    Precondition,
    Receipt,
    Record,
    RecordKey,
    Write,
    Written,
)
from services.player_data.ports import RecordStore
from shared import errors
from tests.conformance.records_dict import Model
from tests.support.long import LONG

T = TypeVar("T")
OpenStore = Callable[[], AbstractAsyncContextManager[RecordStore]]

FULL = settings(max_examples=500, stateful_step_count=50, deadline=None)
FEW = FULL if LONG else settings(max_examples=8, stateful_step_count=40, deadline=None)
"""Of a store that takes milliseconds for a call."""
MODEST = FULL if LONG else settings(max_examples=80, stateful_step_count=50, deadline=None)

PLAYERS = ["a" * 32, "a" * 31 + "b"]
COLLECTIONS = ["a", "a-b"]
KEYS = ["a", "a_", "aB"]
"""Few, so that a run comes back to a key often."""
KEEP = {"a": 3, "a_": 1, "aB": 0}
WRITERS = ["a" * 32, "service:shop"]
IDEMPOTENCY_KEYS = [b"k" * 32, b"l" * 32]


@dataclass(frozen=True)
class Add:
    """One kind of function: what is there counts as 0 where there is nothing."""

    amount: int

    def __call__(self, current: Record | None) -> str:
        return str(_number(current) + self.amount)


@dataclass(frozen=True)
class RaiseTo:
    value: int

    def __call__(self, current: Record | None) -> str:
        return str(max(_number(current), self.value))


@dataclass(frozen=True)
class Lengthen:
    """Makes a value that no receipt has itself, of which there is none that counts."""

    def __call__(self, current: Record | None) -> str:
        return '"' + "x" * MOST_REMEMBERED + f'{current.version if current else 0}"'


@dataclass(frozen=True)
class Remove:
    """Raises where there is nothing to remove."""

    def __call__(self, current: Record | None) -> None:
        if current is None:
            raise errors.NotFound("nothing is there")


@dataclass(frozen=True)
class Leave:
    def __call__(self, current: Record | None) -> str | None:
        return current.value if current else None


def _number(current: Record | None) -> int:
    if current and not current.value.isdigit():
        raise errors.Conflict("it is no number")
    return int(current.value) if current else 0


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
small = st.integers(0, 9)
changes: st.SearchStrategy[str | Change | None] = st.one_of(
    small.map(str),
    st.none(),
    st.builds(Add, small),
    st.builds(RaiseTo, small),
    st.sampled_from([Leave(), Remove(), Lengthen()]),
)
# Mostly what can be done: of several that have conditions hardly ever all hold.
mostly_always = st.one_of(st.just(Precondition.ALWAYS), st.just(Precondition.ALWAYS), preconditions)


@dataclass(frozen=True)
class Request:
    """What is asked of a store, and what it was asked again with."""

    writes: Sequence[Write]
    by: str
    receipt: Receipt | None


@st.composite
def requests(draw: st.DrawFn) -> Request:
    player = draw(st.sampled_from(PLAYERS))
    names = draw(
        st.lists(
            st.tuples(st.sampled_from(COLLECTIONS), st.sampled_from(KEYS)),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    writes = [
        Write(
            RecordKey(player, collection, key),
            draw(changes),
            draw(mostly_always),
            KEEP[key],
        )
        for collection, key in names
    ]
    receipt = None
    if idempotency_key := draw(st.one_of(st.none(), st.sampled_from(IDEMPOTENCY_KEYS))):
        digest = hashlib.sha256(repr(writes).encode()).digest()
        receipt = Receipt(player, idempotency_key, digest, datetime.max.replace(tzinfo=UTC))
    return Request(writes, draw(st.sampled_from(WRITERS)), receipt)


class RecordStoreMachine(RuleBasedStateMachine):
    """Every answer of the store is the model's. Give each run an empty store of its own."""

    def __init__(self, open_store: OpenStore) -> None:
        super().__init__()
        self.now = datetime(2037, 1, 1, tzinfo=UTC)  # later than this is run, as T0
        self.model = Model(KEEP)
        self.sent: list[Request] = []
        """Those that had a receipt."""
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.store = self.runner.run(self.stack.enter_async_context(open_store()))

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    @rule(key=keys, value=st.integers(0, 9).map(str), precondition=preconditions)
    def put(self, key: RecordKey, value: str, precondition: Precondition) -> None:
        write = Write(key, value, precondition, KEEP[key.key])
        self._write(Request([write], WRITERS[0], receipt=None))

    @rule(key=keys, precondition=preconditions)
    def delete(self, key: RecordKey, precondition: Precondition) -> None:
        write = Write(key, None, precondition, KEEP[key.key])
        self._write(Request([write], WRITERS[0], receipt=None))

    @rule(request=requests(), lifetime=st.integers(1, 30))
    def write(self, request: Request, lifetime: int) -> None:
        """Several at once, also functions, also with a receipt for `lifetime` steps."""
        if request.receipt:
            request = self._valid(request, lifetime)
            self.sent.append(request)
        self._write(request)

    @precondition(lambda self: self.sent)
    @rule(back=st.integers(1, 6), lifetime=st.integers(1, 30))
    def repeat(self, back: int, lifetime: int) -> None:
        """The request of a while ago, whose receipt holds, has expired or is of another by now."""
        self._write(self._valid(self.sent[-min(back, len(self.sent))], lifetime))

    @rule(key=keys)
    def get(self, key: RecordKey) -> None:
        found = self._run(self.store.get(key))
        assert _whole(found) == _whole(self.model.records.get(key))

    @rule(asked=st.lists(keys, max_size=6, unique=True))
    def get_many(self, asked: Collection[RecordKey]) -> None:
        found = self._run(self.store.get_many(asked))
        assert len(found) == len({one.key for one in found})
        assert {_whole(one) for one in found} == {_whole(one) for one in self.model.get_many(asked)}

    @rule(key=keys)
    def versions(self, key: RecordKey) -> None:
        found = self._run(self.store.versions(key))
        assert [*map(_whole, found)] == [*map(_whole, self.model.versions(key))]

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

        assert self._run(read()) == self.model.export(player)

    @rule(player=st.sampled_from(PLAYERS))
    def summary(self, player: str) -> None:
        found = self._run(self.store.summary(player))
        told = [(one.name, one.records, one.bytes, one.updated_at) for one in found]
        assert told == self.model.summary(player)

    @rule(player=st.sampled_from(PLAYERS), limit=st.integers(1, 9), often=st.integers(0, 9))
    def erase(self, player: str, limit: int, often: int) -> None:
        """Rarely, so that there is something to erase."""
        if often:
            return

        async def erase_all() -> None:
            while not await self.store.erase(player, limit=limit):
                pass

        self._run(erase_all())
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
        found = self._run(
            self.store.list(
                start.player, collection=collection, prefix=prefix, after=after, limit=limit
            )
        )
        assert found == self.model.list(
            start.player, collection=collection, prefix=prefix, after=after, limit=limit
        )

    def _valid(self, request: Request, lifetime: int) -> Request:
        assert request.receipt
        until = self.now + timedelta(milliseconds=lifetime)
        return replace(request, receipt=replace(request.receipt, expires_at=until))

    def _write(self, request: Request) -> None:
        self.now += timedelta(milliseconds=1)
        try:
            expected: Sequence[Written] | errors.PlaymeshError = self.model.write(
                request.writes, by=request.by, now=self.now, receipt=request.receipt
            )
        except errors.PlaymeshError as error:
            expected = error
        try:
            actual: Sequence[Written] | errors.PlaymeshError = self._run(
                self.store.write(
                    request.writes, by=request.by, now=self.now, receipt=request.receipt
                )
            )
        except errors.PlaymeshError as error:
            actual = error
        assert _told(actual) == _told(expected)

    def _run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())


def _whole(record: Record | None) -> object:
    """With what is not compared."""
    return record and (record, record.previous_at)


def _told(answer: Sequence[Written] | errors.PlaymeshError) -> object:
    """Two failures are the same where they are of one kind, conflicts where they carry the same."""
    match answer:
        case errors.BatchFailed():
            return {place: _told(failure) for place, failure in answer.failures.items()}
        case errors.VersionConflict():
            return errors.VersionConflict, answer.current
        case errors.PlaymeshError():
            return type(answer)
        case _:
            return [*answer]
