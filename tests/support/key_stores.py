"""Key stores that fail where a test says so, around real ones."""

from dataclasses import dataclass, field

from shared.keys.models import KeyRing
from shared.keys.ports import KeyRingStore, PublicDocumentStore, PublishedDocument, StoredRing


class Crash(BaseException):
    """The process is gone: nothing in the code may catch it."""


@dataclass
class CrashPoints:
    """Counts the store calls and crashes at one of them, before or after it took effect."""

    at: int | None = None
    after: bool = False
    calls: int = field(default=0, init=False)

    def before_call(self) -> None:
        self.calls += 1
        if self.calls == self.at and not self.after:
            raise Crash

    def after_call(self) -> None:
        if self.calls == self.at and self.after:
            raise Crash


class CrashingRingStore:
    def __init__(self, store: KeyRingStore, points: CrashPoints) -> None:
        self._store = store
        self._points = points

    async def load(self) -> StoredRing | None:
        return await self._store.load()

    async def replace(self, ring: KeyRing, *, expected: str | None) -> StoredRing:
        self._points.before_call()
        stored = await self._store.replace(ring, expected=expected)
        self._points.after_call()
        return stored


class CrashingSetStore:
    def __init__(self, store: PublicDocumentStore, points: CrashPoints) -> None:
        self._store = store
        self._points = points

    async def read(self) -> PublishedDocument | None:
        return await self._store.read()

    async def publish(self, document: bytes, *, expected: str | None) -> PublishedDocument:
        self._points.before_call()
        published = await self._store.publish(document, expected=expected)
        self._points.after_call()
        return published
