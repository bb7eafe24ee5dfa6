"""Key ring and public documents as files of one directory: the embedded default."""

from pathlib import Path

from shared import errors
from shared.files import FileContent, VersionedFile
from shared.keys.documents import parse_ring, render_ring
from shared.keys.models import KeyRing
from shared.keys.ports import PublishedDocument, StoredRing

JWK_SET = "jwks.json"
OPENID_CONFIGURATION = "openid-configuration"


class FileKeyRingStore:
    """`ring.json`, readable by the owner only."""

    def __init__(self, directory: Path) -> None:
        self._file = VersionedFile(directory / "ring.json", mode=0o600)

    async def load(self) -> StoredRing | None:
        content = await self._file.read()
        return _stored(content) if content else None

    async def replace(self, ring: KeyRing, *, expected: str | None) -> StoredRing:
        return _stored(await self._file.replace(render_ring(ring), expected=expected))


class FilePublicDocumentStore:
    """A file of the document's name; there is no public listener but identity's."""

    def __init__(self, directory: Path, document: str = JWK_SET) -> None:
        self._file = VersionedFile(directory / document, mode=0o644)

    async def read(self) -> PublishedDocument | None:
        content = await self._file.read()
        return PublishedDocument(content.data, content.etag) if content else None

    async def publish(self, document: bytes, *, expected: str | None) -> PublishedDocument:
        content = await self._file.replace(document, expected=expected)
        return PublishedDocument(content.data, content.etag)


def _stored(content: FileContent) -> StoredRing:
    try:
        return StoredRing(parse_ring(content.data), content.etag)
    except ValueError as error:
        raise errors.Unavailable(str(error)) from None
