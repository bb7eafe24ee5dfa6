"""player_data over HTTP: what it holds of a player is erased or exported by its own routes."""

from collections.abc import AsyncIterator, Sequence

import aiohttp

from services.identity.access_tokens import AccessTokens
from services.identity.models import CollectionSummary
from shared import errors
from shared.auth.claims import service_audience
from shared.clock import from_iso
from shared.http.service_client import Reply, ServiceClient
from shared.strict_json import JsonValue

_DONE, _MORE, _FOUND = 204, 202, 200
_WITHIN = 10.0
"""Seconds for a step of an erasure or a page of an export, which take as long as their store."""
_MOST_STEPS = 100
"""Of one erasure before the next one has its turn: some fifty thousand records."""
_LARGEST_PAGE = 16 * 1024 * 1024


class HttpPlayerData:
    """Raises ValueError as ServiceClient does."""

    name = "player_data"

    def __init__(
        self,
        http: aiohttp.ClientSession,
        url: str,
        access_tokens: AccessTokens,
        *,
        allow_http: bool = False,
    ) -> None:
        def client(scope: str) -> ServiceClient:
            audience = service_audience(self.name)
            tokens = _OwnTokens(access_tokens)
            return ServiceClient(http, tokens, url, audience, scope, allow_http=allow_http)

        self._erasing = client("player_data:erase")
        self._exporting = client("player_data:export")
        self._summing_up = client("player_data:summary")

    async def erase(self, user_id: str) -> None:
        for _ in range(_MOST_STEPS):
            reply = await self._erasing.request("DELETE", f"/v1/players/{user_id}", within=_WITHIN)
            if reply.status == _DONE:
                return
            if reply.status != _MORE:
                raise _unexpected(reply)
        raise errors.Unavailable("player_data has more to remove")

    async def export(self, user_id: str) -> AsyncIterator[bytes]:
        cursor: str | None = ""
        while cursor is not None:
            reply = await self._exporting.request(
                "GET",
                f"/v1/players/{user_id}/export",
                params={"cursor": cursor} if cursor else None,
                within=_WITHIN,
                largest=_LARGEST_PAGE,
            )
            if reply.status != _FOUND:
                raise _unexpected(reply)
            yield reply.body
            cursor = _cursor(reply)

    async def summary(self, user_id: str) -> Sequence[CollectionSummary]:
        reply = await self._summing_up.request("GET", f"/v1/players/{user_id}/summary")
        if reply.status != _FOUND:
            raise _unexpected(reply)
        match reply.json():
            case {"collections": [*collections]}:
                return [_summary(one) for one in collections]
            case _:
                raise _no_summary()


class _OwnTokens:
    """identity asks nobody for its tokens: it issues them."""

    def __init__(self, access_tokens: AccessTokens) -> None:
        self._access_tokens = access_tokens

    async def token(self, audience: str, scope: str) -> str:
        return self._access_tokens.for_service("identity", audience=audience, scope=scope)

    def forget(self, token: str) -> None:
        """None is kept."""


def _cursor(page: Reply) -> str | None:
    """Raises Unavailable where the page is none."""
    match page.json():
        case {"cursor": str(cursor)}:
            return cursor
        case {"cursor": None}:
            return None
        case _:
            raise errors.Unavailable("player_data answered no page of an export")


def _summary(collection: JsonValue) -> CollectionSummary:
    match collection:
        case {
            "name": str(name),
            "records": int(records),
            "bytes": int(size),
            "updated_at": str(updated_at),
        }:
            try:
                return CollectionSummary(name, records, size, from_iso(updated_at))
            except ValueError:
                pass
    raise _no_summary()


def _no_summary() -> errors.Unavailable:
    return errors.Unavailable("player_data answered no summary")


def _unexpected(reply: Reply) -> errors.Unavailable:
    return errors.Unavailable(f"player_data answered {reply.status}")
