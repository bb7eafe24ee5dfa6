"""A blob on its way in and out: in pieces, not for ever, and not too many at once."""

import asyncio
from collections.abc import AsyncIterator

import structlog
from aiohttp import web

from services.player_data import blob_wire
from services.player_data.appkeys import BLOBS, DOWNLOADS, UPLOADS
from services.player_data.collections import Caller
from services.player_data.models import Blob, Precondition, Record, RecordKey
from shared import errors
from shared.http.responses import stream

_log = structlog.get_logger()


async def receive(
    request: web.Request, caller: Caller, key: RecordKey, precondition: Precondition
) -> Blob:
    """Keep the body as content that a record is to have. Raises as Blobs.receive, and 408."""
    media_type = blob_wire.read_media_type(request)
    uploads, blobs = request.app[UPLOADS], request.app[BLOBS]
    content = blob_wire.read_content(request, largest=blobs.largest, patience=uploads.patience)
    with uploads.one(caller):
        try:
            async with asyncio.timeout(uploads.within):
                return await blobs.receive(caller, key, media_type, content, precondition)
        except TimeoutError:
            raise web.HTTPRequestTimeout from None


async def answer(
    request: web.Request, caller: Caller, record: Record, blob: Blob
) -> web.StreamResponse:
    """The bytes as they were sent. `Range` is not looked at, as RFC 9110 section 14.2 allows."""
    downloads = request.app[DOWNLOADS]
    response = web.StreamResponse(headers=blob_wire.content_headers(record, blob))
    with downloads.one(caller):
        async with request.app[BLOBS].read(record.key.player, blob) as content:
            if content is None:
                _log.warning("blob.missing", version=record.version)
                raise errors.Unavailable("the content is not there: ask for the record again")
            return await stream(
                request,
                response,
                _whole(content, blob.size),
                patience=downloads.patience,
                within=downloads.within,
            )


async def _whole(content: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """Raises Unavailable where it is not as much as was kept."""
    async for chunk in content:
        size -= len(chunk)
        yield chunk
    if size:
        raise errors.Unavailable("the content is not whole")
