"""What the embedded identity keeps in files: the refresh key and the service clients."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.identity.service_clients import ServiceClient
from shared import errors, strict_json
from shared.auth.claims import service_audience
from shared.files import FileContent, VersionedFile
from shared.ids import digest, new_key, new_secret

_KEY_BYTES = 32


async def load_refresh_key(directory: Path) -> bytes:
    """The key of all refresh tokens; made on first start. Losing it ends every session."""
    content = await _load_or_create(VersionedFile(directory / "refresh.key"), new_key)
    if len(content.data) != _KEY_BYTES:
        raise errors.Unavailable("refresh.key is damaged")
    return content.data


class FileServiceClientStore:
    """`service-clients.json`; made on first start with one client, `operator`.

    The file holds the secrets as they are, so that a person on this machine can use them; it is
    readable by the owner only.
    """

    def __init__(self, directory: Path) -> None:
        self._file = VersionedFile(directory / "service-clients.json")

    async def create_if_missing(self) -> None:
        await _load_or_create(self._file, _operator)

    async def find(self, client_id: str) -> ServiceClient | None:
        content = await self._file.read()
        if content is None:
            return None
        try:
            body: Any = strict_json.loads(content.data)
            for entry in body["clients"]:
                if entry["client_id"] == client_id:
                    return ServiceClient(
                        client_id=client_id,
                        secret_digests=tuple(digest(one) for one in _texts(entry["secrets"])),
                        grants={
                            audience: frozenset(_texts(scopes))
                            for audience, scopes in entry["grants"].items()
                        },
                    )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise errors.Unavailable("service-clients.json is damaged") from None
        return None


async def _load_or_create(file: VersionedFile, make: Callable[[], bytes]) -> FileContent:
    content = await file.read()
    if content is not None:
        return content
    try:
        return await file.replace(make(), expected=None)
    except errors.VersionConflict:  # another process was faster; its content is as good
        return await _load_or_create(file, make)


def _texts(value: object) -> list[str]:
    """A list of words. A single string would be taken apart into its characters."""
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError
    return value


def _operator() -> bytes:
    body = {
        "clients": [
            {
                "client_id": "operator",
                "secrets": [new_secret()],
                "grants": {service_audience("keyrotator"): ["keys:rotate"]},
            }
        ]
    }
    return f"{strict_json.dumps(body)}\n".encode()
