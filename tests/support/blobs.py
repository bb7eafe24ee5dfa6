"""Blobs at player_data's routes, and the files that hold them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from multidict import CIMultiDict
from yarl import URL

from tests.support.records import SLOT, Player
from tests.support.servers import Answer

MEBIBYTE = 1024 * 1024
OCTETS = "application/octet-stream"
SAVE = bytes(range(256)) * 1000


async def upload(
    player: Player,
    content: bytes | AsyncIterator[bytes] = SAVE,
    path: str = SLOT,
    media_type: str = OCTETS,
    **headers: str,
) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    everything = {"Content-Type": media_type, **named}
    return await player.call("PUT", path, data=content, headers=everything)


@contextlib.asynccontextmanager
async def uploading(
    player: Player, length: int, *lines: str, path: str = SLOT
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """An upload of which only the head was sent."""
    target = URL(player.data.url)
    reader, writer = await asyncio.open_connection(target.host, target.port)
    head = [
        f"PUT {path} HTTP/1.1",
        "Host: test",
        f"Authorization: Bearer {player.token}",
        f"Content-Type: {OCTETS}",
        f"Content-Length: {length}",
        *lines,
    ]
    try:
        writer.write("".join(f"{line}\r\n" for line in [*head, ""]).encode())
        await writer.drain()
        yield reader, writer
    finally:
        writer.close()


async def announce(player: Player, length: int, *lines: str, path: str = SLOT) -> Answer:
    """What is answered to an upload of which nothing but the head is ever sent."""
    async with uploading(player, length, *lines, path=path) as (reader, _):
        return await answered(reader)


async def answered(reader: asyncio.StreamReader) -> Answer:
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").strip().split("\r\n")
        headers = CIMultiDict[str]()
        for line in rest:
            name, _, value = line.partition(":")
            headers.add(name, value.strip())
        body = await reader.readexactly(int(headers["Content-Length"]))
    return Answer(int(first.split(" ")[1]), headers, body)


def described(content: bytes, media_type: str = OCTETS) -> dict[str, Any]:
    """As a record has it in place of `value`."""
    digest = sha256(content).hexdigest()
    return {"media_type": media_type, "bytes": len(content), "sha256": digest}


def files(folder: Path) -> list[Path]:
    """Of all contents that `folder`, a service's, has; also of what is on its way."""
    return sorted(path for path in (folder / "blobs").glob("*/*") if path.is_file())
