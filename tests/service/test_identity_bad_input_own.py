"""Every route of identity that takes a token against requests that no client of ours sends.

The token is the right one, so that nothing stands between the request and its handler.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.identity import account_handlers, admin_handlers
from tests.service.conftest import QUICK_KEYS
from tests.service.test_identity_bad_input import NOT_AN_OBJECT, OPTIONAL, WRONG_TEXTS, changed
from tests.support import apps
from tests.support.apps import RunningIdentity, route_table
from tests.support.clock import ManualClock
from tests.support.identity_store import contents, count
from tests.support.people import Person, new_person, operate
from tests.support.servers import Answer, send

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = "application/json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")
NOBODY = "0" * 32

PLAYER = "/v1/admin/players/{user_id}"
PLATFORM = "/v1/admin/identities/{provider}/{external_id}"
BAN = {"reason": "cheating", "until": "2026-12-24T18:00:00Z", "scope": "chat"}
UNBAN = {"scope": "chat"}
RESOLVE = "/v1/account/identities/resolve"
DECISION = {"conflict_token": "x", "keep": "current"}

FOR_PLAYERS = {
    "/v1/sessions": ("GET", "HEAD", "DELETE"),
    "/v1/sessions/current": ("DELETE",),
    "/v1/sessions/{session_id}": ("DELETE",),
    "/v1/account": ("GET", "HEAD", "DELETE"),
    "/v1/account/guest-secret": ("POST",),
    "/v1/account/export": ("GET", "HEAD"),
    "/v1/account/identities": ("POST",),
    "/v1/account/identities/resolve": ("POST",),
    "/v1/account/identities/{provider}": ("DELETE",),
}
FOR_OPERATORS = {
    PLAYER: ("GET", "HEAD"),
    f"{PLAYER}/ban": ("POST",),
    f"{PLAYER}/unban": ("POST",),
    f"{PLAYER}/revoke-sessions": ("POST",),
    f"{PLAYER}/recover": ("POST",),
    PLATFORM: ("GET", "HEAD"),
    f"{PLATFORM}/ban": ("POST",),
    f"{PLATFORM}/unban": ("POST",),
}
ROUTES = {**FOR_PLAYERS, **FOR_OPERATORS}
OTHERS_THERE = {"/v1/sessions": ("POST",), RESOLVE: ("DELETE",)}
"""What other routes take at the same paths."""
TAKES_JSON = {
    f"{PLAYER}/ban": BAN,
    f"{PLAYER}/unban": UNBAN,
    f"{PLATFORM}/ban": BAN,
    RESOLVE: DECISION,
}
NEEDED = ("reason", *DECISION)
LONG = {"conflict_token"}
"""Longer than what is too long elsewhere."""


@dataclass(frozen=True)
class World:
    identity: RunningIdentity
    player: Person
    data_dir: Path

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        content_type: str | None = None,
        **ids: str,
    ) -> Answer:
        """With the token that the path asks for; `ids` go into it as they are written."""
        admin = path.startswith("/v1/admin")
        player = self.player.tokens["access_token"]
        token = self.identity.service_token("identity:admin") if admin else player
        known = {
            "user_id": self.player.user_id,
            "session_id": self.player.session_id,
            "provider": "steam",
            "external_id": "76561197960287930",
        }
        head = [f"{method} {path.format_map({**known, **ids})} HTTP/1.1"]
        head.append(f"Authorization: Bearer {token}")
        if content_type:
            head.append(f"Content-Type: {content_type}")
        return await send(self.identity.url, "\r\n".join(head), body)

    async def everything(self) -> tuple[object, ...]:
        player = await operate(self.identity, "GET", f"/players/{self.player.user_id}")
        bans = count(self.data_dir, "identity_bans")
        return player.json(), contents(self.data_dir), bans


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One for all tests, since none of their requests may change anything."""
    data_dir = tmp_path_factory.mktemp("data")
    async with apps.identity(data_dir, ManualClock(), QUICK_KEYS) as identity:
        yield World(identity, await new_person(identity), data_dir)


@pytest_asyncio.fixture(loop_scope="module")
async def world(one_world: World) -> AsyncIterator[World]:
    before = await one_world.everything()
    yield one_world
    assert await one_world.everything() == before


def wrong_texts(field: str) -> Mapping[str, object]:
    left_out = {*(() if field in NEEDED else OPTIONAL), *(("oversized",) if field in LONG else ())}
    return {name: value for name, value in WRONG_TEXTS.items() if name not in left_out}


def wrong_members() -> Iterator[Any]:
    """Bodies of which one member is wrong."""
    for path, body in TAKES_JSON.items():
        for field in body:
            for name, value in wrong_texts(field).items():
                wrong = changed(body, field, value)
                yield pytest.param(path, wrong, field, id=f"{path} {field} {name}")
        for scope in ("Chat", "a b", "x" * 33, "é", "a#b", "a/b", "all "):
            if "scope" in body:
                yield pytest.param(path, {**body, "scope": scope}, "scope")
    for path in (f"{PLAYER}/ban", f"{PLATFORM}/ban"):
        yield pytest.param(path, {**BAN, "reason": "x" * 501}, "reason")
        for until in NO_MOMENTS:
            yield pytest.param(path, {**BAN, "until": until}, "until")
        for until in OVER:
            yield pytest.param(path, {**BAN, "until": until}, "over already")


WRONG_DECISIONS = [
    (RESOLVE, {**DECISION, "conflict_token": "A" * 4097}, "conflict_token"),
    *(
        (RESOLVE, {**DECISION, "keep": keep}, "keep")
        for keep in ("both", "Current", "current ", "neither")
    ),
]
NO_MOMENTS = [
    "tomorrow",
    "2026-12-24",
    "2026-12-24T18:00:00",
    "18:00:00Z",
    "2026-02-29T18:00:00Z",
    "2026-13-01T18:00:00Z",
    "2026-12-24T25:00:00Z",
    "2026-12-24T18:60:00Z",
    "2026-12-31T23:59:60Z",
    "2026-12-24T18:00:00+24:00",
    "2026-12-24T18:00:00+25:00",
    "2026-12-24T18:00:00ZZ",
    " 2026-12-24T18:00:00Z",
    "2026-12-24T18:00:00Z ",
    "2026-12-24T18:00:00Z" + "0" * 30,
    "２０２６-12-24T18:00:00Z",  # noqa: RUF001 - digits that are not ASCII's
    "1798135200",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-00:01",
    "9999-12-31T23:59:59-14:00",
    "10000-01-01T00:00:00Z",
    "-2026-12-24T18:00:00Z",
]
OVER = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00-14:00",
    "1970-01-01T00:00:00Z",
    "2026-01-02T03:04:04.999Z",
    "2026-01-02T03:04:05Z",
    "2026-01-02T03:04:05.000999Z",
    "2026-01-02T17:04:05+14:00",
]

STRANGE_IDS = [
    "me",
    "current",
    "0",
    "-1",
    "A" * 32,
    "g" * 32,
    "0" * 31,
    "0" * 33,
    "0" * 4000,
    f"{NOBODY}%00",
    f"{NOBODY}%0A",
    f"{NOBODY}%20",
    f"%20{NOBODY}",
    "%FF",
    "%ED%A0%80",
    "%C3%A9" * 32,
    "%EF%BC%90" * 32,
    "%2F",
    "..%2F..",
    "%2525",
    "%ZZ",
    "%",
    "*",
    "{user_id}",
    "%27%20OR%201=1--",
]
WRONG_PROVIDERS = [
    "Steam",
    "steam%23",
    "steam%2F1",
    "steam%0A",
    "%00",
    "%C3%A9",
    "..",
    "%20",
    "s.team",
    "x" * 33,
    "x" * 4000,
    "%FF",
]
WRONG_EXTERNAL_IDS = [
    "%00",
    "1%0A2",
    "%0D%0A",
    "%7F",
    "%C2%80",
    "%C2%A0",
    "%E2%80%8D",
    "%E2%80%AE",
    "x" * 257,
    "%C3%A9" * 257,
    "x" * 4000,
]


async def test_no_route_is_left_out() -> None:
    declared = set(route_table([*account_handlers.routes, *admin_handlers.routes]))
    assert declared == {(method, path) for path, methods in ROUTES.items() for method in methods}


@pytest.mark.parametrize(
    ("body", "status", "code"), NOT_AN_OBJECT.values(), ids=NOT_AN_OBJECT.keys()
)
@pytest.mark.parametrize("path", TAKES_JSON)
async def test_a_body_must_be_a_json_object(
    world: World, path: str, body: bytes, status: int, code: str
) -> None:
    answer = await world.ask("POST", path, body, content_type=JSON)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(("path", "body", "word"), [*wrong_members(), *WRONG_DECISIONS])
async def test_a_wrong_member_of_a_body_is_a_bad_request_that_says_which(
    world: World, path: str, body: Mapping[str, object], word: str
) -> None:
    answer = await world.ask("POST", path, json.dumps(body).encode(), content_type=JSON)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert word in answer.json()["detail"]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "multipart/form-data; boundary=x", "application/xml"]
)
@pytest.mark.parametrize("path", TAKES_JSON)
async def test_another_kind_of_body_is_not_taken(
    world: World, path: str, content_type: str
) -> None:
    answer = await world.ask("POST", path, b'{"reason": "x"}', content_type=content_type)
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize("path", [f"{PLAYER}/ban", f"{PLATFORM}/ban", RESOLVE])
async def test_a_body_must_be_there(world: World, path: str) -> None:
    answer = await world.ask("POST", path)
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize("user_id", [NOBODY, *STRANGE_IDS])
@pytest.mark.parametrize("path", [path for path in FOR_OPERATORS if "user_id" in path])
async def test_an_account_that_there_is_not_is_a_404(world: World, path: str, user_id: str) -> None:
    method = FOR_OPERATORS[path][0]
    body = b'{"reason": "x"}' if path.endswith("/ban") else b""
    answer = await world.ask(method, path, body, user_id=user_id)
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize(
    "session_id", [NOBODY, *(strange for strange in STRANGE_IDS if strange != "current")]
)
async def test_a_session_that_there_is_not_is_a_404(world: World, session_id: str) -> None:
    answer = await world.ask("DELETE", "/v1/sessions/{session_id}", session_id=session_id)
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize(
    "ids",
    [
        *({"provider": provider} for provider in WRONG_PROVIDERS),
        *({"external_id": external_id} for external_id in WRONG_EXTERNAL_IDS),
    ],
    ids=lambda ids: str(ids)[:40],
)
@pytest.mark.parametrize("path", [path for path in FOR_OPERATORS if "provider" in path])
async def test_what_is_no_id_of_a_platform_is_a_bad_request(
    world: World, path: str, ids: Mapping[str, str]
) -> None:
    method = FOR_OPERATORS[path][0]
    body = b'{"reason": "x"}' if path.endswith("/ban") else b""
    answer = await world.ask(method, path, body, **ids)
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (method, path)
        for path, taken in ROUTES.items()
        for method in METHODS
        if method not in (*taken, *OTHERS_THERE.get(path, ()))
        and (method, path) != ("DELETE", "/v1/sessions/current")
    ],
)
async def test_another_method_is_not_allowed(world: World, method: str, path: str) -> None:
    answer = await world.ask(method, path)
    allowed = sorted({*ROUTES[path], *OTHERS_THERE.get(path, ())})
    assert (answer.status, answer.headers["Allow"]) == (405, ",".join(allowed))
    assert method == "HEAD" or answer.code == "method_not_allowed"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/account/",
        "//v1/account",
        "/v1/Account",
        "/v1/account/secret",
        "/v1/account/export/",
        "/v1/accounts/{user_id}",
        "/v1/sessions/",
        "/v1/sessions/{session_id}/",
        "/v1/sessions/{session_id}/end",
        "/v1/sessions/a/b",
        "/v1/admin",
        "/v1/admin/",
        "/v1/admin/players",
        "/v1/admin/players/",
        "/v1/admin/players//ban",
        "/v1/admin/players/{user_id}/",
        "/v1/admin/players/{user_id}/kick",
        "/v1/admin/players/{user_id}/ban/",
        "/v1/admin/players/{user_id}/BAN",
        "/v1/admin/players/x/../{user_id}",
        "/v1/admin/identities/steam",
        "/v1/admin/identities/steam/",
        "/v1/admin/identities/steam//ban",
        "/v1/admin/identities/steam/7/65/ban",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_unknown_path_is_not_found(world: World, method: str, path: str) -> None:
    answer = await world.ask(method, path)
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize(
    "path", ["/v1/sessions", "/v1/account", PLAYER, PLATFORM, f"{PLATFORM}/unban"]
)
@pytest.mark.parametrize("body", [b"\xff", b"[" * 60_000, b" " * 2**21], ids=["no", "deep", "2 MB"])
async def test_a_body_and_parameters_that_nobody_asked_for_are_ignored(
    world: World, path: str, body: bytes
) -> None:
    query = "?scope=all&user_id=me&a=1&a=2&%00"
    answer = await world.ask(ROUTES[path][0], path + query, body, content_type="text/plain")
    assert answer.status == (204 if path.endswith("/unban") else 200)
