"""The JWK Set, and the openid-configuration beside it, as objects of a bucket."""

import asyncio

from shared import errors
from shared.aws import AwsError, Client, call
from shared.aws_check import probe
from shared.keys.ports import PublishedDocument
from shared.start_check import Probe

JWK_SET = ".well-known/jwks.json"
OPENID_CONFIGURATION = ".well-known/openid-configuration"
_READ_WITHIN = 2.0
_NO_ETAG = '"00000000000000000000000000000000"'
_REACHED = ("PreconditionFailed", "NoSuchKey")
# AWS tells only those that there is nothing who may list what there is.
_NOTE = ", to it or to s3:ListBucket on the bucket, while there is no such object"


class S3PublicDocumentStore:
    """`max_age` is in seconds: how long a CDN and a verifier may keep the object."""

    def __init__(self, client: Client, bucket: str, key: str = JWK_SET, *, max_age: int) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._max_age = max_age

    async def read(self) -> PublishedDocument | None:
        try:
            found = await call(self._client.get_object, Bucket=self._bucket, Key=self._key)
        except AwsError as error:
            if error.kind is errors.NotFound:
                return None
            raise errors.Unavailable(f"cannot read {self._name}: {error.code}") from error
        try:
            async with asyncio.timeout(_READ_WITHIN), found["Body"] as body:
                document = await body.read()
        except (OSError, TimeoutError) as error:
            raise errors.Unavailable(f"cannot read {self._name}") from error
        return PublishedDocument(document, found["ETag"].strip('"'))

    async def publish(self, document: bytes, *, expected: str | None) -> PublishedDocument:
        condition = {"IfMatch": f'"{expected}"'} if expected else {"IfNoneMatch": "*"}
        try:
            stored = await call(
                self._client.put_object,
                Bucket=self._bucket,
                Key=self._key,
                Body=document,
                ContentType="application/json",
                CacheControl=f"public, max-age={self._max_age}",
                **condition,
            )
        except AwsError as error:
            if error.kind not in (errors.VersionConflict, errors.NotFound):
                raise errors.Unavailable(f"cannot write {self._name}: {error.code}") from error
            # Also after an attempt whose reply was lost: then the document is there.
            current = await self.read()
            if current is None or current.document != document:
                raise errors.VersionConflict(f"{self._name} has changed") from None
            return current
        return PublishedDocument(document, stored["ETag"].strip('"'))

    def probes(self, *, writing: bool) -> list[Probe]:
        operations = ("get_object", "put_object") if writing else ("get_object",)
        return [
            probe(
                self._client,
                operation,
                self._name,
                passes=_REACHED,
                note=_NOTE if operation == "get_object" else "",
                Bucket=self._bucket,
                Key=self._key,
                IfMatch=_NO_ETAG,  # so nothing is sent and nothing written
            )
            for operation in operations
        ]

    @property
    def _name(self) -> str:
        return f"s3://{self._bucket}/{self._key}"
