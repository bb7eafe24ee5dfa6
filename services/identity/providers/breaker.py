"""A circuit breaker: while a platform is down, it is not asked, and nobody waits for it."""

import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from prometheus_client import Enum

from services.identity.providers.shape import Refused, unavailable
from shared.clock import Clock

_FAILURES = 5
_PAUSE = 10.0
CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
_STATE = Enum(
    "playmesh_provider_breaker",
    "Whether a platform is asked: open is not, half_open once.",
    ("provider",),
    states=[CLOSED, OPEN, HALF_OPEN],
)

T = TypeVar("T")


class CircuitBreaker:
    """Opens after `failures` in a row, for `pause` seconds; then one call probes for all.

    Only the platform may be the reason for a failure, never what a client sends: otherwise anybody
    could keep everybody out. And only the probe closes it: an answer to what was asked before it
    opened says nothing of now.
    """

    def __init__(
        self, name: str, clock: Clock, *, failures: int = _FAILURES, pause: float = _PAUSE
    ) -> None:
        self._clock = clock
        self._most_failures = failures
        self._pause = pause
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False
        self._metric = _STATE.labels(name)
        self._metric.state(CLOSED)

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Refused of `call` is a failure. Raises it, or Refused without a call while open.

        Whatever else ends the call, such as a client that goes away, decides nothing.
        """
        probe = self._admit()
        try:
            result = await call()
        except Refused:
            self._failed(probe=probe)
            raise
        finally:
            if probe:
                self._probing = False
        self._succeeded(probe=probe)
        return result

    def _admit(self) -> bool:
        """Whether the call is a probe."""
        if self._opened_at is None:
            return False
        wait = self._opened_at + self._pause - self._clock.monotonic()
        if wait > 0 or self._probing:
            raise unavailable("breaker_open", retry_after=max(1, math.ceil(wait)))
        self._probing = True
        self._metric.state(HALF_OPEN)
        return True

    def _failed(self, *, probe: bool) -> None:
        self._failures += 1
        if probe or (self._opened_at is None and self._failures >= self._most_failures):
            self._opened_at = self._clock.monotonic()
            self._metric.state(OPEN)

    def _succeeded(self, *, probe: bool) -> None:
        if not probe and self._opened_at is not None:
            return
        self._failures = 0
        self._opened_at = None
        self._metric.state(CLOSED)
