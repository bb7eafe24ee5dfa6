"""Platforms opened from settings, with a session that gives up fast and pauses that are kept."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from services.identity.ports import IdentityProvider
from services.identity.providers.connections import Connections
from services.identity.providers.guarded import Guarded
from services.identity.providers.settings import ProviderSettings
from shared.env import Env
from shared.http.client import new_session
from tests.support.clock import ManualClock

Open = Callable[..., IdentityProvider]


@pytest.fixture
def pauses() -> list[float]:
    """Between two calls, in seconds; nobody waits for them."""
    return []


@pytest.fixture
async def connections(clock: ManualClock, pauses: list[float]) -> AsyncIterator[Connections]:
    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with new_session(aiohttp.ClientTimeout(total=0.5)) as session:
        connections = Connections(session, clock, pause=pause)
        try:
            yield connections
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*(keys.close() for keys in connections._keys))


def read(**variables: str) -> ProviderSettings:
    env = Env({f"PLAYMESH_{name}": value for name, value in variables.items()})
    settings = ProviderSettings.read(env)
    env.check()
    return settings


@pytest.fixture
def open_provider(connections: Connections, clock: ManualClock) -> Open:
    """The one platform that these variables turn on."""

    def open_one(**variables: str) -> IdentityProvider:
        (settings,) = read(**variables).platforms.values()
        return Guarded(settings.open(connections), clock)

    return open_one
