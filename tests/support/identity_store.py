"""A look into identity's database from outside, while the service runs."""

import contextlib
import sqlite3
from pathlib import Path


def count(data_dir: Path, table: str) -> int:
    with contextlib.closing(sqlite3.connect(data_dir / "identity.db")) as connection:
        (rows,) = connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()  # noqa: S608 - of a test
        return int(rows)


def session_ends(data_dir: Path) -> list[str | None]:
    """Why each session has ended, None where it has not."""
    with contextlib.closing(sqlite3.connect(data_dir / "identity.db")) as connection:
        rows = connection.execute("SELECT ended_reason FROM sessions").fetchall()
        return [reason for (reason,) in rows]


def contents(data_dir: Path) -> tuple[int, int]:
    """How many accounts and how many sessions there are."""
    return count(data_dir, "accounts"), count(data_dir, "sessions")
