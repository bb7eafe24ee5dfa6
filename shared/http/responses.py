"""Answers with a JSON body."""

import asyncio
from collections.abc import AsyncIterator

import structlog
from aiohttp import hdrs, web

from shared import errors, strict_json
from shared.http.middleware import set_edge_headers

_log = structlog.get_logger()
_PATIENCE = 30.0
_AT_ONCE = 64 * 1024


def json_response(body: object, *, status: int = 200) -> web.Response:
    return web.Response(
        text=strict_json.dumps(body), status=status, content_type="application/json"
    )


async def json_stream(
    request: web.Request,
    document: AsyncIterator[bytes],
    *,
    filename: str,
    patience: float = _PATIENCE,
) -> web.StreamResponse:
    """A document that is sent while it is read, part by part.

    It is broken off as `stream` has it. Before the first part it is an ordinary error.
    """
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: "application/json",
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{filename}"',
        }
    )
    return await stream(request, response, document, patience=patience)


async def stream(
    request: web.Request,
    response: web.StreamResponse,
    document: AsyncIterator[bytes],
    *,
    patience: float = _PATIENCE,
    within: float | None = None,
) -> web.StreamResponse:
    """Send `response`, which has not begun, with the document as its body.

    Where reading fails on the way, the client takes nothing for `patience` seconds, or not all of
    it `within` so many, the connection is broken off: half a document must not pass for a whole
    one. Before the first part it is an ordinary error.
    """
    first = await anext(document, b"")
    set_edge_headers(request, response)  # now: after its first byte no header can be set
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:  # a body would be read as the connection's next answer
        return response
    try:
        async with asyncio.timeout(within):
            await _send(response, first, patience)
            async for part in document:
                await _send(response, part, patience)
    except (ConnectionError, TimeoutError):
        _break_off(request, "the client is gone, or takes nothing")
    except errors.PlaymeshError as error:
        _break_off(request, str(error))
    except Exception:  # noqa: BLE001 - a second answer must not follow in the middle of this one
        _log.exception("response.failed")
        _break_off(request, "a bug of ours")
    return response


async def _send(response: web.StreamResponse, part: bytes, patience: float) -> None:
    for start in range(0, len(part), _AT_ONCE):  # a slow client must make way, not a long part
        async with asyncio.timeout(patience):
            await response.write(part[start : start + _AT_ONCE])


def _break_off(request: web.Request, reason: str) -> None:
    _log.warning("response.broken_off", reason=reason)
    if request.transport is not None:
        request.transport.abort()
