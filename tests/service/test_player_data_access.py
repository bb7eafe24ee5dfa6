"""Who may do what: every route against every kind of wrong token, and against another player."""

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from joserfc.jwk import RSAKey

from services.player_data.handlers import routes
from tests.support import apps
from tests.support.apps import Running
from tests.support.calls import bearer, call, without_request_id
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer, ec_key
from tests.support.records import RECORDS, SLOT, Player

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALICE = "a" * 32
BOB = "b" * 32
BODIES: dict[str, Any] = {
    "PUT": {"json": {"stolen": True}},
    "PATCH": {"data": b"{}"},
    "increment": {"json": {"by": 1, "path": "/gold"}},
    "max": {"json": {"value": 2, "path": "/gold"}},
    "batch": {"json": {"writes": [{"collection": "saves", "key": "slot1", "value": "stolen"}]}},
    "merge": {"json": {"from": BOB}},
    "set-player-data": {"json": {"player_name": "Mallory"}},
}
"""Of requests that succeed with the right token, by method or by the end of the path."""
COMPARED = ("GET", "PUT", "PATCH", "POST", "DELETE")  # whose answers have a body to compare


ROUTES = apps.route_table(routes)
ROUTE_IDS = [f"{method} {path}" for method, path in ROUTES]
FOR_SERVICES = [
    ("DELETE", "/v1/players/{player}"),
    ("GET", "/v1/players/{player}/export"),
    ("HEAD", "/v1/players/{player}/export"),
    ("POST", "/v1/players/{player}/merge"),
    ("GET", "/v1/players/{player}/summary"),
    ("HEAD", "/v1/players/{player}/summary"),
]
FOR_PLAYERS = [route for route in ROUTES if route not in FOR_SERVICES]
OF_A_PLAYER = [(method, path) for method, path in FOR_PLAYERS if "{player}" in path]


def filled(path: str, player: str = "me") -> str:
    """The path of the record that exists."""
    of_it = {"player": player, "collection": "saves", "key": "slot1", "version": "1"}
    return path.format_map(of_it)


def options_of(method: str, path: str) -> dict[str, Any]:
    """A request that succeeds with the right token."""
    if method == "GET" and path.endswith("/set-player-data"):
        return {"params": {"player_name": "Mallory"}}
    if method == "POST":
        return dict(BODIES.get(path.rpartition("/")[2], {}))
    return dict(BODIES.get(method, {}))


@dataclass(frozen=True)
class World:
    data: Running
    issuer: Issuer
    clock: ManualClock

    def url(self, path: str) -> str:
        """An absolute one, since a client takes a relative `//` for the name of a host."""
        return self.data.url + filled(path)

    @property
    def alice(self) -> Player:
        return Player(self.data, ALICE, self.issuer.token(sub=ALICE))

    async def everything_of_alice(self) -> dict[str, Any]:
        return dict((await self.alice.get(RECORDS)).json())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    tmp_path_factory: pytest.TempPathFactory, signing_key: RSAKey
) -> AsyncIterator[World]:
    """One for all tests, since none of them may change anything; Alice has data there."""
    clock = ManualClock()
    issuer = Issuer(clock, signing_key)
    async with apps.player_data(tmp_path_factory.mktemp("data"), issuer, clock) as data:
        alice = Player(data, ALICE, issuer.token(sub=ALICE))
        await alice.put({"gold": 1})
        await alice.call("POST", "/set-player-data", json={"player_name": "Alice"})
        yield World(data, issuer, clock)


def _unsigned(issuer: Issuer, algorithm: str) -> str:
    def encode(value: Mapping[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    header = {"alg": algorithm, "kid": issuer.key["kid"], "typ": "at+jwt"}
    return f"{encode(header)}.{encode(issuer.claims(sub=ALICE))}."


def _with(**changes: Any) -> Callable[[Issuer], str]:  # noqa: ANN401 - also wrong types
    return lambda issuer: issuer.token(**{"sub": ALICE, **changes})


NOW = 1767323045
TOKENS: dict[str, Callable[[Issuer], str]] = {
    "garbage": lambda _issuer: "garbage",
    "three dots": lambda _issuer: "a.b.c",
    "expired": _with(iat=NOW - 961, nbf=NOW - 961, exp=NOW - 61),
    "expired at the end of the leeway": _with(iat=NOW - 960, nbf=NOW - 960, exp=NOW - 60),
    "not yet valid": _with(iat=NOW + 61, nbf=NOW + 61, exp=NOW + 961),
    "living too long": _with(exp=NOW + 901),
    "without an end": _with(exp=None),
    "without a subject": _with(sub=None),
    "without a session": _with(sid=None),
    "of another issuer": _with(iss="https://evil.test"),
    "for another audience": _with(aud="another-game"),
    "for the service, of a player": _with(aud="playmesh:player_data"),
    "signed by another key of the same id": lambda issuer: issuer.token(
        key=RSAKey.generate_key(2048, {"kid": str(issuer.key["kid"]), "alg": "RS256"}), sub=ALICE
    ),
    "signed by an unknown key": lambda issuer: issuer.token(key=ec_key("unknown"), sub=ALICE),
    "unsigned": lambda issuer: _unsigned(issuer, "none"),
    "unsigned under the right name": lambda issuer: _unsigned(issuer, "RS256"),
    "with its signature cut off": lambda issuer: issuer.token(sub=ALICE).rpartition(".")[0] + ".",
    "with other claims": lambda issuer: ".".join(
        [
            issuer.token(sub=BOB).split(".")[0],
            issuer.token(sub=ALICE).split(".")[1],
            issuer.token(sub=BOB).split(".")[2],
        ]
    ),
    "of type JWT": lambda issuer: issuer.token(header={"typ": "JWT"}, sub=ALICE),
    "without a type": lambda issuer: issuer.token(header={"typ": None}, sub=ALICE),
    "a service token for another service": lambda issuer: issuer.service_token(
        "operator", audience="playmesh:keyrotator", scope="keys:rotate"
    ),
    "a service token for players": lambda issuer: issuer.service_token(
        "operator", audience="gamebackend", scope="guest"
    ),
}
NO_TOKENS: dict[str, list[tuple[str, str]]] = {
    "none": [],
    "empty": [("Authorization", "")],
    "the scheme alone": [("Authorization", "Bearer")],
    "basic": [("Authorization", "Basic YWxpY2U6c2VjcmV0")],
}


@pytest.mark.parametrize("route", FOR_PLAYERS, ids=[f"{m} {p}" for m, p in FOR_PLAYERS])
async def test_a_route_answers_to_the_right_token(
    tmp_path_factory: pytest.TempPathFactory, signing_key: RSAKey, route: tuple[str, str]
) -> None:
    method, path = route
    clock = ManualClock()
    issuer = Issuer(clock, signing_key)
    async with apps.player_data(tmp_path_factory.mktemp("data"), issuer, clock) as data:
        alice = Player(data, ALICE, issuer.token(sub=ALICE))
        await alice.put({"gold": 1})
        await alice.call("POST", "/set-player-data", json={"player_name": "Alice"})
        answer = await alice.call(method, filled(path), **options_of(method, path))
    assert answer.status in (200, 204)


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("route", ROUTES, ids=ROUTE_IDS)
async def test_a_token_that_does_not_hold_opens_no_route(
    world: World, route: tuple[str, str], kind: str
) -> None:
    method, path = route
    before = await world.everything_of_alice()
    headers = bearer(TOKENS[kind](world.issuer))
    answer = await call(
        world.data.http, method, world.url(path), headers=headers, **options_of(method, path)
    )
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert method == "HEAD" or answer.code == "invalid_token"
    assert await world.everything_of_alice() == before


@pytest.mark.parametrize("headers", NO_TOKENS.values(), ids=NO_TOKENS.keys())
@pytest.mark.parametrize("route", ROUTES, ids=ROUTE_IDS)
async def test_no_route_opens_without_a_token(
    world: World, route: tuple[str, str], headers: list[tuple[str, str]]
) -> None:
    method, path = route
    before = await world.everything_of_alice()
    answer = await call(
        world.data.http, method, world.url(path), headers=headers, **options_of(method, path)
    )
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert await world.everything_of_alice() == before


@pytest.mark.parametrize("route", ROUTES, ids=ROUTE_IDS)
async def test_two_tokens_at_once_open_no_route(world: World, route: tuple[str, str]) -> None:
    method, path = route
    one = world.issuer.token(sub=ALICE)
    headers = [("Authorization", f"Bearer {one}"), ("Authorization", f"Bearer {one}")]
    answer = await call(
        world.data.http, method, world.url(path), headers=headers, **options_of(method, path)
    )
    assert answer.status == 401


@pytest.mark.parametrize("route", ROUTES, ids=ROUTE_IDS)
async def test_a_token_in_the_url_opens_no_route(world: World, route: tuple[str, str]) -> None:
    method, path = route
    params = {"access_token": world.issuer.token(sub=ALICE)}
    answer = await call(world.data.http, method, world.url(path), params=params)
    assert answer.status == 401


@pytest.mark.parametrize("scope", ["player_data:admin", "guest", "keys:rotate"])
@pytest.mark.parametrize("route", ROUTES, ids=ROUTE_IDS)
async def test_a_service_is_forbidden_what_is_for_players_or_for_another_scope(
    world: World, route: tuple[str, str], scope: str
) -> None:
    method, path = route
    token = world.issuer.service_token("identity", audience="playmesh:player_data", scope=scope)
    answer = await call(
        world.data.http,
        method,
        world.url(path),
        headers=bearer(token),
        **options_of(method, path),
    )
    assert answer.status == 403
    assert method == "HEAD" or answer.code == "forbidden"


@pytest.mark.parametrize("player", [ALICE, BOB, "me"])
@pytest.mark.parametrize("route", FOR_SERVICES, ids=[f"{m} {p}" for m, p in FOR_SERVICES])
async def test_a_player_is_forbidden_what_is_for_services_also_of_its_own(
    world: World, route: tuple[str, str], player: str
) -> None:
    method, path = route
    before = await world.everything_of_alice()
    answer = await world.alice.call(method, filled(path, player))
    assert answer.status == 403
    assert method == "HEAD" or answer.code == "forbidden"
    assert await world.everything_of_alice() == before


async def test_every_token_that_does_not_hold_gets_the_same_answer(world: World) -> None:
    answers = [
        await call(world.data.http, "GET", SLOT, headers=bearer(make(world.issuer)))
        for make in TOKENS.values()
    ]
    answers.append(await call(world.data.http, "GET", SLOT))
    first = without_request_id(answers[0])
    assert all(without_request_id(answer) == first for answer in answers)


@pytest.mark.parametrize("route", OF_A_PLAYER, ids=[f"{m} {p}" for m, p in OF_A_PLAYER])
async def test_the_resources_of_another_player_are_not_found(
    world: World, route: tuple[str, str]
) -> None:
    method, path = route
    bob = Player(world.data, BOB, world.issuer.token(sub=BOB))
    before = await world.everything_of_alice()
    answer = await bob.call(method, filled(path, ALICE), **options_of(method, path))
    assert answer.status == 404
    assert method == "HEAD" or answer.code == "not_found"
    assert await world.everything_of_alice() == before


@pytest.mark.parametrize(
    "route",
    [route for route in OF_A_PLAYER if route[0] in COMPARED],
    ids=[f"{m} {p}" for m, p in OF_A_PLAYER if m in COMPARED],
)
@pytest.mark.parametrize("headers", [{}, {"If-None-Match": "*"}, {"If-Match": '"1"'}], ids=str)
async def test_a_player_that_exists_cannot_be_told_from_one_that_does_not(
    world: World, route: tuple[str, str], headers: Mapping[str, str]
) -> None:
    method, path = route
    bob = Player(world.data, BOB, world.issuer.token(sub=BOB))
    exists, does_not = [
        await bob.call(method, filled(path, player), headers=headers, **options_of(method, path))
        for player in (ALICE, "0" * 32)
    ]
    assert without_request_id(exists) == without_request_id(does_not)


@pytest.mark.parametrize(
    "name", [ALICE.upper(), ALICE + "0", ALICE[:-1], "ME", "Me", "*", "-", f"{BOB},{ALICE}"]
)
async def test_a_name_that_is_almost_ones_own_is_not_found(world: World, name: str) -> None:
    answer = await world.alice.get(SLOT.replace("/me/", f"/{name}/"))
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   ", ""])
async def test_a_token_is_taken_with_its_scheme_or_bare(world: World, scheme: str) -> None:
    headers = {"Authorization": scheme + world.issuer.token(sub=ALICE)}
    assert (await call(world.data.http, "GET", SLOT, headers=headers)).status == 200
