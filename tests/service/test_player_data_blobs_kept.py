"""What becomes of content: pushed out, erased, exported, taken over, collected."""

import os
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.player_data.adapters.files import FileBlobStore
from services.player_data.adapters.sqlite import MIGRATIONS, SqliteRecordStore
from services.player_data.app import run_once
from services.player_data.blobs import Blobs
from services.player_data.collections import Collection, Collections, Merge
from services.player_data.merging import Action, Merged, Merging
from services.player_data.models import Blob, BlobName, Precondition, RecordKey, Write
from services.player_data.records import Records
from services.player_data.settings import Settings
from shared.ids import new_id
from shared.sqlite import Database
from tests.conformance.blobs import pieces, read
from tests.support.apps import Running
from tests.support.blobs import MEBIBYTE, SAVE, described, files, upload
from tests.support.calls import bearer, call
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.records import RECORDS, SLOT, Player
from tests.support.servers import Answer

DAY = timedelta(days=1)
AUDIENCE = "playmesh:player_data"
ALICE, BOB = "a" * 32, "b" * 32


@dataclass(frozen=True)
class Identity:
    """The service that erases and exports."""

    data: Running
    issuer: Issuer

    async def call(self, method: str, path: str, scope: str) -> Answer:
        token = self.issuer.service_token("identity", audience=AUDIENCE, scope=scope)
        return await call(self.data.http, method, self.data.url + path, headers=bearer(token))

    async def erase(self, player: str) -> Answer:
        return await self.call("DELETE", f"/v1/players/{player}", "player_data:erase")

    async def pages(self, player: str) -> AsyncIterator[Answer]:
        cursor: str | None = ""
        while cursor is not None:
            query = f"?cursor={cursor}" if cursor else ""
            path = f"/v1/players/{player}/export{query}"
            answer = await self.call("GET", path, "player_data:export")
            assert answer.status == 200
            cursor = answer.json()["cursor"]
            yield answer


@pytest.fixture
def identity(data: Running, issuer: Issuer) -> Identity:
    return Identity(data, issuer)


def contents(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in files(folder)}


def age(folder: Path, clock: ManualClock, by: timedelta = timedelta()) -> None:
    """All files as old as if they had been written now, or so long before."""
    moment = (clock.now() - by).timestamp()
    for path in files(folder):
        os.utime(path, (moment, moment))


async def maintain(folder: Path, clock: ManualClock) -> None:
    await run_once(Settings.from_env({"PLAYMESH_DATA_DIR": str(folder)}), clock)


class TestHistory:
    async def test_eleven_are_kept_and_the_content_of_older_ones_goes_at_once(
        self, player: Player, tmp_path: Path
    ) -> None:
        for number in range(14):
            await upload(player, b"%d" % number)
        assert contents(tmp_path) == {b"%d" % number for number in range(3, 14)}
        assert (await player.get(f"{SLOT}/versions/4")).body == b"3"
        assert (await player.get(f"{SLOT}/versions/3")).status == 404

    async def test_what_was_restored_stays_though_its_version_is_pushed_out(
        self, player: Player
    ) -> None:
        await upload(player, b"first")
        for number in range(9):
            await upload(player, b"%d" % number)
        await player.call("POST", f"{SLOT}/versions/1/restore")
        for number in range(9):
            await upload(player, b"%d" % number)
        assert (await player.get(f"{SLOT}/versions/1")).status == 404
        assert (await player.get(f"{SLOT}/versions/11")).body == b"first"

    async def test_beside_large_values_nothing_is_collected_that_may_be_kept(
        self, player: Player, tmp_path: Path
    ) -> None:
        """A page of versions does not show them all."""
        await upload(player, b"old")
        for _ in range(4):
            await player.put("x" * 300_000)
        await upload(player, b"new")
        assert contents(tmp_path) == {b"old", b"new"}


class TestMaintenance:
    async def test_what_nobody_refers_to_goes_after_a_day(
        self, player: Player, tmp_path: Path, clock: ManualClock
    ) -> None:
        await upload(player, b"kept")
        folder = files(tmp_path)[0].parent
        (folder / new_id()).write_bytes(b"of nobody")
        (folder / f"{new_id()}.new").write_bytes(b"half")
        age(tmp_path, clock, DAY - timedelta(seconds=1))
        await maintain(tmp_path, clock)
        assert len(files(tmp_path)) == 3
        clock.advance(2)
        await maintain(tmp_path, clock)
        assert contents(tmp_path) == {b"kept"}

    async def test_all_that_is_kept_stays(
        self, player: Player, stranger: Player, tmp_path: Path, clock: ManualClock
    ) -> None:
        for number in range(3):
            await upload(player, b"%d" % number)
            await upload(stranger, b"other %d" % number, f"{RECORDS}/saves/slot{number}")
        await player.delete()
        age(tmp_path, clock, 9 * DAY)
        await maintain(tmp_path, clock)
        assert len(files(tmp_path)) == 6
        assert (await player.get(f"{SLOT}/versions/1")).body == b"0"

    async def test_what_json_has_pushed_out_goes_as_well(
        self, player: Player, tmp_path: Path, clock: ManualClock
    ) -> None:
        await upload(player)
        for number in range(11):
            await player.put(number)
        age(tmp_path, clock, 2 * DAY)
        await maintain(tmp_path, clock)
        assert files(tmp_path) == []


class TestErasure:
    async def test_all_contents_of_a_player_go_and_nobody_elses(
        self, player: Player, stranger: Player, identity: Identity, tmp_path: Path
    ) -> None:
        for number in range(3):
            await upload(player, b"%d" % number)
        await upload(player, path=f"{RECORDS}/shots/one")
        await upload(stranger, b"theirs")
        folder = files(tmp_path)[0].parent
        (folder / new_id()).write_bytes(b"of nobody")
        assert (await identity.erase(player.user_id)).status == 204
        assert contents(tmp_path) == {b"theirs"}
        assert (await player.get()).status == 404

    async def test_many_take_several_steps(
        self, player: Player, identity: Identity, tmp_path: Path
    ) -> None:
        await upload(player)
        folder = files(tmp_path)[0].parent
        for _ in range(600):
            (folder / new_id()).write_bytes(b"")
        assert (await identity.erase(player.user_id)).status == 202
        assert (await identity.erase(player.user_id)).status == 204
        assert files(tmp_path) == []


class TestExport:
    async def whole(self, identity: Identity, player: str) -> dict[str, list[Any]]:
        document: dict[str, list[Any]] = {"records": [], "versions": []}
        async for answer in identity.pages(player):
            assert len(answer.body) < 9 * MEBIBYTE
            for name in document:
                document[name] += answer.json()[name]
        return document

    async def test_contents_are_in_it(self, player: Player, identity: Identity) -> None:
        current = {"saves": b"", "shots": SAVE, "notes": b"ab"}
        for name, content in current.items():
            await upload(player, b"old " + name.encode(), f"{RECORDS}/{name}/one")
            await upload(player, content, f"{RECORDS}/{name}/one")
        await player.put({"level": 1}, f"{RECORDS}/saves/json")
        found = await self.whole(identity, player.user_id)
        blobs = {one["collection"]: one["blob"] for one in found["records"] if "blob" in one}
        assert blobs.keys() == current.keys()
        for name, content in current.items():
            assert b64decode(blobs[name].pop("content")) == content
            assert blobs[name] == described(content)
        assert [one["value"] for one in found["records"] if "value" in one] == [{"level": 1}]
        old = [b64decode(one["blob"]["content"]) for one in found["versions"]]
        assert old == [b"old notes", b"old saves", b"old shots"]

    async def test_large_ones_have_a_page_each(self, player: Player, identity: Identity) -> None:
        many = [bytes([number]) * 5 * MEBIBYTE for number in range(3)]
        for content in many:
            await upload(player, content)
        pages = [len(answer.body) async for answer in identity.pages(player.user_id)]
        assert len(pages) == 3
        found = await self.whole(identity, player.user_id)
        exported = [*found["records"], *found["versions"]]
        assert [b64decode(one["blob"]["content"]) for one in exported] == many[::-1]

    async def test_content_that_is_not_there_is_null(
        self, player: Player, identity: Identity, tmp_path: Path
    ) -> None:
        await upload(player)
        files(tmp_path)[0].unlink()
        found = await self.whole(identity, player.user_id)
        assert found["records"][0]["blob"] == {**described(SAVE), "content": None}


class World:
    """Stores without HTTP, and one player taken over into another."""

    def __init__(self, database: Database, folder: Path, clock: ManualClock) -> None:
        self.folder = folder
        self.store = SqliteRecordStore(database)
        self.contents = FileBlobStore(folder / "blobs")
        self.collections = Collections({one.value: Collection(merge=one) for one in Merge})
        self.clock = clock
        records = Records(self.store, self.collections, clock)
        self.blobs = Blobs(records, self.store, self.contents, self.collections, largest=MEBIBYTE)

    async def put(self, key: RecordKey, content: bytes | int) -> None:
        value = str(content)
        if isinstance(content, bytes):
            value = await self._kept(key.player, content)
        write = Write(key, value, Precondition.ALWAYS, keep=10)
        await self.store.write([write], by=key.player, now=self.clock.now())

    async def _kept(self, player: str, content: bytes) -> str:
        blob = Blob(new_id(), "text/plain", len(content), "0" * 64)
        await self.contents.put(BlobName(player, blob.id), pieces(content))
        return blob.value

    async def merge(self, *, dry_run: bool = False) -> list[Merged]:
        merging = Merging(self.store, self.collections, self.clock, self.blobs)
        step = await merging.step(BOB, ALICE, after=None, by="service:identity", dry_run=dry_run)
        return list(step.merged)

    async def content(self, key: RecordKey) -> bytes | str | None:
        record = await self.store.get(key)
        assert record is not None
        if record.blob is None:
            return record.value
        return await read(self.contents, BlobName(key.player, record.blob.id))


class TestMerge:
    @pytest.fixture
    async def world(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[World]:
        database = Database(tmp_path / "player_data.db", MIGRATIONS)
        await database.open()
        yield World(database, tmp_path, clock)
        await database.close()

    @pytest.mark.parametrize(
        ("policy", "taken"),
        [
            (Merge.NEWER, b"theirs"),
            (Merge.CURRENT, b"mine"),
            (Merge.EXISTING, b"theirs"),
            (Merge.SUM, b"theirs"),
            (Merge.MAX, b"theirs"),
        ],
    )
    async def test_the_content_goes_with_the_policy_and_outlives_the_other_player(
        self, world: World, policy: Merge, taken: bytes
    ) -> None:
        mine, theirs = (RecordKey(player, policy.value, "one") for player in (ALICE, BOB))
        await world.put(mine, b"mine")
        world.clock.advance(1)
        await world.put(theirs, b"theirs")
        await world.merge()
        assert await world.content(theirs) == b"theirs"
        assert await world.contents.erase(BOB, limit=9)
        assert await world.content(mine) == taken
        kept = {b"mine"} | {taken}
        assert contents(world.folder) == kept

    @pytest.mark.parametrize("mine", [b"mine", 7])
    async def test_a_blob_and_a_number_are_not_added(self, world: World, mine: bytes | int) -> None:
        theirs = 5 if isinstance(mine, bytes) else b"theirs"
        await world.put(RecordKey(ALICE, "sum", "one"), mine)
        world.clock.advance(1)
        await world.put(RecordKey(BOB, "sum", "one"), theirs)
        (merged,) = await world.merge()
        assert merged.action is Action.REPLACED
        expected = theirs if isinstance(theirs, bytes) else "5"
        assert await world.content(RecordKey(ALICE, "sum", "one")) == expected

    async def test_to_repeat_it_leaves_nothing(self, world: World) -> None:
        await world.put(RecordKey(BOB, "newer", "one"), b"theirs")
        for _ in range(3):
            await world.merge()
        assert len(files(world.folder)) == 2

    async def test_to_try_it_copies_nothing(self, world: World) -> None:
        await world.put(RecordKey(BOB, "newer", "one"), b"theirs")
        (merged,) = await world.merge(dry_run=True)
        assert merged.action is Action.ADDED
        assert len(files(world.folder)) == 1
