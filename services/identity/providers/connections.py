"""What platforms are reached with: one HTTP session, a breaker each, their keys kept fresh, and
what all processes remember of their credentials.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator

import aiohttp

from services.identity.idempotency import Idempotency
from services.identity.nonces import Nonces
from services.identity.providers.breaker import CircuitBreaker
from services.identity.providers.http import CALLS, TIMEOUT, Pause, ProviderHttp
from services.identity.providers.replays import Replays
from services.identity.sealing import Seals
from shared import errors
from shared.auth.jwk_set import LARGEST_DOCUMENT, THEIRS
from shared.auth.jwks_client import JwksClient
from shared.background import repeating
from shared.clock import Clock
from shared.http.client import Document, fetch, new_session

_JWKS_TTL = 3600.0
_SHORTEST_TTL = 300.0
_COOL_DOWN = 60.0
# A player's login is worth more than a day's delay in learning that a platform has lost a key.
_HARD_LIMIT = 24 * 3600.0
_LONGEST_DELAY = 60.0


class Connections:
    def __init__(
        self,
        session: aiohttp.ClientSession,
        idempotency: Idempotency,
        nonces: Nonces,
        seals: Seals,
        clock: Clock,
        *,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self.clock = clock
        self.nonces = nonces
        self.seals = seals
        self._session = session
        self._idempotency = idempotency
        self._pause = pause
        self._keys: list[JwksClient] = []

    def http(self, name: str, base_url: str) -> ProviderHttp:
        breaker = CircuitBreaker(name, self.clock)
        return ProviderHttp(self._session, name, base_url, breaker, pause=self._pause)

    def keys(self, name: str, jwks_url: str) -> JwksClient:
        """Its back-off is its breaker: a set that is known is used, whatever the platform does."""

        async def fetch_set() -> Document:
            try:
                document = await fetch(self._session, jwks_url, largest=LARGEST_DOCUMENT)
            except errors.Unavailable:
                CALLS.labels(name, "keys_failed").inc()
                raise
            CALLS.labels(name, "keys").inc()
            return document

        keys = JwksClient(
            fetch_set,
            ttl=_JWKS_TTL,
            clock=self.clock,
            shortest_ttl=_SHORTEST_TTL,
            cool_down=_COOL_DOWN,
            hard_limit=_HARD_LIMIT,
            conventions=THEIRS,
        )
        self._keys.append(keys)
        return keys

    def used(self, scope: str) -> Replays:
        return Replays(self._idempotency, scope)

    async def tick(self) -> None:
        """Refresh the keys that are due."""
        await asyncio.gather(*(keys.tick() for keys in self._keys))

    def delay(self) -> float:
        delay = min((keys.delay() for keys in self._keys), default=math.inf)
        return min(delay, _LONGEST_DELAY)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep keys fresh. Nobody waits for the first of them: a platform's outage is its own."""
        try:
            async with repeating("provider.keys", self.tick, self.delay, at_start=False):
                yield
        finally:
            await asyncio.gather(*(keys.close() for keys in self._keys))


@contextlib.asynccontextmanager
async def open_connections(
    idempotency: Idempotency, nonces: Nonces, seals: Seals, clock: Clock
) -> AsyncIterator[Connections]:
    async with new_session(TIMEOUT) as session:
        yield Connections(session, idempotency, nonces, seals, clock)
