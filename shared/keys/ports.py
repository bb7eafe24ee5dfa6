"""Where the key ring and the public documents are kept."""

from dataclasses import dataclass
from typing import Protocol

from shared.keys.models import KeyRing


@dataclass(frozen=True, slots=True)
class StoredRing:
    ring: KeyRing
    version: str


@dataclass(frozen=True, slots=True)
class PublishedDocument:
    """The document exactly as verifiers get it; the entity tag without its quotes."""

    document: bytes
    etag: str


class KeyRingStore(Protocol):
    """The private ring: one document, read and replaced as a whole.

    `replace` is conditional: of several callers that read the same version exactly one wins,
    the others get VersionConflict and have changed nothing. A ring that was written is what
    every later `load` answers. Both raise Unavailable in bad weather; then a `replace` may have
    happened or not, and `load` tells.
    """

    async def load(self) -> StoredRing | None:
        """None: there has never been a ring."""
        ...

    async def replace(self, ring: KeyRing, *, expected: str | None) -> StoredRing:
        """`expected` is the version that was loaded; None: there was no ring."""
        ...


class PublicDocumentStore(Protocol):
    """One document that everybody may fetch, as the JWK Set. The same law as KeyRingStore."""

    async def read(self) -> PublishedDocument | None: ...

    async def publish(self, document: bytes, *, expected: str | None) -> PublishedDocument: ...
