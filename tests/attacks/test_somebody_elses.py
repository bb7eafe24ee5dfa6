"""A player's token opens nothing of another player, on any route of any service (R-11).

The requests are made from the routing tables, so a route that is added is asked as well.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from services.identity import (
    account_handlers,
    admin_handlers,
    cognito_handlers,
    handlers,
    provider_handlers,
)
from services.keyrotator.handlers import routes as keyrotator_routes
from services.player_data.handlers import routes as player_data_routes
from tests.support import apps
from tests.support.apps import Running, route_table
from tests.support.calls import bearer, call
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.people import new_person
from tests.support.records import SLOT, Player

ES256 = {"PLAYMESH_SIGNING_ALG": "ES256"}
IDENTITY = [
    *handlers.routes,
    *account_handlers.routes,
    *admin_handlers.routes,
    *provider_handlers.routes,
    *cognito_handlers.routes,
]
BODY = {"reason": "envy", "value": 1}
BODIES: Mapping[str, Mapping[str, Any]] = {
    "PATCH": {"data": b"{}"},
    "increment": {"json": {"by": 1}},
    "max": {"json": {"value": 1}},
}
"""Of what takes no other, by method or by the end of the path."""


OF_MINE = {"/v1/account/identities/{provider}"}
"""What they name is a part of one's own account."""


def named(routes: Iterable[web.AbstractRouteDef]) -> list[tuple[str, str]]:
    """The routes whose path names a resource that may be somebody else's."""
    return [
        (method, path)
        for method, path in route_table(routes)
        if "{" in path and path not in OF_MINE
    ]


async def let_in(
    running: Running, routes: Iterable[web.AbstractRouteDef], token: str, of: Mapping[str, str]
) -> list[str]:
    """The routes that took `token` for the resources `of` somebody else."""
    found = []
    for method, path in named(routes):
        default = {} if method in ("GET", "HEAD") else {"json": BODY}
        body = BODIES.get(method) or BODIES.get(path.rpartition("/")[2], default)
        url = running.url + path.format_map(of)
        answer = await call(running.http, method, url, headers=bearer(token), **body)
        if answer.status not in (403, 404):
            found.append(f"{method} {path}: {answer.status}")
    return found


async def test_identity(tmp_path: Path, clock: ManualClock) -> None:
    async with apps.identity(tmp_path, clock, ES256) as identity:
        mallory, alice = await new_person(identity), await new_person(identity)
        alices = {
            "user_id": alice.user_id,
            "session_id": alice.session_id,
            "provider": "steam",
            "external_id": "76561197960287930",
            "code": alice.user_id,
        }
        token = mallory.tokens["access_token"]
        assert await let_in(identity, IDENTITY, token, alices) == []
        assert (await alice.refresh()).status == 200
        assert (await alice.try_to_log_in()).status == 201


@pytest.mark.parametrize("scope", ["guest", "authenticated"])
async def test_player_data(tmp_path: Path, clock: ManualClock, issuer: Issuer, scope: str) -> None:
    async with apps.player_data(tmp_path, issuer, clock) as running:
        alice = Player(running, "a" * 32, issuer.token(sub="a" * 32))
        saved = await alice.put({"gold": 1})
        assert saved.status == 201
        alices = {"player": alice.user_id, "collection": "saves", "key": "slot1", "version": "1"}
        token = issuer.token(sub="b" * 32, scope=scope)
        assert await let_in(running, player_data_routes, token, alices) == []
        assert (await alice.get(SLOT)).json() == saved.json()


async def test_keyrotator(tmp_path: Path, clock: ManualClock, issuer: Issuer) -> None:
    async with apps.keyrotator(tmp_path, issuer, clock) as running:
        found = await let_in(running, keyrotator_routes, issuer.token(), {"kid": "key-1"})
        assert found == []


@pytest.mark.parametrize(
    "routes", [IDENTITY, player_data_routes, keyrotator_routes], ids=["identity", "data", "keys"]
)
def test_there_are_routes_to_ask(routes: Iterable[web.AbstractRouteDef]) -> None:
    assert named(routes)
