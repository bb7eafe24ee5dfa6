"""SQLite keeps the promises of every port that it stands behind, in a real file."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.identity.adapters.sqlite import MIGRATIONS as IDENTITY
from services.identity.adapters.sqlite import (
    SqliteAccountStore,
    SqliteIdempotencyStore,
    SqliteIdentityStore,
    SqliteSessionStore,
)
from services.identity.models import Outcome
from services.player_data.adapters.sqlite import MIGRATIONS as PLAYER_DATA
from services.player_data.adapters.sqlite import SqliteRecordStore
from shared.sqlite import Database
from tests.conformance.accounts import AccountStoreContract
from tests.conformance.idempotency import DAY, FIRST, NOW, IdempotencyStoreContract
from tests.conformance.identities import IdentityStoreContract
from tests.conformance.records import KEY, RecordStoreContract, put
from tests.conformance.sessions import SESSION, SessionStoreContract, redeem


@contextlib.asynccontextmanager
async def opened(path: Path, migrations: Sequence[str]) -> AsyncIterator[Database]:
    database = Database(path, migrations)
    await database.open()
    yield database
    await database.close()


class TestSqliteAccountStore(AccountStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteAccountStore]:
        async with opened(tmp_path / "identity.db", IDENTITY) as database:
            yield SqliteAccountStore(database)


class TestSqliteIdentityStore(IdentityStoreContract):
    @pytest.fixture
    async def database(self, tmp_path: Path) -> AsyncIterator[Database]:
        async with opened(tmp_path / "identity.db", IDENTITY) as database:
            yield database

    @pytest.fixture
    def store(self, database: Database) -> SqliteIdentityStore:
        return SqliteIdentityStore(database)

    @pytest.fixture
    def accounts(self, database: Database) -> SqliteAccountStore:
        return SqliteAccountStore(database)


class TestSqliteIdempotencyStore(IdempotencyStoreContract):
    @pytest.fixture
    async def database(self, tmp_path: Path) -> AsyncIterator[Database]:
        async with opened(tmp_path / "identity.db", IDENTITY) as database:
            yield database

    @pytest.fixture
    def store(self, database: Database) -> SqliteIdempotencyStore:
        return SqliteIdempotencyStore(database)

    async def test_records_that_have_expired_do_not_pile_up(
        self, database: Database, store: SqliteIdempotencyStore
    ) -> None:
        """Nothing else deletes them, as DynamoDB does by itself."""

        def count(connection: sqlite3.Connection) -> int:
            (rows,) = connection.execute("SELECT COUNT(*) FROM idempotency").fetchone()
            return int(rows)

        for day in range(5):
            now = NOW + day * DAY
            for number in range(20):
                key = bytes([day, number]) * 16
                await store.claim(replace(FIRST, key=key, expires_at=now + DAY), now=now)
        assert await database.read(count) == 20


class TestSqliteSessionStore(SessionStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteSessionStore]:
        async with opened(tmp_path / "identity.db", IDENTITY) as database:
            yield SqliteSessionStore(database)

    async def test_a_session_from_before_replays_were_counted_has_none(
        self, tmp_path: Path
    ) -> None:
        def fill(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO sessions (user_id, session_id, counter, created_at, refreshed_at,"
                " idle_expires_at, absolute_expires_at) VALUES (?, ?, 2, 1000, 2000, 9000, 9000)",
                (SESSION.key.user_id, SESSION.key.session_id),
            )

        now = datetime.fromtimestamp(3, UTC)
        async with opened(tmp_path / "old.db", IDENTITY[:5]) as database:
            await database.write(fill)
        async with opened(tmp_path / "old.db", IDENTITY) as database:
            redeemed = await redeem(SqliteSessionStore(database), now=now)
            assert (redeemed.outcome, redeemed.session.replays) == (Outcome.REPLAYED, 1)


class TestSqliteRecordStore(RecordStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteRecordStore]:
        async with opened(tmp_path / "player_data.db", PLAYER_DATA) as database:
            yield SqliteRecordStore(database)

    async def test_a_database_from_before_there_was_a_history_gets_one(
        self, tmp_path: Path
    ) -> None:
        def fill(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO records (player, collection, key, version, created_at, updated_at,"
                " value) VALUES (?, ?, ?, 7, 1000, 2000, '\"old\"')",
                (KEY.player, KEY.collection, KEY.key),
            )

        async with opened(tmp_path / "old.db", PLAYER_DATA[:2]) as database:
            await database.write(fill)
        async with opened(tmp_path / "old.db", PLAYER_DATA) as database:
            store = SqliteRecordStore(database)
            old = await store.get(KEY)
            assert await store.versions(KEY) == []
            assert (await put(store)).version == 8
            assert await store.versions(KEY) == [old]
