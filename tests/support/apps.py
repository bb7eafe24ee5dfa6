"""The services' real applications, one at a time, over a socket and under a manual clock."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from services.identity.app import new_signer, open_app
from services.identity.appkeys import LOGINS, REVOCATIONS
from services.identity.settings import Settings as IdentitySettings
from services.identity.stores import Stores, open_stores
from services.keyrotator.app import create_app as create_keyrotator
from services.keyrotator.app import open_rotator
from services.keyrotator.rotator import Rotator
from services.keyrotator.settings import Settings as KeyrotatorSettings
from services.player_data.app import create_app as create_player_data
from services.player_data.app import open_contents, open_records
from services.player_data.ports import RecordStore
from services.player_data.settings import Settings as PlayerDataSettings
from shared.keys.signer import Signer
from shared.keys.stores import open_key_stores
from shared.start_check import StartCheck
from tests.support.clock import ManualClock
from tests.support.issuer import ISSUER, Issuer, revocations_beside
from tests.support.servers import serving

UNLIMITED = {"PLAYMESH_GUESTS_PER_HOUR": "0", "PLAYMESH_LOGINS_PER_SECOND": "0"}
"""All players of a test have one address."""


def route_table(routes: Iterable[web.AbstractRouteDef]) -> list[tuple[str, str]]:
    """Method and path pattern of every route that an application has which adds `routes`."""
    app = web.Application()
    app.add_routes(routes)
    return [
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    ]


@dataclass(frozen=True)
class Running:
    """`http` is a session whose relative URLs go to the service."""

    url: str
    http: aiohttp.ClientSession


@dataclass(frozen=True)
class RunningIdentity(Running):
    """Its loops do not turn: a test does what they do when it is time."""

    app: web.Application
    stores: Stores
    signer: Signer
    rotator: Rotator

    async def look(self) -> None:
        """See by now what was ended, banned or erased before."""
        await self.app[REVOCATIONS].refresh()

    def service_token(self, scope: str, *, audience: str = "playmesh:identity") -> str:
        """As identity issues it to an operator."""
        claims = self.app[LOGINS]._access_tokens
        return claims.for_service("operator", audience=audience, scope=scope)


@contextlib.asynccontextmanager
async def identity(
    data_dir: Path,
    clock: ManualClock,
    environ: Mapping[str, str] | None = None,
    *,
    around: Callable[[Stores], Stores] = lambda stores: stores,
) -> AsyncIterator[RunningIdentity]:
    """Identity with a key ring that a real rotator has made in the same folder.

    `around` may put something between it and its stores.
    """
    env = {
        "PLAYMESH_DATA_DIR": str(data_dir),
        "PLAYMESH_ISSUER": ISSUER,
        **UNLIMITED,
        **(environ or {}),
    }
    settings = IdentitySettings.from_env(env)
    async with (
        open_rotator(KeyrotatorSettings.from_env(env), clock, StartCheck()) as (rotator, _),
        open_key_stores(settings.server, settings.caches, StartCheck()) as keys,
        open_stores(settings.server, StartCheck()) as opened,
    ):
        stores = around(opened)
        signer = new_signer(settings, keys, clock)
        await rotator.tick()
        await signer.refresh()
        async with (
            open_app(settings, stores, signer, clock) as app,
            serving(app) as url,
            aiohttp.ClientSession(url) as http,
        ):
            running = RunningIdentity(url, http, app, stores, signer, rotator)
            await running.look()
            yield running


@contextlib.asynccontextmanager
async def player_data(
    data_dir: Path,
    issuer: Issuer,
    clock: ManualClock,
    environ: Mapping[str, str] | None = None,
    *,
    around: Callable[[RecordStore], RecordStore] = lambda store: store,
    prepare: Callable[[web.Application], object] = lambda _: None,
) -> AsyncIterator[Running]:
    """player_data that trusts `issuer` over HTTP.

    `around` may put something between it and its store, `prepare` add to it before it starts.
    """
    async with issuer.serving() as jwks_url:
        env = {
            "PLAYMESH_DATA_DIR": str(data_dir),
            "PLAYMESH_ISSUER": ISSUER,
            "PLAYMESH_JWKS_URL": jwks_url,
            "PLAYMESH_REVOCATIONS_URL": revocations_beside(jwks_url),
            **(environ or {}),
        }
        settings = PlayerDataSettings.from_env(env)
        async with (
            open_records(settings.server, StartCheck(), settings.quota) as store,
            open_contents(settings, StartCheck()) as contents,
            contextlib.AsyncExitStack() as stack,
        ):
            app = create_player_data(settings, around(store), contents, clock)
            prepare(app)
            url = await stack.enter_async_context(serving(app))
            yield Running(url, await stack.enter_async_context(aiohttp.ClientSession(url)))


@contextlib.asynccontextmanager
async def keyrotator(
    data_dir: Path, issuer: Issuer, clock: ManualClock, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """Keyrotator that trusts `issuer` over HTTP, with a ring of its own and no loop."""
    async with issuer.serving() as jwks_url:
        env = {
            "PLAYMESH_DATA_DIR": str(data_dir),
            "PLAYMESH_ISSUER": ISSUER,
            "PLAYMESH_JWKS_URL": jwks_url,
            "PLAYMESH_REVOCATIONS_URL": revocations_beside(jwks_url),
            **(environ or {}),
        }
        settings = KeyrotatorSettings.from_env(env)
        async with (
            open_rotator(settings, clock, StartCheck()) as (rotator, _),
            serving(create_keyrotator(settings, rotator, clock)) as url,
            aiohttp.ClientSession(url) as http,
        ):
            yield Running(url, http)
