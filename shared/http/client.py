"""Calls to others over HTTP: bounded in time and size, no redirects, no surprises."""

import aiohttp
from yarl import URL

from shared import errors

_TIMEOUT = aiohttp.ClientTimeout(total=2, connect=1)


def new_session() -> aiohttp.ClientSession:
    """One per process, for its whole life. No cookies, no proxy from the environment."""
    return aiohttp.ClientSession(
        timeout=_TIMEOUT,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "playmesh"},
    )


async def fetch(session: aiohttp.ClientSession, url: str, *, largest: int) -> bytes:
    """The body of a 200 answer of at most `largest` bytes; anything else is Unavailable.

    The error names the host only: aiohttp's own messages carry the whole URL.
    """
    host = URL(url).host
    try:
        async with session.get(url, allow_redirects=False) as response:
            if response.status != 200:  # noqa: PLR2004 - HTTP 200
                raise errors.Unavailable(f"{host} answered {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > largest:
                    raise errors.Unavailable(f"{host} answered more than {largest} bytes")
            return bytes(body)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise errors.Unavailable(f"{host} cannot be reached: {type(error).__name__}") from None
