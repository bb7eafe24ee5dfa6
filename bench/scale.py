"""`python -m bench.scale`: what a request costs as players, and records of one player, get many.

On SQLite, without HTTP. The players are inserted as rows, by no request, with one record each.
"""

import asyncio
import contextlib
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from services.player_data.adapters.sqlite import MIGRATIONS, SqliteRecordStore
from services.player_data.models import HISTORY, Precondition, RecordKey, Write
from shared.clock import SystemClock, to_millis
from shared.ids import new_id
from shared.sqlite import Database

PLAYERS = (1_000, 1_000_000)
REQUESTS = 3_000
OF_ONE_PLAYER = 10_000
PAGE = 100
WALKS = 9
VALUE = '{"level": 12, "gold": 4711, "name": "a player of a game"}'

Request = Callable[[str], Awaitable[object]]


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteRecordStore]:
    database = Database(path, MIGRATIONS)
    await database.open()
    try:
        yield SqliteRecordStore(database)
    finally:
        await database.close()


def fill(path: Path, keys: Iterator[RecordKey]) -> None:
    now = to_millis(SystemClock().now())
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO records (player, collection, key, version, created_at, updated_at, value)"
            " VALUES (?, ?, ?, 1, ?, ?, ?)",
            ((key.player, key.collection, key.key, now, now, VALUE) for key in keys),
        )
        connection.execute("COMMIT")


async def measure(request: Request, players: list[str]) -> tuple[float, float]:
    """Median milliseconds and CPU milliseconds of one request, one after the other."""
    times = []
    cpu = time.process_time()
    for player in players:
        started = time.perf_counter()
        await request(player)
        times.append(time.perf_counter() - started)
    cpu = time.process_time() - cpu
    return statistics.median(times) * 1000, cpu / len(players) * 1000


async def many_players(folder: Path) -> None:
    print("| players | who play | file, MB | read: p50 ms | CPU ms | overwrite: p50 ms | CPU ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for count in PLAYERS:
        path = folder / f"{count}.db"
        async with opened(path) as store:
            players = sorted(new_id() for _ in range(count))
            fill(path, (RecordKey(player, "saves", "slot1") for player in players))

            async def read(player: str, store: SqliteRecordStore = store) -> None:
                if await store.get(RecordKey(player, "saves", "slot1")) is None:
                    raise AssertionError(player)

            async def overwrite(player: str, store: SqliteRecordStore = store) -> None:
                key = RecordKey(player, "saves", "slot1")
                write = Write(key, VALUE, Precondition.EXISTS, HISTORY)
                await store.write([write], by=player, now=SystemClock().now())

            for playing in sorted({PLAYERS[0], count}):
                # Ids are random: backwards, they are in the order of chance.
                some = sorted(players[:: count // playing], key=lambda one: one[::-1])[:REQUESTS]
                asked = (some * (REQUESTS // len(some)))[:REQUESTS]
                await measure(read, asked[: PLAYERS[0]])
                reading = await measure(read, asked)
                writing = await measure(overwrite, asked[: PLAYERS[0]])
                size = path.stat().st_size / 1e6
                figures = " | ".join(f"{one:.3f}" for one in (*reading, *writing))
                print(f"| {count:,} | {playing:,} | {size:.1f} | {figures} |")


async def many_records(folder: Path) -> None:
    player, path = new_id(), folder / "one.db"
    async with opened(path) as store:
        fill(path, (RecordKey(player, "items", f"{n:06}") for n in range(OF_ONE_PLAYER)))
        walks = [await walk(store, player) for _ in range(WALKS)]
    pages = [statistics.median(times) for times in zip(*walks, strict=True)]
    print(
        f"\n| {OF_ONE_PLAYER:,} records, {PAGE} a page: pages | first ms | last ms | slowest ms |"
    )
    print("| --- | --- | --- | --- |")
    print(f"| {len(pages)} | {pages[0]:.2f} | {pages[-1]:.2f} | {max(pages):.2f} |")


async def walk(store: SqliteRecordStore, player: str) -> list[float]:
    """Milliseconds of each page."""
    times: list[float] = []
    after: RecordKey | None = None
    while True:
        started = time.perf_counter()
        page = await store.list(player, collection=None, prefix="", after=after, limit=PAGE)
        times.append((time.perf_counter() - started) * 1000)
        after = page.next_after
        if after is None:
            return times


async def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        await many_players(Path(folder))
        await many_records(Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
