"""No kind of token passes where another kind is asked for, on any route of any service (T-08)."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

import pytest
from aiohttp import web

from services.identity import (
    account_handlers,
    admin_handlers,
    cognito_handlers,
    handlers,
    oauth_handlers,
    provider_handlers,
)
from services.identity.models import SessionKey
from services.identity.refresh_tokens import RefreshToken, RefreshTokens
from services.keyrotator.handlers import routes as keyrotator_routes
from services.player_data.handlers import routes as player_data_routes
from shared.ids import new_id, new_key, new_secret
from tests.support import apps
from tests.support.calls import call
from tests.support.clock import ManualClock
from tests.support.fakes.cognito import POOL_ALONE
from tests.support.issuer import Issuer
from tests.support.people import new_person

IDENTITY_ALONE = {
    "PLAYMESH_SIGNING_ALG": "ES256",
    "PLAYMESH_PLAYER_DATA_URL": "http://127.0.0.1:1",  # nobody is there
    **POOL_ALONE,
}
FILLED = {
    "player": "me",
    "collection": "saves",
    "key": "slot1",
    "kid": "some",
    "user_id": "0" * 32,
    "session_id": "0" * 32,
    "provider": "steam",
    "external_id": "76561197960287930",
    "code": "00",
    "version": "1",
}

# Who passes where this is demanded.
PLAYER = {"a player's", "a player's, linked", "a player's, with the scopes of services"}
ROTATE = {"keyrotator's"}
ERASE = {"player_data's, to erase", "player_data's, for both"}
EXPORT = {"player_data's, to export", "player_data's, for both"}
SUMMARIZE = {"player_data's, to sum up"}
MERGE = {"player_data's, to merge"}
READ = PLAYER | {"player_data's, to read"}
WRITE = PLAYER | {"player_data's, to write"}
OPERATE = {"identity's"}
PUBLIC = None
"""Whoever it is, and whoever it is not: no token is looked at."""

RECORD = "/v1/players/{player}/records/{collection}/{key}"
PLAYER_DATA = {
    "GET /v1/players/{player}/records": READ,
    f"GET {RECORD}": READ,
    f"PUT {RECORD}": WRITE,
    f"PATCH {RECORD}": WRITE,
    f"DELETE {RECORD}": WRITE,
    f"POST {RECORD}/increment": WRITE,
    f"POST {RECORD}/max": WRITE,
    f"GET {RECORD}/versions": READ,
    f"GET {RECORD}/versions/{{version}}": READ,
    f"POST {RECORD}/versions/{{version}}/restore": WRITE,
    "POST /v1/records/batch": READ | WRITE,
    "POST /v1/players/{player}/merge": MERGE,
    "DELETE /v1/players/{player}": ERASE,
    "GET /v1/players/{player}/export": EXPORT,
    "GET /v1/players/{player}/summary": SUMMARIZE,
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


PLAYER_OF_IDENTITY = "/v1/admin/players/{user_id}"
PLATFORM_IDENTITY = "/v1/admin/identities/{provider}/{external_id}"
IDENTITY = {
    "POST /v1/guests": PUBLIC,
    "POST /v1/nonces": PUBLIC,
    "POST /v1/sessions": PUBLIC,
    "POST /v1/sessions/refresh": PUBLIC,
    "GET /.well-known/jwks.json": PUBLIC,
    "GET /.well-known/revocations.json": PUBLIC,
    "GET /.well-known/openid-configuration": PUBLIC,
    "POST /oauth2/token": PUBLIC,
    "POST /v1/providers/apple/notifications": PUBLIC,
    "POST /v1/providers/facebook/deauthorize": PUBLIC,
    "POST /v1/providers/facebook/deletion": PUBLIC,
    "GET /v1/deletions/{code}": PUBLIC,
    **{
        f"{method} {slash}{path}": PUBLIC
        for method in ("GET", "POST")
        for slash in ("", "/")
        for path in (
            "/login-as-guest",
            "/login-with-apple-id",
            "/login-with-facebook",
            "/login-with-google-play",
            "/login-with-steam",
            "/refresh-access-token",
        )
    },
    **{
        f"POST /v1/cognito/{name}": PUBLIC
        for name in (
            "confirm",
            "forgot-password",
            "resend",
            "reset-password",
            "sign-out",
            "sign-up",
        )
    },
    "POST /login-with-cognito": PUBLIC,
    "POST //login-with-cognito": PUBLIC,
    "GET /v1/sessions": PLAYER,
    "DELETE /v1/sessions": PLAYER,
    "DELETE /v1/sessions/current": PLAYER,
    "DELETE /v1/sessions/{session_id}": PLAYER,
    "GET /v1/account": PLAYER,
    "DELETE /v1/account": PLAYER,
    "POST /v1/account/guest-secret": PLAYER,
    "POST /v1/account/identities": PLAYER,
    "POST /v1/account/identities/resolve": PLAYER,
    "DELETE /v1/account/identities/{provider}": PLAYER,
    "GET /v1/account/export": PLAYER,
    f"GET {PLAYER_OF_IDENTITY}": OPERATE,
    f"POST {PLAYER_OF_IDENTITY}/ban": OPERATE,
    f"POST {PLAYER_OF_IDENTITY}/unban": OPERATE,
    f"POST {PLAYER_OF_IDENTITY}/revoke-sessions": OPERATE,
    f"POST {PLAYER_OF_IDENTITY}/recover": OPERATE,
    f"GET {PLATFORM_IDENTITY}": OPERATE,
    f"POST {PLATFORM_IDENTITY}/ban": OPERATE,
    f"POST {PLATFORM_IDENTITY}/unban": OPERATE,
}
IDENTITY_ROUTES = [
    *handlers.routes,
    *account_handlers.routes,
    *admin_handlers.routes,
    *cognito_handlers.routes,
    *oauth_handlers.routes,
    *provider_handlers.routes,
]


def kinds(issuer: Issuer) -> Mapping[str, str]:
    refresh = RefreshTokens(new_key)
    session = SessionKey(new_id(), new_id())

    def service(audience: str, scope: str) -> str:
        return issuer.service_token("operator", audience=audience, scope=scope)

    both = "player_data:erase player_data:export"
    records = "player_data:read player_data:write player_data:merge"
    every = f"{both} {records} player_data:summary keys:rotate identity:admin"
    return {
        "nothing": "",
        "a player's": issuer.token(),
        "a player's, linked": issuer.token(scope="authenticated"),
        "a player's, with the scopes of services": issuer.token(scope=f"guest {every}"),
        "identity's": service("playmesh:identity", "identity:admin"),
        "identity's, without the scope": service("playmesh:identity", "identity:read keys:rotate"),
        "identity's, with the scopes of others": service(
            "playmesh:identity", f"{both} {records} keys:rotate"
        ),
        "keyrotator's": service("playmesh:keyrotator", "keys:rotate"),
        "keyrotator's, without the scope": service("playmesh:keyrotator", "keys:read"),
        "keyrotator's, with the scopes of player_data": service(
            "playmesh:keyrotator", f"{both} {records} identity:admin"
        ),
        "player_data's": service("playmesh:player_data", "keys:rotate identity:admin"),
        "player_data's, to erase": service("playmesh:player_data", "player_data:erase"),
        "player_data's, to export": service("playmesh:player_data", "player_data:export"),
        "player_data's, to sum up": service("playmesh:player_data", "player_data:summary"),
        "player_data's, to read": service("playmesh:player_data", "player_data:read"),
        "player_data's, to write": service("playmesh:player_data", "player_data:write"),
        "player_data's, to merge": service("playmesh:player_data", "player_data:merge"),
        "player_data's, for both": service("playmesh:player_data", both),
        "a service's for players": service("gamebackend", every),
        "a player's for identity": issuer.token(aud="playmesh:identity", scope=every),
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
            headers = {"Authorization": f"Bearer {token}"} if token else {}
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


@contextlib.asynccontextmanager
async def identity_alone(
    data_dir: Path, clock: ManualClock
) -> AsyncIterator[tuple[apps.RunningIdentity, Issuer]]:
    """Identity, and an issuer with its own key: what it refuses it does not for a signature."""
    async with apps.identity(data_dir, clock, IDENTITY_ALONE) as running:
        loaded = running.signer._loaded
        assert loaded
        yield running, Issuer(clock, loaded.key)


async def test_each_route_of_identity_lets_in_the_kinds_that_it_demands_only(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with identity_alone(tmp_path, clock) as (running, issuer):
        everybody = set(kinds(issuer))
        expected = {
            route: everybody if demanded is PUBLIC else demanded
            for route, demanded in IDENTITY.items()
        }
        assert await passed(running, IDENTITY_ROUTES, issuer) == expected


async def test_what_identity_itself_issues_is_of_the_kind_that_it_is_for(
    tmp_path: Path, clock: ManualClock
) -> None:
    """So that the matrix is one of tokens that there are."""
    async with identity_alone(tmp_path, clock) as (running, _):
        player = (await new_person(running)).tokens["access_token"]
        operator = running.service_token("identity:admin")
        for route, demanded in IDENTITY.items():
            method, path = route.split(" ")
            if demanded is PUBLIC or method == "DELETE":  # which would end what is asked with
                continue
            url = running.url + path.format_map(FILLED)
            for token, own in ((player, PLAYER), (operator, OPERATE)):
                headers = {"Authorization": f"Bearer {token}"}
                answer = await call(running.http, method, url, headers=headers)
                assert (answer.status != 403) == (demanded is own), route
                assert answer.status != 401, route


@pytest.mark.parametrize("path", ["/v1/sessions/refresh", "/refresh-access-token"])
async def test_only_a_refresh_token_refreshes(
    tmp_path: Path, clock: ManualClock, path: str
) -> None:
    async with identity_alone(tmp_path, clock) as (running, issuer):
        mine = await new_person(running)
        of_a_guest = {"mine": mine.tokens["access_token"], "my secret": mine.guest_secret}
        for kind, token in {**kinds(issuer), **of_a_guest}.items():
            answer = await call(running.http, "POST", path, json={"refresh_token": token})
            assert answer.status in (400, 401), kind


async def test_only_the_guest_secret_logs_in(tmp_path: Path, clock: ManualClock) -> None:
    async with identity_alone(tmp_path, clock) as (running, issuer):
        mine = await new_person(running)
        of_a_guest = {name: str(mine.tokens[name]) for name in ("access_token", "refresh_token")}
        for kind, token in {**kinds(issuer), **of_a_guest}.items():
            answer = await mine.try_to_log_in(secret=token)
            assert answer.status in (400, 401, 429), kind
        assert (await mine.try_to_log_in()).status == 201


async def test_no_token_is_the_secret_of_a_service(tmp_path: Path, clock: ManualClock) -> None:
    async with identity_alone(tmp_path, clock) as (running, issuer):
        form = {
            "grant_type": "client_credentials",
            "resource": "playmesh:identity",
            "client_id": "operator",
        }
        for kind, token in kinds(issuer).items():
            answer = await call(
                running.http, "POST", "/oauth2/token", data={**form, "client_secret": token}
            )
            assert answer.status in (400, 401), kind
