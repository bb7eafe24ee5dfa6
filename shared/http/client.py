"""Calls to others over HTTP: bounded in time and size, no redirects, no surprises."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import overload

import aiohttp
from aiohttp import hdrs
from yarl import URL

from shared import errors

_TIMEOUT = aiohttp.ClientTimeout(total=2, connect=1)
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,256}"')


@dataclass(frozen=True, slots=True)
class Document:
    """`max_age`: for how many seconds the sender lets it be kept; None where it does not say.

    `etag`: by which the sender knows it again; None where there is none that could be sent back.
    """

    body: bytes
    max_age: float | None
    etag: str | None = None


def is_tamper_proof(url: str) -> bool:
    """Whether nobody on the way can change the answer: https, or http within this machine."""
    parsed = URL(url)
    if parsed.scheme == "http":
        return _is_this_machine(parsed.host or "")
    return parsed.scheme == "https" and bool(parsed.host)


def new_session(
    timeout: aiohttp.ClientTimeout = _TIMEOUT,
    *,
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
) -> aiohttp.ClientSession:
    """No cookies, no proxy from the environment. Servers' certificates are checked by `tls`."""
    return aiohttp.ClientSession(
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        connector=aiohttp.TCPConnector(ssl=tls) if tls else None,
        headers={"Accept-Encoding": "identity", "User-Agent": "playmesh", **(headers or {})},
    )


@overload
async def fetch(session: aiohttp.ClientSession, url: str, *, largest: int) -> Document: ...


@overload
async def fetch(
    session: aiohttp.ClientSession, url: str, *, largest: int, etag: str | None
) -> Document | None: ...


async def fetch(
    session: aiohttp.ClientSession, url: str, *, largest: int, etag: str | None = None
) -> Document | None:
    """The document of a 200 answer of at most `largest` bytes; anything else is Unavailable.

    With `etag`, that of the document which the caller has, None says that it is still the same.
    The error names host and path only: aiohttp's own messages carry the query as well.
    """
    parsed = URL(url)
    source = f"{parsed.host}{parsed.path}"
    condition = {hdrs.IF_NONE_MATCH: etag} if etag else None
    try:
        async with session.get(url, allow_redirects=False, headers=condition) as response:
            if etag and response.status == 304:  # noqa: PLR2004 - HTTP 304
                return None
            if response.status != 200:  # noqa: PLR2004 - HTTP 200
                raise errors.Unavailable(f"{source} answered {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > largest:
                    raise errors.Unavailable(f"{source} answered more than {largest} bytes")
            return Document(
                bytes(body),
                max_age(response.headers),
                _etag(response.headers.get(hdrs.ETAG, "")),
            )
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise errors.Unavailable(f"{source} cannot be reached: {type(error).__name__}") from None


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def max_age(headers: Mapping[str, str]) -> float | None:
    """Of Cache-Control, in seconds; None where it does not say."""
    match = re.search(r"\bmax-age=(\d{1,9})\b", headers.get(hdrs.CACHE_CONTROL, ""))
    return float(match[1]) if match else None


def _etag(header: str) -> str | None:
    """Only what may be sent: another one would fail every request to come."""
    return header if _ETAG.fullmatch(header) else None
