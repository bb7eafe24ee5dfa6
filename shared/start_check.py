"""What must hold before a process is of use: asked at start, and then until it holds.

What trying again will not help ends the process, all of it named in one go. Bad weather does not:
the process is alive and not ready until it is over.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import structlog

from shared import errors

_log = structlog.get_logger()
_PAUSE = 1.0

Probe = Callable[[], Awaitable[object]]
"""Raises StartError where trying again will not help, Unavailable in bad weather."""


class StartError(Exception):
    """Trying again will not help. One line per fault."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class StartCheck:
    """Whoever opens a store adds what it needs; without anything added all is well."""

    def __init__(self) -> None:
        self._open: list[Probe] = []
        self._reasons: tuple[str, ...] = ()

    def add(self, probes: Iterable[Probe]) -> None:
        self._open.extend(probes)

    def not_ready(self) -> str | None:
        if not self._open:
            return None
        return "; ".join(self._reasons) or "what the service needs has not been looked at yet"

    async def look(self) -> None:
        """Ask, all at once, what has not answered well yet. Raises StartError with every fault."""
        outcomes = await asyncio.gather(*(ask() for ask in self._open), return_exceptions=True)
        faults: dict[str, None] = {}  # in order, and each once: a table is missing for all calls
        waiting: list[tuple[Probe, str]] = []
        for ask, outcome in zip(self._open, outcomes, strict=True):
            if isinstance(outcome, StartError):
                faults.update(dict.fromkeys(outcome.faults))
            elif isinstance(outcome, errors.Unavailable):
                waiting.append((ask, str(outcome)))
            elif isinstance(outcome, BaseException):
                raise outcome
        if faults:
            raise StartError(*faults)
        self._open = [ask for ask, _ in waiting]
        reasons = tuple(reason for _, reason in waiting)
        if reasons != self._reasons:
            self._reasons = reasons
            _log.warning("start.waiting" if reasons else "start.waited", reasons=reasons)

    @contextlib.asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Look before the block, and on while it runs until all is well.

        A fault that shows only when the bad weather is over ends the block with StartError.
        """
        await self.look()
        block = asyncio.current_task()

        async def look_on() -> None:
            while self._open:
                await asyncio.sleep(_PAUSE)
                await self.look()

        def end_block(task: "asyncio.Task[None]") -> None:
            if block and not task.cancelled() and task.exception():
                block.cancel()

        looking = asyncio.create_task(look_on())
        looking.add_done_callback(end_block)
        try:
            yield
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking  # raises what it has found
