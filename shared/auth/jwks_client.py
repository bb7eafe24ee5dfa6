"""The issuer's keys, fetched over HTTP and kept: trouble at the issuer must not be ours.

The request path never waits while a set is known. A loop refreshes the set before it is old;
an unknown key id may cause one fetch per cool-down, whoever asks and however often; a failed
fetch keeps what is there and backs off; many callers share one fetch.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import structlog
from prometheus_client import Counter, Gauge

from shared import errors
from shared.auth.jwk_set import InvalidJwkSet, VerificationKey, is_key_id, parse_jwk_set
from shared.background import repeating
from shared.clock import Clock
from shared.http.client import Document
from shared.ids import jitter

_log = structlog.get_logger()
_FETCHES = Counter("playmesh_jwks_fetches", "Fetches of the JWK Set.", ("reason", "outcome"))
_LAST_SUCCESS = Gauge("playmesh_jwks_last_success_timestamp_seconds", "When the set last came.")

_COOL_DOWN = 30.0
_SHORTEST_TTL = 1.0
_HARD_LIMIT = 4 * 3600.0
_BACK_OFF = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
_REFRESH_AHEAD = 0.8
_JITTER = 0.1
_WORRYING = 3

Fetch = Callable[[], Awaitable[Document]]


class JwksClient:
    """`fetch` answers the document or raises Unavailable.

    A set is refreshed after `ttl` seconds, sooner where the issuer says that it may be kept for
    less: so a mesh that rotates fast is followed by verifiers that know nothing of it. A set
    older than four hours is no longer trusted: whoever can keep us from the issuer for that long
    could also be the one whose key was revoked.
    """

    def __init__(self, fetch: Fetch, *, ttl: float, clock: Clock) -> None:
        self._fetch = fetch
        self._longest_ttl = ttl
        self._ttl = ttl
        self._clock = clock
        self._keys: Mapping[str, VerificationKey] = {}
        self._fetched_at: float | None = None
        self._attempted_at: float | None = None
        self._failures = 0
        self._in_flight: asyncio.Task[bool] | None = None

    async def key(self, key_id: str) -> VerificationKey | None:
        """None where the issuer has no such key; Unavailable where we cannot know."""
        if not is_key_id(key_id):
            return None
        if not self._is_usable():
            if self._may_attempt(self._back_off()):
                await self.refresh("initial")
            if not self._is_usable():
                raise errors.Unavailable("the issuer's keys are not known yet")
        found = self._keys.get(key_id)
        if found is None and self._may_attempt(max(_COOL_DOWN, self._back_off())):
            await self.refresh("unknown_key")
            found = self._keys.get(key_id)
        return found

    async def refresh(self, reason: str = "ttl") -> bool:
        """Fetch now, or join the fetch that is under way. True when a good set came.

        The fetch survives its first caller: cancelling one request does not fail the others.
        """
        if self._in_flight is None:
            self._in_flight = asyncio.create_task(self._refresh(reason))
            self._in_flight.add_done_callback(self._landed)
        return await asyncio.shield(self._in_flight)

    def not_ready(self) -> str | None:
        return None if self._is_usable() else "no JWK Set has been fetched yet"

    def delay(self) -> float:
        """Seconds until the next refresh is due."""
        if self._failures or self._fetched_at is None:
            return self._back_off() * jitter(_JITTER)
        age = self._clock.monotonic() - self._fetched_at
        return max(0.0, self._ttl * _REFRESH_AHEAD * jitter(_JITTER) - age)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the set fresh in the background."""
        async with repeating("jwks.refresh", self._keep_fresh, self.delay):
            yield
        if self._in_flight is not None:
            self._in_flight.cancel()

    async def _keep_fresh(self) -> None:
        await self.refresh("initial" if self._fetched_at is None else "ttl")

    async def _refresh(self, reason: str) -> bool:
        self._attempted_at = self._clock.monotonic()
        try:
            document = await self._fetch()
            keys = parse_jwk_set(document.body)
        except Exception as error:  # noqa: BLE001 - a bug of ours, too, must back off
            self._failures += 1
            _FETCHES.labels(reason, "failed").inc()
            self._report(reason, error)
            return False
        self._keys = keys
        kept = self._longest_ttl if document.max_age is None else document.max_age
        self._ttl = min(self._longest_ttl, max(_SHORTEST_TTL, kept))
        self._fetched_at = self._clock.monotonic()
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
        return (
            self._fetched_at is not None
            and self._clock.monotonic() - self._fetched_at < _HARD_LIMIT
        )

    def _may_attempt(self, pause: float) -> bool:
        return (
            self._in_flight is not None
            or self._attempted_at is None
            or self._clock.monotonic() - self._attempted_at >= pause
        )

    def _back_off(self) -> float:
        if not self._failures:
            return 0.0
        return _BACK_OFF[min(self._failures, len(_BACK_OFF)) - 1]
