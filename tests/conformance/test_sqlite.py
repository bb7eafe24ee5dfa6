"""SQLite keeps the promises of every port that it stands behind, in a real file."""

import asyncio
import contextlib
import operator
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.identity.adapters.sqlite import MIGRATIONS as IDENTITY
from services.identity.adapters.sqlite import (
    SqliteAccountStore,
    SqliteGrantStore,
    SqliteIdempotencyStore,
    SqliteIdentityBanStore,
    SqliteIdentityStore,
    SqliteSessionStore,
)
from services.identity.models import LinkedIdentity, Mark, Outcome, SessionKey
from services.player_data.adapters.sqlite import MIGRATIONS as PLAYER_DATA
from services.player_data.adapters.sqlite import SqliteRecordStore
from shared.clock import to_millis
from shared.ids import new_id
from shared.sqlite import Database
from tests.conformance.accounts import (
    ALICE,
    CREATED,
    ERASED,
    AccountStoreContract,
    account,
)
from tests.conformance.grants import GrantStoreContract
from tests.conformance.idempotency import DAY, FIRST, NOW, IdempotencyStoreContract
from tests.conformance.identities import IdentityStoreContract
from tests.conformance.identity_bans import IdentityBanStoreContract
from tests.conformance.records import KEY, RecordStoreContract, put
from tests.conformance.records_as_of import AsOfContract
from tests.conformance.records_together import WritesContract
from tests.conformance.sessions import LATER, MILLISECOND, SESSION, SessionStoreContract, redeem


@contextlib.asynccontextmanager
async def opened(path: Path, migrations: Sequence[str]) -> AsyncIterator[Database]:
    database = Database(path, migrations)
    await database.open()
    yield database
    await database.close()


@contextlib.asynccontextmanager
async def looking(database: Database) -> AsyncIterator[list[str]]:
    """How SQLite does what is read meanwhile, filled at the end."""
    statements: list[str] = []
    found: list[str] = []

    def watch(callback: Callable[[str], None] | None) -> Callable[[sqlite3.Connection], None]:
        return lambda connection: connection.set_trace_callback(callback)

    def explain(connection: sqlite3.Connection) -> None:
        for statement in statements:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}")
            found.extend(row[3].partition(" (")[0] for row in plan)

    await database.read(watch(statements.append))
    yield found
    await database.read(watch(None))
    await database.read(explain)


class TestSqliteAccountStore(AccountStoreContract):
    @pytest.fixture
    async def database(self, tmp_path: Path) -> AsyncIterator[Database]:
        async with opened(tmp_path / "identity.db", IDENTITY) as database:
            yield database

    @pytest.fixture
    def store(self, database: Database) -> SqliteAccountStore:
        return SqliteAccountStore(database)

    async def test_an_account_from_before_there_were_revisions_has_the_first(
        self, tmp_path: Path
    ) -> None:
        def fill(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO accounts (user_id, created_at) VALUES (?, 1000)", (ALICE,)
            )

        old = datetime.fromtimestamp(1, UTC)
        expected = account(created_at=old, seen_at=old, digest=None)
        async with opened(tmp_path / "old.db", IDENTITY[:6]) as database:
            await database.write(fill)
        async with opened(tmp_path / "old.db", IDENTITY) as database:
            store = SqliteAccountStore(database)
            assert await store.get(ALICE) == expected
            assert [one async for one in store.inactive_guests(NOW)] == [expected]
            assert await store.replace(expected) == replace(expected, revision=2)

    async def test_a_walk_over_many_pages_meets_each_account_once(
        self, store: SqliteAccountStore
    ) -> None:
        """Many of them were last seen, or erased, at the same moment."""
        accounts = [
            replace(state, user_id=new_id(), seen_at=moment, erased_at=state.erased_at and moment)
            for state in (account(), ERASED)
            for moment in (CREATED, CREATED + DAY, CREATED + 2 * DAY)
            for _ in range(170)
        ]
        await asyncio.gather(*(store.create(one) for one in accounts))
        guests = [one async for one in store.inactive_guests(CREATED + 3 * DAY)]
        tombstones = [one async for one in store.tombstones()]
        key = operator.attrgetter("user_id")
        assert sorted(guests, key=key) == sorted(accounts[:510], key=key)
        assert sorted(tombstones, key=key) == sorted(accounts[510:], key=key)

    async def test_what_looks_for_some_among_all_reads_an_index(
        self, database: Database, store: SqliteAccountStore
    ) -> None:
        await store.create(account())
        async with looking(database) as found:
            await store.marked_since(Mark.BANNED, CREATED, limit=9)
            assert [one async for one in store.inactive_guests(CREATED)] == []
            assert [one async for one in store.tombstones()] == []
        assert found == [
            "SEARCH accounts USING INDEX accounts_by_mark",
            "SEARCH accounts USING INDEX accounts_by_seen",
            "SEARCH accounts USING INDEX accounts_by_erasure",
        ]


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

    async def test_an_account_from_before_there_were_lists_gets_its_identities(
        self, tmp_path: Path
    ) -> None:
        linked = [LinkedIdentity(name, "'1'\"", ALICE, CREATED) for name in ("epic", "steam")]

        def fill(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO accounts (user_id, created_at) VALUES (?, 1000)",
                [(ALICE,), (new_id(),)],
            )
            connection.executemany(
                "INSERT INTO identities (provider, external_id, user_id, linked_at)"
                " VALUES (?, ?, ?, ?)",
                [(*one.key, one.user_id, to_millis(one.linked_at)) for one in linked],
            )

        async with opened(tmp_path / "old.db", IDENTITY[:21]) as database:
            await database.write(fill)
        async with opened(tmp_path / "old.db", IDENTITY) as database:
            found = await SqliteAccountStore(database).get(ALICE)
            assert found is not None
            assert sorted(found.identities, key=lambda one: one.provider) == linked
            guests = SqliteAccountStore(database).inactive_guests(CREATED)
            assert [one.identities async for one in guests] == [()]


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


class TestSqliteIdentityBanStore(IdentityBanStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteIdentityBanStore]:
        async with opened(tmp_path / "identity.db", IDENTITY) as database:
            yield SqliteIdentityBanStore(database)


class TestSqliteGrantStore(GrantStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteGrantStore]:
        async with opened(tmp_path / "identity.db", IDENTITY) as database:
            yield SqliteGrantStore(database)


class TestSqliteSessionStore(SessionStoreContract):
    @pytest.fixture
    async def database(self, tmp_path: Path) -> AsyncIterator[Database]:
        async with opened(tmp_path / "identity.db", IDENTITY) as database:
            yield database

    @pytest.fixture
    def store(self, database: Database) -> SqliteSessionStore:
        return SqliteSessionStore(database)

    @pytest.mark.parametrize("limit", ["idle_expires_at", "absolute_expires_at"])
    async def test_sessions_that_reached_a_limit_before_a_moment_are_removed(
        self, store: SqliteSessionStore, limit: str
    ) -> None:
        before = SESSION.created_at + timedelta(days=1)
        over, at, living = (
            replace(SESSION, key=SessionKey(ALICE, new_id()), **{limit: before + late})  # type: ignore[arg-type]  # moments
            for late in (-MILLISECOND, 0 * MILLISECOND, MILLISECOND)
        )
        for one in (over, at, living):
            await store.create(one)
        assert await store.delete_expired(before, limit=10) == 1
        assert {one.key for one in await store.list(ALICE)} == {at.key, living.key}
        assert await store.delete_expired(before, limit=10) == 0

    async def test_at_most_the_limit_is_removed_and_the_oldest_first(
        self, store: SqliteSessionStore
    ) -> None:
        sessions = [
            replace(
                SESSION,
                key=SessionKey(ALICE, new_id()),
                idle_expires_at=SESSION.created_at + number * MILLISECOND,
            )
            for number in range(5)
        ]
        for one in sessions:
            await store.create(one)
        before = SESSION.absolute_expires_at
        assert await store.delete_expired(before, limit=2) == 2
        assert {one.key for one in await store.list(ALICE)} == {one.key for one in sessions[2:]}
        assert await store.delete_expired(before, limit=9) == 3

    async def test_what_looks_for_some_among_all_reads_an_index(
        self, database: Database, store: SqliteSessionStore
    ) -> None:
        async with looking(database) as found:
            await store.ended_since(LATER, limit=9)
            await store.list(ALICE)
        assert found == [
            "SEARCH sessions USING COVERING INDEX sessions_by_end",
            "SEARCH sessions USING PRIMARY KEY",
        ]

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


class TestSqliteRecordStore(RecordStoreContract, WritesContract, AsOfContract):
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
