"""Secrets Manager and S3 keep the contracts of the key stores, with moto behind them."""

from collections.abc import AsyncIterator
from typing import Any

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
from tests.support.key_stores import Crash
from tests.support.secrets import HonouredTokens


@pytest.fixture
async def secretsmanager(moto: str) -> AsyncIterator[Client]:
    async with aws.client("secretsmanager", moto) as client:
        yield HonouredTokens(client)


@pytest.fixture
async def s3(moto: str) -> AsyncIterator[Client]:
    async with aws.client("s3", moto) as client:
        yield client


class NeverMoves:
    """The process is gone after the ring is stored and before it is in force."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        if name == "update_secret_version_stage":
            raise Crash
        return getattr(self._client, name)


class TestSecretsManagerKeyRingStore(KeyRingStoreContract):
    @pytest.fixture
    async def store(self, secretsmanager: Client) -> SecretsManagerKeyRingStore:
        self.secret_id = f"{new_id()}/key-ring"
        await secretsmanager.create_secret(Name=self.secret_id)
        return SecretsManagerKeyRingStore(secretsmanager, self.secret_id)

    async def test_what_a_crashed_writer_has_stored_is_put_in_force_by_the_next_one(
        self, store: SecretsManagerKeyRingStore, secretsmanager: Client, clock: Clock
    ) -> None:
        """So a key that was made is never made a second time."""
        first = await store.replace(KeyRing(), expected=None)
        crashing = SecretsManagerKeyRingStore(NeverMoves(secretsmanager), self.secret_id)
        stored = make_ring(clock)
        with pytest.raises(Crash):
            await crashing.replace(stored, expected=first.version)
        assert await store.load() == first

        with pytest.raises(errors.VersionConflict):
            await store.replace(KeyRing(rotation_requested=True), expected=first.version)

        now = await store.load()
        assert now
        assert now.ring == stored

    async def test_what_somebody_went_back_behind_is_not_put_in_force_again(
        self, store: SecretsManagerKeyRingStore, secretsmanager: Client, clock: Clock
    ) -> None:
        first = await store.replace(KeyRing(), expected=None)
        bad = await store.replace(KeyRing(rotation_requested=True), expected=first.version)
        await secretsmanager.update_secret_version_stage(
            SecretId=self.secret_id,
            VersionStage="AWSCURRENT",
            MoveToVersionId=first.version,
            RemoveFromVersionId=bad.version,
        )

        good = await store.replace(make_ring(clock), expected=first.version)

        assert await store.load() == good

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
