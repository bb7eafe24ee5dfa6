"""A whole player as of a moment, for support that has to see what somebody has lost."""

from datetime import datetime

from services.player_data.collections import Caller
from services.player_data.models import RecordKey
from services.player_data.past import PastPage
from services.player_data.ports import RecordStore
from shared import errors


class AsOf:
    def __init__(self, store: RecordStore) -> None:
        self._store = store

    async def page(
        self,
        caller: Caller,
        player: str,
        moment: datetime,
        *,
        collection: str | None,
        after: RecordKey | None,
        limit: int,
    ) -> PastPage:
        """For services. Raises Forbidden."""
        if not caller.is_service:
            raise errors.Forbidden("players read what there is now")
        return await self._store.as_of(
            player, moment, collection=collection, after=after, limit=limit
        )
