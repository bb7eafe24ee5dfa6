"""Answers with a JSON body."""

from collections.abc import AsyncIterator

import structlog
from aiohttp import hdrs, web

from shared import errors, strict_json
from shared.http.middleware import set_edge_headers

_log = structlog.get_logger()


def json_response(body: object, *, status: int = 200) -> web.Response:
    return web.Response(
        text=strict_json.dumps(body), status=status, content_type="application/json"
    )


async def json_stream(
    request: web.Request, document: AsyncIterator[bytes], *, filename: str
) -> web.StreamResponse:
    """A document that is sent while it is read, part by part.

    Where reading fails on the way the connection is broken off: half a document must not pass for
    a whole one. Before the first part it is an ordinary error.
    """
    first = await anext(document)
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: "application/json",
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{filename}"',
        }
    )
    set_edge_headers(request, response)  # now: after its first byte no header can be set
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        # aiohttp would write it all the same: as the answer to the next request of a connection.
        return response
    try:
        await response.write(first)
        async for part in document:
            await response.write(part)
    except errors.PlaymeshError as error:
        _log.warning("response.broken_off", reason=str(error))
        if request.transport is not None:
            request.transport.abort()
    return response
