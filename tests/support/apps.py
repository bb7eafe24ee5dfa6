"""The services' real applications, one at a time, over a socket and under a manual clock."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from services.identity.app import create_app as create_identity
from services.identity.app import new_signer, open_stores
from services.identity.settings import Settings as IdentitySettings
from services.keyrotator.app import create_app as create_keyrotator
from services.keyrotator.app import open_rotator
from services.keyrotator.rotator import Rotator
from services.keyrotator.settings import Settings as KeyrotatorSettings
from services.player_data.app import create_app as create_player_data
from services.player_data.app import open_records
from services.player_data.settings import Settings as PlayerDataSettings
from shared.keys.signer import Signer
from shared.keys.stores import open_key_stores
from shared.start_check import StartCheck
from tests.support.clock import ManualClock
from tests.support.issuer import ISSUER, Issuer, revocations_beside
from tests.support.servers import serving


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
    signer: Signer
    rotator: Rotator


@contextlib.asynccontextmanager
async def identity(
    data_dir: Path, clock: ManualClock, environ: Mapping[str, str] | None = None
) -> AsyncIterator[RunningIdentity]:
    """Identity with a key ring that a real rotator has made in the same folder."""
    env = {"PLAYMESH_DATA_DIR": str(data_dir), "PLAYMESH_ISSUER": ISSUER, **(environ or {})}
    settings = IdentitySettings.from_env(env)
    async with (
        open_rotator(KeyrotatorSettings.from_env(env), clock, StartCheck()) as (rotator, _),
        open_key_stores(settings.server, settings.caches, StartCheck()) as keys,
        open_stores(settings.server, StartCheck()) as stores,
    ):
        signer = new_signer(settings, keys, clock)
        await rotator.tick()
        await signer.refresh()
        async with (
            serving(create_identity(settings, stores, signer, clock)) as url,
            aiohttp.ClientSession(url) as http,
        ):
            yield RunningIdentity(url, http, signer, rotator)


@contextlib.asynccontextmanager
async def player_data(
    data_dir: Path, issuer: Issuer, clock: ManualClock, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """player_data that trusts `issuer` over HTTP."""
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
            open_records(settings.server, StartCheck()) as store,
            serving(create_player_data(settings, store, clock)) as url,
            aiohttp.ClientSession(url) as http,
        ):
            yield Running(url, http)


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
