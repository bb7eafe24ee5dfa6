"""What many clients see of a record at once is what one after the other would see."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.player_data.adapters.dynamodb import TABLES, DynamoRecordStore
from services.player_data.ports import RecordStore
from tests.support import apps, aws, figures
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.linearizability import violation
from tests.support.long import LONG
from tests.support.one_record import NOTHING, Ask, apply
from tests.support.record_clients import Client, Dropping, History, opened, play

ALICE = "a" * 32
CLIENTS = 12

Around = Callable[[RecordStore], RecordStore]


@dataclass(frozen=True)
class Mesh:
    """Clients of one player, by turns at two processes that have one store."""

    clients: Sequence[Client]
    dropping: Dropping


@contextlib.asynccontextmanager
async def two_processes(
    folder: Path, issuer: Issuer, clock: ManualClock, around: Sequence[Around]
) -> AsyncIterator[Mesh]:
    dropping, token = Dropping(every=0), issuer.token(sub=ALICE)
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(opened())
        urls = [
            (
                await stack.enter_async_context(
                    apps.player_data(folder, issuer, clock, around=one, prepare=dropping.prepare)
                )
            ).url
            for one in around
        ]
        yield Mesh([Client(http, urls[n % 2], token) for n in range(CLIENTS)], dropping)


def check(histories: Mapping[str, History], where: str, dropping: Dropping) -> None:
    everything = [one for history in histories.values() for one in history]
    figures.note(
        f"what many clients saw at once, {where}",
        operations=len(everything),
        dropped_replies=dropping.dropped,
        without_an_answer=sum(one.answer is None for one in everything),
        most_of_one_record=max(len(history) for history in histories.values()),
    )
    for key, history in histories.items():
        told = violation(history, apply, NOTHING)
        assert told is None, f"{key}: {told}"


class Linearizable:
    """Subclasses provide the fixture `mesh`."""

    where: str
    operations: int
    records: int

    async def test_every_record_is_linearizable_though_replies_are_dropped(
        self, mesh: Mesh
    ) -> None:
        mesh.dropping.every = 11
        keys = [f"key{number}" for number in range(self.records)]
        histories = await play(mesh.clients, keys, operations=self.operations, seed=1)
        assert mesh.dropping.dropped > self.operations / 12
        check(histories, self.where, mesh.dropping)

    @pytest.mark.parametrize("dropped", [0, 7], ids=["all answered", "replies dropped"])
    async def test_of_a_hundred_increments_at_once_none_is_lost_and_none_done_twice(
        self, mesh: Mesh, dropped: int
    ) -> None:
        mesh.dropping.every = dropped
        done = await asyncio.gather(
            *(
                mesh.clients[number % CLIENTS].do("score", Ask("add", 1), keyed=True)
                for number in range(100)
            )
        )
        mesh.dropping.every = 0
        assert sorted(one.answer.version or 0 for one in done if one.answer) == [*range(1, 101)]
        read = await mesh.clients[0].do("score", Ask("get"), keyed=False)
        assert read.answer
        assert (read.answer.version, read.answer.value) == (100, '{"n": 100}')


class TestOnSqlite(Linearizable):
    where, operations, records = "SQLite", *((10_000, 100) if LONG else (1_200, 12))

    @pytest.fixture
    async def mesh(self, tmp_path: Path, issuer: Issuer, clock: ManualClock) -> AsyncIterator[Mesh]:
        async with two_processes(tmp_path, issuer, clock, [lambda store: store] * 2) as mesh:
            yield mesh


class TestOnMoto(Linearizable):
    where, operations, records = "DynamoDB's stand-in", *((2_000, 30) if LONG else (150, 3))

    @pytest.fixture
    async def mesh(
        self, tmp_path: Path, issuer: Issuer, clock: ManualClock, moto: str
    ) -> AsyncIterator[Mesh]:
        async with aws.client("dynamodb", moto) as one, aws.client("dynamodb", moto) as other:
            prefix = await aws.new_tables(one, *TABLES)
            stores = [DynamoRecordStore(each, prefix) for each in (one, other)]
            around: list[Around] = [lambda _: stores[0], lambda _: stores[1]]
            async with two_processes(tmp_path, issuer, clock, around) as mesh:
                yield mesh
