"""Reads that may be a few seconds behind the writes."""

import asyncio
from collections.abc import Awaitable, Callable

_PATIENCE = 10.0


async def eventually(read: Callable[[], Awaitable[object]], expected: object) -> None:
    """Read until the answer is as expected: at once, but for what is far away."""
    answer = await read()
    try:
        async with asyncio.timeout(_PATIENCE):
            while answer != expected:
                await asyncio.sleep(0.1)
                answer = await read()
    except TimeoutError:
        assert answer == expected  # which shows what they are
