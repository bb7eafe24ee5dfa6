"""player_data's composition root."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict

import structlog
from aiohttp import web

from services.player_data import batch_wire, wire
from services.player_data.adapters.files import FileBlobStore
from services.player_data.adapters.sqlite import MIGRATIONS, SqliteRecordStore
from services.player_data.appkeys import (
    AS_OF,
    BLOBS,
    DOWNLOADS,
    ERASURE,
    EXPORT,
    MERGING,
    PROFILES,
    RECORDS,
    SUMMARIES,
    UPLOADS,
)
from services.player_data.as_of import AsOf
from services.player_data.blobs import Blobs
from services.player_data.erasure import Erasure
from services.player_data.export import Export
from services.player_data.handlers import routes
from services.player_data.merging import Merging
from services.player_data.ports import BlobStore, RecordStore
from services.player_data.profile import Profiles
from services.player_data.records import Records
from services.player_data.settings import Settings
from services.player_data.summary import Summaries
from services.player_data.sweeping import Sweeping
from services.player_data.transfers import Transfers
from services.player_data.usage import Quota
from shared import errors
from shared.auth.middleware import JWKS_CLIENT, trust
from shared.clock import Clock, SystemClock
from shared.http.app import new_app
from shared.http.server import serve
from shared.settings import ServerSettings
from shared.sqlite import Database
from shared.start_check import StartCheck

_LARGEST_BODY = 512 * 1024
_MOST_UPLOADS = 32
_MOST_DOWNLOADS = 64
_MOST_OF_ONE = 4
_PATIENCE = 30.0
"""Seconds in which something of a blob must come, or be taken."""
_CLOCK = SystemClock()
_log = structlog.get_logger()


@contextlib.asynccontextmanager
async def open_records(
    server: ServerSettings, check: StartCheck, quota: Quota
) -> AsyncIterator[RecordStore]:
    """Raises Unavailable where a file cannot be used; `check` learns what AWS must have."""
    if server.aws is None:
        database = Database(server.data_dir / "player_data.db", MIGRATIONS)
        await database.open()
        yield SqliteRecordStore(database, quota)
        await database.close()
        return
    # Imported here: where nothing is kept in AWS, its libraries need not be installed.
    from services.player_data.adapters.dynamodb import (  # noqa: PLC0415
        TABLES,
        DynamoRecordStore,
    )
    from shared import aws, dynamodb  # noqa: PLC0415

    async with aws.client("dynamodb") as client:
        prefix = server.aws.table_prefix
        check.add(dynamodb.probes(client, prefix, *TABLES))
        yield DynamoRecordStore(client, prefix, quota)


@contextlib.asynccontextmanager
async def open_contents(settings: Settings, check: StartCheck) -> AsyncIterator[BlobStore]:
    """Of blobs; as `open_records`."""
    if settings.server.aws is None:
        yield FileBlobStore(settings.server.data_dir / "blobs")
        return
    # Imported here: as above.
    from services.player_data.adapters.s3 import S3BlobStore  # noqa: PLC0415
    from shared import aws  # noqa: PLC0415

    async with aws.client("s3") as client:
        contents = S3BlobStore(client, settings.blobs.bucket)
        check.add(contents.probes())
        yield contents


def create_app(
    settings: Settings, store: RecordStore, contents: BlobStore, clock: Clock
) -> web.Application:
    app = new_app(
        largest_body=_LARGEST_BODY,
        describe={
            errors.VersionConflict: wire.describe_conflict,
            errors.InvalidValue: wire.describe_violations,
            errors.QuotaExceeded: wire.describe_quota,
            errors.BatchFailed: batch_wire.describe_failures,
        },
    )
    app[RECORDS] = records = Records(store, settings.collections, clock)
    app[BLOBS] = blobs = Blobs(
        records, store, contents, settings.collections, largest=settings.blobs.largest
    )
    app[UPLOADS], app[DOWNLOADS] = (
        Transfers(
            most=most,
            most_of_one=_MOST_OF_ONE,
            within=settings.blobs.within.total_seconds(),
            patience=_PATIENCE,
        )
        for most in (_MOST_UPLOADS, _MOST_DOWNLOADS)
    )
    app[PROFILES] = Profiles(records)
    app[ERASURE] = Erasure(store, contents)
    app[EXPORT] = Export(store)
    app[MERGING] = Merging(store, settings.collections, clock, blobs)
    app[SUMMARIES] = Summaries(store, settings.quota, clock)
    app[AS_OF] = AsOf(store)
    app.add_routes(routes)
    trust(app, service="player_data", clock=clock, **asdict(settings.trust))
    return app


async def run(settings: Settings, clock: Clock = _CLOCK) -> None:
    check = StartCheck()
    async with (
        open_records(settings.server, check, settings.quota) as store,
        open_contents(settings, check) as contents,
        check.passing(),
    ):
        app = create_app(settings, store, contents, clock)
        await serve(app, settings.server, ready=[check.not_ready, app[JWKS_CLIENT].not_ready])


async def run_once(settings: Settings, clock: Clock = _CLOCK) -> None:
    """Maintenance, for a CronJob or a scheduled task. Raises Unavailable: try again."""
    check = StartCheck()
    async with (
        open_records(settings.server, check, settings.quota) as store,
        open_contents(settings, check) as contents,
    ):
        await check.look()
        removed = await Sweeping(store, contents, clock).tick()
        _log.info("maintained", unused_blobs=removed)
