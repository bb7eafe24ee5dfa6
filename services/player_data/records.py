"""A player's records, and who may reach them."""

from collections.abc import Sequence

from services.player_data.models import (
    HISTORY,
    Change,
    Page,
    Precondition,
    Record,
    RecordKey,
    Write,
    WritesFailed,
    Written,
)
from services.player_data.ports import RecordStore
from shared import errors
from shared.clock import Clock

ME = "me"


class Records:
    def __init__(self, store: RecordStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def get(self, key: RecordKey) -> Record:
        """Raises NotFound."""
        record = await self._store.get(key)
        if record is None:
            raise errors.NotFound("there is no such record")
        return record

    async def write(
        self, key: RecordKey, change: str | Change, precondition: Precondition, *, by: str
    ) -> Written:
        """Raises VersionConflict with the current record, and what `change` raises."""
        one = Write(key, change, precondition, HISTORY)
        try:
            (written,) = await self._store.write([one], by=by, now=self._clock.now())
        except WritesFailed as failed:
            raise failed.failures[0] from None
        return written

    async def list(
        self,
        player: str,
        *,
        collection: str | None,
        prefix: str,
        after: RecordKey | None,
        limit: int,
    ) -> Page:
        return await self._store.list(
            player, collection=collection, prefix=prefix, after=after, limit=limit
        )

    async def versions(self, key: RecordKey) -> Sequence[Record]:
        """What the key held before, newest first, whether or not it holds something now."""
        return await self._store.versions(key)


def resolve_player(asked: str, subject: str) -> str:
    """The player whose records are meant: `me`, or one's own id.

    Somebody else's records do not exist, so that nobody learns which ids are taken.
    """
    if asked in (ME, subject):
        return subject
    raise errors.NotFound("there is no such record")
