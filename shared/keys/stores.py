"""Picks where the key ring and the public documents are kept: files or AWS."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from shared.keys.adapters import files
from shared.keys.adapters.files import FileKeyRingStore, FilePublicDocumentStore
from shared.keys.ports import KeyRingStore, PublicDocumentStore
from shared.settings import CacheSettings, ServerSettings
from shared.start_check import StartCheck


@dataclass(frozen=True, slots=True)
class KeyStores:
    ring: KeyRingStore
    jwk_set: PublicDocumentStore
    openid_configuration: PublicDocumentStore


@contextlib.asynccontextmanager
async def open_key_stores(
    server: ServerSettings, caches: CacheSettings, check: StartCheck, *, writing: bool = False
) -> AsyncIterator[KeyStores]:
    """`check` learns what reading them needs, and with `writing` what that needs."""
    if server.aws is None:
        directory = server.data_dir / "keys"
        yield KeyStores(
            FileKeyRingStore(directory),
            FilePublicDocumentStore(directory, files.JWK_SET),
            FilePublicDocumentStore(directory, files.OPENID_CONFIGURATION),
        )
        return
    names = server.aws
    # Imported here: where nothing is kept in AWS, its libraries need not be installed.
    from shared import aws  # noqa: PLC0415
    from shared.keys.adapters import s3  # noqa: PLC0415
    from shared.keys.adapters.secretsmanager import SecretsManagerKeyRingStore  # noqa: PLC0415

    async with aws.client("secretsmanager") as secrets, aws.client("s3") as objects:

        def document(key: str) -> s3.S3PublicDocumentStore:
            return s3.S3PublicDocumentStore(
                objects, names.jwks_bucket, key, max_age=caches.jwks_max_age_seconds
            )

        ring = SecretsManagerKeyRingStore(secrets, names.secret("key-ring"))
        jwk_set, configuration = document(s3.JWK_SET), document(s3.OPENID_CONFIGURATION)
        check.add(ring.probes(writing=writing))
        check.add(jwk_set.probes(writing=writing))
        if writing:
            check.add(configuration.probes(writing=True))
        yield KeyStores(ring, jwk_set, configuration)
