"""No kind of token passes where another kind is asked for, on any route of any service (T-08)."""

from collections.abc import Iterable, Iterator, Mapping
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


def kinds(issuer: Issuer) -> Mapping[str, str]:
    refresh = RefreshTokens(new_key)
    session = SessionKey(new_id(), new_id())

    def service(audience: str, scope: str) -> str:
        return issuer.service_token("operator", audience=audience, scope=scope)

    return {
        "a player's": issuer.token(),
        "a player's, linked": issuer.token(scope="authenticated"),
        "keyrotator's": service("playmesh:keyrotator", "keys:rotate"),
        "keyrotator's, without the scope": service("playmesh:keyrotator", "keys:read"),
        "player_data's": service("playmesh:player_data", "keys:rotate"),
        "a service's for players": service("gamebackend", "keys:rotate"),
        "a player's for keyrotator": issuer.token(aud="playmesh:keyrotator", scope="keys:rotate"),
        "an ID token": issuer.token({"typ": "JWT"}),
        "a token without a type": issuer.token({"typ": None}),
        "a logout token": issuer.token({"typ": "logout+jwt"}),
        "a refresh token": refresh.render(RefreshToken(session, 1)),
        "a guest secret": new_secret(),
    }


def requests(routes: Iterable[web.AbstractRouteDef]) -> Iterator[tuple[str, str]]:
    for route in routes:
        assert isinstance(route, web.RouteDef)
        yield route.method, route.path.format_map(FILLED)


async def passed(
    running: apps.Running, routes: Iterable[web.AbstractRouteDef], issuer: Issuer
) -> set[str]:
    """The kinds that were let in anywhere; a wrong request is answered after its token."""
    found = set()
    for method, path in requests(routes):
        url = running.url + path  # not relative to it: some paths begin with two slashes
        for kind, token in kinds(issuer).items():
            headers = {"Authorization": f"Bearer {token}"}
            async with running.http.request(method, url, headers=headers) as response:
                if response.status not in (401, 403):
                    found.add(kind)
    return found


async def test_player_data_lets_in_players_only(
    tmp_path: Path, clock: ManualClock, issuer: Issuer
) -> None:
    async with apps.player_data(tmp_path, issuer, clock) as running:
        assert await passed(running, player_data_routes, issuer) == {
            "a player's",
            "a player's, linked",
        }


async def test_keyrotator_lets_in_services_with_its_scope_only(
    tmp_path: Path, clock: ManualClock, issuer: Issuer
) -> None:
    async with apps.keyrotator(tmp_path, issuer, clock) as running:
        assert await passed(running, keyrotator_routes, issuer) == {"keyrotator's"}


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
