"""What the embedded identity keeps in files: the refresh key and the service clients."""

from collections.abc import Callable
from pathlib import Path

from services.identity.adapters.client_document import (
    find_client,
    find_service_account,
    first_document,
)
from services.identity.service_clients import ServiceClient
from shared import errors
from shared.files import FileContent, VersionedFile
from shared.ids import new_key

_KEY_BYTES = 32


async def load_refresh_key(directory: Path) -> bytes:
    """The key of all refresh tokens and Idempotency-Keys; made on first start.

    Losing it ends every session.
    """
    content = await _load_or_create(VersionedFile(directory / "refresh.key"), new_key)
    if len(content.data) != _KEY_BYTES:
        raise errors.Unavailable("refresh.key is damaged")
    return content.data


class FileServiceClientStore:
    """`service-clients.json`, readable by the owner only; made on first start."""

    def __init__(self, directory: Path) -> None:
        self._file = VersionedFile(directory / "service-clients.json")

    async def create_if_missing(self) -> None:
        await _load_or_create(self._file, first_document)

    async def find(self, client_id: str) -> ServiceClient | None:
        return await self._find(find_client, client_id)

    async def find_by_service_account(self, service_account: str) -> ServiceClient | None:
        return await self._find(find_service_account, service_account)

    async def _find(
        self, find: Callable[[bytes, str], ServiceClient | None], name: str
    ) -> ServiceClient | None:
        content = await self._file.read()
        try:
            return find(content.data, name) if content else None
        except ValueError as error:
            raise errors.Unavailable(str(error)) from None


async def _load_or_create(file: VersionedFile, make: Callable[[], bytes]) -> FileContent:
    content = await file.read()
    if content is not None:
        return content
    try:
        return await file.replace(make(), expected=None)
    except errors.VersionConflict:  # another process was faster; its content is as good
        return await _load_or_create(file, make)
