"""player_data's store in a SQLite database.

A deleted record leaves its row without a value, so that its version is never given again.
Before a row changes, it is copied to `record_versions`, in the same transaction.

What a player has is counted in a row of `usage`, in the transactions of the writes. A player whose
row is missing is counted by the next write, and makes one.
"""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.player_data.adapters import receipts
from services.player_data.models import (
    LARGEST_PAGE,
    CollectionSummary,
    ExportPage,
    Held,
    Page,
    Position,
    Receipt,
    Record,
    RecordKey,
    Write,
    Written,
    fill_page,
    outcomes,
)
from services.player_data.past import Past, PastPage, State, at
from services.player_data.usage import Quota, Usage
from shared.clock import from_millis, to_millis
from shared.sqlite import Database

MIGRATIONS = (
    """
    CREATE TABLE records (
        player TEXT NOT NULL,
        collection TEXT NOT NULL,
        key TEXT NOT NULL,
        version INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        value TEXT,
        PRIMARY KEY (player, collection, key)
    ) STRICT
    """,
    # Deleted records must not slow a list down.
    "CREATE INDEX records_live ON records (player, collection, key) WHERE value IS NOT NULL",
    """
    CREATE TABLE record_versions (
        player TEXT NOT NULL,
        collection TEXT NOT NULL,
        key TEXT NOT NULL,
        version INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (player, collection, key, version)
    ) STRICT
    """,
    "ALTER TABLE records ADD COLUMN written_by TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE records ADD COLUMN previous_at INTEGER",
    "ALTER TABLE record_versions ADD COLUMN written_by TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE record_versions ADD COLUMN previous_at INTEGER",
    """
    CREATE TABLE receipts (
        player TEXT NOT NULL,
        key BLOB NOT NULL,
        request BLOB NOT NULL,
        answer TEXT NOT NULL,
        expires_at INTEGER NOT NULL,
        PRIMARY KEY (player, key)
    ) STRICT
    """,
    "CREATE INDEX receipts_by_expiry ON receipts (expires_at)",
    # Filled player by player: to sum up all of a large database would hold up its start.
    """
    CREATE TABLE usage (
        player TEXT PRIMARY KEY,
        records INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
)

_COLUMNS = "collection, key, version, created_at, updated_at, value, written_by, previous_at"
_WHERE_KEY = "WHERE player = ? AND collection = ? AND key = ?"
_HIGHEST = "\U0010ffff"
_NO_QUOTA = Quota()
# As models.size_of: of a blob's value, the number that it begins with.
_SIZE = (
    "CASE WHEN value GLOB '@*' THEN CAST(SUBSTR(value, 2) AS INTEGER)"
    " ELSE LENGTH(CAST(value AS BLOB)) END"
)


class SqliteRecordStore:
    def __init__(self, database: Database, quota: Quota = _NO_QUOTA) -> None:
        self._database = database
        self._quota = quota

    async def get(self, key: RecordKey) -> Record | None:
        return await self._database.read(lambda connection: _select(connection, key).record)

    async def get_many(self, keys: Collection[RecordKey]) -> Collection[Record]:
        def select(connection: sqlite3.Connection) -> list[Record]:
            found = (_select(connection, key).record for key in keys)
            return [record for record in found if record is not None]

        return await self._database.read(select)

    async def write(
        self,
        writes: Sequence[Write],
        *,
        by: str,
        now: datetime,
        receipt: Receipt | None = None,
        within_quota: bool = False,
    ) -> Sequence[Written]:
        quota = self._quota if within_quota else _NO_QUOTA

        def write(connection: sqlite3.Connection) -> Sequence[Written]:
            if receipt and (answer := _answered(connection, receipt, now)) is not None:
                return [_whole(connection, one) for one in receipts.read(answer, writes)]
            seen = [_select(connection, one.key) for one in writes]
            current = [one.record for one in seen]
            values = outcomes(writes, current)
            _count(connection, writes[0].key.player, Usage.growth(values, current), quota)
            done = [
                _apply(connection, *one, by, now) for one in zip(writes, values, seen, strict=True)
            ]
            if receipt:
                _remember(connection, receipt, receipts.render(done, writes), now)
            return done

        return await self._database.write(write)

    async def list(
        self,
        player: str,
        *,
        collection: str | None,
        prefix: str,
        after: RecordKey | None,
        limit: int,
    ) -> Page:
        start = (after.collection, after.key) if after else (collection or "", "")
        conditions = "player = ? AND value IS NOT NULL AND (collection, key) > (?, ?)"
        parameters: list[Any] = [player, *start]
        if collection is not None:
            conditions += " AND collection = ? AND key >= ? AND key < ?"
            parameters += [collection, prefix, prefix + _HIGHEST]

        def select(connection: sqlite3.Connection) -> Page:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM records WHERE {conditions}"  # noqa: S608 - constants
                " ORDER BY collection, key",
                parameters,
            )
            records: list[Record] = []
            size = 0
            for row in rows:
                if len(records) == limit or (records and size + len(row[5]) > LARGEST_PAGE):
                    return Page(records, records[-1].key)
                records.append(_record(player, row))
                size += len(row[5])
            return Page(records, None)

        return await self._database.read(select)

    async def versions(self, key: RecordKey) -> Sequence[Record]:
        def select(connection: sqlite3.Connection) -> list[Record]:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM record_versions {_WHERE_KEY} ORDER BY version DESC",  # noqa: S608 - constants
                (key.player, key.collection, key.key),
            )
            return fill_page(_record(key.player, row) for row in rows)

        return await self._database.read(select)

    async def export(self, player: str, *, after: Position | None, limit: int) -> ExportPage:
        conditions = "player = ?"
        parameters: list[Any] = [player]
        if after:
            conditions += " AND (collection, key) >= (?, ?)"
            conditions += " AND NOT (collection = ? AND key = ? AND version >= ?)"
            of_key = (after.key.collection, after.key.key)
            parameters += [*of_key, *of_key, after.version]

        def select(connection: sqlite3.Connection) -> ExportPage:
            rows = connection.execute(
                f"SELECT {_COLUMNS}, 1 FROM records WHERE {conditions} AND value IS NOT NULL"  # noqa: S608 - constants
                f" UNION ALL SELECT {_COLUMNS}, 0 FROM record_versions WHERE {conditions}"
                " ORDER BY collection, key, version DESC",
                parameters * 2,
            )
            held: list[Held] = []
            size = 0
            for row in rows:
                size += len(row[5])
                if len(held) == limit or (held and size > LARGEST_PAGE):
                    last = held[-1].record
                    return ExportPage(held, Position(last.key, last.version))
                held.append(Held(_record(player, row), is_current=bool(row[8])))
            return ExportPage(held, None)

        return await self._database.read(select)

    async def summary(self, player: str) -> Sequence[CollectionSummary]:
        return await self._database.read(lambda connection: _sum_up(connection, player))

    async def usage(self, player: str, *, now: datetime) -> Usage:  # noqa: ARG002 - it is never old
        return await self._database.read(lambda connection: _used(connection, player))

    async def as_of(
        self,
        player: str,
        moment: datetime,
        *,
        collection: str | None,
        after: RecordKey | None,
        limit: int,
    ) -> PastPage:
        conditions = "player = ? AND (collection, key) > (?, ?)"
        parameters: list[Any] = [player, *((after.collection, after.key) if after else ("", ""))]
        if collection is not None:
            conditions += " AND collection = ?"
            parameters.append(collection)

        def select(connection: sqlite3.Connection) -> PastPage:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM records WHERE {conditions}"  # noqa: S608 - constants
                " ORDER BY collection, key LIMIT ?",
                (*parameters, limit + 1),
            )
            held: list[Past] = []
            last: RecordKey | None = None
            size = 0
            for number, row in enumerate(rows):
                key = RecordKey(player, row[0], row[1])
                found = _at(connection, key, moment, row)
                size += len(found.record.value) if found and found.record else 0
                if number == limit or (held and size > LARGEST_PAGE):
                    return PastPage(held, last)
                held += [found] if found else []
                last = key
            return PastPage(held, None)

        return await self._database.read(select)

    async def erase(self, player: str, *, limit: int) -> bool:
        def write(connection: sqlite3.Connection) -> bool:
            left = limit
            connection.execute("DELETE FROM usage WHERE player = ?", (player,))
            # Versions first: those of a key without its row would be in the way of new ones.
            for table in ("record_versions", "records", "receipts"):
                left -= connection.execute(
                    f"DELETE FROM {table} WHERE rowid IN"  # noqa: S608 - constants
                    f" (SELECT rowid FROM {table} WHERE player = ? LIMIT ?)",
                    (player, left),
                ).rowcount
            return left > 0

        return await self._database.write(write)


def _apply(
    connection: sqlite3.Connection,
    write: Write,
    value: str | None,
    seen: "_Seen",
    by: str,
    now: datetime,
) -> Written:
    key = write.key
    if idle := write.idle(value, seen.record):
        return idle
    version = seen.version + 1
    created_at = seen.record.created_at if seen.record else now
    _move_on(connection, key, version, write.keep)
    connection.execute(
        "INSERT INTO records (player, collection, key, version, created_at, updated_at, value,"
        " written_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (player, collection, key) DO UPDATE SET version = excluded.version,"
        " created_at = excluded.created_at, updated_at = excluded.updated_at,"
        " value = excluded.value, written_by = excluded.written_by, previous_at = updated_at",
        (
            key.player,
            key.collection,
            key.key,
            version,
            to_millis(created_at),
            to_millis(now),
            value,
            by,
        ),
    )
    if value is None:
        return Written(key, version, record=None, created=False)
    record = Record(key, value, version, created_at, updated_at=now, written_by=by)
    return Written(key, version, record, created=seen.record is None)


def _sum_up(connection: sqlite3.Connection, player: str) -> list[CollectionSummary]:
    rows = connection.execute(
        f"SELECT collection, COUNT(*), SUM({_SIZE}), MAX(updated_at)"  # noqa: S608 - constants
        " FROM records WHERE player = ? AND value IS NOT NULL"
        " GROUP BY collection ORDER BY collection",
        (player,),
    )
    return [
        CollectionSummary(name, records, size, from_millis(written))
        for name, records, size, written in rows
    ]


def _used(connection: sqlite3.Connection, player: str) -> Usage:
    row = connection.execute(
        "SELECT records, bytes FROM usage WHERE player = ?", (player,)
    ).fetchone()
    return Usage(*row) if row else Usage.of(_sum_up(connection, player))


def _count(connection: sqlite3.Connection, player: str, growth: Usage, quota: Quota) -> None:
    """Before the writes. Raises QuotaExceeded."""
    if not growth:
        return
    used = _used(connection, player)
    quota.check(used, growth)
    used += growth
    connection.execute(
        "INSERT OR REPLACE INTO usage (player, records, bytes) VALUES (?, ?, ?)",
        (player, used.records, used.bytes),
    )


def _at(
    connection: sqlite3.Connection, key: RecordKey, moment: datetime, row: tuple[Any, ...]
) -> Past | None:
    """Of a row of `records`."""
    previous_at = None if row[7] is None else from_millis(row[7])
    record = None if row[5] is None else _record(key.player, row)
    last = State(row[2], from_millis(row[4]), previous_at, record)
    if last.updated_at <= moment:
        return at(key, moment, last, [])
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM record_versions {_WHERE_KEY} ORDER BY version DESC",  # noqa: S608 - constants
        (key.player, key.collection, key.key),
    )
    return at(key, moment, last, [_record(key.player, one) for one in rows])


def _answered(connection: sqlite3.Connection, receipt: Receipt, now: datetime) -> str | None:
    """Raises IdempotencyKeyReused."""
    row = connection.execute(
        "SELECT request, answer FROM receipts WHERE player = ? AND key = ? AND expires_at > ?",
        (receipt.player, receipt.key, to_millis(now)),
    ).fetchone()
    if row is None:
        return None
    receipts.check(receipt, row[0])
    answer: str = row[1]
    return answer


def _remember(connection: sqlite3.Connection, receipt: Receipt, answer: str, now: datetime) -> None:
    """Clears away a few that have expired as well: more than it adds."""
    connection.execute(
        "DELETE FROM receipts WHERE rowid IN"
        " (SELECT rowid FROM receipts WHERE expires_at <= ? ORDER BY expires_at LIMIT 4)",
        (to_millis(now),),
    )
    connection.execute(
        "INSERT OR REPLACE INTO receipts (player, key, request, answer, expires_at)"
        " VALUES (?, ?, ?, ?, ?)",
        (receipt.player, receipt.key, receipt.request, answer, to_millis(receipt.expires_at)),
    )


def _whole(connection: sqlite3.Connection, written: Written) -> Written:
    if receipts.is_whole(written):
        return written
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM record_versions {_WHERE_KEY}",  # noqa: S608 - constants
        (written.key.player, written.key.collection, written.key.key),
    )
    kept = [_record(written.key.player, row) for row in rows]
    return receipts.complete(written, [_select(connection, written.key).record, *kept])


def _move_on(connection: sqlite3.Connection, key: RecordKey, version: int, keep: int) -> None:
    """Before a key gets `version`: keep the value that it has, drop what is too old by then."""
    of_key = (key.player, key.collection, key.key)
    if keep and version > 1:
        connection.execute(
            f"INSERT INTO record_versions (player, {_COLUMNS})"  # noqa: S608 - constants
            f" SELECT player, {_COLUMNS} FROM records {_WHERE_KEY} AND value IS NOT NULL",
            of_key,
        )
    if version - keep > 1:
        connection.execute(
            f"DELETE FROM record_versions {_WHERE_KEY} AND version < ?",  # noqa: S608 - constants
            (*of_key, version - keep),
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """The record, and the last version that its key had."""

    record: Record | None
    version: int


def _select(connection: sqlite3.Connection, key: RecordKey) -> _Seen:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM records {_WHERE_KEY}",  # noqa: S608 - constants
        (key.player, key.collection, key.key),
    ).fetchone()
    if row is None:
        return _Seen(None, 0)
    return _Seen(_record(key.player, row) if row[5] is not None else None, row[2])


def _record(player: str, row: tuple[Any, ...]) -> Record:
    return Record(
        key=RecordKey(player, row[0], row[1]),
        value=row[5],
        version=row[2],
        created_at=from_millis(row[3]),
        updated_at=from_millis(row[4]),
        written_by=row[6],
        previous_at=None if row[7] is None else from_millis(row[7]),
    )
