"""What happens to every request: an id, CORS, a log line, a measurement."""

import re
import time

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import Histogram

from shared import errors
from shared.http.keys import REQUEST_ID
from shared.ids import new_id

_log = structlog.get_logger()
_REQUEST_ID = "X-Request-Id"
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_EXPOSED = "ETag, Location, Retry-After, X-Request-Id"
_PREFLIGHT = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST, PUT, PATCH, DELETE",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: (
        "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, X-Request-Id"
    ),
    hdrs.ACCESS_CONTROL_MAX_AGE: "86400",
}
_DURATION = Histogram(
    "http_server_request_duration_seconds",
    "Time from the parsed request to the finished answer.",
    ("http_request_method", "http_route", "http_response_status_code"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
)


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, and leave one line and one measurement of it.

    The path is logged, unless a `code` is in it, and the query never: drop-in routes carry secrets
    there.
    """
    given = request.headers.get(_REQUEST_ID, "")
    request_id = given if _GIVEN_ID.fullmatch(given) else new_id()
    request[REQUEST_ID] = request_id
    structlog.contextvars.bind_contextvars(request_id=request_id)
    started = time.perf_counter()
    status = 499  # the client went away; overwritten by every answer
    try:
        response = await handler(request)
        status = response.status
        _tell_who(request, response)
        return response
    finally:
        elapsed = time.perf_counter() - started
        resource = request.match_info.route.resource
        route = resource.canonical if resource else "(none)"
        _DURATION.labels(_method(request), route, status).observe(elapsed)
        path = request.rel_url.raw_path  # percent-encoded: no control character in a log line
        _log.info(
            "request",
            method=request.method,
            path=route if "code" in request.match_info else path,
            status=status,
            ms=round(elapsed * 1000, 2),
        )
        structlog.contextvars.unbind_contextvars("request_id")


def bounded(most: int) -> Middleware:
    """Refuse, before its body is read, what comes while `most` requests are under way.

    A client that hangs up does not end its request, so without a bound anybody could pile up
    bodies in memory faster than a store takes them.
    """
    under_way = 0

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal under_way
        if under_way >= most:
            raise errors.Unavailable("too many requests are under way")
        under_way += 1
        try:
            return await handler(request)
        finally:
            under_way -= 1

    return middleware


@web.middleware
async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Web builds of a game come from any origin; tokens travel in headers, never in cookies."""
    if request.method == "OPTIONS" and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
        response: web.StreamResponse = web.Response(status=204, headers=_PREFLIGHT)
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
    else:
        response = await handler(request)
        _open_to_browsers(response)
    return response


def set_edge_headers(request: web.Request, response: web.StreamResponse) -> None:
    """What the middlewares here set, for an answer that begins before they see it."""
    _tell_who(request, response)
    _open_to_browsers(response)


def _tell_who(request: web.Request, response: web.StreamResponse) -> None:
    response.headers[_REQUEST_ID] = request[REQUEST_ID]
    response.headers[hdrs.SERVER] = "playmesh"  # aiohttp would tell its version


def _open_to_browsers(response: web.StreamResponse) -> None:
    response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
    response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED
    # Answers carry tokens and saves; what may be cached says so itself.
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")


def _method(request: web.Request) -> str:
    # Any token is a legal method; a label must not take any value that a stranger sends.
    return request.method if request.method in hdrs.METH_ALL else "_OTHER"
