"""Calls to another service: bounded, with a token, and with nothing of it in any message."""

import asyncio
import contextlib
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web

from shared import errors
from shared.http.client import new_session
from shared.http.service_client import ServiceClient
from tests.support.servers import serving
from tests.support.token_endpoint import FixedTokens

AUDIENCE, SCOPE = "playmesh:player_data", "player_data:read"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Target:
    """Answers with `handler`; the requests it had, with their bodies."""

    def __init__(self) -> None:
        self.handler: Handler = self.hello
        self.requests: list[tuple[web.Request, bytes]] = []

    async def hello(self, _request: web.Request) -> web.Response:
        return web.json_response({"hello": "service"})

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request, await request.read()))
        return await self.handler(request)

    @property
    def tokens(self) -> list[str]:
        return [one.headers["Authorization"] for one, _ in self.requests]


@pytest.fixture
def target() -> Target:
    return Target()


@pytest.fixture
def tokens() -> FixedTokens:
    return FixedTokens()


@pytest.fixture
async def client(target: Target, tokens: FixedTokens) -> AsyncIterator[ServiceClient]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", target.serve)
    async with serving(app) as url, new_session() as session:
        yield ServiceClient(session, tokens, url, AUDIENCE, SCOPE)


def answering(status: int, **headers: str) -> Handler:
    async def handler(_request: web.Request) -> web.Response:
        renamed = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, headers=renamed)

    return handler


def refusing(*tokens: str) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        refused = request.headers["Authorization"].removeprefix("Bearer ") in tokens
        return web.Response(status=401 if refused else 200)

    return handler


async def test_a_call_has_a_token_for_its_audience_and_scope(
    client: ServiceClient, target: Target, tokens: FixedTokens
) -> None:
    reply = await client.request("GET", "/v1/players/a/records", params={"limit": "2"})
    assert (reply.status, reply.json()) == (200, {"hello": "service"})
    assert target.tokens == ["Bearer token-0"]
    assert tokens.asked == [(AUDIENCE, SCOPE)]
    assert target.requests[0][0].path_qs == "/v1/players/a/records?limit=2"


async def test_a_body_is_sent_as_json(client: ServiceClient, target: Target) -> None:
    await client.request("PUT", "/x", json={"name": "é"}, headers={"If-None-Match": "*"})
    request, body = target.requests[0]
    assert (request.method, body) == ("PUT", '{"name":"é"}'.encode())
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["If-None-Match"] == "*"


async def test_the_caller_may_name_another_kind_of_json_and_no_other_token(
    client: ServiceClient, target: Target
) -> None:
    headers = {"content-type": "application/merge-patch+json", "authorization": "Bearer evil"}
    await client.request("PATCH", "/x", json={}, headers=headers)
    request = target.requests[0][0]
    assert request.headers.getall("Content-Type") == ["application/merge-patch+json"]
    assert request.headers.getall("Authorization") == ["Bearer token-0"]


@pytest.mark.parametrize("status", [200, 201, 204, 304, 400, 403, 404, 409, 412])
async def test_what_the_other_service_says_is_answered(
    client: ServiceClient, target: Target, status: int
) -> None:
    target.handler = answering(status, ETag='"7"')
    reply = await client.request("GET", "/x")
    assert (reply.status, reply.headers["ETag"]) == (status, '"7"')


@pytest.mark.parametrize("status", [302, 307, 429, 500, 502, 503, 504])
async def test_that_it_cannot_answer_is_unavailable(
    client: ServiceClient, target: Target, status: int
) -> None:
    target.handler = answering(status, Retry_After="7", Location="/elsewhere")
    with pytest.raises(errors.Unavailable) as caught:
        await client.request("GET", "/x")
    assert caught.value.retry_after == 7
    assert len(target.requests) == 1


async def test_a_refused_token_is_replaced_once(
    client: ServiceClient, target: Target, tokens: FixedTokens
) -> None:
    target.handler = refusing("token-0")
    assert (await client.request("POST", "/x", json=[1])).status == 200
    assert target.tokens == ["Bearer token-0", "Bearer token-1"]
    assert [body for _, body in target.requests] == [b"[1]", b"[1]"]
    assert tokens.forgotten == ["token-0"]


async def test_a_target_that_refuses_the_next_token_as_well_is_unavailable(
    client: ServiceClient, target: Target, tokens: FixedTokens
) -> None:
    target.handler = refusing("token-0", "token-1")
    with pytest.raises(errors.Unavailable):
        await client.request("GET", "/x")
    assert len(target.requests) == 2
    assert tokens.forgotten == ["token-0"]


class Stubborn(FixedTokens):
    """Has no other token."""

    def forget(self, token: str) -> None:
        self.forgotten.append(token)


async def test_where_there_is_no_other_token_the_target_is_not_asked_again(target: Target) -> None:
    target.handler = refusing("token-0")
    app = web.Application()
    app.router.add_get("/x", target.serve)
    async with serving(app) as url, new_session() as session:
        client = ServiceClient(session, Stubborn(), url, AUDIENCE, SCOPE)
        with pytest.raises(errors.Unavailable):
            await client.request("GET", "/x")
    assert len(target.requests) == 1


async def test_a_target_that_hangs_is_unavailable_in_time(
    client: ServiceClient, target: Target
) -> None:
    gone = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        await gone.wait()
        return web.Response()

    target.handler = hang
    with pytest.raises(errors.Unavailable, match="took too long"):
        await client.request("GET", "/x", within=0.05)
    with pytest.raises(errors.Unavailable, match="took too long"):
        async with client.stream("GET", "/x", within=0.05):
            pass
    gone.set()


@pytest.mark.parametrize("call", [ServiceClient.request, ServiceClient.stream])
def test_the_time_is_two_seconds_where_nothing_else_is_said(call: Callable[..., object]) -> None:
    assert inspect.signature(call).parameters["within"].default == 2.0


async def test_an_answer_that_is_too_large_is_unavailable(
    client: ServiceClient, target: Target
) -> None:
    target.handler = chunks(b"x" * 100, b"x" * 100)
    assert len((await client.request("GET", "/x", largest=200)).body) == 200
    with pytest.raises(errors.Unavailable):
        await client.request("GET", "/x", largest=199)


def chunks(*parts: bytes, broken: bool = False) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        if broken:
            assert request.transport
            request.transport.abort()
        return response

    return handler


async def test_a_stream_is_read_as_it_comes(client: ServiceClient, target: Target) -> None:
    target.handler = chunks(b"a" * 1000, b"b" * 1000)
    async with client.stream("GET", "/x") as answer:
        assert answer.status == 200
        assert b"".join([chunk async for chunk in answer.chunks]) == b"a" * 1000 + b"b" * 1000


async def test_a_stream_may_last_longer_than_an_answer_takes_to_begin(
    client: ServiceClient, target: Target
) -> None:
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"a")
        await go_on.wait()
        await response.write(b"b")
        return response

    target.handler = slow
    async with client.stream("GET", "/x", within=0.5) as answer:
        assert await anext(answer.chunks) == b"a"
        asyncio.get_running_loop().call_later(0.6, go_on.set)
        assert await anext(answer.chunks) == b"b"


async def test_a_stream_that_breaks_off_is_unavailable(
    client: ServiceClient, target: Target
) -> None:
    target.handler = chunks(b"a" * 1000, broken=True)

    async def read() -> list[bytes]:
        async with client.stream("GET", "/x") as answer:
            return [chunk async for chunk in answer.chunks]

    with pytest.raises(errors.Unavailable, match="broke off"):
        await read()


async def test_trouble_of_the_caller_s_own_is_not_the_target_s(client: ServiceClient) -> None:
    """A player who hangs up while an answer is passed on does not make the service unavailable."""
    with pytest.raises(ConnectionResetError):
        async with client.stream("GET", "/x"):
            raise ConnectionResetError


async def test_what_is_no_json_is_unavailable(client: ServiceClient, target: Target) -> None:
    target.handler = chunks(b'{"a":1,"a":2}')
    reply = await client.request("GET", "/x")
    with pytest.raises(errors.Unavailable):
        reply.json()


@pytest.mark.parametrize("path", ["", "x", "@evil.example.com/", ":80@evil/", "/x?a=1", "/x#a"])
async def test_a_path_cannot_lead_to_another_host(
    client: ServiceClient, target: Target, path: str
) -> None:
    with pytest.raises(ValueError, match="a path begins with a slash"):
        await client.request("GET", path)
    assert target.requests == []


async def test_a_token_does_not_cross_a_network_in_plain_http_unless_that_is_wanted(
    tokens: FixedTokens,
) -> None:
    async with new_session() as session:
        with pytest.raises(ValueError, match="base_url must be https"):
            ServiceClient(session, tokens, "http://player-data:8082", AUDIENCE, SCOPE)
        ServiceClient(session, tokens, "http://player-data:8082", "x", "y", allow_http=True)


@pytest.mark.parametrize(
    "handler", [answering(500), answering(401), chunks(b"a" * 100, broken=True), None]
)
async def test_no_message_has_the_query_or_the_token(
    target: Target, tokens: FixedTokens, handler: Handler | None
) -> None:
    target.handler = handler or target.handler
    app = web.Application()
    app.router.add_get("/x", target.serve)
    params: dict[str, Any] = {"player_name": "Ada-Lovelace"}
    async with new_session() as session, contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(app))
        if not handler:  # nobody is there any more
            await stack.aclose()
        failure = await trouble(ServiceClient(session, tokens, url, AUDIENCE, SCOPE), params)
    assert "127.0.0.1/x" in failure
    assert "Ada" not in failure
    assert "token-" not in failure


async def trouble(client: ServiceClient, params: dict[str, str]) -> str:
    """All that the failure of a call tells."""
    with structlog.testing.capture_logs() as lines, pytest.raises(errors.Unavailable) as caught:
        await client.request("GET", "/x", params=params)
    error = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    return json.dumps([str(error), repr(client), lines])


async def test_a_reply_does_not_show_its_body(client: ServiceClient) -> None:
    reply = await client.request("GET", "/x")
    assert b"hello" in reply.body
    assert "hello" not in repr(reply)


async def test_an_ordinary_session_will_do(target: Target, tokens: FixedTokens) -> None:
    app = web.Application()
    app.router.add_get("/x", target.serve)
    async with serving(app) as url, aiohttp.ClientSession() as session:
        client = ServiceClient(session, tokens, url, AUDIENCE, SCOPE)
        assert (await client.request("GET", "/x")).status == 200
