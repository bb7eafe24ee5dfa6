"""What players have and may have, and had at a moment, on every store of records."""

import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from services.player_data.adapters.sqlite import MIGRATIONS, SqliteRecordStore
from services.player_data.usage import Quota, Usage
from shared.sqlite import Database
from tests.conformance.ledgers import DynamoUsageTests, LedgerTests
from tests.conformance.records import KEY, in_saves
from tests.conformance.records_as_of_model import LARGEST, AsOfMachine
from tests.conformance.records_usage import (
    OpenStore,
    QuotaContract,
    UsageContract,
    refused,
    save,
    used,
)

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

    async def test_a_database_from_before_there_was_a_usage_has_it(self, tmp_path: Path) -> None:
        def fill(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO records (player, collection, key, version, created_at, updated_at,"
                " value) VALUES (?, ?, ?, 7, 1000, 2000, '\"old\"')",
                (KEY.player, KEY.collection, KEY.key),
            )

        old, new = (Database(tmp_path / "old.db", one) for one in (MIGRATIONS[:-1], MIGRATIONS))
        await old.open()
        await old.write(fill)
        await old.close()
        await new.open()
        store = SqliteRecordStore(new, Quota(bytes=10))
        assert await used(store) == Usage(1, 5)
        other = in_saves("slot2")[0]
        assert await refused(store, "1" * 6, other) == (Usage(1, 5), Quota(bytes=10))
        await save(store, "1" * 5, other)
        assert await used(store) == Usage(2, 10)
        await new.close()


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
