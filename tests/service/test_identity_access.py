"""Who may use the routes of identity that take a token, and what every answer of them carries."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from services.identity import account_handlers, admin_handlers
from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity, route_table
from tests.support.calls import bearer, call, without_request_id
from tests.support.clock import ManualClock
from tests.support.issuer import AUDIENCE, Issuer, ec_key, rsa_key
from tests.support.people import Person, new_person, operate
from tests.support.servers import Answer, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = 1767323045  # the manual clock's 2026-01-02T03:04:05Z
FOR_PLAYERS = route_table(account_handlers.routes)
FOR_OPERATORS = route_table(admin_handlers.routes)
ROUTES = [*FOR_PLAYERS, *FOR_OPERATORS]
ROUTE_IDS = [f"{method} {path}" for method, path in ROUTES]
BODY = {"reason": "cheating"}


def player_data() -> web.Application:
    """It keeps nothing of anybody."""

    async def erase(_request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def export(_request: web.Request) -> web.Response:
        return web.json_response({"records": [], "cursor": None})

    app = web.Application()
    app.router.add_delete("/v1/players/{player}", erase)
    app.router.add_get("/v1/players/{player}/export", export)
    return app


@dataclass(frozen=True)
class World:
    identity: RunningIdentity
    issuer: Issuer  # has identity's own key
    player: Person

    def claims(self, route: tuple[str, str]) -> dict[str, Any]:
        """Those of a token that opens the route."""
        if route in FOR_PLAYERS:
            return {"sub": self.player.user_id, "sid": self.player.session_id}
        operator = {"sub": "service:operator", "client_id": "operator", "sid": None}
        return {**operator, "aud": "playmesh:identity", "scope": "identity:admin"}

    async def ask(self, route: tuple[str, str], headers: Any = None, **options: Any) -> Answer:  # noqa: ANN401 - aiohttp's own
        """A request that succeeds with the right token."""
        method, path = route
        filled = path.format(
            user_id=self.player.user_id,
            session_id=self.player.session_id,
            provider="steam",
            external_id="76561197960287930",
        )
        if method == "POST" and not options:
            options = {"json": BODY}
        return await call(self.identity.http, method, filled, headers=headers, **options)

    async def everything(self) -> object:
        player = await operate(self.identity, "GET", f"/players/{self.player.user_id}")
        identity = await operate(self.identity, "GET", "/identities/steam/76561197960287930")
        return player.json(), identity.json()


async def worlds(data_dir: Path) -> AsyncIterator[World]:
    clock = ManualClock()
    async with serving(player_data()) as url:
        environ = {**QUICK_KEYS, "PLAYMESH_PLAYER_DATA_URL": url}
        async with apps.identity(data_dir, clock, environ) as identity:
            loaded = identity.signer._loaded
            assert loaded
            yield World(identity, Issuer(clock, loaded.key), await new_person(identity))


@pytest_asyncio.fixture(loop_scope="module")
async def new_world(tmp_path: Path) -> AsyncIterator[World]:
    """For a test that changes something."""
    async for world in worlds(tmp_path):
        yield world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async for world in worlds(tmp_path_factory.mktemp("data")):
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def world(one_world: World) -> AsyncIterator[World]:
    """Of which nothing changes."""
    before = await one_world.everything()
    yield one_world
    assert await one_world.everything() == before


Make = Callable[[Issuer, Mapping[str, Any]], str]


def _with(**changes: Any) -> Make:  # noqa: ANN401 - also wrong types
    return lambda issuer, claims: issuer.token(**{**claims, **changes})


TOKENS: dict[str, Make] = {
    "garbage": lambda _issuer, _claims: "garbage",
    "expired": _with(iat=NOW - 961, nbf=NOW - 961, exp=NOW - 61),
    "expired at the end of the leeway": _with(iat=NOW - 960, nbf=NOW - 960, exp=NOW - 60),
    "not yet valid": _with(iat=NOW + 61, nbf=NOW + 61, exp=NOW + 961),
    "living too long": _with(exp=NOW + 901),
    "of another issuer": _with(iss="https://evil.test"),
    "of no issuer": _with(iss=None),
    "for another game": _with(aud="another-game"),
    "for another service": _with(aud="playmesh:keyrotator", sub="service:operator", sid=None),
    "a service's, for players": _with(aud=AUDIENCE, sub="service:operator", sid=None),
    "a player's, for the service": _with(aud="playmesh:identity", sub="a" * 32, sid="b" * 32),
    "without a subject": _with(sub=None),
    "of type JWT": lambda issuer, claims: issuer.token({"typ": "JWT"}, **claims),
    "signed by another key of the same id": lambda issuer, claims: issuer.token(
        key=ec_key(str(issuer.key["kid"])), **claims
    ),
    "signed by an unknown key": lambda issuer, claims: issuer.token(
        key=rsa_key("unknown"), **claims
    ),
    "with its signature cut off": lambda issuer, claims: (
        issuer.token(**claims).rpartition(".")[0] + "."
    ),
}
NO_TOKENS: dict[str, list[tuple[str, str]]] = {
    "none": [],
    "empty": [("Authorization", "")],
    "the scheme alone": [("Authorization", "Bearer")],
    "basic": [("Authorization", "Basic b3BlcmF0b3I6c2VjcmV0")],
    "a cookie": [("Cookie", "access_token=a.b.c")],
}


def is_refused(answer: Answer) -> bool:
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert_edges(answer)
    return answer.status == 401 and (not answer.body or answer.code == "invalid_token")


def assert_edges(answer: Answer) -> None:
    """What every answer has that anybody but its client could keep or be kept from."""
    assert answer.headers.getall("Cache-Control") == ["no-store"]
    assert answer.headers.getall("Access-Control-Allow-Origin") == ["*"]
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"Retry-After", "X-Request-Id"} <= set(exposed)
    assert answer.headers["X-Request-Id"]
    assert answer.headers.getall("Server") == ["playmesh"]


@pytest.mark.parametrize("route", ROUTES, ids=ROUTE_IDS)
async def test_a_route_answers_to_the_right_token_and_nobody_may_keep_the_answer(
    new_world: World, route: tuple[str, str]
) -> None:
    token = new_world.issuer.token(**new_world.claims(route))
    answer = await new_world.ask(route, bearer(token))
    needs_platform = route[0] == "POST" and route[1].startswith("/v1/account/identities")
    assert answer.status in ((400,) if needs_platform else (200, 204))  # none is on here
    assert_edges(answer)


@pytest.mark.parametrize("headers", NO_TOKENS.values(), ids=NO_TOKENS.keys())
@pytest.mark.parametrize("route", ROUTES, ids=ROUTE_IDS)
async def test_no_route_opens_without_a_token(
    world: World, route: tuple[str, str], headers: list[tuple[str, str]]
) -> None:
    assert is_refused(await world.ask(route, headers))


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("route", ROUTES, ids=ROUTE_IDS)
async def test_a_token_that_does_not_hold_opens_no_route(
    world: World, route: tuple[str, str], kind: str
) -> None:
    token = TOKENS[kind](world.issuer, world.claims(route))
    assert is_refused(await world.ask(route, bearer(token)))


@pytest.mark.parametrize("route", ROUTES, ids=ROUTE_IDS)
async def test_two_tokens_at_once_open_no_route(world: World, route: tuple[str, str]) -> None:
    one = ("Authorization", f"Bearer {world.issuer.token(**world.claims(route))}")
    assert is_refused(await world.ask(route, [one, one]))


@pytest.mark.parametrize("route", ROUTES, ids=ROUTE_IDS)
async def test_a_token_in_the_url_opens_no_route(world: World, route: tuple[str, str]) -> None:
    params = {"access_token": world.issuer.token(**world.claims(route))}
    assert is_refused(await world.ask(route, params=params))


@pytest.mark.parametrize("route", ROUTES, ids=ROUTE_IDS)
async def test_the_token_of_the_wrong_one_is_forbidden(
    world: World, route: tuple[str, str]
) -> None:
    other = FOR_OPERATORS[0] if route in FOR_PLAYERS else FOR_PLAYERS[0]
    answer = await world.ask(route, bearer(world.issuer.token(**world.claims(other))))
    assert (answer.status, route[0] == "HEAD" or answer.code) in ((403, "forbidden"), (403, True))
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope"'
    assert_edges(answer)


@pytest.mark.parametrize(
    "route", [("GET", "/v1/account"), ("GET", "/v1/admin/players/{user_id}")], ids=" ".join
)
async def test_every_token_that_does_not_hold_gets_the_same_answer(
    world: World, route: tuple[str, str]
) -> None:
    tokens = [make(world.issuer, world.claims(route)) for make in TOKENS.values()]
    answers = [await world.ask(route, bearer(token)) for token in tokens]
    told = [without_request_id(answer) for answer in [*answers, await world.ask(route)]]
    assert told == [told[0]] * len(told)


async def test_of_an_account_there_is_no_answer_more_without_a_token(world: World) -> None:
    """Whether somebody is known is not told to strangers."""
    path = FOR_OPERATORS[0][1]
    answers = [
        await call(world.identity.http, "GET", path.format(user_id=user_id))
        for user_id in (world.player.user_id, "0" * 32, "nobody")
    ]
    told = [without_request_id(answer) for answer in answers]
    assert told == [told[0]] * 3


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/v1/admin/players/nobody", {}, 404),
        ("GET", "/v1/admin/nothing", {}, 404),
        ("PUT", "/v1/admin/players/nobody", {}, 405),
        ("POST", "/v1/admin/identities/steam/1/ban", {"json": {}}, 400),
        ("POST", "/v1/admin/identities/steam/1/ban", {"data": b"x" * 2**20}, 413),
        ("POST", "/v1/admin/identities/steam/1/ban", {"data": {"reason": "x"}}, 415),
    ],
)
async def test_no_refusal_may_be_kept_either(
    world: World, method: str, path: str, options: Mapping[str, Any], status: int
) -> None:
    headers = bearer(world.identity.service_token("identity:admin"))
    if isinstance(options.get("data"), bytes):
        headers["Content-Type"] = "application/json"
    answer = await call(world.identity.http, method, path, headers=headers, **options)
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert_edges(answer)


@pytest.mark.parametrize("path", [path for _, path in ROUTES])
async def test_a_preflight_needs_no_token(world: World, path: str) -> None:
    headers = {"Origin": "https://game.example", "Access-Control-Request-Method": "DELETE"}
    answer = await world.ask(("OPTIONS", path), headers)
    assert answer.status == 204
    assert "DELETE" in answer.headers["Access-Control-Allow-Methods"].split(", ")
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"].split(", ")
