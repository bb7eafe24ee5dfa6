"""Blobs that are too large, too slow, too many, or that never come to their end."""

import asyncio
import contextlib
import socket
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.conformance.test_blobs import no_file_larger_than
from tests.support import apps, figures
from tests.support.apps import Running
from tests.support.blobs import (
    MEBIBYTE,
    OCTETS,
    SAVE,
    announce,
    answered,
    files,
    upload,
    uploading,
)
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.records import RECORDS, SLOT, Player

LARGEST = 5 * MEBIBYTE
PIECE = b"0123456789abcdef" * 4096


async def pieces(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, len(PIECE)):
        yield PIECE[: size - start]


async def until(number: int, folder: Path) -> None:
    """A client that is gone is noticed a moment later."""
    async with asyncio.timeout(10):
        while len(files(folder)) != number:  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0)


def players(data: Running, issuer: Issuer, number: int) -> Sequence[Player]:
    ids = [f"{each:032x}" for each in range(number)]
    return [Player(data, user_id, issuer.token(sub=user_id)) for user_id in ids]


class TestTooLarge:
    async def test_the_largest_is_taken(self, player: Player) -> None:
        answer = await upload(player, pieces(LARGEST))
        assert (answer.status, answer.json()["blob"]["bytes"]) == (201, LARGEST)

    async def test_a_byte_more_is_refused_before_it_is_sent(self, player: Player) -> None:
        answer = await announce(player, LARGEST + 1)
        assert (answer.status, answer.code) == (413, "too_large")
        assert str(LARGEST) in answer.json()["detail"]

    async def test_a_byte_more_of_one_without_a_length_is_refused(
        self, player: Player, tmp_path: Path
    ) -> None:
        await upload(player, b"old")
        answer = await upload(player, pieces(LARGEST + 1))
        assert (answer.status, answer.code) == (413, "too_large")
        assert (await player.get()).body == b"old"
        assert len(files(tmp_path)) == 1

    async def test_how_large_the_largest_is_can_be_set(
        self, tmp_path: Path, issuer: Issuer, clock: ManualClock
    ) -> None:
        environ = {"PLAYMESH_LARGEST_SAVE": "1024"}
        async with apps.player_data(tmp_path, issuer, clock, environ) as data:
            (player,) = players(data, issuer, 1)
            assert (await upload(player, b"x" * 1024)).status == 201
            assert (await upload(player, b"x" * 1025)).status == 413

    @pytest.mark.parametrize("size", [350 * 1024 + 1, 600 * 1024])
    async def test_json_that_is_too_large_is_told_how_to_be_sent(
        self, player: Player, size: int
    ) -> None:
        answer = await player.put("x" * size)
        assert (answer.status, answer.code) == (413, "too_large")
        assert OCTETS in answer.json()["detail"]


class TestBrokenOff:
    @pytest.mark.parametrize("sent", [0, 1, 65536, 131072, 131073, len(SAVE) - 1])
    async def test_the_old_version_stays_wherever_an_upload_breaks_off(
        self, player: Player, tmp_path: Path, sent: int
    ) -> None:
        await upload(player, b"old")
        async with uploading(player, len(SAVE)) as (_, writer):
            writer.write(SAVE[:sent])
            await writer.drain()
        await until(1, tmp_path)
        get = await player.get()
        assert (get.headers["ETag"], get.body) == ('"1"', b"old")

    async def test_chunks_that_are_none_are_a_bad_request(
        self, player: Player, tmp_path: Path
    ) -> None:
        target = URL(player.data.url)
        reader, writer = await asyncio.open_connection(target.host, target.port)
        writer.write(
            f"PUT {SLOT} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {player.token}\r\n"
            f"Content-Type: {OCTETS}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            + b"3\r\nabc\r\nzz\r\n"
        )
        answer = await answered(reader)
        writer.close()
        assert answer.status == 400
        await until(0, tmp_path)

    async def test_what_comes_behind_its_length_is_no_part_of_it(self, player: Player) -> None:
        async with uploading(player, 3) as (reader, writer):
            writer.write(b"abcdef")
            status = (await answered(reader)).status
        get = await player.get()
        assert (status, get.status, get.body[:4]) in [(201, 200, b"abc"), (400, 404, b'{"ty')]

    async def test_a_reader_who_goes_away_is_no_trouble(self, player: Player) -> None:
        content = PIECE * 80
        await upload(player, content)
        target = URL(player.data.url)
        for _ in range(10):
            reader, writer = await asyncio.open_connection(target.host, target.port)
            head = f"GET {SLOT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {player.token}\r\n\r\n"
            writer.write(head.encode())
            await reader.readexactly(1000)
            writer.transport.abort()
        assert (await player.get()).body == content


class TestSlow:
    @pytest.fixture
    async def hasty(
        self, tmp_path: Path, issuer: Issuer, clock: ManualClock
    ) -> AsyncIterator[Player]:
        environ = {"PLAYMESH_SAVE_TIMEOUT": "1s"}
        async with apps.player_data(tmp_path, issuer, clock, environ) as data:
            yield players(data, issuer, 1)[0]

    async def test_an_upload_of_which_nothing_comes_is_ended(
        self, hasty: Player, tmp_path: Path
    ) -> None:
        async with uploading(hasty, 10) as (reader, writer):
            writer.write(b"five!")
            assert (await answered(reader)).status == 408
        assert files(tmp_path) == []

    async def test_an_upload_that_goes_on_and_on_is_ended(
        self, hasty: Player, tmp_path: Path
    ) -> None:
        async with uploading(hasty, 5_000_000) as (reader, writer):

            async def drip() -> None:
                with contextlib.suppress(ConnectionError):
                    while True:
                        writer.write(b"x")
                        await writer.drain()
                        await asyncio.sleep(0.05)

            dripping = asyncio.create_task(drip())
            answer = await answered(reader)
            dripping.cancel()
        assert answer.status == 408
        assert files(tmp_path) == []

    async def test_a_download_that_goes_on_and_on_is_broken_off(self, hasty: Player) -> None:
        await upload(hasty, pieces(LARGEST))
        target = URL(hasty.data.url)
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)  # noqa: FBT003 - its only form
        await asyncio.get_running_loop().sock_connect(slow, (target.host, target.port))
        reader, writer = await asyncio.open_connection(sock=slow, limit=1024)
        head = f"GET {SLOT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {hasty.token}\r\n\r\n"
        writer.write(head.encode())
        taken = steps = 0
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1024):
                taken, steps = taken + len(piece), steps + 1
                if steps < 75:  # what lies in the kernel's buffers comes in any case
                    await asyncio.sleep(0.02)
        writer.close()
        assert taken < LARGEST


class TestTooMany:
    async def test_one_player_sends_a_few_at_once(
        self, player: Player, stranger: Player, tmp_path: Path
    ) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for number in range(4):
                path = f"{RECORDS}/saves/slot{number}"
                await stack.enter_async_context(uploading(player, 10, path=path))
            await until(4, tmp_path)
            answer = await announce(player, 10)
            assert (answer.status, answer.code) == (429, "too_many_requests")
            assert int(answer.headers["Retry-After"]) > 0
            assert (await upload(stranger)).status == 201
        await until(1, tmp_path)
        assert (await upload(player)).status == 201

    async def test_all_together_send_a_number_at_once(
        self, data: Running, issuer: Issuer, tmp_path: Path
    ) -> None:
        *many, late = players(data, issuer, 33)
        async with contextlib.AsyncExitStack() as stack:
            for each in many:
                await stack.enter_async_context(uploading(each, 10))
            await until(32, tmp_path)
            answer = await announce(late, 10)
            assert (answer.status, answer.code) == (503, "unavailable")
            assert int(answer.headers["Retry-After"]) > 0
            assert (await late.put({"json": "goes on"})).status == 201


class TestTrouble:
    async def test_a_full_disk_loses_nothing(self, player: Player, tmp_path: Path) -> None:
        await upload(player, b"old")
        with no_file_larger_than(3 * MEBIBYTE):
            answer = await upload(player, pieces(LARGEST))
        assert (answer.status, answer.code) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert (await player.get()).body == b"old"
        assert len(files(tmp_path)) == 1

    async def test_content_that_is_not_there_is_unavailable(
        self, player: Player, tmp_path: Path
    ) -> None:
        await upload(player)
        (file,) = files(tmp_path)
        file.unlink()
        answer = await player.get()
        assert (answer.status, answer.code) == (503, "unavailable")

    async def test_content_that_is_not_whole_does_not_pass_for_it(
        self, player: Player, tmp_path: Path
    ) -> None:
        await upload(player)
        (file,) = files(tmp_path)
        file.write_bytes(SAVE[:-1])
        with pytest.raises(aiohttp.ClientError, match=r"payload is not completed|disconnected"):
            await player.get()


class TestMemory:
    async def test_it_stays_bounded_with_many_on_their_way(
        self, data: Running, issuer: Issuer
    ) -> None:
        """Client and service are in one process; each counts with a few pieces."""
        many = players(data, issuer, 8)

        async def download(player: Player) -> int:
            taken = 0
            headers = {"Authorization": f"Bearer {player.token}"}
            async with data.http.get(SLOT, headers=headers) as response:
                async for piece in response.content.iter_any():
                    taken += len(piece)
            return taken

        await asyncio.gather(*(upload(each, b"warm") for each in many))
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            answers = await asyncio.gather(*(upload(each, pieces(LARGEST)) for each in many))
            _, sending = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            taken = await asyncio.gather(*(download(each) for each in many))
            _, reading = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert [one.status for one in answers] == [200] * 8
        assert taken == [LARGEST] * 8
        up, down = (round((peak - before) / MEBIBYTE, 1) for peak in (sending, reading))
        figures.note("8 blobs of 5 MiB at once", MiB_for_uploads=up, MiB_for_downloads=down)
        assert up < 12
        assert down < 12
