"""player_data's blobs as objects of a bucket of their own: `<player>/<id>`.

The bucket keeps no versions of objects, so what is deleted is gone.
"""

import asyncio
import contextlib
import hashlib
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

from services.player_data.models import CHUNK, BlobName
from shared import errors
from shared.aws import AwsError, Client, call, chunks
from shared.aws_check import probe
from shared.ids import is_id
from shared.start_check import Probe

_MOST_KEYS = 1000
"""Of a list, and of what is deleted at once."""
_NO_ETAG = '"00000000000000000000000000000000"'
_NOBODY = "playmesh:start-check/nothing"
_REACHED = ("PreconditionFailed", "NoSuchKey")
_NOTE = ", to it or to s3:ListBucket on the bucket, while there is no such object"


class S3BlobStore:
    def __init__(self, client: Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def put(self, name: BlobName, content: AsyncIterator[bytes]) -> None:
        # S3 wants to know how much comes, and an attempt that fails is made again: so all of it
        # lies on the disk first, and a slow client holds no connection to S3.
        digest, size = hashlib.sha256(), 0
        with _disk():
            spool = await asyncio.to_thread(tempfile.TemporaryFile)
        with spool:
            async for chunk in content:
                digest.update(chunk)
                size += len(chunk)
                with _disk():
                    await asyncio.to_thread(spool.write, chunk)
            with _disk():
                await asyncio.to_thread(spool.seek, 0)
            with self._trouble():
                await call(
                    self._client.put_object,
                    Bucket=self._bucket,
                    Key=_key(name),
                    Body=spool,
                    ContentLength=size,
                    ChecksumSHA256=b64encode(digest.digest()).decode(),  # S3 compares
                )

    @contextlib.asynccontextmanager
    async def read(self, name: BlobName) -> AsyncIterator[AsyncIterator[bytes] | None]:
        try:
            found = await call(self._client.get_object, Bucket=self._bucket, Key=_key(name))
        except AwsError as error:
            if error.kind is not errors.NotFound:
                raise self._unavailable(error) from error
            yield None
            return
        async with found["Body"]:  # which enters another object, without its checks
            yield chunks(found["Body"], CHUNK)

    async def copy(self, source: BlobName, target: BlobName) -> bool:
        try:
            await call(
                self._client.copy_object,
                Bucket=self._bucket,
                Key=_key(target),
                CopySource={"Bucket": self._bucket, "Key": _key(source)},
            )
        except AwsError as error:
            if error.kind is not errors.NotFound:
                raise self._unavailable(error) from error
            return False
        return True

    async def delete(self, name: BlobName) -> None:
        with self._trouble():
            await call(self._client.delete_object, Bucket=self._bucket, Key=_key(name))

    async def erase(self, player: str, *, limit: int) -> bool:
        with self._trouble():
            found = await call(
                self._client.list_objects_v2,
                Bucket=self._bucket,
                Prefix=f"{player}/",
                MaxKeys=min(limit, _MOST_KEYS),
            )
            if keys := [{"Key": each["Key"]} for each in found.get("Contents", ())]:
                deleted = await call(
                    self._client.delete_objects,
                    Bucket=self._bucket,
                    Delete={"Objects": keys, "Quiet": True},
                )
                if deleted.get("Errors"):
                    raise errors.Unavailable("S3 has not deleted all objects")
        return not found["IsTruncated"]

    async def older_than(self, moment: datetime) -> AsyncIterator[BlobName]:
        start: dict[str, str] = {}
        while True:
            with self._trouble():
                page = await call(
                    self._client.list_objects_v2,
                    Bucket=self._bucket,
                    MaxKeys=_MOST_KEYS,
                    **start,
                )
            for each in page.get("Contents", ()):
                player, _, blob_id = each["Key"].partition("/")
                if is_id(player) and is_id(blob_id) and each["LastModified"] < moment:
                    yield BlobName(player, blob_id)
            if not page["IsTruncated"]:
                return
            start = {"ContinuationToken": page["NextContinuationToken"]}

    def probes(self) -> list[Probe]:
        """Reads and writes on conditions that cannot hold; a deletion of what there is not."""
        bucket = f"s3://{self._bucket}"
        known = {"Bucket": self._bucket, "Key": _NOBODY}
        unchanged = {**known, "IfMatch": _NO_ETAG}
        return [
            probe(self._client, "get_object", bucket, passes=_REACHED, note=_NOTE, **unchanged),
            probe(self._client, "put_object", bucket, passes=_REACHED, **unchanged),
            probe(self._client, "delete_object", bucket, **known),
            probe(self._client, "list_objects_v2", bucket, Bucket=self._bucket, MaxKeys=1),
        ]

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except AwsError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: AwsError) -> errors.Unavailable:
        return errors.Unavailable(f"s3://{self._bucket}: {error.code}")


def _key(name: BlobName) -> str:
    return f"{name.player}/{name.id}"


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.Unavailable("there is no room for it at the moment") from error
