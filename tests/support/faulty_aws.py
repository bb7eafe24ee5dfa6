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
        self.refusals: dict[str, str] = {}
        """Codes by action, `dynamodb:GetItem`, or `*` for every one."""
        self.calls = 0
        self.faults: Counter[Fault] = Counter()
        self._endpoint = endpoint
        self._stopping = asyncio.Event()

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[str]:
        app = web.Application(client_max_size=2**23)
        app.router.add_route("*", "/{path:.*}", self._serve)
        async with (
            aiohttp.ClientSession(auto_decompress=False) as self._http,
            serving(app, port) as url,
        ):
            yield url
            self._stopping.set()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        self.calls += 1
        fault = self.plan(self.calls)
        if fault is not None:
            self.faults[fault] += 1
        action = _action(request)
        if code := self.refusals.get(action) or self.refusals.get("*"):
            return _refuse(action, code)
        if fault is Fault.HANG:
            await self._stopping.wait()
        if fault is Fault.THROTTLE and action.startswith("s3:"):
            return _refuse(action, "SlowDown", status=503)
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
            data=data,
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


def _action(request: web.Request) -> str:
    """`dynamodb:GetItem`, of services that name it in a header; of S3's the objects alone."""
    if "X-Amz-Target" in request.headers:
        service, _, operation = request.headers["X-Amz-Target"].partition(".")
        return f"{service.partition('_')[0].lower()}:{operation}"
    if "list-type" in request.query:
        return "s3:ListObjectsV2"
    return f"s3:{request.method.capitalize()}Object"


def _refuse(action: str, code: str, *, status: int = 403) -> web.Response:
    if action.startswith("s3:"):
        body = f"<Error><Code>{code}</Code><Message>not {action}</Message></Error>"
        return web.Response(status=status, text=body, content_type="application/xml")
    body = f'{{"__type":"{code}","message":"not {action}"}}'
    return web.Response(status=400, text=body, content_type="application/x-amz-json-1.0")
