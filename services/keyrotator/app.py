"""keyrotator's composition root."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict

from aiohttp import web

from services.keyrotator.appkeys import ROTATOR
from services.keyrotator.discovery import Discovery
from services.keyrotator.handlers import routes
from services.keyrotator.rotator import Rotator
from services.keyrotator.settings import Settings
from shared.auth.middleware import JWKS_CLIENT, trust
from shared.background import repeating
from shared.clock import Clock, SystemClock
from shared.http.app import new_app
from shared.http.server import serve
from shared.ids import jitter
from shared.keys.documents import render_openid_configuration
from shared.keys.stores import open_key_stores

_LARGEST_BODY = 64 * 1024


@contextlib.asynccontextmanager
async def open_rotator(
    settings: Settings, clock: Clock
) -> AsyncIterator[tuple[Rotator, Discovery]]:
    configuration = render_openid_configuration(settings.trust.issuer)
    async with open_key_stores(settings.server, settings.caches) as keys:
        yield (
            Rotator(keys.ring, keys.jwk_set, settings.policy, clock),
            Discovery(keys.openid_configuration, configuration),
        )


def create_app(settings: Settings, rotator: Rotator, clock: Clock) -> web.Application:
    app = new_app(largest_body=_LARGEST_BODY)
    app[ROTATOR] = rotator
    app.add_routes(routes)
    trust(app, service="keyrotator", clock=clock, **asdict(settings.trust))
    return app


async def run(settings: Settings) -> None:
    def delay() -> float:
        return settings.rotation_interval.total_seconds() * jitter(0.1)

    clock = SystemClock()
    async with (
        open_rotator(settings, clock) as (rotator, discovery),
        repeating("rotation", rotator.tick, delay),
        repeating("discovery", discovery.tick, delay),
    ):
        app = create_app(settings, rotator, clock)
        # The loop turns whether ready or not: identity's first key, and so the first JWK Set,
        # must come from here. Ready means that operators are served, too.
        await serve(app, settings.server, ready=[app[JWKS_CLIENT].not_ready])


async def run_once(settings: Settings) -> None:
    """One pass, for a CronJob or a scheduled task. Raises Unavailable: try again."""
    async with open_rotator(settings, SystemClock()) as (rotator, discovery):
        await rotator.tick()
        await discovery.tick()
