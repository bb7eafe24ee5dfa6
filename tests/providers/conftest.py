"""Fixtures for tests of platforms."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol

import pytest

from services.identity.idempotency import Idempotency
from services.identity.nonces import Nonces
from services.identity.ports import IdempotencyStore, IdentityProvider
from services.identity.providers.connections import Connections
from tests.support.clock import ManualClock
from tests.support.fakes.fake import Fake
from tests.support.memory_stores import MemoryIdempotencyStore
from tests.support.platforms import connected, opened, refresh_key

Open = Callable[..., IdentityProvider]


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def store() -> IdempotencyStore:
    """What all processes remember of credentials that were used."""
    return MemoryIdempotencyStore()


@pytest.fixture
async def connections(
    clock: ManualClock, pauses: list[float], store: IdempotencyStore
) -> AsyncIterator[Connections]:
    async with connected(clock, pauses, store) as connections:
        yield connections


@pytest.fixture
async def beside(clock: ManualClock, store: IdempotencyStore) -> AsyncIterator[Connections]:
    """Those of another process."""
    async with connected(clock, [], store) as connections:
        yield connections


@pytest.fixture
def idempotency(clock: ManualClock, store: IdempotencyStore) -> Idempotency:
    return Idempotency(store, refresh_key, clock)


@pytest.fixture
def nonces(clock: ManualClock) -> Nonces:
    """Those of the application that the platforms belong to."""
    return Nonces(refresh_key, clock)


class Served(Protocol):
    """What a platform's tests have as their `fake`."""

    def serving(self) -> AbstractAsyncContextManager[str]: ...


@pytest.fixture
async def url(fake: Served) -> AsyncIterator[str]:
    async with fake.serving() as url:
        yield url


@pytest.fixture
def variables(fake: Fake, url: str) -> dict[str, str]:
    return fake.settings(url)


@pytest.fixture
def open_provider(connections: Connections) -> Open:
    """Given variables, the one platform that they turn on."""
    return partial(opened, connections)
