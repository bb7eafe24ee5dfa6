"""Fixtures for tests of platforms."""

from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from services.identity.idempotency import Idempotency
from services.identity.ports import IdentityProvider
from services.identity.providers.connections import Connections
from tests.support.clock import ManualClock
from tests.support.platforms import connected, opened, refresh_key, remembering

Open = Callable[..., IdentityProvider]


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
async def connections(clock: ManualClock, pauses: list[float]) -> AsyncIterator[Connections]:
    async with connected(clock, pauses) as connections:
        yield connections


@pytest.fixture
async def idempotency(clock: ManualClock) -> AsyncIterator[Idempotency]:
    async with remembering() as store:
        yield Idempotency(store, refresh_key, clock)


@pytest.fixture
def open_provider(connections: Connections) -> Open:
    """Given variables, the one platform that they turn on."""
    return partial(opened, connections)
