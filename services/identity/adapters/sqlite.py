"""identity's stores in one SQLite database."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from services.identity.adapters import bans, identities, undo
from services.identity.models import (
    REFRESH_REUSED,
    Account,
    Erasure,
    Grant,
    IdempotencyRecord,
    IdentityBan,
    LinkedIdentity,
    Mark,
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
    "ALTER TABLE accounts ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0",
    "UPDATE accounts SET seen_at = created_at",
    "ALTER TABLE accounts ADD COLUMN bans TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE accounts ADD COLUMN erasing_since INTEGER",
    "ALTER TABLE accounts ADD COLUMN tokens_expire_at INTEGER",
    "ALTER TABLE accounts ADD COLUMN erased_at INTEGER",
    "ALTER TABLE accounts ADD COLUMN revision INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE accounts ADD COLUMN mark TEXT",
    "ALTER TABLE accounts ADD COLUMN marked_at INTEGER",
    "CREATE INDEX accounts_by_mark ON accounts (mark, marked_at) WHERE mark IS NOT NULL",
    "CREATE INDEX accounts_by_seen ON accounts (seen_at) WHERE erased_at IS NULL",
    "CREATE INDEX accounts_by_erasure ON accounts (erased_at) WHERE erased_at IS NOT NULL",
    "CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL",
    """
    CREATE INDEX sessions_by_expiry
    ON sessions (min(idle_expires_at, absolute_expires_at))
    """,
    """
    CREATE TABLE identity_bans (
        provider TEXT NOT NULL,
        external_id TEXT NOT NULL,
        ban TEXT NOT NULL,
        PRIMARY KEY (provider, external_id)
    ) STRICT, WITHOUT ROWID
    """,
    "ALTER TABLE accounts ADD COLUMN identities TEXT NOT NULL DEFAULT '[]'",
    """
    UPDATE accounts SET identities = (
        SELECT json_group_array(json_object(
            'provider', provider, 'external_id', external_id, 'linked_at', linked_at
        ))
        FROM identities WHERE identities.user_id = accounts.user_id
    )
    WHERE user_id IN (SELECT user_id FROM identities)
    """,
    "ALTER TABLE sessions ADD COLUMN provider TEXT",
    "ALTER TABLE accounts ADD COLUMN undo TEXT",
    """
    CREATE TABLE grants (
        provider TEXT NOT NULL,
        external_id TEXT NOT NULL,
        sealed TEXT NOT NULL,
        PRIMARY KEY (provider, external_id)
    ) STRICT, WITHOUT ROWID
    """,
)

_PAGE = 200
_BEFORE_ALL, _AFTER_ALL = -(2**63), 2**63 - 1

_ACCOUNT = """user_id, created_at, guest_secret_digest, seen_at, bans, erasing_since,
    tokens_expire_at, erased_at, revision, identities, undo"""

_SESSION = """user_id, session_id, device, counter, created_at, refreshed_at,
    idle_expires_at, absolute_expires_at, replays, ended_at, ended_reason, provider"""


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
                f"SELECT {_ACCOUNT} FROM accounts WHERE user_id = ?",  # noqa: S608 - a constant
                (user_id,),
            ).fetchone()
            return _account(row) if row else None

        return await self._database.read(select)

    async def replace(self, account: Account) -> Account:
        return await self._database.write(lambda connection: _replace_account(connection, account))

    async def marked_since(
        self, mark: Mark, moment: datetime, *, limit: int, until: datetime | None = None
    ) -> Sequence[Account]:
        latest = to_millis(until) if until else _AFTER_ALL
        return await self._accounts(
            "WHERE mark = ? AND marked_at BETWEEN ? AND ? ORDER BY marked_at DESC LIMIT ?",
            (mark.value, to_millis(moment), latest, limit),
        )

    async def inactive_guests(self, before: datetime) -> AsyncIterator[Account]:
        where, parameters = "erased_at IS NULL AND seen_at < ?", (to_millis(before),)
        async for account in self._walk("seen_at", where, parameters):
            if account.scope == "guest" and not account.is_gone:
                yield account

    def tombstones(self) -> AsyncIterator[Account]:
        return self._walk("erased_at", "erased_at IS NOT NULL", ())

    async def _walk(
        self, column: str, where: str, parameters: Sequence[int]
    ) -> AsyncIterator[Account]:
        """In the order of a column, page by page: between two pages others get their turn."""
        place: tuple[int, str] = (_BEFORE_ALL, "")
        while True:
            accounts = await self._accounts(
                f"WHERE {where} AND ({column}, user_id) > (?, ?)"
                f" ORDER BY {column}, user_id LIMIT {_PAGE}",
                (*parameters, *place),
            )
            for account in accounts:
                yield account
            if len(accounts) < _PAGE:
                return
            place = _account_columns(accounts[-1])[column], accounts[-1].user_id

    async def _accounts(self, which: str, parameters: Sequence[str | int]) -> list[Account]:
        def select(connection: sqlite3.Connection) -> list[Account]:
            rows = connection.execute(
                f"SELECT {_ACCOUNT} FROM accounts {which}",  # noqa: S608 - constants of this class
                parameters,
            )
            return [_account(row) for row in rows]

        return await self._database.read(select)


class SqliteIdentityStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, provider: str, external_id: str) -> LinkedIdentity | None:
        def select(connection: sqlite3.Connection) -> LinkedIdentity | None:
            return _find_identity(connection, provider, external_id)

        return await self._database.read(select)

    async def create_account(self, account: Account, identity: LinkedIdentity) -> Account:
        created = account.linked(identity)

        def insert(connection: sqlite3.Connection) -> None:
            try:
                _insert_account(connection, created)
                connection.execute(
                    "INSERT INTO identities (provider, external_id, user_id, linked_at)"
                    " VALUES (?, ?, ?, ?)",
                    (*identity.key, account.user_id, to_millis(identity.linked_at)),
                )
            except sqlite3.IntegrityError:
                raise errors.AlreadyExists("the identity is linked or the id taken") from None

        await self._database.write(insert)
        return created

    async def link(self, account: Account, identity: LinkedIdentity) -> Account:
        changed = account.linked(identity)

        def link(connection: sqlite3.Connection) -> Account:
            if changed == account:
                return _unchanged(connection, account)
            found = _find_identity(connection, *identity.key)
            if found is not None and found.user_id != account.user_id:
                raise errors.AlreadyLinked(owner=found.user_id)
            connection.execute(
                "INSERT OR REPLACE INTO identities (provider, external_id, user_id, linked_at)"
                " VALUES (?, ?, ?, ?)",
                (*identity.key, account.user_id, to_millis(identity.linked_at)),
            )
            return _replace_account(connection, changed)

        return await self._database.write(link)

    async def unlink(self, account: Account, provider: str, external_id: str) -> Account:
        changed = account.unlinked(provider, external_id)

        def unlink(connection: sqlite3.Connection) -> Account:
            if changed == account:
                return _unchanged(connection, account)
            stored = _replace_account(connection, changed)
            if not _delete_identity(connection, provider, external_id, account.user_id):
                raise errors.VersionConflict("the identity is not the account's")
            return stored

        return await self._database.write(unlink)

    async def rename(
        self, account: Account, former_external_id: str, identity: LinkedIdentity
    ) -> Account:
        changed = account.renamed(former_external_id, identity)

        def rename(connection: sqlite3.Connection) -> Account:
            if changed == account:
                return _unchanged(connection, account)
            found = _find_identity(connection, *identity.key)
            if found is not None and found.user_id != account.user_id:
                raise errors.AlreadyLinked(owner=found.user_id)
            stored = _replace_account(connection, changed)
            renamed = connection.execute(
                "UPDATE identities SET external_id = ?, linked_at = ?"
                " WHERE provider = ? AND external_id = ? AND user_id = ?",
                (
                    identity.external_id,
                    to_millis(identity.linked_at),
                    identity.provider,
                    former_external_id,
                    account.user_id,
                ),
            ).rowcount
            if not renamed:
                raise errors.VersionConflict("the former identity is not the account's")
            return stored

        return await self._database.write(rename)

    async def move(
        self, identity: LinkedIdentity, source: Account, target: Account
    ) -> tuple[Account, Account]:
        left, joined = source.unlinked(*identity.key), target.linked(identity)

        def move(connection: sqlite3.Connection) -> tuple[Account, Account]:
            moved = connection.execute(
                "UPDATE identities SET user_id = ?, linked_at = ?"
                " WHERE provider = ? AND external_id = ? AND user_id = ?",
                (target.user_id, to_millis(identity.linked_at), *identity.key, source.user_id),
            ).rowcount
            if not moved:
                raise errors.VersionConflict("the identity is not the account's")
            return _replace_account(connection, left), _replace_account(connection, joined)

        return await self._database.write(move)

    async def release(self, identity: LinkedIdentity) -> None:
        def release(connection: sqlite3.Connection) -> None:
            _delete_identity(connection, *identity.key, identity.user_id)

        await self._database.write(release)


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
                        :idle_expires_at, :absolute_expires_at, :replays, :ended_at, :ended_reason,
                        :provider)
                    """,  # noqa: S608 - a constant
                    _session_columns(session),
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
            _update_session(connection, session)
            return Redeemed(outcome, session)

        redeemed = await self._database.write(redeem)
        if redeemed is None:
            raise errors.InvalidRefreshToken
        if refusal := redeemed.session.refusal(redeemed.outcome):
            raise refusal  # not before the end of a session is on the disk
        return redeemed

    async def end(self, key: SessionKey, *, now: datetime, reason: str) -> Session | None:
        def end(connection: sqlite3.Connection) -> Session | None:
            session = _find_session(connection, key)
            if session is not None:
                session = session.ended(now=now, reason=reason)
                _update_session(connection, session)
            return session

        return await self._database.write(end)

    async def list(self, user_id: str) -> Sequence[Session]:
        return await self._sessions("WHERE user_id = ?", (user_id,))

    async def ended_since(self, moment: datetime, *, limit: int) -> Sequence[SessionKey]:
        def select(connection: sqlite3.Connection) -> Sequence[SessionKey]:
            rows = connection.execute(
                "SELECT user_id, session_id FROM sessions"
                " WHERE ended_at >= ? ORDER BY ended_at DESC LIMIT ?",
                (to_millis(moment), limit),
            )
            return [SessionKey(*row) for row in rows]

        return await self._database.read(select)

    async def delete_all(self, user_id: str) -> None:
        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM sessions WHERE user_id = ?", (user_id,))

        await self._database.write(delete)

    async def delete_expired(self, before: datetime, *, limit: int) -> int:
        def delete(connection: sqlite3.Connection) -> int:
            return connection.execute(
                """
                DELETE FROM sessions WHERE (user_id, session_id) IN (
                    SELECT user_id, session_id FROM sessions
                    WHERE min(idle_expires_at, absolute_expires_at) < ?
                    ORDER BY min(idle_expires_at, absolute_expires_at) LIMIT ?
                )
                """,
                (to_millis(before), limit),
            ).rowcount

        return await self._database.write(delete)

    async def _sessions(self, which: str, parameters: Sequence[str | int]) -> Sequence[Session]:
        def select(connection: sqlite3.Connection) -> Sequence[Session]:
            rows = connection.execute(
                f"SELECT {_SESSION} FROM sessions {which}",  # noqa: S608 - constants of this class
                parameters,
            )
            return [_session(row) for row in rows]

        return await self._database.read(select)


class SqliteIdentityBanStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, provider: str, external_id: str) -> IdentityBan | None:
        def select(connection: sqlite3.Connection) -> IdentityBan | None:
            row = connection.execute(
                "SELECT ban FROM identity_bans WHERE provider = ? AND external_id = ?",
                (provider, external_id),
            ).fetchone()
            return IdentityBan(provider, external_id, bans.read(row[0])[0]) if row else None

        return await self._database.read(select)

    async def put(self, ban: IdentityBan) -> None:
        def put(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO identity_bans (provider, external_id, ban)"
                " VALUES (?, ?, ?)",
                (ban.provider, ban.external_id, bans.render([ban.ban])),
            )

        await self._database.write(put)

    async def delete(self, provider: str, external_id: str) -> None:
        def delete(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM identity_bans WHERE provider = ? AND external_id = ?",
                (provider, external_id),
            )

        await self._database.write(delete)


class SqliteGrantStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, provider: str, external_id: str) -> Grant | None:
        def select(connection: sqlite3.Connection) -> Grant | None:
            row = connection.execute(
                "SELECT sealed FROM grants WHERE provider = ? AND external_id = ?",
                (provider, external_id),
            ).fetchone()
            return Grant(provider, external_id, row[0]) if row else None

        return await self._database.read(select)

    async def put(self, grant: Grant) -> None:
        def put(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO grants (provider, external_id, sealed) VALUES (?, ?, ?)",
                (grant.provider, grant.external_id, grant.sealed),
            )

        await self._database.write(put)

    async def delete(self, grant: Grant) -> None:
        def delete(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM grants WHERE provider = ? AND external_id = ? AND sealed = ?",
                (grant.provider, grant.external_id, grant.sealed),
            )

        await self._database.write(delete)


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
    columns = _account_columns(account)
    connection.execute(
        f"INSERT INTO accounts ({', '.join(columns)})"  # noqa: S608 - constants
        f" VALUES ({', '.join(f':{name}' for name in columns)})",
        columns,
    )


def _replace_account(connection: sqlite3.Connection, account: Account) -> Account:
    """As `AccountStore.replace`."""
    following = replace(account, revision=account.revision + 1)
    row = connection.execute(
        """
        UPDATE accounts
        SET guest_secret_digest = :guest_secret_digest, seen_at = :seen_at, bans = :bans,
            identities = :identities, erasing_since = :erasing_since,
            tokens_expire_at = :tokens_expire_at, erased_at = :erased_at, revision = :revision,
            mark = :mark, marked_at = :marked_at, undo = :undo
        WHERE user_id = :user_id AND revision = :revision - 1
        RETURNING created_at
        """,
        _account_columns(following),
    ).fetchone()
    if row is None:
        raise errors.VersionConflict("the account has changed meanwhile")
    return replace(following, created_at=from_millis(row[0]))


def _unchanged(connection: sqlite3.Connection, account: Account) -> Account:
    """The account as it is stored. Raises VersionConflict where that is another revision."""
    row = connection.execute(
        f"SELECT {_ACCOUNT} FROM accounts WHERE user_id = ? AND revision = ?",  # noqa: S608 - a constant
        (account.user_id, account.revision),
    ).fetchone()
    if row is None:
        raise errors.VersionConflict("the account has changed meanwhile")
    return _account(row)


def _account_columns(account: Account) -> dict[str, Any]:
    erasure, marked = account.erasure, account.marked
    return {
        "user_id": account.user_id,
        "created_at": to_millis(account.created_at),
        "guest_secret_digest": account.guest_secret_digest,
        "seen_at": to_millis(account.seen_at),
        "bans": bans.render(account.bans),
        "erasing_since": to_millis(erasure.requested_at) if erasure else None,
        "tokens_expire_at": to_millis(erasure.tokens_expire_at) if erasure else None,
        "erased_at": None if account.erased_at is None else to_millis(account.erased_at),
        "revision": account.revision,
        "identities": identities.render(account.identities),
        "mark": marked[0].value if marked else None,
        "marked_at": to_millis(marked[1]) if marked else None,
        "undo": undo.render(account.undo) if account.undo else None,
    }


def _account(
    row: tuple[
        str, int, bytes | None, int, str, int | None, int | None, int | None, int, str, str | None
    ],
) -> Account:
    return Account(
        user_id=row[0],
        created_at=from_millis(row[1]),
        guest_secret_digest=row[2],
        seen_at=from_millis(row[3]),
        identities=identities.read(row[9], row[0]),
        bans=bans.read(row[4]),
        erasure=(
            None
            if row[5] is None or row[6] is None
            else Erasure(
                requested_at=from_millis(row[5]),
                tokens_expire_at=from_millis(row[6]),
                undo=undo.read(row[10]) if row[10] else None,
            )
        ),
        erased_at=None if row[7] is None else from_millis(row[7]),
        revision=row[8],
    )


def _find_identity(
    connection: sqlite3.Connection, provider: str, external_id: str
) -> LinkedIdentity | None:
    row = connection.execute(
        "SELECT user_id, linked_at FROM identities WHERE provider = ? AND external_id = ?",
        (provider, external_id),
    ).fetchone()
    return LinkedIdentity(provider, external_id, row[0], from_millis(row[1])) if row else None


def _delete_identity(
    connection: sqlite3.Connection, provider: str, external_id: str, user_id: str
) -> bool:
    """Whether it was this account's."""
    return bool(
        connection.execute(
            "DELETE FROM identities WHERE provider = ? AND external_id = ? AND user_id = ?",
            (provider, external_id, user_id),
        ).rowcount
    )


def _find_session(connection: sqlite3.Connection, key: SessionKey) -> Session | None:
    row = connection.execute(
        f"SELECT {_SESSION} FROM sessions WHERE user_id = ? AND session_id = ?",  # noqa: S608 - a constant
        (key.user_id, key.session_id),
    ).fetchone()
    return _session(row) if row else None


def _update_session(connection: sqlite3.Connection, session: Session) -> None:
    connection.execute(
        """
        UPDATE sessions
        SET counter = :counter, refreshed_at = :refreshed_at,
            idle_expires_at = :idle_expires_at, replays = :replays,
            ended_at = :ended_at, ended_reason = :ended_reason
        WHERE user_id = :user_id AND session_id = :session_id
        """,
        _session_columns(session),
    )


def _session_columns(session: Session) -> dict[str, str | int | None]:
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
        "provider": session.provider,
    }


def _session(
    row: tuple[
        str, str, str | None, int, int, int, int, int, int, int | None, str | None, str | None
    ],
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
        provider=row[11],
    )
