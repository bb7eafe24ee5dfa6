"""What players have and may have, and had at a moment, on every store of records."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from services.player_data.adapters.sqlite import MIGRATIONS, SqliteRecordStore
from services.player_data.usage import Quota
from shared.sqlite import Database
from tests.conformance.ledgers import DynamoUsageTests, LedgerTests
from tests.conformance.records_as_of_model import LARGEST, AsOfMachine
from tests.conformance.records_usage import OpenStore, QuotaContract, UsageContract

MODEST = settings(max_examples=60, stateful_step_count=50, deadline=None)


class TestSqliteUsage(UsageContract, QuotaContract):
    @pytest.fixture
    async def database(self, tmp_path: Path) -> AsyncIterator[Database]:
        database = Database(tmp_path / "player_data.db", MIGRATIONS)
        await database.open()
        yield database
        await database.close()

    @pytest.fixture
    def open_store(self, database: Database) -> OpenStore:
        async def opened(quota: Quota) -> SqliteRecordStore:
            return SqliteRecordStore(database, quota)

        return opened


class TestMotoUsage(DynamoUsageTests):
    @pytest.fixture
    def endpoint(self, moto: str) -> str:
        return moto


class TestMotoLedger(LedgerTests):
    @pytest.fixture
    def endpoint(self, moto: str) -> str:
        return moto


def test_sqlite_tells_of_any_moment_what_there_was(tmp_path: Path) -> None:
    numbers = itertools.count()

    @contextlib.asynccontextmanager
    async def open_store() -> AsyncIterator[SqliteRecordStore]:
        database = Database(tmp_path / f"{next(numbers)}.db", MIGRATIONS)
        await database.open()
        yield SqliteRecordStore(database, Quota(bytes=LARGEST))
        await database.close()

    class SqliteAsOfMachine(AsOfMachine):
        def __init__(self) -> None:
            super().__init__(open_store)

    run_state_machine_as_test(SqliteAsOfMachine, settings=MODEST)
