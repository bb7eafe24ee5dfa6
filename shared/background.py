"""Work that a process repeats for as long as it lives."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from shared import errors

_log = structlog.get_logger()
_LONGEST_POSTPONEMENT = 2.0


@contextlib.asynccontextmanager
async def repeating(
    name: str,
    work: Callable[[], Awaitable[object]],
    delay: Callable[[], float],
    *,
    at_start: bool = True,
) -> AsyncIterator[None]:
    """Run `work` before the block, and again `delay()` seconds after each end, while it runs.

    Without `at_start` the block does not wait for it: the first time is after a `delay()`, too.

    Bad weather is a warning and a bug an error in the log; neither ends the repetition, since
    nobody would notice that it has stopped until much later. What bad weather has prevented is
    done soon after, however rare it is.
    """

    async def once() -> float:
        """The longest pause after it."""
        try:
            await work()
        except errors.Unavailable as error:
            _log.warning("background.postponed", work=name, reason=str(error))
            return _LONGEST_POSTPONEMENT
        except Exception:  # noqa: BLE001 - must outlive any bug
            _log.exception("background.failed", work=name)
        return math.inf

    async def loop(longest: float) -> None:
        while True:
            await asyncio.sleep(min(delay(), longest))
            longest = await once()

    task = asyncio.create_task(loop(await once() if at_start else math.inf))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
