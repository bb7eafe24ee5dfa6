"""A proxy in front of a stand-in of AWS that does what networks and stores do on bad days."""

import asyncio
import contextlib
import enum
from collections import Counter
from collections.abc import AsyncIterator, Callable

import aiohttp
from aiohttp import web

from tests.support.servers import serving


class Fault(enum.Enum):
    THROTTLE = "throttle"
    """Refused before it is done, as a table that gets too much does."""
    DROP_REPLY = "drop reply"
    """Done, but the connection ends without an answer."""
    FAIL = "fail"
    """Refused with a 500 before it is done."""
    HANG = "hang"
    """No answer, ever."""


class FaultyAws:
    """`plan` says for the number of a call what goes wrong with it; None: nothing."""

    def __init__(self, endpoint: str) -> None:
        self.plan: Callable[[int], Fault | None] = lambda _number: None
        self.calls = 0
        self.faults: Counter[Fault] = Counter()
        self._endpoint = endpoint
        self._stopping = asyncio.Event()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application(client_max_size=2**23)
        app.router.add_route("*", "/{path:.*}", self._serve)
        async with aiohttp.ClientSession(auto_decompress=False) as self._http, serving(app) as url:
            yield url
            self._stopping.set()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        fault = self.plan(self.calls)
        if fault is not None:
            self.faults[fault] += 1
        if fault is Fault.HANG:
            await self._stopping.wait()
        if fault is Fault.THROTTLE:
            body = '{"__type":"com.amazonaws.dynamodb#ThrottlingException","message":"slow down"}'
            return web.Response(status=400, text=body, content_type="application/x-amz-json-1.0")
        if fault is Fault.FAIL:
            body = '{"__type":"com.amazonaws.dynamodb#InternalServerError","message":"sorry"}'
            return web.Response(status=500, text=body, content_type="application/x-amz-json-1.0")
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in ("host", "transfer-encoding", "expect")
        }
        async with self._http.request(
            request.method,
            self._endpoint + request.path_qs,
            data=await request.read(),
            headers=headers,
        ) as answer:
            document = await answer.read()
            status = answer.status
            kept = {
                name: value
                for name, value in answer.headers.items()
                if name.lower() not in ("transfer-encoding", "content-length", "connection")
            }
        if fault is Fault.DROP_REPLY:
            assert request.transport
            request.transport.abort()
        return web.Response(status=status, body=document, headers=kept)
