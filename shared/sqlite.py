"""The embedded store's engine: one thread that writes, one that reads, whole transactions.

A unit of work is a plain function over a connection. It runs on the thread that owns the
connection, from start to end, so no transaction is ever held open across an `await` and none
can be cancelled half-way. Writes that wait for the disk are committed together: each is atomic
on its own (a savepoint), and none is acknowledged before the common commit is on the disk.
"""

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog

from shared import errors
from shared.files import make_private_folder

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
_Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]

_log = structlog.get_logger()
_BUSY_TIMEOUT_MS = 3000
_LARGEST_BATCH = 64


class Database:
    """Opened with `open`, closed with `close`; safe to share with other processes.

    Migrations are numbered by their place in the list and never change once shipped.
    """

    def __init__(self, path: Path, migrations: Sequence[str]) -> None:
        self._path = path
        self._migrations = migrations
        self._writer = _Worker(path, _run_in_transaction)
        self._reader = _Worker(path, _run_each)

    async def open(self) -> None:
        """Raises Unavailable where the file cannot be used, or is of a later version."""
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Everything that was submitted before is done first; what comes later is Unavailable."""
        await self._writer.stop()
        await self._reader.stop()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run one query. It sees every write that was acknowledged before."""
        result: T = await self._reader.submit(work)
        return result

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` as one transaction: all of it is on the disk on return, none on a raise."""
        result: T = await self._writer.submit(work)
        return result

    def _open(self) -> None:
        try:
            make_private_folder(self._path.parent)
            self._path.touch(mode=0o600)  # and so SQLite's own files beside it
            with _alone_in(self._path.parent), contextlib.ExitStack() as undo:
                # Before a thread depends on them, so that who opens hears of a failure.
                writer = undo.enter_context(contextlib.closing(_connect(self._path)))
                _migrate(writer, self._migrations)
                reader = undo.enter_context(contextlib.closing(_connect(self._path)))
                reader.execute("PRAGMA query_only = ON")
                undo.pop_all()
        except (OSError, sqlite3.Error) as error:
            raise errors.Unavailable(f"cannot open {self._path.name}: {error}") from error
        self._writer.start(writer)
        self._reader.start(reader)


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    # SQLite does not wait where two connections turn a new file to WAL at once: it fails one.
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _connect(path: Path) -> sqlite3.Connection:
    # isolation_level=None: transactions begin where this module says BEGIN, nowhere else.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: an acknowledged write survives a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        # What is deleted is overwritten in the file. FAST would leave the pages that it frees,
        # which is most of a large value.
        connection.execute("PRAGMA secure_delete = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        _apply(connection, migrations)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _apply(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    (applied,) = connection.execute("PRAGMA user_version").fetchone()
    if applied > len(migrations):
        raise errors.Unavailable(
            f"the database has version {applied}, this program knows {len(migrations)}"
        )
    for statement in migrations[applied:]:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(migrations)}")


class _Worker:
    """A thread that owns a connection and works through a queue in batches."""

    def __init__(
        self, path: Path, run: Callable[[sqlite3.Connection, list["_Job"]], list[_Outcome]]
    ) -> None:
        self._name = f"sqlite-{path.stem}"
        self._run = run
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, connection: sqlite3.Connection) -> None:
        self._thread = threading.Thread(
            target=self._loop, args=(connection,), name=self._name, daemon=True
        )
        self._thread.start()

    async def stop(self) -> None:
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    async def submit(self, work: Work) -> Any:  # noqa: ANN401 - typed by Database
        if self._thread is None:
            raise errors.Unavailable("the store is not open")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._jobs.put(_Job(work, future, loop))
        return await future

    def _loop(self, connection: sqlite3.Connection) -> None:
        with contextlib.closing(connection):
            running = True
            while running:
                job = self._jobs.get()
                batch: list[_Job] = []
                while job is not None:
                    batch.append(job)
                    if len(batch) == _LARGEST_BATCH or self._jobs.empty():
                        break
                    job = self._jobs.get()
                running = job is not None
                if batch:
                    self._work(connection, batch)

    def _work(self, connection: sqlite3.Connection, batch: list["_Job"]) -> None:
        outcomes = self._run(connection, batch)
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it who asked
            batch[0].loop.call_soon_threadsafe(_deliver, outcomes)


class _Job:
    __slots__ = ("future", "loop", "work")

    def __init__(
        self, work: Work, future: "asyncio.Future[Any]", loop: asyncio.AbstractEventLoop
    ) -> None:
        self.work = work
        self.future = future
        self.loop = loop


def _deliver(outcomes: list[_Outcome]) -> None:
    for future, result, error in outcomes:
        if future.done():  # the caller was cancelled meanwhile
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _run_each(connection: sqlite3.Connection, batch: list[_Job]) -> list[_Outcome]:
    outcomes: list[_Outcome] = []
    for job in batch:
        try:
            outcomes.append((job.future, job.work(connection), None))
        except Exception as error:  # noqa: BLE001 - handed to the caller
            outcomes.append((job.future, None, _translate(error)))
    return outcomes


def _run_in_transaction(connection: sqlite3.Connection, batch: list[_Job]) -> list[_Outcome]:
    try:
        connection.execute("BEGIN IMMEDIATE")
        outcomes = [_run_in_savepoint(connection, job) for job in batch]
        connection.execute("COMMIT")
    except Exception as error:  # noqa: BLE001 - handed to every caller of the batch
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        failure = _translate(error)
        return [(job.future, None, failure) for job in batch]
    return outcomes


def _run_in_savepoint(connection: sqlite3.Connection, job: _Job) -> _Outcome:
    connection.execute("SAVEPOINT work")
    try:
        result = job.work(connection)
    except Exception as error:
        if not connection.in_transaction:
            raise  # the disk is full or broken: SQLite has ended the transaction itself
        connection.execute("ROLLBACK TO work")
        connection.execute("RELEASE work")
        return job.future, None, _translate(error)
    connection.execute("RELEASE work")
    return job.future, result, None


def _translate(error: Exception) -> Exception:
    if isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.IntegrityError | sqlite3.ProgrammingError
    ):
        _log.error("store.failed", engine="sqlite", error=str(error))
        unavailable = errors.Unavailable("the store cannot answer at the moment")
        unavailable.__cause__ = error
        return unavailable
    if isinstance(error, StopIteration):  # cannot travel through a future
        return RuntimeError("a unit of work raised StopIteration")
    return error
