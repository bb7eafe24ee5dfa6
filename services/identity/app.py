"""identity's composition root."""

from collections.abc import AsyncIterator

from aiohttp import web

from services.identity.access_tokens import AccessTokens
from services.identity.accounts import Accounts
from services.identity.adapters.files import FileServiceClientStore, load_refresh_key
from services.identity.adapters.sqlite import MIGRATIONS, SqliteAccountStore, SqliteSessionStore
from services.identity.appkeys import LOGINS, SERVICE_CLIENTS, SESSIONS, WELL_KNOWN
from services.identity.handlers import routes
from services.identity.logins import Logins
from services.identity.refresh_tokens import RefreshTokens
from services.identity.service_clients import ServiceClients
from services.identity.sessions import SessionLimits, Sessions
from services.identity.settings import Settings
from services.identity.well_known import WellKnown, openid_configuration
from shared.background import repeating
from shared.clock import Clock, SystemClock
from shared.http.app import new_app
from shared.http.server import serve
from shared.keys.adapters.files import FileJwkSetStore, FileKeyRingStore
from shared.keys.signer import Signer
from shared.sqlite import Database

_LARGEST_BODY = 64 * 1024
_FIRST_KEY_POLL = 0.2


def create_signer(settings: Settings) -> Signer:
    directory = settings.server.data_dir / "keys"
    return Signer(FileKeyRingStore(directory), FileJwkSetStore(directory))


def create_app(settings: Settings, signer: Signer, clock: Clock) -> web.Application:
    """The public application. Whoever runs it keeps `signer` fresh."""
    app = new_app(largest_body=_LARGEST_BODY)

    async def compose(app: web.Application) -> AsyncIterator[None]:
        data_dir = settings.server.data_dir
        database = Database(data_dir / "identity.db", MIGRATIONS)
        await database.open()
        service_clients = FileServiceClientStore(data_dir / "secrets")
        await service_clients.create_if_missing()
        access_tokens = AccessTokens(
            signer=signer,
            issuer=settings.trust.issuer,
            audience=settings.trust.audience,
            ttl=settings.trust.access_token_ttl,
            clock=clock,
        )
        accounts = Accounts(SqliteAccountStore(database), clock)
        sessions = Sessions(
            SqliteSessionStore(database),
            accounts,
            access_tokens,
            RefreshTokens(await load_refresh_key(data_dir / "secrets")),
            SessionLimits(settings.refresh_idle_ttl, settings.refresh_absolute_ttl),
            clock,
        )
        app[SESSIONS] = sessions
        app[LOGINS] = Logins(accounts, sessions, access_tokens)
        app[SERVICE_CLIENTS] = ServiceClients(service_clients, access_tokens)
        yield
        await database.close()

    app[WELL_KNOWN] = WellKnown(
        openid_configuration=openid_configuration(settings.trust.issuer),
        published=lambda: signer.published,
        max_age=settings.caches.jwks_max_age,
    )
    app.cleanup_ctx.append(compose)
    app.add_routes(routes)
    return app


async def run(settings: Settings) -> None:
    signer = create_signer(settings)
    app = create_app(settings, signer, SystemClock())

    def delay() -> float:
        return (
            _FIRST_KEY_POLL if signer.not_ready() else settings.caches.key_refresh.total_seconds()
        )

    async def keep_signer_fresh(_app: web.Application) -> AsyncIterator[None]:
        async with repeating("signer.refresh", signer.refresh, delay):
            yield

    app.cleanup_ctx.append(keep_signer_fresh)
    await serve(app, settings.server, ready=[signer.not_ready])
