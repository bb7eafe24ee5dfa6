"""Documents that are sent while they are read: whole, or recognisably not."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from yarl import URL

from shared import errors
from shared.http.app import new_app
from shared.http.responses import json_stream
from tests.support.servers import send, serving

PART = b"x" * 1024 * 1024


async def whole() -> AsyncIterator[bytes]:
    for part in (b"[1", b",2", b"]"):
        yield part


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield PART


async def bug() -> AsyncIterator[bytes]:
    yield b'{"half":1}'
    raise LookupError


async def bad_weather() -> AsyncIterator[bytes]:
    yield b'{"half":1}'
    raise errors.Unavailable


DOCUMENTS = {"whole": whole, "endless": endless, "bug": bug, "bad-weather": bad_weather}


@pytest.fixture
def finished() -> asyncio.Event:
    """Set when an answer is done with."""
    return asyncio.Event()


@pytest.fixture
async def url(finished: asyncio.Event) -> AsyncIterator[str]:
    async def handler(request: web.Request) -> web.StreamResponse:
        document = DOCUMENTS[request.match_info["name"]]()
        try:
            return await json_stream(request, document, filename="a.json", patience=0.05)
        finally:
            finished.set()

    app = new_app(largest_body=1024)
    app.router.add_get("/{name}", handler)
    async with serving(app) as served:
        yield served


async def test_it_is_whole(url: str) -> None:
    assert (await send(url, "GET /whole HTTP/1.0")).body == b"[1,2]"


async def test_a_head_has_no_body_that_the_next_answer_could_begin_with(url: str) -> None:
    answer = await send(url, "HEAD /whole HTTP/1.1")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("name", ["bug", "bad-weather"])
async def test_what_fails_on_the_way_is_broken_off_and_nothing_follows(
    url: str, name: str, version: str
) -> None:
    answer = await send(url, f"GET /{name} HTTP/{version}")
    assert b"HTTP/" not in answer.body
    assert not answer.body.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("goes", [True, False])
async def test_a_client_that_takes_nothing_is_not_waited_for(
    url: str, finished: asyncio.Event, *, goes: bool
) -> None:
    target = URL(url)
    with socket.create_connection((target.host, target.port)) as client:
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")
        if goes:
            client.close()
        async with asyncio.timeout(10):
            await finished.wait()
