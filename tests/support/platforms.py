"""Platforms opened from settings, with a session that gives up fast and pauses that are kept."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from services.identity.adapters.sqlite import MIGRATIONS, SqliteIdempotencyStore
from services.identity.idempotency import Idempotency
from services.identity.nonces import Nonces
from services.identity.ports import IdempotencyStore, IdentityProvider
from services.identity.providers.connections import Connections
from services.identity.providers.guarded import Guarded
from services.identity.providers.settings import ProviderSettings
from services.identity.sealing import Seals
from shared.env import Env
from shared.http.client import new_session
from shared.sqlite import Database
from tests.support.clock import ManualClock


def read(**variables: str) -> ProviderSettings:
    """Raises SettingsError."""
    env = Env({f"PLAYMESH_{name}": value for name, value in variables.items()})
    settings = ProviderSettings.read(env)
    env.check()
    return settings


def refresh_key() -> bytes:
    return b"k" * 32


def seals(clock: ManualClock) -> Seals:
    return Seals(refresh_key, clock)


@contextlib.asynccontextmanager
async def remembering() -> AsyncIterator[IdempotencyStore]:
    """What processes remember of credentials that were used."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "identity.db", MIGRATIONS)
        await database.open()
        yield SqliteIdempotencyStore(database)
        await database.close()


@contextlib.asynccontextmanager
async def connected(
    clock: ManualClock, pauses: list[float], store: IdempotencyStore | None = None
) -> AsyncIterator[Connections]:
    """As one process has them; with `store`, one of several.

    Between two calls it waits for no `pauses`, but keeps them.
    """

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(new_session(aiohttp.ClientTimeout(total=0.5)))
        if store is None:
            store = await stack.enter_async_context(remembering())
        nonces = Nonces(refresh_key, clock)
        idempotency = Idempotency(store, refresh_key, clock)
        connections = Connections(session, idempotency, nonces, seals(clock), clock, pause=pause)
        try:
            yield connections
        finally:
            await asyncio.gather(*(keys.close() for keys in connections._keys))


def opened(connections: Connections, **variables: str) -> IdentityProvider:
    """The one platform that these variables turn on."""
    (settings,) = read(**variables).platforms.values()
    return Guarded(settings.open(connections), connections.clock)
