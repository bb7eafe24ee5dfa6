"""identity's composition root."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import web

from services.identity.access_tokens import AccessTokens
from services.identity.accounts import Accounts
from services.identity.adapters import files
from services.identity.adapters.files import FileServiceClientStore
from services.identity.adapters.kubernetes import cluster_keys
from services.identity.adapters.sqlite import (
    MIGRATIONS,
    SqliteAccountStore,
    SqliteIdempotencyStore,
    SqliteSessionStore,
)
from services.identity.appkeys import LOGINS, SERVICE_CLIENTS, SESSIONS, WELL_KNOWN
from services.identity.assertions import AssertionVerifier
from services.identity.handlers import routes
from services.identity.idempotency import Idempotency
from services.identity.kubernetes_settings import KubernetesSettings
from services.identity.logins import Logins
from services.identity.oauth_handlers import routes as oauth_routes
from services.identity.ports import AccountStore, IdempotencyStore, SessionStore
from services.identity.refresh_tokens import RefreshKey, RefreshTokens
from services.identity.service_clients import ServiceClients, ServiceClientStore
from services.identity.sessions import SessionLimits, Sessions
from services.identity.settings import Settings
from services.identity.well_known import WellKnown
from shared.auth.verifier import LEEWAY
from shared.background import repeating
from shared.clock import Clock, SystemClock
from shared.http.app import new_app
from shared.http.server import serve
from shared.keys.documents import render_openid_configuration
from shared.keys.signer import Signer, SignerPolicy
from shared.keys.stores import KeyStores, open_key_stores
from shared.settings import ServerSettings
from shared.sqlite import Database
from shared.start_check import StartCheck

_LARGEST_BODY = 64 * 1024
_FIRST_KEY_POLL = 0.2


@dataclass(frozen=True, slots=True)
class Stores:
    accounts: AccountStore
    idempotency: IdempotencyStore
    sessions: SessionStore
    service_clients: ServiceClientStore
    refresh_key: RefreshKey = field(repr=False)


@contextlib.asynccontextmanager
async def open_stores(server: ServerSettings, check: StartCheck) -> AsyncIterator[Stores]:
    """Raises Unavailable where a file cannot be used; `check` learns what AWS must have."""
    if server.aws is None:
        database = Database(server.data_dir / "identity.db", MIGRATIONS)
        await database.open()
        service_clients = FileServiceClientStore(server.data_dir / "secrets")
        await service_clients.create_if_missing()
        key = await files.load_refresh_key(server.data_dir / "secrets")
        yield Stores(
            SqliteAccountStore(database),
            SqliteIdempotencyStore(database),
            SqliteSessionStore(database),
            service_clients,
            lambda: key,
        )
        await database.close()
        return
    # Imported here: where nothing is kept in AWS, its libraries need not be installed.
    from services.identity.adapters import dynamodb, secretsmanager  # noqa: PLC0415
    from shared import aws  # noqa: PLC0415
    from shared.dynamodb import probes  # noqa: PLC0415

    names = server.aws
    async with aws.client("dynamodb") as tables, aws.client("secretsmanager") as secrets:
        service_clients_secret = secretsmanager.SecretsManagerServiceClientStore(
            secrets, names.secret("service-clients")
        )
        refresh_key = secretsmanager.SecretsManagerRefreshKey(secrets, names.secret("refresh-key"))
        definitions = (
            dynamodb.ACCOUNTS,
            dynamodb.IDEMPOTENCY,
            dynamodb.IDENTITIES,
            dynamodb.SESSIONS,
        )
        check.add(probes(tables, names.table_prefix, *definitions))
        check.add([service_clients_secret.probe, refresh_key.load])
        yield Stores(
            dynamodb.DynamoAccountStore(tables, names.table_prefix),
            dynamodb.DynamoIdempotencyStore(tables, names.table_prefix),
            dynamodb.DynamoSessionStore(tables, names.table_prefix),
            service_clients_secret,
            refresh_key,
        )


def create_app(settings: Settings, stores: Stores, signer: Signer, clock: Clock) -> web.Application:
    """The public application. Whoever runs it keeps `signer` fresh."""
    access_tokens = AccessTokens(
        signer=signer,
        issuer=settings.trust.issuer,
        audience=settings.trust.audience,
        ttl=settings.trust.access_token_ttl,
        clock=clock,
    )
    accounts = Accounts(stores.accounts, clock)
    sessions = Sessions(
        stores.sessions,
        accounts,
        access_tokens,
        RefreshTokens(stores.refresh_key),
        SessionLimits(
            idle=settings.refresh_idle_ttl,
            absolute=settings.refresh_absolute_ttl,
            grace=settings.refresh_grace,
        ),
        clock,
    )
    app = new_app(largest_body=_LARGEST_BODY)
    app[SESSIONS] = sessions
    idempotency = Idempotency(stores.idempotency, stores.refresh_key, clock)
    app[LOGINS] = Logins(accounts, idempotency, sessions, access_tokens)
    assertions = _trust_cluster(app, settings.kubernetes, clock) if settings.kubernetes else None
    app[SERVICE_CLIENTS] = ServiceClients(stores.service_clients, access_tokens, assertions)
    app[WELL_KNOWN] = WellKnown(
        openid_configuration=render_openid_configuration(settings.trust.issuer),
        published=lambda: signer.published,
        max_age=settings.caches.jwks_max_age,
    )
    app.add_routes(routes)
    app.add_routes(oauth_routes)
    return app


def _trust_cluster(
    app: web.Application, settings: KubernetesSettings, clock: Clock
) -> AssertionVerifier:
    """Keeps the cluster's keys fresh while `app` runs; its trouble makes nobody else wait."""
    keys = cluster_keys(settings, clock)

    async def keep_fresh(_app: web.Application) -> AsyncIterator[None]:
        async with keys.running():
            yield

    app.cleanup_ctx.append(keep_fresh)
    return AssertionVerifier(keys, settings.issuer, settings.audience, clock)


def new_signer(settings: Settings, keys: KeyStores, clock: Clock) -> Signer:
    policy = SignerPolicy(
        known_after=settings.caches.jwks_max_age + settings.trust.jwks_ttl,
        token_lifetime=settings.trust.access_token_ttl + LEEWAY,
    )
    return Signer(keys.ring, keys.jwk_set, policy, clock)


async def run(settings: Settings) -> None:
    check = StartCheck()
    async with (
        open_stores(settings.server, check) as stores,
        open_key_stores(settings.server, settings.caches, check) as keys,
        check.passing(),
    ):
        clock = SystemClock()
        signer = new_signer(settings, keys, clock)

        async def refresh() -> None:
            # Without a signing key no login begins, so none gets stuck on what is not there yet.
            if not check.not_ready():
                await signer.refresh()

        def delay() -> float:
            refresh = settings.caches.key_refresh.total_seconds()
            return _FIRST_KEY_POLL if signer.not_ready() else refresh

        async with repeating("signer.refresh", refresh, delay):
            app = create_app(settings, stores, signer, clock)
            await serve(app, settings.server, ready=[check.not_ready, signer.not_ready])
