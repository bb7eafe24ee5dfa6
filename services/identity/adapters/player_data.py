"""player_data over HTTP: what it holds of a player is erased or exported by its own routes."""

from collections.abc import AsyncIterator, Mapping

import aiohttp
from aiohttp import hdrs

from services.identity.access_tokens import AccessTokens
from shared import errors, strict_json
from shared.auth.claims import service_audience

CALL_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=1)
"""An erasure takes as long as its store; nobody waits for it but a loop and its own player."""

_DONE, _MORE, _FOUND = 204, 202, 200


class HttpPlayerData:
    """With tokens that identity issues to itself, each for one purpose and a few calls."""

    name = "player_data"

    def __init__(self, http: aiohttp.ClientSession, url: str, access_tokens: AccessTokens) -> None:
        self._http = http
        self._url = url
        self._access_tokens = access_tokens

    async def erase(self, user_id: str) -> None:
        headers = self._headers("player_data:erase")
        while True:
            status, _ = await self._call("DELETE", f"/v1/players/{user_id}", headers)
            if status == _DONE:
                return
            if status != _MORE:
                raise errors.Unavailable(f"player_data answered {status}")

    async def export(self, user_id: str) -> AsyncIterator[bytes]:
        headers = self._headers("player_data:export")
        cursor: object = None
        while True:
            query = f"?cursor={cursor}" if cursor else ""
            path = f"/v1/players/{user_id}/export{query}"
            status, page = await self._call("GET", path, headers)
            if status != _FOUND:
                raise errors.Unavailable(f"player_data answered {status}")
            yield page
            cursor = _cursor(page)
            if cursor is None:
                return

    def _headers(self, scope: str) -> Mapping[str, str]:
        token = self._access_tokens.for_service(
            "identity", audience=service_audience(self.name), scope=scope
        )
        return {hdrs.AUTHORIZATION: f"Bearer {token}"}

    async def _call(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        try:
            async with self._http.request(
                method, self._url + path, headers=headers, allow_redirects=False
            ) as response:
                return response.status, await response.content.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise errors.Unavailable(
                f"player_data cannot be reached: {type(error).__name__}"
            ) from None


def _cursor(page: bytes) -> str | None:
    """Raises Unavailable where the page is none."""
    try:
        match strict_json.loads(page):
            case {"cursor": str(cursor)}:
                return cursor
            case {"cursor": None}:
                return None
            case _:
                pass
    except ValueError:
        pass
    raise errors.Unavailable("player_data answered no page of an export")
