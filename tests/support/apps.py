"""The services' real applications, one at a time, over a socket and under a manual clock."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from services.identity.app import create_app as create_identity
from services.identity.app import create_signer
from services.identity.settings import Settings as IdentitySettings
from services.keyrotator.app import create_app as create_keyrotator
from services.keyrotator.app import create_rotator
from services.keyrotator.rotator import Rotator
from services.keyrotator.settings import Settings as KeyrotatorSettings
from services.player_data.app import create_app as create_player_data
from services.player_data.settings import Settings as PlayerDataSettings
from shared.keys.signer import Signer
from tests.support.clock import ManualClock
from tests.support.issuer import ISSUER, Issuer
from tests.support.servers import serving


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
    rotator = create_rotator(KeyrotatorSettings.from_env(env), clock)
    signer = create_signer(settings)
    await rotator.tick()
    await signer.refresh()
    async with (
        serving(create_identity(settings, signer, clock)) as url,
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
            **(environ or {}),
        }
        async with (
            serving(create_player_data(PlayerDataSettings.from_env(env), clock)) as url,
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
            **(environ or {}),
        }
        async with (
            serving(create_keyrotator(KeyrotatorSettings.from_env(env), clock)) as url,
            aiohttp.ClientSession(url) as http,
        ):
            yield Running(url, http)
