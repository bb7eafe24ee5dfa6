"""identity's stores in one SQLite database."""

import sqlite3
from datetime import datetime, timedelta

from services.identity.models import (
    REFRESH_REUSED,
    REFUSALS,
    Account,
    IdempotencyRecord,
    LinkedIdentity,
    Outcome,
    Redeemed,
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
    "ALTER TABLE sessions ADD COLUMN replays INTEGER NOT NULL DEFAULT 0",
)

_SESSION = """user_id, session_id, device, counter, created_at, refreshed_at,
    idle_expires_at, absolute_expires_at, replays, ended_at, ended_reason"""


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
        def insert(connection: sqlite3.Connection) -> None:
            try:
                connection.execute(
                    f"""
                    INSERT INTO sessions ({_SESSION})
                    VALUES (:user_id, :session_id, :device, :counter, :created_at, :refreshed_at,
                        :idle_expires_at, :absolute_expires_at, :replays, :ended_at, :ended_reason)
                    """,  # noqa: S608 - a constant
                    _columns(session),
                )
            except sqlite3.IntegrityError:
                raise errors.AlreadyExists("the session id is taken") from None

        await self._database.write(insert)

    async def get(self, key: SessionKey) -> Session | None:
        return await self._database.read(lambda connection: _find_session(connection, key))

    async def redeem(
        self,
        key: SessionKey,
        *,
        counter: int,
        now: datetime,
        idle_expires_at: datetime,
        grace: timedelta,
    ) -> Redeemed:
        def redeem(connection: sqlite3.Connection) -> Redeemed | None:
            session = _find_session(connection, key)
            if session is None:
                return None
            outcome = session.outcome(counter, now=now, grace=grace)
            if outcome is Outcome.ADVANCED:
                session = session.advanced(now=now, idle_expires_at=idle_expires_at)
            elif outcome is Outcome.REPLAYED:
                session = session.replayed()
            elif outcome is Outcome.REUSED:
                session = session.ended(now=now, reason=REFRESH_REUSED)
            else:
                return Redeemed(outcome, session)
            connection.execute(
                """
                UPDATE sessions
                SET counter = :counter, refreshed_at = :refreshed_at,
                    idle_expires_at = :idle_expires_at, replays = :replays,
                    ended_at = :ended_at, ended_reason = :ended_reason
                WHERE user_id = :user_id AND session_id = :session_id
                """,
                _columns(session),
            )
            return Redeemed(outcome, session)

        redeemed = await self._database.write(redeem)
        if redeemed is None:
            raise errors.InvalidRefreshToken
        if redeemed.outcome in REFUSALS:  # not before the end of a session is on the disk
            raise REFUSALS[redeemed.outcome]
        return redeemed


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


def _find_session(connection: sqlite3.Connection, key: SessionKey) -> Session | None:
    row = connection.execute(
        f"SELECT {_SESSION} FROM sessions WHERE user_id = ? AND session_id = ?",  # noqa: S608 - a constant
        (key.user_id, key.session_id),
    ).fetchone()
    return _session(row) if row else None


def _columns(session: Session) -> dict[str, str | int | None]:
    return {
        "user_id": session.key.user_id,
        "session_id": session.key.session_id,
        "device": session.device,
        "counter": session.counter,
        "created_at": to_millis(session.created_at),
        "refreshed_at": to_millis(session.refreshed_at),
        "idle_expires_at": to_millis(session.idle_expires_at),
        "absolute_expires_at": to_millis(session.absolute_expires_at),
        "replays": session.replays,
        "ended_at": None if session.ended_at is None else to_millis(session.ended_at),
        "ended_reason": session.ended_reason,
    }


def _session(
    row: tuple[str, str, str | None, int, int, int, int, int, int, int | None, str | None],
) -> Session:
    return Session(
        key=SessionKey(row[0], row[1]),
        device=row[2],
        counter=row[3],
        created_at=from_millis(row[4]),
        refreshed_at=from_millis(row[5]),
        idle_expires_at=from_millis(row[6]),
        absolute_expires_at=from_millis(row[7]),
        replays=row[8],
        ended_at=None if row[9] is None else from_millis(row[9]),
        ended_reason=row[10],
    )
