"""identity's stores in one SQLite database."""

import sqlite3
from datetime import datetime

from services.identity.models import (
    Account,
    IdempotencyRecord,
    LinkedIdentity,
    Session,
    SessionKey,
)
from shared import errors
from shared.clock import from_millis, to_millis
from shared.sqlite import Database

MIGRATIONS = (
    """
    CREATE TABLE accounts (
        user_id TEXT PRIMARY KEY,
        created_at INTEGER NOT NULL,
        guest_secret_digest BLOB
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE sessions (
        user_id TEXT NOT NULL,
        session_id TEXT NOT NULL,
        device TEXT,
        counter INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        refreshed_at INTEGER NOT NULL,
        idle_expires_at INTEGER NOT NULL,
        absolute_expires_at INTEGER NOT NULL,
        ended_at INTEGER,
        ended_reason TEXT,
        PRIMARY KEY (user_id, session_id)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE identities (
        provider TEXT NOT NULL,
        external_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        linked_at INTEGER NOT NULL,
        PRIMARY KEY (provider, external_id)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE idempotency (
        key BLOB PRIMARY KEY,
        request BLOB NOT NULL,
        result TEXT NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX idempotency_by_expiry ON idempotency (expires_at)",
)

_SESSION = """user_id, session_id, device, counter, created_at, refreshed_at,
    idle_expires_at, absolute_expires_at, ended_at, ended_reason"""


class SqliteAccountStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, account: Account) -> None:
        def insert(connection: sqlite3.Connection) -> None:
            try:
                _insert_account(connection, account)
            except sqlite3.IntegrityError:
                raise errors.AlreadyExists("the user id is taken") from None

        await self._database.write(insert)

    async def get(self, user_id: str) -> Account | None:
        def select(connection: sqlite3.Connection) -> Account | None:
            row = connection.execute(
                "SELECT user_id, created_at, guest_secret_digest FROM accounts WHERE user_id = ?",
                (user_id,),
            ).fetchone()
            return Account(row[0], from_millis(row[1]), row[2]) if row else None

        return await self._database.read(select)


class SqliteIdentityStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, provider: str, external_id: str) -> LinkedIdentity | None:
        def select(connection: sqlite3.Connection) -> LinkedIdentity | None:
            row = connection.execute(
                "SELECT user_id, linked_at FROM identities WHERE provider = ? AND external_id = ?",
                (provider, external_id),
            ).fetchone()
            if row is None:
                return None
            return LinkedIdentity(provider, external_id, row[0], from_millis(row[1]))

        return await self._database.read(select)

    async def create_account(self, account: Account, identity: LinkedIdentity) -> None:
        row = (
            identity.provider,
            identity.external_id,
            identity.user_id,
            to_millis(identity.linked_at),
        )

        def insert(connection: sqlite3.Connection) -> None:
            try:
                _insert_account(connection, account)
                connection.execute(
                    "INSERT INTO identities (provider, external_id, user_id, linked_at)"
                    " VALUES (?, ?, ?, ?)",
                    row,
                )
            except sqlite3.IntegrityError:
                raise errors.AlreadyExists("the identity is linked or the id taken") from None

        await self._database.write(insert)


class SqliteSessionStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, session: Session) -> None:
        row = (
            session.key.user_id,
            session.key.session_id,
            session.device,
            session.counter,
            to_millis(session.created_at),
            to_millis(session.refreshed_at),
            to_millis(session.idle_expires_at),
            to_millis(session.absolute_expires_at),
            None if session.ended_at is None else to_millis(session.ended_at),
            session.ended_reason,
        )

        def insert(connection: sqlite3.Connection) -> None:
            try:
                connection.execute(
                    f"INSERT INTO sessions ({_SESSION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
                    row,
                )
            except sqlite3.IntegrityError:
                raise errors.AlreadyExists("the session id is taken") from None

        await self._database.write(insert)

    async def get(self, key: SessionKey) -> Session | None:
        def select(connection: sqlite3.Connection) -> Session | None:
            row = connection.execute(
                f"SELECT {_SESSION} FROM sessions WHERE user_id = ? AND session_id = ?",  # noqa: S608 - a constant
                (key.user_id, key.session_id),
            ).fetchone()
            return _session(row) if row else None

        return await self._database.read(select)

    async def consume_refresh_token(
        self, key: SessionKey, *, counter: int, now: datetime, idle_expires_at: datetime
    ) -> Session:
        parameters = {
            "user_id": key.user_id,
            "session_id": key.session_id,
            "counter": counter,
            "now": to_millis(now),
            "idle_expires_at": to_millis(idle_expires_at),
        }

        def update(connection: sqlite3.Connection) -> Session:
            row = connection.execute(
                f"""
                UPDATE sessions
                SET counter = counter + 1, refreshed_at = :now, idle_expires_at = :idle_expires_at
                WHERE user_id = :user_id AND session_id = :session_id
                    AND counter = :counter AND ended_at IS NULL
                    AND idle_expires_at > :now AND absolute_expires_at > :now
                RETURNING {_SESSION}
                """,  # noqa: S608 - a constant
                parameters,
            ).fetchone()
            if row is None:
                raise errors.VersionConflict("the refresh token is not the current one")
            return _session(row)

        return await self._database.write(update)


class SqliteIdempotencyStore:
    """Every claim clears away a few records that have expired: more than it adds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, record: IdempotencyRecord, *, now: datetime) -> IdempotencyRecord:
        parameters = {
            "key": record.key,
            "request": record.request,
            "result": record.result,
            "expires_at": to_millis(record.expires_at),
            "now": to_millis(now),
        }

        def claim(connection: sqlite3.Connection) -> IdempotencyRecord:
            connection.execute(
                """
                DELETE FROM idempotency WHERE key IN (
                    SELECT key FROM idempotency WHERE expires_at <= :now
                    ORDER BY expires_at LIMIT 4
                )
                """,
                parameters,
            )
            connection.execute(
                """
                INSERT INTO idempotency (key, request, result, expires_at)
                VALUES (:key, :request, :result, :expires_at)
                ON CONFLICT (key) DO UPDATE
                SET request = :request, result = :result, expires_at = :expires_at
                WHERE idempotency.expires_at <= :now
                """,
                parameters,
            )
            row = connection.execute(
                "SELECT key, request, result, expires_at FROM idempotency WHERE key = :key",
                parameters,
            ).fetchone()
            return IdempotencyRecord(row[0], row[1], row[2], from_millis(row[3]))

        return await self._database.write(claim)


def _insert_account(connection: sqlite3.Connection, account: Account) -> None:
    connection.execute(
        "INSERT INTO accounts (user_id, created_at, guest_secret_digest) VALUES (?, ?, ?)",
        (account.user_id, to_millis(account.created_at), account.guest_secret_digest),
    )


def _session(
    row: tuple[str, str, str | None, int, int, int, int, int, int | None, str | None],
) -> Session:
    return Session(
        key=SessionKey(row[0], row[1]),
        device=row[2],
        counter=row[3],
        created_at=from_millis(row[4]),
        refreshed_at=from_millis(row[5]),
        idle_expires_at=from_millis(row[6]),
        absolute_expires_at=from_millis(row[7]),
        ended_at=None if row[8] is None else from_millis(row[8]),
        ended_reason=row[9],
    )
