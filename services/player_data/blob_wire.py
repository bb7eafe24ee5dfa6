"""Blobs as bodies: what is sent, what is answered, and how they stand in an export."""

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from email.utils import format_datetime

from aiohttp import hdrs, web

from services.player_data.models import CHUNK, Blob, ExportPage, Record
from services.player_data.wire import export_cursor, record_headers, render_record
from shared import errors

_JSON = ("application/json", "application/merge-patch+json")
# What tools send where nobody says anything: nobody means a save by it.
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,127}"
_MEDIA_TYPE = re.compile(
    rf'{_WORD}/{_WORD}(?:[ \t]*;[ \t]*{_WORD}=(?:{_WORD}|"[^"\\\x00-\x1f\x7f-\uffff]*"))*'
)
_LONGEST_MEDIA_TYPE = 255
Opened = Callable[[Blob], AbstractAsyncContextManager[AsyncIterator[bytes] | None]]


def is_blob(request: web.Request) -> bool:
    """Whether the body is a blob by its media type: without one it is JSON."""
    return hdrs.CONTENT_TYPE in request.headers and request.content_type not in _JSON


def read_media_type(request: web.Request) -> str:
    """As it was sent, with its parameters. Raises InvalidRequest, and 415 where it is refused."""
    values = request.headers.getall(hdrs.CONTENT_TYPE)
    text = values[0].strip()
    if len(values) > 1 or len(text) > _LONGEST_MEDIA_TYPE or not _MEDIA_TYPE.fullmatch(text):
        raise errors.InvalidRequest("Content-Type must be one media type")
    # One that is encoded would come out of memory that nobody has measured.
    if request.content_type in _FORMS or request.headers.get(hdrs.CONTENT_ENCODING):
        raise web.HTTPUnsupportedMediaType
    return text


async def read_content(
    request: web.Request, *, largest: int, patience: float
) -> AsyncIterator[bytes]:
    """The body in pieces of CHUNK at most. `patience` is in seconds, until something comes.

    Raises TooLarge by the Content-Length already, InvalidRequest where it is broken off, and 408.
    """
    if request.content_length is not None and request.content_length > largest:
        raise errors.TooLarge(f"at most {largest} bytes are allowed")
    gathered = bytearray()
    while not request.content.at_eof():
        try:
            async with asyncio.timeout(patience):
                gathered += await request.content.read(CHUNK - len(gathered))
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except ConnectionError:
            raise errors.InvalidRequest("the body is broken off") from None
        if len(gathered) == CHUNK:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def content_headers(record: Record, blob: Blob) -> dict[str, str]:
    """`Repr-Digest` is of RFC 9530. No browser shall take what players have stored for a page."""
    return {
        **record_headers(record),
        hdrs.CONTENT_TYPE: blob.media_type,
        hdrs.CONTENT_LENGTH: str(blob.size),
        hdrs.LAST_MODIFIED: format_datetime(record.updated_at, usegmt=True),
        hdrs.ACCEPT_RANGES: "none",
        hdrs.CONTENT_DISPOSITION: "attachment",
        "Repr-Digest": f"sha-256=:{b64encode(bytes.fromhex(blob.sha256)).decode()}:",
        "X-Content-Type-Options": "nosniff",
    }


def has_content(page: ExportPage) -> bool:
    return any(held.record.blob for held in page.held)


async def export_parts(page: ExportPage, opened: Opened) -> AsyncIterator[bytes]:
    """As `wire.render_export`; a blob has its `content` as well, in base64.

    It is null where it is not kept any more.
    """
    for name, is_current in (('{"records":[', True), ('],"versions":[', False)):
        yield name.encode()
        separator = ""
        for held in page.held:
            if held.is_current == is_current:
                yield separator.encode()
                separator = ","
                async for part in _exported(held.record, opened):
                    yield part
    yield f'],"cursor":{export_cursor(page)}}}'.encode()


async def _exported(record: Record, opened: Opened) -> AsyncIterator[bytes]:
    text = render_record(record)
    if record.blob is None:
        yield text.encode()
        return
    yield f'{text.removesuffix("}}")},"content":'.encode()
    async with opened(record.blob) as content:
        if content is None:
            yield b"null}}"
            return
        yield b'"'
        rest = b""
        async for chunk in content:
            whole = rest + chunk
            rest = whole[len(whole) - len(whole) % 3 :]
            yield b64encode(whole[: len(whole) - len(rest)])
        yield b64encode(rest) + b'"}}'
