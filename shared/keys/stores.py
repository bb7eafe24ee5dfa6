"""Picks where the key ring and the JWK Set are kept: files or AWS."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from shared.keys.adapters.files import FileJwkSetStore, FileKeyRingStore
from shared.keys.ports import JwkSetStore, KeyRingStore
from shared.settings import CacheSettings, ServerSettings
from shared.start_check import StartCheck


@dataclass(frozen=True, slots=True)
class KeyStores:
    ring: KeyRingStore
    public: JwkSetStore


@contextlib.asynccontextmanager
async def open_key_stores(
    server: ServerSettings, caches: CacheSettings, check: StartCheck, *, writing: bool = False
) -> AsyncIterator[KeyStores]:
    """`check` learns what reading them needs, and with `writing` what that needs."""
    if server.aws is None:
        directory = server.data_dir / "keys"
        yield KeyStores(FileKeyRingStore(directory), FileJwkSetStore(directory))
        return
    # Imported here: where nothing is kept in AWS, its libraries need not be installed.
    from shared import aws  # noqa: PLC0415
    from shared.keys.adapters.s3 import S3JwkSetStore  # noqa: PLC0415
    from shared.keys.adapters.secretsmanager import SecretsManagerKeyRingStore  # noqa: PLC0415

    async with aws.client("secretsmanager") as secrets, aws.client("s3") as s3:
        ring = SecretsManagerKeyRingStore(secrets, server.aws.secret("key-ring"))
        public = S3JwkSetStore(s3, server.aws.jwks_bucket, max_age=caches.jwks_max_age_seconds)
        check.add(ring.probes(writing=writing))
        check.add(public.probes(writing=writing))
        yield KeyStores(ring, public)
