"""Reading what a client sent: every fault is a precise 400, 413 or 415, never a 500.

aiohttp's own `request.json()` answers deep nesting, bad UTF-8 and 5,000-digit integers with an
internal error, and takes the last of two equal members.
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from aiohttp import web

from shared import errors, strict_json
from shared.strict_json import JsonValue

_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 64
_UNSET = "application/octet-stream"  # aiohttp's word for a missing Content-Type


async def read_json(request: web.Request, *, media_type: str = "application/json") -> JsonValue:
    """Any JSON value. A missing Content-Type counts as `media_type`, another one does not."""
    if request.content_type not in (media_type, _UNSET):
        raise web.HTTPUnsupportedMediaType
    return _parse(await _read(request))


async def read_object(request: web.Request) -> "Fields":
    value = await read_json(request)
    if not isinstance(value, Mapping):
        raise errors.InvalidRequest("the body must be a JSON object")
    return Fields(value)


async def read_form(request: web.Request) -> "Fields":
    if request.content_type != _FORM:
        raise web.HTTPUnsupportedMediaType
    return _fields((await _read(request)).decode("latin-1"), "form body")


def read_query(request: web.Request) -> "Fields":
    # Not aiohttp's `query`, which reads bytes that are no UTF-8 as replacement characters.
    return _fields(request.rel_url.raw_query_string, "query")


async def read_parameters(request: web.Request) -> "Fields":
    """Parameters of a drop-in route: the query of a GET, the JSON or form body of a POST."""
    if request.method == "GET":
        return read_query(request)
    if request.query_string:
        raise errors.InvalidRequest("send the parameters of a POST in its body, not in its URL")
    return await read_body_parameters(request)


async def read_body_parameters(request: web.Request) -> "Fields":
    """Those of a JSON or form body; whatever is in the URL."""
    if request.content_type == _FORM:
        return await read_form(request)
    if not request.can_read_body:
        return Fields({})
    return await read_object(request)


class Fields:
    """Typed access to named values; an empty string counts as missing."""

    def __init__(self, values: Mapping[str, JsonValue]) -> None:
        self._values = values

    def names(self) -> list[str]:
        return list(self._values)

    def canonical(self) -> str:
        """The same text for the same names and values, however they were sent."""
        return strict_json.canonical(self._values)

    def has(self, name: str) -> bool:
        return self._values.get(name) not in (None, "")

    def text(self, name: str, *, longest: int) -> str:
        """Text of 1 to `longest` characters, none of them a control character."""
        value = self._values.get(name)
        if value is None or value == "":
            raise errors.InvalidRequest(f"{_quote(name)} is missing")
        if not isinstance(value, str):
            raise errors.InvalidRequest(f"{_quote(name)} must be a string")
        if len(value) > longest:
            raise errors.InvalidRequest(f"{_quote(name)} is longer than {longest} characters")
        if not value.isprintable() and any(ord(char) < 32 or ord(char) == 127 for char in value):  # noqa: PLR2004 - C0 controls and DEL
            raise errors.InvalidRequest(f"{_quote(name)} contains a control character")
        return value

    def optional_text(self, name: str, *, longest: int) -> str | None:
        return self.text(name, longest=longest) if self.has(name) else None

    def object(self, name: str) -> "Fields":
        value = self._values.get(name)
        if value is None:
            raise errors.InvalidRequest(f"{_quote(name)} is missing")
        if not isinstance(value, Mapping):
            raise errors.InvalidRequest(f"{_quote(name)} must be an object")
        return Fields(value)

    def optional_object(self, name: str) -> "Fields | None":
        return self.object(name) if self._values.get(name) is not None else None


def _quote(name: str) -> str:
    return f"`{name}`"


async def _read(request: web.Request) -> bytes:
    try:
        return await request.read()
    except ConnectionResetError:  # a client that is gone is no bug of ours
        raise errors.InvalidRequest("the body is broken off") from None


def _parse(raw: bytes) -> JsonValue:
    try:
        return strict_json.loads(raw)
    except ValueError as error:
        raise errors.InvalidRequest(f"the body is not valid JSON: {error}") from None


def _fields(urlencoded: str, what: str) -> Fields:
    try:
        pairs = parse_qsl(
            urlencoded,
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:  # percent-encoded bytes that are no UTF-8, or too many fields
        pairs = None
    if pairs is None or not urlencoded.isascii():
        raise errors.InvalidRequest(f"the {what} is not valid")
    values = dict(pairs)
    if len(values) != len(pairs):
        repeated = next(name for name in values if sum(name == other for other, _ in pairs) > 1)
        raise errors.InvalidRequest(f"{_quote(repeated[:64])} is given more than once")
    return Fields(values)
