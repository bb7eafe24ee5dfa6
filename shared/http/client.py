"""Calls to others over HTTP: bounded in time and size, no redirects, no surprises."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

import aiohttp
from aiohttp import hdrs
from yarl import URL

from shared import errors

_TIMEOUT = aiohttp.ClientTimeout(total=2, connect=1)


@dataclass(frozen=True, slots=True)
class Document:
    """`max_age`: for how many seconds the sender lets it be kept; None where it does not say."""

    body: bytes
    max_age: float | None


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


async def fetch(session: aiohttp.ClientSession, url: str, *, largest: int) -> Document:
    """The document of a 200 answer of at most `largest` bytes; anything else is Unavailable.

    The error names host and path only: aiohttp's own messages carry the query as well.
    """
    parsed = URL(url)
    source = f"{parsed.host}{parsed.path}"
    try:
        async with session.get(url, allow_redirects=False) as response:
            if response.status != 200:  # noqa: PLR2004 - HTTP 200
                raise errors.Unavailable(f"{source} answered {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > largest:
                    raise errors.Unavailable(f"{source} answered more than {largest} bytes")
            return Document(bytes(body), _max_age(response.headers.get(hdrs.CACHE_CONTROL, "")))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise errors.Unavailable(f"{source} cannot be reached: {type(error).__name__}") from None


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _max_age(cache_control: str) -> float | None:
    match = re.search(r"\bmax-age=(\d{1,9})\b", cache_control)
    return float(match[1]) if match else None
