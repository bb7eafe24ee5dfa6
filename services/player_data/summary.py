"""How much is kept of a player, for who has to choose between two."""

from collections.abc import Sequence

from services.player_data.models import CollectionSummary
from services.player_data.ports import RecordStore


class Summaries:
    def __init__(self, store: RecordStore) -> None:
        self._store = store

    async def of(self, player: str) -> Sequence[CollectionSummary]:
        """Empty of a player that was never heard of."""
        return await self._store.summary(player)
