"""The key ring as one secret of AWS Secrets Manager.

The ring in force is the version with the stage AWSCURRENT. A new ring is stored as AWSPENDING,
and then the stage is moved to it from the version that was read: only one writer can do that.
AWS keeps the ring before it as AWSPREVIOUS.

The id of a version follows from the version before it, so of two successors AWS takes one. A
writer that finds another's there, perhaps because that one crashed, puts it in force for it.
"""

import hashlib

from shared import errors
from shared.aws import AwsError, Client, call
from shared.ids import new_id
from shared.keys.documents import parse_ring, render_ring
from shared.keys.models import KeyRing
from shared.keys.ports import StoredRing

_CURRENT = "AWSCURRENT"
_PENDING = "AWSPENDING"


class SecretsManagerKeyRingStore:
    def __init__(self, client: Client, secret_id: str) -> None:
        self._client = client
        self._secret_id = secret_id

    async def load(self) -> StoredRing | None:
        try:
            secret = await call(
                self._client.get_secret_value, SecretId=self._secret_id, VersionStage=_CURRENT
            )
        except AwsError as error:
            if error.kind is errors.NotFound:
                return None
            raise errors.Unavailable(f"cannot read the secret {self._secret_id}") from error
        try:
            return StoredRing(parse_ring(secret["SecretString"].encode()), secret["VersionId"])
        except ValueError as error:
            raise errors.Unavailable(str(error)) from None

    async def replace(self, ring: KeyRing, *, expected: str | None) -> StoredRing:
        # Asked first: AWS makes the first version of a secret the current one unasked.
        await self._require(expected)
        stored = StoredRing(ring, version=self._successor(expected))
        if not await self._store(stored):
            await self._require(expected)
            if await self._stages(stored.version) == [_PENDING]:
                await self._move_current(to=stored.version, expected=expected)
                raise errors.VersionConflict("the key ring has changed")
            # It has been in force before: somebody went back behind it, and not for nothing.
            stored = StoredRing(ring, version=new_id())
            await self._store(stored)
        await self._move_current(to=stored.version, expected=expected)
        return stored

    async def _require(self, version: str | None) -> None:
        if await self._current_version() != version:
            raise errors.VersionConflict("the key ring has changed")

    def _successor(self, version: str | None) -> str:
        return hashlib.sha256(f"{self._secret_id} after {version}".encode()).hexdigest()

    async def _store(self, stored: StoredRing) -> bool:
        """False where another ring has this version. Safe to repeat."""
        try:
            await call(
                self._client.put_secret_value,
                SecretId=self._secret_id,
                ClientRequestToken=stored.version,  # becomes the version's id
                SecretString=render_ring(stored.ring).decode(),
                VersionStages=[_PENDING],
            )
        except AwsError as error:
            if error.kind is errors.AlreadyExists:
                return False
            raise errors.Unavailable(
                f"cannot write the secret {self._secret_id}: {error.code}"
            ) from error
        return True

    async def _stages(self, version: str) -> list[str]:
        try:
            secret = await call(
                self._client.get_secret_value, SecretId=self._secret_id, VersionId=version
            )
        except AwsError as error:
            raise errors.Unavailable(
                f"cannot read the secret {self._secret_id}: {error.code}"
            ) from error
        stages: list[str] = secret.get("VersionStages", [])
        return stages

    async def _move_current(self, *, to: str, expected: str | None) -> None:
        # Without RemoveFromVersionId AWS refuses to take the stage from another version.
        source = {"RemoveFromVersionId": expected} if expected else {}
        try:
            await call(
                self._client.update_secret_version_stage,
                SecretId=self._secret_id,
                VersionStage=_CURRENT,
                MoveToVersionId=to,
                **source,
            )
        except AwsError:
            # Also after an attempt whose reply was lost: then the stage is where it should be.
            await self._require(to)

    async def _current_version(self) -> str | None:
        stored = await self.load()
        return stored.version if stored else None
