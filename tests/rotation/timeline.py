"""Events in the order of their times, on a clock that jumps from one to the next."""

import heapq
import itertools
from collections.abc import Awaitable, Callable

from tests.support.clock import ManualClock

Deed = Callable[[], Awaitable[None]]


class Timeline:
    """`now` and all moments are seconds since the start, to the millisecond."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.now = 0.0
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Deed]] = []

    def at(self, moment: float, deed: Deed) -> None:
        event = round(max(moment, self.now), 3), next(self._numbers), deed
        heapq.heappush(self._events, event)

    def after(self, seconds: float, deed: Deed) -> None:
        self.at(self.now + seconds, deed)

    async def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            moment, _, deed = heapq.heappop(self._events)
            self.clock.advance(round(moment - self.now, 3))
            self.now = moment
            await deed()
