"""All fakes as one server, each under its name, and identity's settings to take them for real."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from aiohttp import web

from shared.clock import Clock
from shared.ids import new_secret
from tests.support.fakes import facebook, google_play, oidc, steam
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
    google = {"iss": "https://accounts.google.com"}
    app = web.Application()
    for name, fake in {
        "apple": oidc.OidcFake(clock, rsa_key("apple"), **apple).application(),
        "facebook": facebook.FacebookFake(clock, secret).application(),
        "google": oidc.OidcFake(clock, rsa_key("google"), **google).application(),
        "google_play": google_play.GooglePlayFake(secret).application(),
        "steam": steam.SteamFake(secret).application(),
    }.items():
        app.add_subapp(f"/{name}", fake)
    async with serving(app, port) as url:
        yield Fakes(url, _environ(url, secret))


def _environ(url: str, secret: str) -> Mapping[str, str]:
    settings = {
        "PROVIDERS": "apple,apple_drop_in,facebook,google,google_play,steam",
        "APPLE_JWKS_URL": f"{url}/apple/keys",
        "APPLE_AUDIENCES": oidc.AUDIENCE,
        "APPLE_TEAM_ID": "FAKETEAM01",
        "FACEBOOK_URL": f"{url}/facebook",
        "FACEBOOK_APP_ID": facebook.APP_ID,
        "FACEBOOK_APP_SECRET": secret,
        "FACEBOOK_VERSION": facebook.VERSION,
        "GOOGLE_JWKS_URL": f"{url}/google/keys",
        "GOOGLE_AUDIENCES": oidc.AUDIENCE,
        "GOOGLE_PLAY_OAUTH_URL": f"{url}/google_play",
        "GOOGLE_PLAY_GAMES_URL": f"{url}/google_play",
        "GOOGLE_PLAY_CLIENT_ID": google_play.CLIENT_ID,
        "GOOGLE_PLAY_CLIENT_SECRET": secret,
        "GOOGLE_PLAY_APPLICATION_ID": google_play.APPLICATION,
        "STEAM_URL": f"{url}/steam",
        "STEAM_KEY": secret,
        "STEAM_APP_IDS": steam.APP_ID,
        "STEAM_IDENTITY": steam.IDENTITY,
    }
    return {f"PLAYMESH_{name}": value for name, value in settings.items()}
