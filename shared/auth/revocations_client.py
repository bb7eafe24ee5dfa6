"""The issuer's revocations, fetched over HTTP and kept: ended sessions are over in seconds.

No request waits for the list, and none causes a fetch. A loop asks for it every few seconds, on
the condition that it has changed; whatever else comes keeps what is there.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection

import structlog
from prometheus_client import Counter, Gauge

from shared import errors
from shared.auth.revocations import InvalidRevocations, parse
from shared.background import repeating
from shared.clock import Clock
from shared.http.client import Document
from shared.ids import jitter

_log = structlog.get_logger()
_AGE = Gauge(
    "playmesh_revocations_age_seconds", "Age of the list in use; infinite before the first."
)
_MARKS = Gauge("playmesh_revocations", "Sessions and subjects on the list in use.")
_FETCHES = Counter("playmesh_revocations_fetches", "Fetches of the revocations.", ("outcome",))

INTERVAL = 3.0
"""Seconds between two fetches, failed or not. Together with what identity needs to notice (2 s)
and a fetch (2 s) an ended session is over everywhere in less than ten."""

OLDEST = 30.0
"""Seconds after which a list is too old where it must be known: longer than identity needs to be
started again, and ten fetches have failed."""

_JITTER = 0.1
_WORRYING = 3

Fetch = Callable[[str | None], Awaitable[Document | None]]


class RevocationList:
    """`fetch` is given the entity tag of the list in use, or None, and answers None where that
    is still the list. It raises Unavailable, within seconds.

    While the issuer is away the last list counts, and new revocations are not known: tokens hold
    until they expire. With `fail_closed` nobody is let in instead.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        clock: Clock,
        interval: float = INTERVAL,
        fail_closed: bool = False,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._interval = interval
        self._fail_closed = fail_closed
        self._marks: frozenset[str] = frozenset()
        self._etag: str | None = None
        self._fetched_at: float | None = None
        self._failures = 0
        self._fetch_at = 0.0
        self._fetching = asyncio.Lock()

    def refuses(self, marks: Collection[str]) -> bool:
        if self._fail_closed and self.age() > OLDEST:
            raise errors.Unavailable(
                "the issuer's revocations are not known",
                retry_after=max(1, math.ceil(self.delay())),
            )
        return not self._marks.isdisjoint(marks)

    def delay(self) -> float:
        """Seconds until the next fetch is due."""
        return max(0.0, self._fetch_at - self._clock.monotonic())

    def age(self) -> float:
        """Seconds since the list in use was asked for; infinite where there is none."""
        if self._fetched_at is None:
            return math.inf
        return self._clock.monotonic() - self._fetched_at

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the list fresh in the background."""
        _AGE.set_function(self.age)
        _MARKS.set_function(lambda: len(self._marks))
        async with repeating("revocations.refresh", self.tick, self.delay):
            yield

    async def tick(self) -> None:
        """Fetch if it is due. There is never a second fetch that a late reply could cross."""
        async with self._fetching:
            if not self.delay():
                await self._refresh()

    async def _refresh(self) -> None:
        asked_at = self._clock.monotonic()
        self._fetch_at = asked_at + self._interval * jitter(_JITTER)
        try:
            document = await self._fetch(self._etag)
            if document is not None:
                # Together, or the next condition would be about a list that we never had.
                self._marks, self._etag = parse(document.body), document.etag
        except Exception as error:  # noqa: BLE001 - a bug of ours, too, must be told once
            self._failed(error)
            return
        self._fetched_at = asked_at  # a reply is as old as its request
        _FETCHES.labels("ok" if document else "not_modified").inc()
        if self._failures >= _WORRYING:
            _log.info("revocations.fetched_again", failures=self._failures)
        self._failures = 0

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        _FETCHES.labels("failed").inc()
        # Once: one that is lost is no news, services start together, and an outage is long.
        if self._failures != _WORRYING:
            return
        if isinstance(error, errors.Unavailable | InvalidRevocations):
            _log.warning("revocations.fetch_failed", error=str(error))
        else:
            _log.exception("revocations.fetch_failed", exc_info=error)
