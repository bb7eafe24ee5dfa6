"""Where identity keeps what it keeps: the only choice between the embedded stores and AWS."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from services.identity.adapters import files
from services.identity.adapters.files import FileServiceClientStore
from services.identity.adapters.sqlite import (
    MIGRATIONS,
    SqliteAccountStore,
    SqliteGrantStore,
    SqliteIdempotencyStore,
    SqliteIdentityBanStore,
    SqliteIdentityStore,
    SqliteSessionStore,
)
from services.identity.ports import (
    AccountStore,
    GrantStore,
    IdempotencyStore,
    IdentityBanStore,
    IdentityStore,
    SessionStore,
)
from services.identity.providers.secret import ManagedSecret
from services.identity.refresh_tokens import RefreshKey
from services.identity.service_clients import ServiceClientStore
from shared.clock import Clock
from shared.settings import ServerSettings
from shared.sqlite import Database
from shared.start_check import StartCheck


@dataclass(frozen=True, slots=True)
class Stores:
    accounts: AccountStore
    idempotency: IdempotencyStore
    identities: IdentityStore
    identity_bans: IdentityBanStore
    grants: GrantStore
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
            SqliteIdentityStore(database),
            SqliteIdentityBanStore(database),
            SqliteGrantStore(database),
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
            dynamodb.IDENTITY_BANS,
            dynamodb.GRANTS,
            dynamodb.SESSIONS,
        )
        check.add(probes(tables, names.table_prefix, *definitions))
        check.add([service_clients_secret.probe, refresh_key.load])
        yield Stores(
            dynamodb.DynamoAccountStore(tables, names.table_prefix),
            dynamodb.DynamoIdempotencyStore(tables, names.table_prefix),
            dynamodb.DynamoIdentityStore(tables, names.table_prefix),
            dynamodb.DynamoIdentityBanStore(tables, names.table_prefix),
            dynamodb.DynamoGrantStore(tables, names.table_prefix),
            dynamodb.DynamoSessionStore(tables, names.table_prefix),
            service_clients_secret,
            refresh_key,
        )


@contextlib.asynccontextmanager
async def open_secrets(
    secrets: Sequence[ManagedSecret], check: StartCheck, clock: Clock
) -> AsyncIterator[None]:
    """The keys of platforms that are in AWS; `check` learns of them."""
    if not secrets:
        yield
        return
    from services.identity.adapters import secretsmanager  # noqa: PLC0415 - as above
    from shared import aws  # noqa: PLC0415 - as above

    async with aws.client("secretsmanager") as client:
        for secret in secrets:
            secret.open(secretsmanager.platform_key(client, secret.secret_id), clock)
        check.add(secret.load for secret in secrets)
        yield
