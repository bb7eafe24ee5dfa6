"""Real servers on free ports, and requests exactly as a client writes them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from multidict import CIMultiDict
from yarl import URL


@contextlib.asynccontextmanager
async def serving(app: web.Application, port: int = 0) -> AsyncIterator[str]:
    """The base URL of `app` on a free port of 127.0.0.1, as long as the block runs.

    `port` is for those who must know it before.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: CIMultiDict[str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - whatever the server sent
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem; one of RFC 6749 has the media type that it asks for."""
        problem = self.json()
        kind = "application/json" if "error" in problem else "application/problem+json"
        assert self.headers["Content-Type"].startswith(f"{kind};"), self
        return str(problem["type"]).removeprefix("urn:playmesh:error:")


async def send(url: str, head: str | bytes, body: bytes = b"") -> Answer:
    """Write a request as it stands, read the answer until the server closes.

    `head` is the request line and further header lines without the final blank line; Host,
    Connection and, with a body, Content-Length are added.
    """
    target = URL(url)
    head = head.encode("latin-1") if isinstance(head, str) else head
    lines = [head, b"Host: test", b"Connection: close"]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        writer.write(b"\r\n".join([*lines, b"", body]))
        with contextlib.suppress(ConnectionError):  # refused before the whole body was read
            await writer.drain()
        return _parse(await asyncio.wait_for(reader.read(), 20))
    finally:
        writer.close()


def _parse(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = CIMultiDict[str]()
    for line in rest:
        name, _, value = line.partition(":")
        headers.add(name, value.strip())
    return Answer(int(first.split(" ")[1]), headers, body)
