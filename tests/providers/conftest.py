"""Fixtures for tests of platforms."""

from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from services.identity.idempotency import Idempotency
from services.identity.nonces import Nonces
from services.identity.ports import IdempotencyStore, IdentityProvider
from services.identity.providers.connections import Connections
from tests.support.clock import ManualClock
from tests.support.platforms import connected, opened, refresh_key, remembering

Open = Callable[..., IdentityProvider]


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
async def store() -> AsyncIterator[IdempotencyStore]:
    """What all processes remember of credentials that were used."""
    async with remembering() as store:
        yield store


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


@pytest.fixture
def open_provider(connections: Connections) -> Open:
    """Given variables, the one platform that they turn on."""
    return partial(opened, connections)
