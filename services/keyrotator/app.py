"""keyrotator's composition root."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
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
from shared.start_check import StartCheck

_LARGEST_BODY = 64 * 1024
_FIRST_TICK_POLL = 0.5


@contextlib.asynccontextmanager
async def open_rotator(
    settings: Settings, clock: Clock, check: StartCheck
) -> AsyncIterator[tuple[Rotator, Discovery]]:
    configuration = render_openid_configuration(settings.trust.issuer)
    async with open_key_stores(settings.server, settings.caches, check, writing=True) as keys:
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
    check = StartCheck()

    def checked(tick: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def once_ready() -> None:
            if not check.not_ready():
                await tick()

        return once_ready

    def delay() -> float:
        interval = settings.rotation_interval.total_seconds() * jitter(0.1)
        return _FIRST_TICK_POLL if check.not_ready() else interval

    clock = SystemClock()
    async with (
        open_rotator(settings, clock, check) as (rotator, discovery),
        check.passing(),
        repeating("rotation", checked(rotator.tick), delay),
        repeating("discovery", checked(discovery.tick), delay),
    ):
        app = create_app(settings, rotator, clock)
        # The loop turns whether ready or not: identity's first key, and so the first JWK Set,
        # must come from here. Ready means that operators are served, too.
        await serve(app, settings.server, ready=[check.not_ready, app[JWKS_CLIENT].not_ready])


async def run_once(settings: Settings) -> None:
    """One pass, for a CronJob or a scheduled task. Raises Unavailable: try again."""
    check = StartCheck()
    async with open_rotator(settings, SystemClock(), check) as (rotator, discovery):
        await check.look()
        await rotator.tick()
        await discovery.tick()
