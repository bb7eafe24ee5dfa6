"""A player at player_data's routes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.apps import Running
from tests.support.calls import bearer, call
from tests.support.servers import Answer

RECORDS = "/v1/players/me/records"
SLOT = f"{RECORDS}/saves/slot1"


@dataclass(frozen=True)
class Player:
    """Calls with the player's token; `path` may be any that a client can write."""

    data: Running
    user_id: str
    token: str = field(repr=False)

    async def call(
        self,
        method: str,
        path: str = SLOT,
        *,
        headers: Mapping[str, str] | None = None,
        **options: Any,  # noqa: ANN401 - aiohttp's own
    ) -> Answer:
        everything = {**bearer(self.token), **(headers or {})}
        return await call(
            self.data.http,
            method,
            self.data.url + path,
            headers=everything,
            skip_auto_headers=["Content-Type"] if "data" in options else [],  # or it is a blob
            **options,
        )

    async def get(self, path: str = SLOT, **headers: str) -> Answer:
        return await self.call("GET", path, headers=_names(headers))

    async def put(self, value: object, path: str = SLOT, **headers: str) -> Answer:
        return await self.call("PUT", path, headers=_names(headers), json=value)

    async def delete(self, path: str = SLOT, **headers: str) -> Answer:
        return await self.call("DELETE", path, headers=_names(headers))


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    """`if_match` as a header's name."""
    return {name.replace("_", "-"): value for name, value in headers.items()}
