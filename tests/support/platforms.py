"""Platforms opened from settings, with a session that gives up fast and pauses that are kept."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp

from services.identity.ports import IdentityProvider
from services.identity.providers.connections import Connections
from services.identity.providers.guarded import Guarded
from services.identity.providers.settings import ProviderSettings
from services.identity.sealing import Seals
from shared.env import Env
from shared.http.client import new_session
from tests.support.clock import ManualClock


def read(**variables: str) -> ProviderSettings:
    """Raises SettingsError."""
    env = Env({f"PLAYMESH_{name}": value for name, value in variables.items()})
    settings = ProviderSettings.read(env)
    env.check()
    return settings


def seals(clock: ManualClock) -> Seals:
    return Seals(lambda: b"k" * 32, clock)


@contextlib.asynccontextmanager
async def connected(clock: ManualClock, pauses: list[float]) -> AsyncIterator[Connections]:
    """Between two calls it waits for no `pauses`, but keeps them."""

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with new_session(aiohttp.ClientTimeout(total=0.5)) as session:
        connections = Connections(session, clock, seals(clock), pause=pause)
        try:
            yield connections
        finally:
            await asyncio.gather(*(keys.close() for keys in connections._keys))


def opened(connections: Connections, **variables: str) -> IdentityProvider:
    """The one platform that these variables turn on."""
    (settings,) = read(**variables).platforms.values()
    return Guarded(settings.open(connections), connections.clock)
