"""The stores in AWS keep the promises of every port, in a real account.

Region, credentials and endpoint are those of AWS's own variables. Everything is made under names
of its own and removed at the end.
"""

from collections.abc import AsyncIterator, Iterator, Mapping

import pytest

from infra.aws_setup import TABLES
from services.identity.adapters.dynamodb import (
    DynamoAccountStore,
    DynamoGrantStore,
    DynamoIdempotencyStore,
    DynamoIdentityBanStore,
    DynamoIdentityStore,
    DynamoSessionStore,
)
from services.identity.stores import open_stores
from services.keyrotator.app import open_rotator
from services.keyrotator.settings import Settings
from services.player_data.adapters.dynamodb import DynamoRecordStore
from services.player_data.app import open_contents, open_records
from services.player_data.settings import Settings as PlayerDataSettings
from services.player_data.usage import Quota
from shared import aws
from shared.aws import Client
from shared.ids import new_id
from shared.keys.adapters.s3 import S3PublicDocumentStore
from shared.keys.adapters.secretsmanager import SecretsManagerKeyRingStore
from shared.settings import AwsSettings
from shared.start_check import StartCheck
from tests.conformance.accounts import AccountStoreContract
from tests.conformance.grants import GrantStoreContract
from tests.conformance.idempotency import IdempotencyStoreContract
from tests.conformance.identities import IdentityStoreContract
from tests.conformance.identity_bans import IdentityBanStoreContract
from tests.conformance.key_stores import KeyRingStoreContract, PublicDocumentStoreContract
from tests.conformance.records import RecordStoreContract
from tests.conformance.sessions import SessionStoreContract
from tests.support import aws_account
from tests.support.clock import ManualClock


@pytest.fixture(scope="module")
def names() -> Iterator[AwsSettings]:
    with aws_account.installation() as names:
        yield names


@pytest.fixture
def environ(names: AwsSettings) -> Mapping[str, str]:
    return {
        "PLAYMESH_BACKEND": "aws",
        "PLAYMESH_TABLE_PREFIX": names.table_prefix,
        "PLAYMESH_SECRET_PREFIX": names.secret_prefix,
        "PLAYMESH_JWKS_BUCKET": names.jwks_bucket,
        "PLAYMESH_SAVES_BUCKET": aws_account.saves_bucket(names),
    }


@pytest.fixture
async def dynamodb() -> AsyncIterator[Client]:
    async with aws_account.client("dynamodb") as client:
        yield client


@pytest.fixture
async def table_prefix(dynamodb: Client, names: AwsSettings) -> str:
    """Of tables without items."""
    await aws_account.empty(dynamodb, names.table_prefix, *TABLES)
    return names.table_prefix


class TestAwsAccountStore(AccountStoreContract):
    @pytest.fixture
    def store(self, dynamodb: Client, table_prefix: str) -> DynamoAccountStore:
        return DynamoAccountStore(dynamodb, table_prefix)


class TestAwsIdentityStore(IdentityStoreContract):
    @pytest.fixture
    def store(self, dynamodb: Client, table_prefix: str) -> DynamoIdentityStore:
        return DynamoIdentityStore(dynamodb, table_prefix)

    @pytest.fixture
    def accounts(self, dynamodb: Client, table_prefix: str) -> DynamoAccountStore:
        return DynamoAccountStore(dynamodb, table_prefix)


class TestAwsIdentityBanStore(IdentityBanStoreContract):
    @pytest.fixture
    def store(self, dynamodb: Client, table_prefix: str) -> DynamoIdentityBanStore:
        return DynamoIdentityBanStore(dynamodb, table_prefix)


class TestAwsGrantStore(GrantStoreContract):
    @pytest.fixture
    def store(self, dynamodb: Client, table_prefix: str) -> DynamoGrantStore:
        return DynamoGrantStore(dynamodb, table_prefix)


class TestAwsSessionStore(SessionStoreContract):
    @pytest.fixture
    def store(self, dynamodb: Client, table_prefix: str) -> DynamoSessionStore:
        return DynamoSessionStore(dynamodb, table_prefix)


class TestAwsIdempotencyStore(IdempotencyStoreContract):
    @pytest.fixture
    def store(self, dynamodb: Client, table_prefix: str) -> DynamoIdempotencyStore:
        return DynamoIdempotencyStore(dynamodb, table_prefix)


class TestAwsRecordStore(RecordStoreContract):
    @pytest.fixture
    def store(self, dynamodb: Client, table_prefix: str) -> DynamoRecordStore:
        return DynamoRecordStore(dynamodb, table_prefix)


class TestAwsKeyRingStore(KeyRingStoreContract):
    @pytest.fixture
    async def store(self, names: AwsSettings) -> AsyncIterator[SecretsManagerKeyRingStore]:
        async with (
            aws_account.client("secretsmanager") as client,
            aws_account.new_secret(client, names) as secret_id,
        ):
            yield SecretsManagerKeyRingStore(client, secret_id)


class TestAwsPublicDocumentStore(PublicDocumentStoreContract):
    @pytest.fixture
    async def store(self, names: AwsSettings) -> AsyncIterator[S3PublicDocumentStore]:
        async with aws_account.client("s3") as client:
            yield S3PublicDocumentStore(
                client, names.jwks_bucket, max_age=60, key=f"{new_id()}.json"
            )


async def test_what_was_set_up_is_what_the_services_ask_for_at_start(
    environ: Mapping[str, str], clock: ManualClock
) -> None:
    aws._session.cache_clear()
    settings = Settings.from_env(environ)
    player_data = PlayerDataSettings.from_env(environ)
    check = StartCheck()
    async with (
        open_stores(settings.server, check),
        open_records(settings.server, check, Quota()),
        open_contents(player_data, check),
        open_rotator(settings, clock, check) as (rotator, discovery),
    ):
        await check.look()
        assert check.not_ready() is None
        await rotator.tick()
        await discovery.tick()
