"""All fakes as one server, each under its name, and identity's settings to take them for real."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from aiohttp import web

from shared.clock import Clock
from shared.ids import new_secret
from tests.support.fakes.facebook import FacebookFake
from tests.support.fakes.fake import Fake
from tests.support.fakes.google_play import GooglePlayFake
from tests.support.fakes.oidc import AUDIENCE, OidcFake
from tests.support.fakes.steam import SteamFake
from tests.support.issuer import rsa_key
from tests.support.servers import serving


@dataclass(frozen=True)
class Fakes:
    url: str
    environ: Mapping[str, str]


@contextlib.asynccontextmanager
async def serving_all(clock: Clock, port: int = 0) -> AsyncIterator[Fakes]:
    """`/steam`, `/apple` and so on, on one port of this machine. Anybody gets in as anybody."""
    secret = new_secret()
    apple = {"iss": "https://appleid.apple.com", "nonce_supported": True}
    issuers = {
        "apple": OidcFake(clock, rsa_key("apple"), **apple),
        "google": OidcFake(clock, rsa_key("google"), iss="https://accounts.google.com"),
    }
    fakes: Mapping[str, Fake] = {
        "facebook": FacebookFake(clock, secret),
        "google_play": GooglePlayFake(secret),
        "steam": SteamFake(secret),
    }
    app = web.Application()
    for name, issuer in issuers.items():
        app.add_subapp(f"/{name}", issuer.application())
    for name, fake in fakes.items():
        app.add_subapp(f"/{name}", fake.application())
    async with serving(app, port) as url:
        yield Fakes(url, _environ(url, fakes))


def _environ(url: str, fakes: Mapping[str, Fake]) -> Mapping[str, str]:
    settings = {
        "APPLE_JWKS_URL": f"{url}/apple/keys",
        "APPLE_AUDIENCES": AUDIENCE,
        "APPLE_TEAM_ID": "FAKETEAM01",
        "GOOGLE_JWKS_URL": f"{url}/google/keys",
        "GOOGLE_AUDIENCES": AUDIENCE,
    }
    for name, fake in fakes.items():
        settings |= fake.settings(f"{url}/{name}")
    settings["PROVIDERS"] = ",".join(["apple", "apple_drop_in", "google", *fakes])
    return {f"PLAYMESH_{name}": value for name, value in settings.items()}
