"""A player at player_data's routes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.apps import Running
from tests.support.calls import bearer, call
from tests.support.issuer import Issuer
from tests.support.servers import Answer

RECORDS = "/v1/players/me/records"
SLOT = f"{RECORDS}/saves/slot1"
BATCH = "/v1/records/batch"
MERGE_PATCH = "application/merge-patch+json"


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

    async def patch(self, value: object, path: str = SLOT, **headers: str) -> Answer:
        body = json.dumps(value).encode()
        named = {"Content-Type": MERGE_PATCH, **_names(headers)}
        return await self.call("PATCH", path, headers=named, data=body)

    async def post(self, path: str, value: object = None, **headers: str) -> Answer:
        body = {} if value is None else {"json": value}
        return await self.call("POST", path, headers=_names(headers), **body)

    async def delete(self, path: str = SLOT, **headers: str) -> Answer:
        return await self.call("DELETE", path, headers=_names(headers))


def service(data: Running, issuer: Issuer, scope: str) -> Player:
    """As it calls with a token of its own; its paths name the player."""
    token = issuer.service_token("shop", audience="playmesh:player_data", scope=scope)
    return Player(data, "service:shop", token)


def collections_file(folder: Path, document: object) -> dict[str, str]:
    """The setting, of a file with this document, or with this text."""
    path = folder / "collections.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return {"PLAYMESH_COLLECTIONS_FILE": str(path)}


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    """`if_match` as a header's name."""
    return {name.replace("_", "-"): value for name, value in headers.items()}
