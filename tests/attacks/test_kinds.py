"""No kind of token passes where another kind is asked for, on any route of any service (T-08)."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from aiohttp import web

from services.identity.models import SessionKey
from services.identity.refresh_tokens import RefreshToken, RefreshTokens
from services.keyrotator.handlers import routes as keyrotator_routes
from services.player_data.handlers import routes as player_data_routes
from shared.ids import new_id, new_key, new_secret
from tests.support import apps
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer

FILLED = {"player": "me", "collection": "saves", "key": "slot1", "kid": "some"}

# Who passes where this is demanded.
PLAYER = {"a player's", "a player's, linked", "a player's, with the scopes of services"}
ROTATE = {"keyrotator's"}
ERASE = {"player_data's, to erase", "player_data's, for both"}
EXPORT = {"player_data's, to export", "player_data's, for both"}

RECORD = "/v1/players/{player}/records/{collection}/{key}"
PLAYER_DATA = {
    "GET /v1/players/{player}/records": PLAYER,
    f"GET {RECORD}": PLAYER,
    f"PUT {RECORD}": PLAYER,
    f"DELETE {RECORD}": PLAYER,
    f"GET {RECORD}/versions": PLAYER,
    "DELETE /v1/players/{player}": ERASE,
    "GET /v1/players/{player}/export": EXPORT,
    **{
        f"{method} {slash}/{name}-player-data": PLAYER
        for method in ("GET", "POST")
        for slash in ("", "/")
        for name in ("get", "set")
    },
}
KEYROTATOR = {
    "GET /v1/keys": ROTATE,
    "POST /v1/keys/rotate": ROTATE,
    "POST /v1/keys/{kid}/revoke": ROTATE,
}


def kinds(issuer: Issuer) -> Mapping[str, str]:
    refresh = RefreshTokens(new_key)
    session = SessionKey(new_id(), new_id())

    def service(audience: str, scope: str) -> str:
        return issuer.service_token("operator", audience=audience, scope=scope)

    both = "player_data:erase player_data:export"
    return {
        "a player's": issuer.token(),
        "a player's, linked": issuer.token(scope="authenticated"),
        "a player's, with the scopes of services": issuer.token(scope=f"guest {both} keys:rotate"),
        "keyrotator's": service("playmesh:keyrotator", "keys:rotate"),
        "keyrotator's, without the scope": service("playmesh:keyrotator", "keys:read"),
        "keyrotator's, with the scopes of player_data": service("playmesh:keyrotator", both),
        "player_data's": service("playmesh:player_data", "keys:rotate"),
        "player_data's, to erase": service("playmesh:player_data", "player_data:erase"),
        "player_data's, to export": service("playmesh:player_data", "player_data:export"),
        "player_data's, for both": service("playmesh:player_data", both),
        "a service's for players": service("gamebackend", f"keys:rotate {both}"),
        "a player's for keyrotator": issuer.token(aud="playmesh:keyrotator", scope="keys:rotate"),
        "a player's for player_data": issuer.token(aud="playmesh:player_data", scope=both),
        "an ID token": issuer.token({"typ": "JWT"}),
        "a token without a type": issuer.token({"typ": None}),
        "a logout token": issuer.token({"typ": "logout+jwt"}),
        "a refresh token": refresh.render(RefreshToken(session, 1)),
        "a guest secret": new_secret(),
    }


async def passed(
    running: apps.Running, routes: Iterable[web.AbstractRouteDef], issuer: Issuer
) -> Mapping[str, set[str]]:
    """The kinds that were let in, by route; a wrong request is answered after its token."""
    found: dict[str, set[str]] = {}
    for method, path in apps.route_table(routes):
        if method == "HEAD":  # GET's own
            continue
        url = running.url + path.format_map(FILLED)  # not relative: some begin with two slashes
        found[f"{method} {path}"] = set()
        for kind, token in kinds(issuer).items():
            headers = {"Authorization": f"Bearer {token}"}
            async with running.http.request(method, url, headers=headers) as response:
                if response.status not in (401, 403):
                    found[f"{method} {path}"].add(kind)
    return found


async def test_each_route_of_player_data_lets_in_the_kinds_that_it_demands_only(
    tmp_path: Path, clock: ManualClock, issuer: Issuer
) -> None:
    async with apps.player_data(tmp_path, issuer, clock) as running:
        assert await passed(running, player_data_routes, issuer) == PLAYER_DATA


async def test_each_route_of_keyrotator_lets_in_services_with_its_scope_only(
    tmp_path: Path, clock: ManualClock, issuer: Issuer
) -> None:
    async with apps.keyrotator(tmp_path, issuer, clock) as running:
        assert await passed(running, keyrotator_routes, issuer) == KEYROTATOR


@pytest.mark.parametrize("path", ["/v1/sessions/refresh", "/refresh-access-token"])
async def test_only_a_refresh_token_refreshes(
    tmp_path: Path, clock: ManualClock, issuer: Issuer, path: str
) -> None:
    async with apps.identity(tmp_path, clock) as running:
        async with running.http.post("/v1/guests") as response:
            guest = await response.json()
        mine = {name: guest[name] for name in ("access_token", "guest_secret")}
        for kind, token in {**kinds(issuer), **mine}.items():
            async with running.http.post(path, json={"refresh_token": token}) as response:
                assert response.status in (400, 401), kind
