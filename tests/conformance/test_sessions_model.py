"""Any sequence of uses of refresh tokens, compared with a model; and one long chain."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from services.identity.adapters.dynamodb import SESSIONS, DynamoSessionStore
from services.identity.adapters.sqlite import MIGRATIONS, SqliteSessionStore
from services.identity.models import Outcome
from shared import errors
from shared.sqlite import Database
from tests.conformance.sessions import SESSION, redeem
from tests.conformance.sessions_model import OpenStore, SessionStoreMachine
from tests.support import aws
from tests.support.long import LONG

FEW = settings(max_examples=50, stateful_step_count=20, deadline=None)
MANY = settings(max_examples=500, stateful_step_count=50, deadline=None)
ROTATIONS = 1000 if LONG else 100


def run(open_store: OpenStore, size: settings) -> None:
    class Machine(SessionStoreMachine):
        def __init__(self) -> None:
            super().__init__(open_store)

    run_state_machine_as_test(Machine, settings=size)


@contextlib.asynccontextmanager
async def sqlite(path: Path) -> AsyncIterator[SqliteSessionStore]:
    database = Database(path, MIGRATIONS)
    await database.open()
    yield SqliteSessionStore(database)
    await database.close()


def test_sqlite_answers_as_the_model_does(tmp_path: Path) -> None:
    run(lambda: sqlite(tmp_path / "identity.db"), MANY if LONG else FEW)


if LONG:  # moto is slow

    def test_dynamodb_answers_as_the_model_does(moto: str) -> None:
        @contextlib.asynccontextmanager
        async def open_store() -> AsyncIterator[DynamoSessionStore]:
            async with aws.client("dynamodb", moto) as client:
                yield DynamoSessionStore(client, await aws.new_tables(client, SESSIONS))

        run(open_store, FEW)


async def test_of_a_long_chain_exactly_one_token_is_live_at_each_step(tmp_path: Path) -> None:
    async with sqlite(tmp_path / "identity.db") as store:
        await store.create(SESSION)
        for counter in range(1, ROTATIONS + 1):
            with pytest.raises(errors.InvalidRefreshToken):
                await redeem(store, counter=counter + 1)
            first, again = [await redeem(store, counter=counter) for _ in range(2)]
            assert (first.outcome, again.outcome) == (Outcome.ADVANCED, Outcome.REPLAYED)
            assert first.session.counter == again.session.counter == counter + 1
        with pytest.raises(errors.RefreshTokenReused):
            await redeem(store, counter=ROTATIONS - 1)
