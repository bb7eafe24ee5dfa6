"""What every store of blobs promises."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.player_data.models import CHUNK, BlobName
from services.player_data.ports import BlobStore
from shared.clock import SystemClock
from shared.ids import new_id

ALICE = "a" * 32
BOB = "b" * 32
DAY = timedelta(days=1)
CONTENTS = {
    "nothing": b"",
    "a byte": b"\0",
    "a chunk": bytes(range(256)) * (CHUNK // 256),
    "a chunk and a byte": b"x" * (CHUNK + 1),
    "5 MiB": b"0123456789abcdef" * (5 * 1024 * 64),
}


class Broken(Exception):
    """Content that comes to a sudden end."""


def new_name(player: str = ALICE) -> BlobName:
    return BlobName(player, new_id())


async def pieces(content: bytes, size: int = CHUNK) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def broken_after(content: bytes) -> AsyncIterator[bytes]:
    async for piece in pieces(content):
        yield piece
    raise Broken


async def read(store: BlobStore, name: BlobName) -> bytes | None:
    async with store.read(name) as content:
        if content is None:
            return None
        found = [piece async for piece in content]
    assert all(len(piece) <= CHUNK for piece in found)
    return b"".join(found)


async def kept(store: BlobStore) -> set[BlobName]:
    tomorrow = SystemClock().now() + DAY
    return {name async for name in store.older_than(tomorrow)}


class BlobStoreContract:
    """Subclasses provide the fixture `store`, empty."""

    @pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
    async def test_content_comes_back_byte_for_byte(self, store: BlobStore, content: bytes) -> None:
        name = new_name()
        await store.put(name, pieces(content))
        assert await read(store, name) == content

    async def test_there_is_nothing_under_a_name_that_was_never_put(self, store: BlobStore) -> None:
        other = new_name()
        await store.put(other, pieces(b"other"))
        assert await read(store, new_name()) is None
        assert await read(store, BlobName(BOB, other.id)) is None

    @pytest.mark.parametrize("size", [0, 1, CHUNK, 3 * CHUNK + 1])
    async def test_of_content_that_breaks_off_nothing_is_kept(
        self, store: BlobStore, size: int
    ) -> None:
        name = new_name()
        with pytest.raises(Broken):
            await store.put(name, broken_after(b"x" * size))
        assert await read(store, name) is None
        assert await kept(store) == set()

    async def test_of_a_put_that_is_cancelled_nothing_is_kept(self, store: BlobStore) -> None:
        name, begun = new_name(), asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield b"x" * CHUNK
            begun.set()
            await asyncio.Event().wait()

        putting = asyncio.create_task(store.put(name, endless()))
        await begun.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert await read(store, name) is None
        assert await kept(store) == set()

    async def test_nobody_sees_a_part_of_it(self, store: BlobStore) -> None:
        name = new_name()

        async def looked_at() -> AsyncIterator[bytes]:
            for piece in (b"one", b"two"):
                yield piece
                assert await read(store, name) is None

        await store.put(name, looked_at())
        assert await read(store, name) == b"onetwo"

    async def test_many_are_put_and_read_at_once(self, store: BlobStore) -> None:
        named = {new_name(): new_id().encode() * 10_000 for _ in range(8)}
        await asyncio.gather(*(store.put(name, pieces(text)) for name, text in named.items()))
        found = await asyncio.gather(*(read(store, name) for name in named))
        assert found == list(named.values())

    async def test_what_is_being_read_goes_on_though_it_is_deleted(self, store: BlobStore) -> None:
        name, content = new_name(), CONTENTS["5 MiB"]
        await store.put(name, pieces(content))
        async with store.read(name) as reading:
            assert reading is not None
            found = await anext(reading)
            await store.delete(name)
            async for piece in reading:
                found += piece
        assert found == content
        assert await read(store, name) is None

    async def test_a_copy_outlives_its_source(self, store: BlobStore) -> None:
        source, target = new_name(), new_name(BOB)
        await store.put(source, pieces(CONTENTS["a chunk and a byte"]))
        assert await store.copy(source, target)
        await store.delete(source)
        assert await read(store, source) is None
        assert await read(store, target) == CONTENTS["a chunk and a byte"]

    async def test_of_what_there_is_not_there_is_no_copy(self, store: BlobStore) -> None:
        target = new_name()
        assert not await store.copy(new_name(), target)
        assert await read(store, target) is None

    async def test_a_deletion_takes_one_and_may_be_repeated(self, store: BlobStore) -> None:
        gone, stays = new_name(), new_name()
        for name in (gone, stays):
            await store.put(name, pieces(b"x"))
        for _ in range(2):
            await store.delete(gone)
        assert await kept(store) == {stays}

    async def test_an_erasure_takes_all_of_a_player_and_nothing_else(
        self, store: BlobStore
    ) -> None:
        theirs = new_name(BOB)
        for name in (*(new_name() for _ in range(5)), theirs):
            await store.put(name, pieces(b"x"))
        steps = 1
        while not await store.erase(ALICE, limit=2):
            steps += 1
        assert steps in (3, 4)
        assert await kept(store) == {theirs}
        assert await store.erase(ALICE, limit=2)

    async def test_who_was_erased_may_put_again(self, store: BlobStore) -> None:
        await store.put(new_name(), pieces(b"x"))
        assert await store.erase(ALICE, limit=9)
        again = new_name()
        await store.put(again, pieces(b"again"))
        assert await read(store, again) == b"again"

    async def test_what_is_old_is_listed_player_by_player(self, store: BlobStore) -> None:
        names = [new_name(player) for player in (ALICE, BOB) * 3]
        for name in names:
            await store.put(name, pieces(b"x"))
        now = SystemClock().now()
        found = [name async for name in store.older_than(now + DAY)]
        assert sorted(found, key=lambda name: (name.player, name.id)) == sorted(
            names, key=lambda name: (name.player, name.id)
        )
        assert [name.player for name in found] == [ALICE] * 3 + [BOB] * 3
        assert [name async for name in store.older_than(now - DAY)] == []
