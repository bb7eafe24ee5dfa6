"""Work that a process repeats for as long as it lives."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from shared import errors

_log = structlog.get_logger()


@contextlib.asynccontextmanager
async def repeating(
    name: str, work: Callable[[], Awaitable[object]], delay: Callable[[], float]
) -> AsyncIterator[None]:
    """Run `work` before the block, and again `delay()` seconds after each end, while it runs.

    Bad weather is a warning and a bug an error in the log; neither ends the repetition, since
    nobody would notice that it has stopped until much later.
    """

    async def once() -> None:
        try:
            await work()
        except errors.Unavailable as error:
            _log.warning("background.postponed", work=name, reason=str(error))
        except Exception:  # noqa: BLE001 - must outlive any bug
            _log.exception("background.failed", work=name)

    async def loop() -> None:
        while True:
            await asyncio.sleep(delay())
            await once()

    await once()
    task = asyncio.create_task(loop())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
