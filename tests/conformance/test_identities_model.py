"""Any sequence of links, moves and erasures, compared with a model."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from services.identity.adapters.dynamodb import (
    ACCOUNTS,
    IDENTITIES,
    DynamoAccountStore,
    DynamoIdentityStore,
)
from services.identity.adapters.sqlite import MIGRATIONS, SqliteAccountStore, SqliteIdentityStore
from shared.ids import new_id
from shared.sqlite import Database
from tests.conformance.identities_model import IdentityStoreMachine, OpenStores
from tests.support import aws
from tests.support.long import LONG

VERY_FEW = settings(max_examples=8, stateful_step_count=20, deadline=None)
FEW = settings(max_examples=50, stateful_step_count=20, deadline=None)
MANY = settings(max_examples=500, stateful_step_count=50, deadline=None)


def run(open_stores: OpenStores, size: settings) -> None:
    class Machine(IdentityStoreMachine):
        def __init__(self) -> None:
            super().__init__(open_stores)

    run_state_machine_as_test(Machine, settings=size)


def test_sqlite_answers_as_the_model_does(tmp_path: Path) -> None:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[tuple[SqliteAccountStore, SqliteIdentityStore]]:
        database = Database(tmp_path / new_id() / "identity.db", MIGRATIONS)
        await database.open()
        yield SqliteAccountStore(database), SqliteIdentityStore(database)
        await database.close()

    run(opened, MANY if LONG else FEW)


def test_dynamodb_answers_as_the_model_does(moto: str) -> None:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[tuple[DynamoAccountStore, DynamoIdentityStore]]:
        async with aws.client("dynamodb", moto) as client:
            prefix = await aws.new_tables(client, ACCOUNTS, IDENTITIES)
            yield DynamoAccountStore(client, prefix), DynamoIdentityStore(client, prefix)

    run(opened, FEW if LONG else VERY_FEW)
