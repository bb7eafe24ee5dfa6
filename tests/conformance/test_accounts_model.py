"""Any sequence of what two processes do to accounts, compared with a model."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from services.identity.adapters.dynamodb import ACCOUNTS, DynamoAccountStore
from services.identity.adapters.sqlite import MIGRATIONS, SqliteAccountStore
from services.identity.ports import AccountStore
from shared.sqlite import Database
from tests.conformance.accounts_model import AccountStoreMachine, OpenStores
from tests.support import aws
from tests.support.long import LONG

FEW = settings(max_examples=60, stateful_step_count=30, deadline=None)
MANY = settings(max_examples=500, stateful_step_count=50, deadline=None)


def run(open_stores: OpenStores, size: settings) -> None:
    class Machine(AccountStoreMachine):
        def __init__(self) -> None:
            super().__init__(open_stores)

    run_state_machine_as_test(Machine, settings=size)


def test_sqlite_answers_as_the_model_does(tmp_path: Path) -> None:
    numbers = itertools.count()

    @contextlib.asynccontextmanager
    async def open_stores() -> AsyncIterator[Sequence[AccountStore]]:
        path = tmp_path / str(next(numbers)) / "identity.db"
        databases = [Database(path, MIGRATIONS) for _ in range(2)]
        for database in databases:
            await database.open()
        yield [SqliteAccountStore(database) for database in databases]
        for database in databases:
            await database.close()

    run(open_stores, MANY if LONG else FEW)


if LONG:  # moto is slow

    def test_dynamodb_answers_as_the_model_does(moto: str) -> None:
        @contextlib.asynccontextmanager
        async def open_stores() -> AsyncIterator[Sequence[AccountStore]]:
            async with aws.client("dynamodb", moto) as one, aws.client("dynamodb", moto) as two:
                prefix = await aws.new_tables(one, ACCOUNTS)
                yield [DynamoAccountStore(client, prefix) for client in (one, two)]

        run(open_stores, FEW)
