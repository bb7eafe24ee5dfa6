"""player_data's composition root."""

from collections.abc import AsyncIterator
from dataclasses import asdict

from aiohttp import web

from services.player_data import wire
from services.player_data.adapters.sqlite import MIGRATIONS, SqliteRecordStore
from services.player_data.appkeys import PROFILES, RECORDS
from services.player_data.handlers import routes
from services.player_data.profile import Profiles
from services.player_data.records import Records
from services.player_data.settings import Settings
from shared import errors
from shared.auth.middleware import JWKS_CLIENT, trust
from shared.clock import Clock, SystemClock
from shared.http.app import new_app
from shared.http.server import serve
from shared.sqlite import Database

_LARGEST_BODY = 512 * 1024


def create_app(settings: Settings, clock: Clock) -> web.Application:
    app = new_app(
        largest_body=_LARGEST_BODY,
        describe={errors.VersionConflict: wire.describe_conflict},
    )

    async def compose(app: web.Application) -> AsyncIterator[None]:
        database = Database(settings.server.data_dir / "player_data.db", MIGRATIONS)
        await database.open()
        store = SqliteRecordStore(database)
        app[RECORDS] = Records(store, clock)
        app[PROFILES] = Profiles(store, clock)
        yield
        await database.close()

    app.cleanup_ctx.append(compose)
    app.add_routes(routes)
    trust(app, service="player_data", clock=clock, **asdict(settings.trust))
    return app


async def run(settings: Settings) -> None:
    app = create_app(settings, SystemClock())
    await serve(app, settings.server, ready=[app[JWKS_CLIENT].not_ready])
