"""Keeps the openid-configuration published beside the JWK Set, for whoever reads both there."""

import structlog

from shared import errors
from shared.keys.ports import PublicDocumentStore

_log = structlog.get_logger()


class Discovery:
    def __init__(self, store: PublicDocumentStore, document: bytes) -> None:
        self._store = store
        self._document = document

    async def tick(self) -> None:
        """Raises Unavailable. Of several that find it missing one writes it."""
        published = await self._store.read()
        if published is not None and published.document == self._document:
            return
        try:
            await self._store.publish(
                self._document, expected=published.etag if published else None
            )
        except errors.VersionConflict:
            return
        _log.info("discovery.published")
