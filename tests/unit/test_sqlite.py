"""The embedded store's engine keeps its promises: whole transactions, never lost, never stuck."""

import asyncio
import contextlib
import fcntl
import os
import resource
import sqlite3
import stat
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from shared import errors
from shared.sqlite import Database

MIGRATIONS = [
    "CREATE TABLE items (name TEXT PRIMARY KEY) STRICT",
    "ALTER TABLE items ADD COLUMN amount INTEGER NOT NULL DEFAULT 0 CHECK (amount >= 0)",
]
ROOT = Path(__file__).parents[2]
OTHER_PROCESS = """
import asyncio, pathlib, sys
from shared.sqlite import Database

async def main():
    database = Database(
        pathlib.Path(sys.argv[1]),
        ["CREATE TABLE items (name TEXT PRIMARY KEY)", "ALTER TABLE items ADD COLUMN amount"],
    )
    sys.stdin.readline()
    await database.open()
    await database.write(lambda c: c.execute("INSERT INTO items VALUES (?, 0)", (sys.argv[2],)))
    await database.close()

asyncio.run(main())
"""
Work = Callable[[sqlite3.Connection], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "test.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    async with opened(path) as database:
        yield database


@contextlib.asynccontextmanager
async def opened(path: Path, migrations: list[str] = MIGRATIONS) -> AsyncIterator[Database]:
    database = Database(path, migrations)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def insert(name: str, amount: int = 0) -> Work:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO items VALUES (?, ?)", (name, amount))

    return work


def names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM items ORDER BY name")]


def raising(error: Exception) -> Callable[[sqlite3.Connection], NoReturn]:
    def work(connection: sqlite3.Connection) -> NoReturn:
        connection.execute("INSERT INTO items VALUES ('half-done', 0)")
        raise error

    return work


def reading_bad_json(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO items VALUES ('half-done', 0)")
    connection.execute("SELECT json('{')")


def looking_in_vain(_connection: sqlite3.Connection) -> NoReturn:
    raise KeyError


def damage(path: Path, content: bytes | None = None) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if content is not None else os.urandom(path.stat().st_size))


def fill_the_disk(connection: sqlite3.Connection) -> None:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    connection.execute("INSERT INTO items VALUES (?, 0)", ("x" * 100_000,))


def free_the_disk(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA max_page_count = 1000000")


@contextlib.asynccontextmanager
async def batched(database: Database) -> AsyncIterator[None]:
    """What is submitted in the block is committed together, when the block ends."""
    busy, done = threading.Event(), threading.Event()

    def wait(_connection: sqlite3.Connection) -> None:
        busy.set()
        done.wait()

    waiting = asyncio.create_task(database.write(wait))
    try:
        await asyncio.to_thread(busy.wait)
        yield
        await asyncio.sleep(0)  # the tasks of the block have submitted their work
    finally:
        done.set()
        await waiting


@contextlib.contextmanager
def few_file_handles(free: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    hogs: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                hogs.append(os.open(os.devnull, os.O_RDONLY))
        for handle in hogs[len(hogs) - free :]:
            os.close(handle)
        del hogs[len(hogs) - free :]
        yield
    finally:
        for handle in hogs:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def in_the_file(path: Path, what: str) -> bool:
    """Once all that was committed is in the database file and nothing in the log."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy
    assert not path.with_name(f"{path.name}-wal").stat().st_size
    return what.encode() in path.read_bytes()


# Transactions


async def test_a_write_answers_what_its_work_returned(database: Database) -> None:
    assert await database.write(lambda _connection: "done") == "done"


async def test_a_read_sees_every_write_that_was_acknowledged(database: Database) -> None:
    for number in range(20):
        await database.write(insert(f"{number:02}"))
        assert len(await database.read(names)) == number + 1


async def test_a_write_that_raises_leaves_nothing_behind(database: Database) -> None:
    with pytest.raises(errors.Conflict, match="no"):
        await database.write(raising(errors.Conflict("no")))
    assert await database.read(names) == []


async def test_a_broken_constraint_is_handed_to_the_caller_as_it_is(database: Database) -> None:
    await database.write(insert("taken"))
    with pytest.raises(sqlite3.IntegrityError):
        await database.write(insert("taken"))


async def test_an_error_of_a_read_is_handed_to_its_caller_and_the_next_one_is_answered(
    database: Database,
) -> None:
    with pytest.raises(KeyError):
        await database.read(looking_in_vain)
    assert await database.read(names) == []


async def test_a_failing_write_does_not_take_its_neighbours_of_the_same_commit_with_it(
    database: Database,
) -> None:
    async with batched(database):
        writes = asyncio.gather(
            database.write(insert("a")),
            database.write(raising(errors.Conflict())),
            database.write(insert("a")),
            database.write(insert("negative", -1)),
            database.write(reading_bad_json),
            database.write(insert("b")),
            return_exceptions=True,
        )
    assert [type(outcome) for outcome in await writes] == [
        type(None),
        errors.Conflict,
        sqlite3.IntegrityError,
        sqlite3.IntegrityError,
        errors.Unavailable,
        type(None),
    ]
    assert await database.read(names) == ["a", "b"]


async def test_an_error_that_no_future_can_carry_does_not_leave_its_neighbours_waiting(
    database: Database,
) -> None:
    async with batched(database):
        writes = asyncio.gather(
            database.write(insert("a")),
            database.write(raising(StopIteration())),
            database.write(insert("b")),
            return_exceptions=True,
        )
    async with asyncio.timeout(5):
        assert [type(outcome) for outcome in await writes] == [
            type(None),
            RuntimeError,
            type(None),
        ]
    assert await database.read(names) == ["a", "b"]


async def test_a_write_sees_what_an_earlier_one_of_the_same_commit_wrote(
    database: Database,
) -> None:
    async with batched(database):
        writes = asyncio.gather(database.write(insert("a")), database.write(names))
    assert (await writes)[1] == ["a"]


async def test_no_increment_of_two_hundred_at_once_is_lost(database: Database) -> None:
    await database.write(insert("counter"))

    def increment(connection: sqlite3.Connection) -> None:
        (amount,) = connection.execute("SELECT amount FROM items").fetchone()
        connection.execute("UPDATE items SET amount = ?", (amount + 1,))

    await asyncio.gather(*(database.write(increment) for _ in range(200)))
    amounts = await database.read(
        lambda connection: connection.execute("SELECT amount FROM items").fetchone()
    )
    assert amounts == (200,)


async def test_no_increment_is_lost_between_two_openers_of_the_same_file(path: Path) -> None:
    def increment(connection: sqlite3.Connection) -> None:
        (amount,) = connection.execute("SELECT amount FROM items").fetchone()
        connection.execute("UPDATE items SET amount = ?", (amount + 1,))

    async with opened(path) as one, opened(path) as other:
        await one.write(insert("counter"))
        await asyncio.gather(*(each.write(increment) for _ in range(50) for each in (one, other)))
        assert await one.read(
            lambda connection: connection.execute("SELECT amount FROM items").fetchone()
        ) == (100,)


async def test_a_cancelled_caller_leaves_a_whole_write_and_disturbs_nobody(
    database: Database,
) -> None:
    async with batched(database):
        cancelled = asyncio.create_task(database.write(insert("cancelled")))
        other = asyncio.create_task(database.write(insert("other")))
        await asyncio.sleep(0)
        cancelled.cancel()
    await other
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await database.read(names) == ["cancelled", "other"]


# Opening and closing


async def test_what_was_written_is_there_after_opening_again(path: Path) -> None:
    async with opened(path) as database:
        await database.write(insert("a"))
    async with opened(path) as database:
        assert await database.read(names) == ["a"]


async def test_closing_finishes_what_was_submitted_before(path: Path) -> None:
    database = Database(path, MIGRATIONS)
    await database.open()
    async with batched(database):
        writes = [asyncio.create_task(database.write(insert(f"{n:03}"))) for n in range(100)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(database.close())
        await asyncio.sleep(0)
    await asyncio.gather(*writes)
    await closing
    async with opened(path) as again:
        assert len(await again.read(names)) == 100


@pytest.mark.parametrize("use", [Database.read, Database.write])
async def test_a_closed_database_is_unavailable(
    path: Path, use: Callable[[Database, Work], object]
) -> None:
    async with opened(path) as database:
        pass
    async with asyncio.timeout(5):
        with pytest.raises(errors.Unavailable):
            await use(database, insert("late"))  # type: ignore[misc]


async def test_closing_twice_is_closing_once(path: Path) -> None:
    async with opened(path) as database:
        await database.close()


async def test_the_folder_and_the_files_are_the_owner_s_only(
    database: Database, path: Path
) -> None:
    await database.write(insert("a"))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"test.db": 0o600, "test.db-wal": 0o600, "test.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


# Migrations


async def test_a_later_program_brings_the_database_up_to_date(path: Path) -> None:
    async with opened(path, MIGRATIONS[:1]) as database:
        await database.write(lambda connection: connection.execute("INSERT INTO items VALUES (1)"))
    async with opened(path) as database:
        assert await database.read(
            lambda connection: connection.execute("SELECT * FROM items").fetchall()
        ) == [("1", 0)]


async def test_a_migration_is_applied_once(path: Path) -> None:
    for _ in range(3):  # adding the column again would fail
        async with opened(path):
            pass


async def test_a_database_of_a_later_program_is_refused_and_left_as_it_is(path: Path) -> None:
    async with opened(path):
        pass
    with pytest.raises(errors.Unavailable, match="has version 2, this program knows 1"):
        await Database(path, MIGRATIONS[:1]).open()
    async with opened(path):
        pass


async def test_a_migration_that_fails_leaves_none_of_its_predecessors_applied(path: Path) -> None:
    with pytest.raises(errors.Unavailable, match=r"cannot open test\.db"):
        await Database(path, [*MIGRATIONS, "CREATE TABLE items (name TEXT)"]).open()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)


async def test_an_opener_waits_for_another_that_is_at_work_in_the_same_folder(path: Path) -> None:
    async with opened(path.with_name("other.db")):
        pass
    database = Database(path, MIGRATIONS)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        opening = asyncio.create_task(database.open())
        done, _ = await asyncio.wait({opening}, timeout=0.1)
        assert not done
    finally:
        os.close(folder)
    await opening
    await database.close()


async def test_ten_openers_of_a_new_file_do_not_lock_each_other_out(path: Path) -> None:
    for attempt in range(10):
        databases = [Database(path.with_name(f"{attempt}.db"), MIGRATIONS) for _ in range(10)]
        await asyncio.gather(*(database.open() for database in databases))
        await asyncio.gather(*(database.close() for database in databases))


async def test_four_processes_may_open_a_new_file_at_once(path: Path) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", OTHER_PROCESS, str(path), name),
            stdin=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        for name in "abcd"
    ]
    await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    async with opened(path) as database:
        assert await database.read(names) == ["a", "b", "c", "d"]


# Failures below


async def test_a_full_disk_is_unavailable(database: Database) -> None:
    with pytest.raises(errors.Unavailable, match=r"^the store cannot answer at the moment$"):
        await database.write(fill_the_disk)


async def test_a_full_disk_leaves_nothing_of_the_failed_commit_and_the_next_one_works(
    database: Database,
) -> None:
    async with batched(database):
        writes = asyncio.gather(
            database.write(insert("before")),
            database.write(fill_the_disk),
            database.write(insert("after")),
            return_exceptions=True,
        )
    assert [type(outcome) for outcome in await writes] == [errors.Unavailable] * 3
    await database.write(free_the_disk)
    await database.write(insert("next"))
    assert await database.read(names) == ["next"]


async def test_a_lock_that_another_process_keeps_is_unavailable_and_can_be_tried_again(
    database: Database, path: Path
) -> None:
    await database.write(lambda connection: connection.execute("PRAGMA busy_timeout = 0"))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.Unavailable):
            await database.write(insert("a"))
    await database.write(insert("a"))


async def test_reading_goes_on_while_another_process_writes(database: Database, path: Path) -> None:
    await database.write(insert("a"))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert await database.read(names) == ["a"]


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" * 64])
async def test_a_damaged_file_is_unavailable(path: Path, content: bytes) -> None:
    damage(path, content)
    with pytest.raises(errors.Unavailable, match=r"cannot open test\.db"):
        await Database(path, MIGRATIONS).open()


async def test_a_file_that_is_damaged_while_it_is_open_is_unavailable(path: Path) -> None:
    async with opened(path) as database:
        await database.write(insert("a"))
    async with opened(path) as database:
        damage(path)
        with pytest.raises(errors.Unavailable):
            await database.read(names)


async def test_a_folder_in_the_place_of_the_file_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable):
        await Database(tmp_path, MIGRATIONS).open()


async def test_a_file_in_the_place_of_the_folder_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(errors.Unavailable):
        await Database(tmp_path / "data" / "test.db", MIGRATIONS).open()


@pytest.mark.parametrize("free", range(12))
async def test_with_few_file_handles_left_a_database_opens_or_is_unavailable(
    path: Path, free: int
) -> None:
    database = Database(path, MIGRATIONS)
    async with asyncio.timeout(5):
        with few_file_handles(free):
            try:
                await database.open()
            except errors.Unavailable:
                return
        await database.write(insert("a"))
        assert await database.read(names) == ["a"]
    await database.close()


# What is deleted


@pytest.mark.parametrize("times", [1, 100, 100_000])
@pytest.mark.parametrize(
    "change", ["DELETE FROM items WHERE name LIKE 'of a player%'", "UPDATE items SET name = 'b'"]
)
async def test_what_was_deleted_or_overwritten_is_not_in_the_file_any_more(
    path: Path, database: Database, change: str, times: int
) -> None:
    """Neither a small value nor one that had pages of its own."""
    await database.write(insert("of a player" * times))
    assert in_the_file(path, "of a player")
    await database.write(lambda connection: connection.execute(change).rowcount)
    assert not in_the_file(path, "of a player")
