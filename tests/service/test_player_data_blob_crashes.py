"""A process that dies, a request or reply that is lost, at every call of everything that is done
to blobs: no version is ever without its content, and no content without a version for long.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from services.player_data.adapters.dynamodb import TABLES, DynamoRecordStore
from services.player_data.adapters.files import FileBlobStore
from services.player_data.adapters.s3 import S3BlobStore
from services.player_data.adapters.sqlite import MIGRATIONS, SqliteRecordStore
from services.player_data.blobs import Blobs
from services.player_data.collections import Caller, Collection, Collections
from services.player_data.erasure import Erasure
from services.player_data.merging import Merging
from services.player_data.models import Blob, BlobName, Precondition, RecordKey
from services.player_data.ports import BlobStore, RecordStore
from services.player_data.records import KeyedRequest, Records
from services.player_data.sweeping import Sweeping
from shared import errors
from shared.aws import Client
from shared.clock import SystemClock
from shared.ids import new_id
from shared.sqlite import Database
from tests.conformance.blobs import kept, pieces, read
from tests.support import aws, figures
from tests.support.clock import ManualClock
from tests.support.interruptions import Crash, Interruption, When
from tests.support.long import LONG

IN_AWS = (When.BEFORE, When.AFTER, When.DROPPED, When.LOST) if LONG else (When.LOST,)
EVERYWHERE = [
    *(("embedded", when) for when in (When.BEFORE, When.AFTER, When.DROPPED, When.LOST)),
    *(("aws", when) for when in IN_AWS),
]
COLLECTIONS = Collections(others=Collection(history=2))
ALWAYS = Precondition.ALWAYS
Around = Callable[[object], Any]


def _untouched(target: object) -> object:
    return target


class World(Protocol):
    """`around` is put around what is called: the stores, or AWS's clients."""

    operations: frozenset[str]

    def loss(self) -> Exception: ...

    def stores(self, around: Around = _untouched) -> tuple[RecordStore, BlobStore]: ...


@dataclass
class Embedded:
    database: Database
    folder: Path
    operations = frozenset(
        ("get", "versions", "export", "list", "write", "put", "copy", "delete", "erase")
    )

    def loss(self) -> Exception:
        return errors.Unavailable("the reply was lost")

    def stores(self, around: Around = _untouched) -> tuple[RecordStore, BlobStore]:
        return around(SqliteRecordStore(self.database)), around(FileBlobStore(self.folder))


@dataclass
class InAws:
    dynamodb: Client
    s3: Client
    prefix: str
    bucket: str
    operations = frozenset(
        (
            *("get_item", "put_item", "update_item", "query", "transact_write_items"),
            *("batch_write_item", "put_object", "copy_object", "delete_object"),
            *("delete_objects", "list_objects_v2"),
        )
    )

    def loss(self) -> Exception:
        return ConnectionError("the reply was lost")

    def stores(self, around: Around = _untouched) -> tuple[RecordStore, BlobStore]:
        return (
            DynamoRecordStore(around(self.dynamodb), self.prefix),
            S3BlobStore(around(self.s3), self.bucket),
        )


@dataclass
class Service:
    """player_data without HTTP."""

    store: RecordStore
    contents: BlobStore
    clock: ManualClock
    blobs: Blobs = field(init=False)

    def __post_init__(self) -> None:
        records = Records(self.store, COLLECTIONS, self.clock)
        self.blobs = Blobs(records, self.store, self.contents, COLLECTIONS, largest=1024)

    async def upload(
        self, key: RecordKey, content: bytes, request: KeyedRequest | None = None
    ) -> None:
        caller = Caller(key.player, is_service=False)
        blob = await self.blobs.receive(caller, key, "text/plain", pieces(content, 3), ALWAYS)
        await self.blobs.write(caller, key, blob, ALWAYS, request)

    async def restore(self, key: RecordKey, version: int) -> None:
        await self.blobs.restore(Caller(key.player, is_service=False), key, version, ALWAYS)

    async def merge(self, source: str, target: str) -> None:
        merging = Merging(self.store, COLLECTIONS, self.clock, self.blobs)
        await merging.step(source, target, after=None, by="service:identity", dry_run=False)

    async def erase(self, player: str) -> None:
        while not await Erasure(self.store, self.contents).step(player):
            pass

    async def sweep(self) -> int:
        """In two days."""
        later = ManualClock(SystemClock().now() + timedelta(days=2))
        return await Sweeping(self.store, self.contents, later).tick()


@dataclass(frozen=True)
class Players:
    """One with three versions of a save, another with one."""

    key: RecordKey = field(default_factory=lambda: RecordKey(new_id(), "saves", "slot1"))
    other: RecordKey = field(default_factory=lambda: RecordKey(new_id(), "saves", "slot1"))

    async def fill(self, service: Service) -> None:
        for number in range(3):
            await service.upload(self.key, b"save %d" % number)
        service.clock.advance(1)
        await service.upload(self.other, b"theirs")


async def restore(service: Service, players: Players) -> None:
    await service.restore(players.key, 1)


async def upload(service: Service, players: Players) -> None:
    await service.upload(players.key, b"new")


async def upload_with_key(service: Service, players: Players) -> None:
    await service.upload(players.key, b"new", KeyedRequest("k" * 16, "new"))


async def merge(service: Service, players: Players) -> None:
    await service.merge(players.other.player, players.key.player)


async def erase(service: Service, players: Players) -> None:
    await service.erase(players.key.player)


async def sweep(service: Service, _: Players) -> None:
    await service.sweep()


Deed = Callable[[Service, Players], Awaitable[None]]
DEEDS: dict[Deed, list[bytes]] = {
    upload: [b"new", b"save 2", b"save 1"],
    upload_with_key: [b"new", b"save 2", b"save 1"],
    restore: [b"save 0", b"save 2", b"save 1"],
    merge: [b"theirs", b"save 2", b"save 1"],
    erase: [],
    sweep: [b"save 2", b"save 1", b"save 0"],
}
"""And what the key holds and held when it is done."""
BEFORE = [b"save 2", b"save 1", b"save 0"]


async def held(service: Service, key: RecordKey) -> list[bytes | None]:
    """The contents of all versions, the current one first; each is the one that was meant."""
    records = [await service.store.get(key), *await service.store.versions(key)]
    found: list[bytes | None] = []
    for blob in (one.blob for one in records if one and one.blob):
        content = await read(service.contents, BlobName(key.player, blob.id))
        assert content is not None, "a version without its content"
        assert (len(content), hashlib.sha256(content).hexdigest()) == (blob.size, blob.sha256)
        found.append(content)
    return found


async def names(service: Service, *keys: RecordKey) -> set[BlobName]:
    records = [
        one
        for key in keys
        for one in (await service.store.get(key), *await service.store.versions(key))
    ]
    return {
        BlobName(one.key.player, one.blob.id)
        for one in records
        if one is not None and one.blob is not None
    }


@pytest.fixture
async def world(backend: str, tmp_path: Path, moto: str) -> AsyncIterator[World]:
    if backend == "embedded":
        database = Database(tmp_path / "player_data.db", MIGRATIONS)
        await database.open()
        yield Embedded(database, tmp_path / "blobs")
        await database.close()
        return
    async with aws.client("dynamodb", moto) as dynamodb, aws.client("s3", moto) as s3:
        bucket = f"test-{new_id()}"
        await s3.create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        yield InAws(dynamodb, s3, await aws.new_tables(dynamodb, *TABLES), bucket)


@pytest.mark.parametrize(("backend", "when"), EVERYWHERE, ids=str)
@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
async def test_whatever_is_interrupted_no_version_is_without_its_content(
    world: World, backend: str, deed: Deed, when: When, clock: ManualClock
) -> None:
    whole = Service(*world.stores(), clock)
    interrupted = 0
    for at in range(1, 200):
        players = Players()
        await players.fill(whole)
        interruption = Interruption(world.operations, at, when, world.loss)
        service = Service(*world.stores(interruption.around), clock)
        done = False
        with contextlib.suppress(Crash, errors.Unavailable):
            await deed(service, players)
            done = True
        now = await held(whole, players.key)
        assert await held(whole, players.other) == [b"theirs"]
        if deed is not erase:
            assert now in ([DEEDS[deed]] if done else [BEFORE, DEEDS[deed]])
        elif done:
            assert now == []
        # Who is told nothing asks again, and maintenance comes.
        if not done:
            with contextlib.suppress(errors.NotFound):  # it was restored, and is pushed out by now
                await deed(whole, players)
        if deed in (upload_with_key, sweep, merge, erase) and not done:
            assert await held(whole, players.key) == DEEDS[deed]
        await whole.sweep()
        assert await held(whole, players.other) == [b"theirs"]
        assert await kept(whole.contents) == await names(whole, players.key, players.other)
        for key in (players.key, players.other):
            await whole.erase(key.player)
        assert await kept(whole.contents) == set()
        if interruption.calls < at:
            break
        interrupted += 1
    assert interrupted > 0
    figures.note(f"{deed.__name__}, {when.value}, {backend}", points=interrupted)


@pytest.mark.parametrize("backend", ["embedded", "aws"])
async def test_maintenance_leaves_alone_what_is_under_way(world: World, clock: ManualClock) -> None:
    whole = Service(*world.stores(), clock)
    key = Players().key
    caller = Caller(key.player, is_service=False)
    blob: Blob = await whole.blobs.receive(caller, key, "text/plain", pieces(b"content"), ALWAYS)
    now = ManualClock(SystemClock().now())
    assert await Sweeping(whole.store, whole.contents, now).tick() == 0
    await whole.blobs.write(caller, key, blob, ALWAYS)
    assert await held(whole, key) == [b"content"]
