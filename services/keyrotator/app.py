"""keyrotator's composition root."""

from collections.abc import AsyncIterator
from dataclasses import asdict

from aiohttp import web

from services.keyrotator.appkeys import ROTATOR
from services.keyrotator.handlers import routes
from services.keyrotator.rotator import Rotator
from services.keyrotator.settings import Settings
from shared.auth.middleware import JWKS_CLIENT, trust
from shared.background import repeating
from shared.clock import Clock, SystemClock
from shared.http.app import new_app
from shared.http.server import serve
from shared.ids import jitter
from shared.keys.adapters.files import FileJwkSetStore, FileKeyRingStore

_LARGEST_BODY = 64 * 1024


def create_rotator(settings: Settings, clock: Clock) -> Rotator:
    directory = settings.server.data_dir / "keys"
    return Rotator(FileKeyRingStore(directory), FileJwkSetStore(directory), settings.policy, clock)


def create_app(settings: Settings, clock: Clock) -> web.Application:
    app = new_app(largest_body=_LARGEST_BODY)
    app[ROTATOR] = create_rotator(settings, clock)
    app.add_routes(routes)
    trust(app, service="keyrotator", clock=clock, **asdict(settings.trust))
    return app


async def run(settings: Settings) -> None:
    app = create_app(settings, SystemClock())

    def delay() -> float:
        return settings.rotation_interval.total_seconds() * jitter(0.1)

    async def tick_by_the_clock(app: web.Application) -> AsyncIterator[None]:
        async with repeating("rotation", app[ROTATOR].tick, delay):
            yield

    app.cleanup_ctx.append(tick_by_the_clock)
    # The loop turns whether ready or not: identity's first key, and so the first JWK Set, must
    # come from here. Ready means that operators are served, too.
    await serve(app, settings.server, ready=[app[JWKS_CLIENT].not_ready])


async def run_once(settings: Settings) -> None:
    """One pass, for a CronJob or a scheduled task. Raises Unavailable: try again."""
    await create_rotator(settings, SystemClock()).tick()
