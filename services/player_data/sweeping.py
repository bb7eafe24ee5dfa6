"""Content of blobs that no version of any record has any more."""

from collections.abc import AsyncIterator
from datetime import timedelta

from services.player_data.models import BlobName, Position
from services.player_data.ports import BlobStore, RecordStore
from shared.clock import Clock

_YOUNGEST = timedelta(days=1)
"""Far longer than any request takes: who has kept content has written the record long ago."""
_AT_ONCE = 100


class Sweeping:
    def __init__(self, store: RecordStore, contents: BlobStore, clock: Clock) -> None:
        self._store = store
        self._contents = contents
        self._clock = clock

    async def tick(self) -> int:
        """Remove what has had no record for a day; how many there were.

        Contents are listed first and then the records: one that no version has, and no request
        that is under way, never gets a version again.
        """
        removed = 0
        async for player, names in self._old():
            used = await self._used(player)
            for name in names:
                if name.id not in used:
                    await self._contents.delete(name)
                    removed += 1
        return removed

    async def _old(self) -> AsyncIterator[tuple[str, list[BlobName]]]:
        names: list[BlobName] = []
        async for name in self._contents.older_than(self._clock.now() - _YOUNGEST):
            if names and names[0].player != name.player:
                yield names[0].player, names
                names = []
            names.append(name)
        if names:
            yield names[0].player, names

    async def _used(self, player: str) -> set[str]:
        found: set[str] = set()
        after: Position | None = None
        while True:
            page = await self._store.export(player, after=after, limit=_AT_ONCE)
            found.update(held.record.blob.id for held in page.held if held.record.blob)
            after = page.next_after
            if after is None:
                return found
