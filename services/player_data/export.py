"""What is kept of a player, page by page."""

from services.player_data.models import ExportPage, Position
from services.player_data.ports import RecordStore

_MOST_VALUES = 100
_MOST_CONTENT = 5 * 1024 * 1024
"""Bytes of blobs in a page, but one whatever its size: identity takes 16 MiB, as base64."""


class Export:
    def __init__(self, store: RecordStore) -> None:
        self._store = store

    async def page(self, player: str, after: Position | None) -> ExportPage:
        """Empty of a player that was never heard of."""
        page = await self._store.export(player, after=after, limit=_MOST_VALUES)
        size = 0
        for place, held in enumerate(page.held):
            size += held.record.blob.size if held.record.blob else 0
            if place and size > _MOST_CONTENT:
                last = page.held[place - 1].record
                return ExportPage(page.held[:place], Position(last.key, last.version))
        return page
