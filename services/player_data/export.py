"""What is kept of a player, page by page."""

from services.player_data.models import ExportPage, Position
from services.player_data.ports import RecordStore

_MOST_VALUES = 100


class Export:
    def __init__(self, store: RecordStore) -> None:
        self._store = store

    async def page(self, player: str, after: Position | None) -> ExportPage:
        """Empty of a player that was never heard of."""
        return await self._store.export(player, after=after, limit=_MOST_VALUES)
