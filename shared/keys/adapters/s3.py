"""The JWK Set, and the openid-configuration beside it, as objects of a bucket."""

import asyncio

from shared import errors
from shared.aws import AwsError, Client, call
from shared.keys.ports import PublishedDocument

JWK_SET = ".well-known/jwks.json"
OPENID_CONFIGURATION = ".well-known/openid-configuration"
_READ_WITHIN = 2.0


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

    @property
    def _name(self) -> str:
        return f"s3://{self._bucket}/{self._key}"
