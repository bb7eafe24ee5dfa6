"""Where rotators live: their stores, and a way to disturb each of them."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import ReadTimeoutError

from services.keyrotator.rotation import RotationPolicy
from services.keyrotator.rotator import Rotator
from shared import errors
from shared.aws import Client
from shared.clock import Clock
from shared.ids import new_id
from shared.keys.adapters.files import FileKeyRingStore, FilePublicDocumentStore
from shared.keys.adapters.s3 import S3PublicDocumentStore
from shared.keys.adapters.secretsmanager import SecretsManagerKeyRingStore
from shared.keys.ports import KeyRingStore, PublicDocumentStore
from tests.support import aws
from tests.support.secrets import HonouredTokens

POLICY = RotationPolicy.from_caches(
    period=timedelta(days=7),
    algorithm="ES256",  # made in no time; the protocol is the same for both
    jwks_max_age=timedelta(seconds=60),
    jwks_ttl=timedelta(seconds=300),
    key_refresh=timedelta(seconds=60),
    slack=timedelta(seconds=60),
    access_token_ttl=timedelta(seconds=900),
)

Around = Callable[[object], Any]


def _untouched(target: object) -> object:
    return target


class World(Protocol):
    """`around` is put around what a rotator calls: the stores, or the clients of AWS."""

    operations: frozenset[str]
    writes: frozenset[str]

    def loss(self) -> Exception: ...

    def stores(self, around: Around = _untouched) -> tuple[KeyRingStore, PublicDocumentStore]: ...


@dataclass
class Files:
    folder: Path
    operations = frozenset(("load", "replace", "read", "publish"))
    writes = frozenset(("replace", "publish"))

    def loss(self) -> Exception:
        return errors.Unavailable("the reply was lost")

    def stores(self, around: Around = _untouched) -> tuple[KeyRingStore, PublicDocumentStore]:
        return around(FileKeyRingStore(self.folder)), around(FilePublicDocumentStore(self.folder))


@dataclass
class Aws:
    secrets: Client
    objects: Client
    secret_id: str
    bucket: str
    operations = frozenset(
        (
            "get_secret_value",
            "put_secret_value",
            "update_secret_version_stage",
            "get_object",
            "put_object",
        )
    )
    writes = frozenset(("put_secret_value", "update_secret_version_stage", "put_object"))

    def loss(self) -> Exception:
        lost: Exception = ReadTimeoutError(endpoint_url="https://aws.test")
        return lost

    def stores(self, around: Around = _untouched) -> tuple[KeyRingStore, PublicDocumentStore]:
        return (
            SecretsManagerKeyRingStore(around(self.secrets), self.secret_id),
            S3PublicDocumentStore(around(self.objects), self.bucket, max_age=60),
        )

    async def another(self) -> "Aws":
        """With nothing in it, on the same clients."""
        name = new_id()
        await self.secrets.create_secret(Name=name)
        await self.objects.create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        return Aws(self.secrets, self.objects, name, name)


def new_rotator(world: World, clock: Clock, around: Around = _untouched) -> Rotator:
    ring, public = world.stores(around)
    return Rotator(ring, public, POLICY, clock)


@contextlib.asynccontextmanager
async def open_aws(endpoint: str) -> AsyncIterator[Aws]:
    async with (
        aws.client("secretsmanager", endpoint) as secrets,
        aws.client("s3", endpoint) as objects,
    ):
        yield Aws(HonouredTokens(secrets), objects, "", "")
