"""Stores in memory, for tests that ask them millions of times, or make a new one each."""

from datetime import datetime

from services.identity.models import IdempotencyRecord
from shared import errors
from shared.keys.models import KeyRing
from shared.keys.ports import PublishedDocument, StoredRing


class MemoryKeyRingStore:
    def __init__(self, stored: StoredRing | None = None) -> None:
        self.stored = stored

    async def load(self) -> StoredRing | None:
        return self.stored

    async def replace(self, ring: KeyRing, *, expected: str | None) -> StoredRing:
        found = self.stored.version if self.stored else None
        if found != expected:
            raise errors.VersionConflict
        self.stored = StoredRing(ring, str(int(found or 0) + 1))
        return self.stored


class MemoryPublicDocumentStore:
    def __init__(self, published: PublishedDocument | None = None) -> None:
        self.published = published

    async def read(self) -> PublishedDocument | None:
        return self.published

    async def publish(self, document: bytes, *, expected: str | None) -> PublishedDocument:
        found = self.published.etag if self.published else None
        if found != expected:
            raise errors.VersionConflict
        self.published = PublishedDocument(document, str(int(found or 0) + 1))
        return self.published


class MemoryIdempotencyStore:
    def __init__(self) -> None:
        self._records: dict[bytes, IdempotencyRecord] = {}

    async def claim(self, record: IdempotencyRecord, *, now: datetime) -> IdempotencyRecord:
        stored = self._records.get(record.key)
        if stored is None or stored.expires_at <= now:
            stored = self._records[record.key] = record
        return stored
