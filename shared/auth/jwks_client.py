"""The issuer's keys, fetched over HTTP and kept: trouble at the issuer must not be ours.

The request path never waits while a set is known. A loop refreshes the set before it is old;
an unknown key id may cause one fetch per cool-down, whoever asks and however often; a failed
fetch keeps what is there and backs off; many callers share one fetch.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import structlog
from prometheus_client import Counter, Gauge

from shared import errors
from shared.auth.jwk_set import OURS, Conventions, InvalidJwkSet, VerificationKey, parse_jwk_set
from shared.background import repeating
from shared.clock import Clock
from shared.http.client import Document
from shared.ids import jitter

_log = structlog.get_logger()
_FETCHES = Counter("playmesh_jwks_fetches", "Fetches of the JWK Set.", ("reason", "outcome"))
_REFUSED = Counter(
    "playmesh_jwks_refused_lookups",
    "Look-ups of a key that caused no fetch, because the last one was too short ago.",
)
_LAST_SUCCESS = Gauge("playmesh_jwks_last_success_timestamp_seconds", "When the set last came.")
_AGE = Gauge("playmesh_jwks_age_seconds", "Age of the set in use; infinite before the first.")

_COOL_DOWN = 30.0
_SHORTEST_TTL = 1.0
_HARD_LIMIT = 4 * 3600.0
_BACK_OFF = (1.0, 3.0, 10.0)
_REFRESH_AHEAD = 0.8
_JITTER = 0.1
_MOST_WAITING = 64
_WORRYING = 3

Fetch = Callable[[], Awaitable[Document]]


class JwksClient:
    """`fetch` answers the document or raises Unavailable, within a time that a request can wait.

    A set is refreshed after `ttl` seconds, sooner where the issuer says that it may be kept for
    less: so a mesh that rotates fast is followed by verifiers that know nothing of it. But never
    sooner than after `shortest_ttl`, nor for unknown ids more often than once per `cool_down`. A
    set older than `hard_limit` is no longer trusted: whoever can keep us from the issuer for that
    long could also be the one whose key was revoked.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        ttl: float,
        clock: Clock,
        shortest_ttl: float = _SHORTEST_TTL,
        cool_down: float = _COOL_DOWN,
        hard_limit: float = _HARD_LIMIT,
        conventions: Conventions = OURS,
    ) -> None:
        self._fetch = fetch
        self._longest_ttl = ttl
        self._shortest_ttl = shortest_ttl
        self._cool_down = cool_down
        self._hard_limit = hard_limit
        self._conventions = conventions
        self._clock = clock
        self._document = b""
        self._keys: Mapping[str, VerificationKey] = {}
        self._fetched_at: float | None = None
        self._failures = 0
        self._refresh_at = 0.0  # when the loop fetches
        self._ask_at = 0.0  # when a request that needs another set may cause a fetch
        self._in_flight: asyncio.Task[bool] | None = None
        self._waiting = 0

    async def key(self, key_id: str) -> VerificationKey | None:
        """None where the issuer has no such key; Unavailable where we cannot know.

        A caller waits for one fetch at most, and for none where the key is known.
        """
        if not self._conventions.is_key_id(key_id):
            return None
        if not self._is_usable():
            await self._ask("initial")
        elif key_id not in self._keys:
            # While the issuer hangs these would wait in such numbers that nobody else is served.
            if self._waiting >= _MOST_WAITING:
                raise errors.Unavailable("too many requests wait for the issuer's keys")
            await self._ask("unknown_key")
        if not self._is_usable():
            raise self._unavailable("the issuer's keys are not known yet")
        found = self._keys.get(key_id)
        if found is None and self._failures:
            raise self._unavailable("the issuer cannot be asked for that key")
        return found

    async def refresh(self, reason: str = "ttl") -> bool:
        """Fetch now, or join the fetch that is under way. True when a good set came.

        The fetch survives its callers: cancelling one request does not fail the others. And since
        there is never a second one, no late reply can overwrite a newer set.
        """
        if self._in_flight is None:
            self._in_flight = asyncio.create_task(self._refresh(reason))
            self._in_flight.add_done_callback(self._landed)
        fetch = self._in_flight
        await asyncio.wait((fetch,))
        return not fetch.cancelled() and fetch.result()

    def not_ready(self) -> str | None:
        return None if self._is_usable() else "no JWK Set has been fetched yet"

    def delay(self) -> float:
        """Seconds until the next refresh is due."""
        return max(0.0, self._refresh_at - self._clock.monotonic())

    def age(self) -> float:
        """Seconds since the set in use was asked for; infinite where there is none."""
        if self._fetched_at is None:
            return math.inf
        return self._clock.monotonic() - self._fetched_at

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the set fresh in the background."""
        _AGE.set_function(self.age)
        try:
            async with repeating("jwks.refresh", self.tick, self.delay):
                yield
        finally:
            await self.close()

    async def close(self) -> None:
        """End the fetch that may be under way."""
        if self._in_flight is not None:
            self._in_flight.cancel()
            await asyncio.wait((self._in_flight,))

    async def tick(self) -> None:
        """Refresh if it is due: a request may have been faster than the loop."""
        if not self.delay():
            await self.refresh("initial" if self._fetched_at is None else "ttl")

    async def _ask(self, reason: str) -> None:
        if self._in_flight is None and self._clock.monotonic() < self._ask_at:
            _REFUSED.inc()
            return
        self._waiting += 1
        try:
            await self.refresh(reason)
        finally:
            self._waiting -= 1

    async def _refresh(self, reason: str) -> bool:
        asked_at = self._clock.monotonic()
        try:
            document = await self._fetch()
            # The same set has the same keys, by which verifiers know what they have verified.
            is_same = document.body == self._document
            keys = self._keys if is_same else parse_jwk_set(document.body, self._conventions)
        except Exception as error:  # noqa: BLE001 - a bug of ours, too, must back off
            self._failures += 1
            self._ask_at = self._refresh_at = self._clock.monotonic() + self._pause()
            _FETCHES.labels(reason, "failed").inc()
            self._report(reason, error)
            return False
        kept = self._longest_ttl if document.max_age is None else document.max_age
        ttl = min(self._longest_ttl, max(self._shortest_ttl, kept))
        self._document, self._keys = document.body, keys
        self._fetched_at = asked_at  # a reply is as old as its request
        self._ask_at = asked_at + self._cool_down
        self._refresh_at = asked_at + ttl * _REFRESH_AHEAD * jitter(_JITTER)
        self._failures = 0
        _FETCHES.labels(reason, "ok").inc()
        _LAST_SUCCESS.set(self._clock.now().timestamp())
        return True

    def _report(self, reason: str, error: Exception) -> None:
        if not isinstance(error, errors.Unavailable | InvalidJwkSet):
            _log.exception("jwks.fetch_failed", reason=reason, exc_info=error)
            return
        # Services start together, so the first failures say nothing yet.
        log = _log.warning if self._failures >= _WORRYING else _log.info
        log("jwks.fetch_failed", reason=reason, error=str(error))

    def _landed(self, _task: "asyncio.Task[bool]") -> None:
        self._in_flight = None

    def _is_usable(self) -> bool:
        return self.age() < self._hard_limit

    def _pause(self) -> float:
        """Drawn once for each failure, never by its callers: the luckiest of many would win.

        At most a twentieth shorter than its step: so there are eight attempts in a minute at
        most, and the end of an outage is noticed within ten seconds.
        """
        step = _BACK_OFF[min(self._failures, len(_BACK_OFF)) - 1]
        return step * 0.975 * jitter(0.025)

    def _unavailable(self, detail: str) -> errors.Unavailable:
        pause = self._ask_at - self._clock.monotonic()
        return errors.Unavailable(detail, retry_after=max(1, math.ceil(pause)))
