"""The key ring as one secret of AWS Secrets Manager.

The ring in force is the version with the stage AWSCURRENT. A new ring is stored as AWSPENDING,
and then the stage is moved to it from the version that was read: only one writer can do that.
AWS keeps the ring before it as AWSPREVIOUS. A pending ring whose writer has died is left alone:
it says what was due then.
"""

from shared import errors
from shared.aws import AwsError, Client, call
from shared.aws_check import probe
from shared.ids import new_id
from shared.keys.documents import parse_ring, render_ring
from shared.keys.models import KeyRing
from shared.keys.ports import StoredRing
from shared.start_check import Probe

_CURRENT = "AWSCURRENT"
_PENDING = "AWSPENDING"
# Whichever of them a version that does not exist may be; a secret that does not, reading tells.
_NO_SUCH_VERSION = (
    "InvalidParameterException",
    "InvalidRequestException",
    "ResourceNotFoundException",
)


class SecretsManagerKeyRingStore:
    def __init__(self, client: Client, secret_id: str) -> None:
        self._client = client
        self.secret_id = secret_id

    async def load(self) -> StoredRing | None:
        try:
            secret = await call(
                self._client.get_secret_value, SecretId=self.secret_id, VersionStage=_CURRENT
            )
        except AwsError as error:
            if error.kind is errors.NotFound:
                return None
            raise errors.Unavailable(f"cannot read the secret {self.secret_id}") from error
        try:
            return StoredRing(parse_ring(secret["SecretString"].encode()), secret["VersionId"])
        except ValueError as error:
            raise errors.Unavailable(str(error)) from None

    async def replace(self, ring: KeyRing, *, expected: str | None) -> StoredRing:
        # Asked first: AWS makes the first version of a secret the current one unasked.
        if await self._current_version() != expected:
            raise errors.VersionConflict("the key ring has changed")
        stored = StoredRing(ring, version=new_id())
        await self._store(stored)
        try:
            await self._move_current(to=stored.version, expected=expected)
        except AwsError:
            # Also after an attempt whose reply was lost: then the stage is where it should be.
            if await self._current_version() != stored.version:
                raise errors.VersionConflict("the key ring has changed") from None
        return stored

    def probes(self, *, writing: bool) -> list[Probe]:
        secret = f"secret {self.secret_id}"
        reading = probe(
            self._client,
            "get_secret_value",
            secret,
            # Of a secret that is there and empty, as before the first rotation, AWS tells only in
            # the message that it is the value that cannot be found.
            passes=["secret value"],
            SecretId=self.secret_id,
        )
        if not writing:
            return [reading]
        moving = probe(
            self._client,
            "update_secret_version_stage",
            secret,
            passes=_NO_SUCH_VERSION,
            SecretId=self.secret_id,
            VersionStage=_PENDING,
            MoveToVersionId=new_id(),
        )
        return [reading, moving]

    async def _store(self, stored: StoredRing) -> None:
        try:
            await call(
                self._client.put_secret_value,
                SecretId=self.secret_id,
                ClientRequestToken=stored.version,  # becomes the version's id; safe to repeat
                SecretString=render_ring(stored.ring).decode(),
                VersionStages=[_PENDING],
            )
        except AwsError as error:
            raise errors.Unavailable(
                f"cannot write the secret {self.secret_id}: {error.code}"
            ) from error

    async def _move_current(self, *, to: str, expected: str | None) -> None:
        # Without RemoveFromVersionId AWS refuses to take the stage from another version.
        source = {"RemoveFromVersionId": expected} if expected else {}
        await call(
            self._client.update_secret_version_stage,
            SecretId=self.secret_id,
            VersionStage=_CURRENT,
            MoveToVersionId=to,
            **source,
        )

    async def _current_version(self) -> str | None:
        stored = await self.load()
        return stored.version if stored else None
