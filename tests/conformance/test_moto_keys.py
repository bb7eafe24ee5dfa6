"""Secrets Manager and S3 keep the contracts of the key stores, with moto behind them."""

from collections.abc import AsyncIterator

import pytest

from shared import errors
from shared.aws import Client
from shared.clock import Clock
from shared.ids import new_id
from shared.keys.adapters.s3 import S3PublicDocumentStore
from shared.keys.adapters.secretsmanager import SecretsManagerKeyRingStore
from shared.keys.models import KeyRing
from tests.conformance.key_stores import (
    KeyRingStoreContract,
    PublicDocumentStoreContract,
    make_ring,
)
from tests.support import aws
from tests.support.interruptions import Crash, Interruption


@pytest.fixture
async def secretsmanager(moto: str) -> AsyncIterator[Client]:
    async with aws.client("secretsmanager", moto) as client:
        yield client


@pytest.fixture
async def s3(moto: str) -> AsyncIterator[Client]:
    async with aws.client("s3", moto) as client:
        yield client


class TestSecretsManagerKeyRingStore(KeyRingStoreContract):
    @pytest.fixture
    async def store(self, secretsmanager: Client) -> SecretsManagerKeyRingStore:
        secret_id = f"{new_id()}/key-ring"
        await secretsmanager.create_secret(Name=secret_id)
        return SecretsManagerKeyRingStore(secretsmanager, secret_id)

    async def test_what_a_crashed_writer_has_stored_is_never_put_in_force(
        self, store: SecretsManagerKeyRingStore, secretsmanager: Client, clock: Clock
    ) -> None:
        """What it had planned was due then: days later it would retire a key that still signs."""
        first = await store.replace(KeyRing(), expected=None)
        killed = Interruption(frozenset(("update_secret_version_stage",)), at=1)
        crashing = SecretsManagerKeyRingStore(killed.around(secretsmanager), store.secret_id)
        with pytest.raises(Crash):
            await crashing.replace(KeyRing(rotation_requested=True), expected=first.version)
        assert await store.load() == first

        second = await store.replace(make_ring(clock), expected=first.version)

        assert await store.load() == second

    async def test_a_secret_that_does_not_exist_is_named(self, secretsmanager: Client) -> None:
        store = SecretsManagerKeyRingStore(secretsmanager, "no/such/secret")
        with pytest.raises(errors.Unavailable, match="no/such/secret"):
            await store.replace(KeyRing(), expected=None)


class TestS3PublicDocumentStore(PublicDocumentStoreContract):
    @pytest.fixture
    async def bucket(self, s3: Client) -> str:
        name = f"test-{new_id()}"
        await s3.create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        return name

    @pytest.fixture
    def store(self, s3: Client, bucket: str) -> S3PublicDocumentStore:
        return S3PublicDocumentStore(s3, bucket, max_age=60)

    async def test_the_object_says_how_long_it_may_be_kept(
        self, store: S3PublicDocumentStore, s3: Client, bucket: str
    ) -> None:
        await store.publish(b"{}", expected=None)
        found = await s3.head_object(Bucket=bucket, Key=".well-known/jwks.json")
        assert found["CacheControl"] == "public, max-age=60"
        assert found["ContentType"] == "application/json"

    async def test_a_bucket_that_does_not_exist_is_named(self, s3: Client) -> None:
        store = S3PublicDocumentStore(s3, "no-such-bucket", max_age=60)
        with pytest.raises(errors.Unavailable):
            await store.read()
