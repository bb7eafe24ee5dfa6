"""What the game engines' SDKs send, byte for byte, and what they read of the answer."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.apps import RunningIdentity
from tests.support.calls import claims_of
from tests.support.clock import ManualClock
from tests.support.identity_store import contents
from tests.support.servers import Answer, send

TOKENS = {
    "user_id",
    "auth_token",
    "refresh_token",
    "auth_token_expires_in",
    "refresh_token_expires_in",
}
LOGIN = "/login-as-guest"
REFRESH = "/refresh-access-token"
SECRET = "A" * 43
NOBODY = {"user_id": "0" * 32, "guest_secret": SECRET}

Send = Callable[[str, str, Mapping[str, str]], Any]


async def get(url: str, path: str, values: Mapping[str, str]) -> Answer:
    query = f"?{urlencode(values)}" if values else ""
    return await send(url, f"GET {path}{query} HTTP/1.1")


async def get_godot(url: str, path: str, values: Mapping[str, str]) -> Answer:
    """The query as it is put together there: begun with `?`, each pair with `&`, none escaped."""
    query = "".join(f"&{name}={value}" for name, value in values.items())
    return await send(url, f"GET /{path}?{query} HTTP/1.1")


async def get_bare(url: str, path: str, values: Mapping[str, str]) -> Answer:
    """Unescaped, and closed with an `&`."""
    query = "".join(f"{name}={value}&" for name, value in values.items())
    return await send(url, f"GET {path}?{query} HTTP/1.1")


async def post_json(url: str, path: str, values: Mapping[str, str]) -> Answer:
    head = f"POST {path} HTTP/1.1\r\nContent-Type: application/json; charset=utf-8"
    return await send(url, head, json.dumps(values).encode())


async def post_form(url: str, path: str, values: Mapping[str, str]) -> Answer:
    head = f"POST /{path} HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded"
    return await send(url, head, urlencode(values).encode())


WAYS = [get, get_godot, get_bare, post_json, post_form]


def names(way: object) -> str:
    return str(getattr(way, "__name__", way))


@pytest.mark.parametrize("way", WAYS, ids=names)
async def test_a_login_without_parameters_makes_a_new_guest(
    identity: RunningIdentity, way: Send, tmp_path: Path
) -> None:
    answer = await way(identity.url, LOGIN, {})
    assert answer.status == 200
    assert answer.json().keys() == {*TOKENS, "guest_secret"}
    assert contents(tmp_path) == (1, 1)


async def test_a_post_without_a_body_makes_a_new_guest(identity: RunningIdentity) -> None:
    answer = await send(identity.url, f"POST {LOGIN} HTTP/1.1\r\nContent-Length: 0")
    assert (answer.status, answer.json().keys()) == (200, {*TOKENS, "guest_secret"})


@pytest.mark.parametrize("way", WAYS, ids=names)
async def test_a_guest_comes_back_with_id_and_secret(identity: RunningIdentity, way: Send) -> None:
    guest = (await get(identity.url, LOGIN, {})).json()
    credential = {name: guest[name] for name in ("user_id", "guest_secret")}
    answer = await way(identity.url, LOGIN, credential)
    assert answer.status == 200
    assert answer.json().keys() == {*TOKENS, "guest_secret"}
    assert {name: answer.json()[name] for name in credential} == credential


@pytest.mark.parametrize("way", WAYS, ids=names)
async def test_a_session_goes_on_with_the_refresh_token(
    identity: RunningIdentity, way: Send
) -> None:
    guest = (await get(identity.url, LOGIN, {})).json()
    answer = await way(identity.url, REFRESH, {"refresh_token": guest["refresh_token"]})
    assert answer.status == 200
    assert answer.json().keys() == TOKENS
    assert answer.json()["user_id"] == guest["user_id"]


@pytest.mark.parametrize("way", WAYS, ids=names)
async def test_a_refresh_may_be_asked_for_again_for_a_minute(
    identity: RunningIdentity, clock: ManualClock, way: Send
) -> None:
    guest = (await get(identity.url, LOGIN, {})).json()
    values = {"refresh_token": guest["refresh_token"]}
    first = (await get(identity.url, REFRESH, values)).json()
    clock.advance(60)
    again = (await way(identity.url, REFRESH, values)).json()
    assert again["refresh_token"] == first["refresh_token"]
    clock.advance(1)
    answer = await way(identity.url, REFRESH, values)
    assert (answer.status, answer.code) == (401, "refresh_reused")


async def test_both_names_of_a_token_mean_the_same_kind(identity: RunningIdentity) -> None:
    guest = (await get(identity.url, LOGIN, {})).json()
    claims = claims_of(guest["auth_token"])
    assert (claims["sub"], claims["scope"]) == (guest["user_id"], "guest")


@pytest.mark.parametrize("route", [LOGIN, REFRESH])
async def test_lifetimes_are_whole_seconds_above_zero(
    identity: RunningIdentity, route: str
) -> None:
    guest = (await get(identity.url, LOGIN, {})).json()
    values = {"refresh_token": guest["refresh_token"]} if route == REFRESH else {}
    body = (await get(identity.url, route, values)).json()
    lifetimes = [body["auth_token_expires_in"], body["refresh_token_expires_in"]]
    assert [type(lifetime) for lifetime in lifetimes] == [int, int]
    assert lifetimes == [900, 7 * 86400]


@pytest.mark.parametrize(
    "value", ['a|<>"{}^`\\b', "a=b==", "=", "a;b", "a/b?c:d@e", "'--", "%zz", "a%20b", "a+b"]
)
@pytest.mark.parametrize("route", [LOGIN, REFRESH])
async def test_an_unescaped_value_is_a_wrong_value_and_not_a_broken_request(
    identity: RunningIdentity, route: str, value: str
) -> None:
    values = {**NOBODY, "user_id": value} if route == LOGIN else {"refresh_token": value}
    answer = await get_godot(identity.url, route, values)
    expected = "invalid_credential" if route == LOGIN else "invalid_refresh_token"
    assert (answer.status, answer.code) == (401, expected)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("user_id=&guest_secret=", 200),
        ("user_id&guest_secret", 200),
        ("unknown=1&_=2", 200),
        (f"user_id={'0' * 32}", 400),
        (f"guest_secret={SECRET}", 400),
        (f"user_id={'0' * 32}&guest_secret=", 400),
        (f"user_id=&guest_secret={SECRET}", 400),
        (f"user_id=a&user_id=b&guest_secret={SECRET}", 400),
        (f"user_id=a&guest_secret={SECRET}&guest_secret={SECRET}", 400),
        ("unknown=1&unknown=2", 400),
        (f"user_id={'0' * 128}&guest_secret={'A' * 256}", 401),
        (f"user_id={'0' * 129}&guest_secret={SECRET}", 400),
        (f"user_id={'0' * 32}&guest_secret={'A' * 257}", 400),
        (f"user_id=%00&guest_secret={SECRET}", 400),
    ],
)
async def test_a_guest_is_made_only_where_no_credential_is_meant(
    identity: RunningIdentity, tmp_path: Path, query: str, status: int
) -> None:
    answer = await send(identity.url, f"GET {LOGIN}?{query} HTTP/1.1")
    assert answer.status == status
    assert contents(tmp_path) == ((1, 1) if status == 200 else (0, 0))


@pytest.mark.parametrize("path", [LOGIN, f"/{LOGIN}", REFRESH, f"/{REFRESH}"])
async def test_head_creates_nothing(identity: RunningIdentity, tmp_path: Path, path: str) -> None:
    answer = await send(identity.url, f"HEAD {path} HTTP/1.1")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET,POST")
    assert contents(tmp_path) == (0, 0)


@pytest.mark.parametrize("path", [LOGIN, f"/{LOGIN}", f"{LOGIN}?", f"/{LOGIN}?&", f"{LOGIN}/"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "OPTIONS"])
async def test_no_request_is_answered_with_a_redirect(
    identity: RunningIdentity, method: str, path: str
) -> None:
    answer = await send(identity.url, f"{method} {path} HTTP/1.1")
    assert not 300 <= answer.status < 400
    assert "Location" not in answer.headers


async def test_a_post_does_not_take_secrets_from_its_url(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    answer = await send(identity.url, f"POST {LOGIN}?{urlencode(NOBODY)} HTTP/1.1")
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert contents(tmp_path) == (0, 0)


ANSWERS = {
    "login": (f"GET {LOGIN} HTTP/1.1", 200),
    "wrong secret": (f"GET {LOGIN}?{urlencode(NOBODY)} HTTP/1.1", 401),
    "half a credential": (f"GET {LOGIN}?user_id=a HTTP/1.1", 400),
    "wrong refresh token": (f"GET {REFRESH}?refresh_token=x HTTP/1.1", 401),
    "no refresh token": (f"GET {REFRESH} HTTP/1.1", 400),
    "wrong method": (f"PUT {LOGIN} HTTP/1.1", 405),
    "wrong path": ("GET /login-as-ghost HTTP/1.1", 404),
    "new guest": ("POST /v1/guests HTTP/1.1", 201),
    "wrong type": (f"POST {LOGIN} HTTP/1.1\r\nContent-Type: text/plain", 415),
}


@pytest.mark.parametrize(("head", "status"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_no_answer_may_be_stored(identity: RunningIdentity, head: str, status: int) -> None:
    answer = await send(identity.url, head, b"x" if status == 415 else b"")
    assert (answer.status, answer.headers["Cache-Control"]) == (status, "no-store")


@pytest.mark.parametrize(("head", "status"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_every_answer_may_be_read_by_a_web_build(
    identity: RunningIdentity, head: str, status: int
) -> None:
    origin = f"{head}\r\nOrigin: https://game.example"
    answer = await send(identity.url, origin, b"x" if status == 415 else b"")
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (status, "*")


async def test_a_refresh_may_not_be_stored(identity: RunningIdentity) -> None:
    guest = (await get(identity.url, LOGIN, {})).json()
    answer = await get(identity.url, REFRESH, {"refresh_token": guest["refresh_token"]})
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")


@pytest.mark.parametrize("value", ["%FF", "%ED%A0%80"])
async def test_a_query_that_is_no_utf_8_is_refused(identity: RunningIdentity, value: str) -> None:
    answer = await send(identity.url, f"GET /refresh-access-token?refresh_token={value} HTTP/1.1")
    assert (answer.status, answer.code) == (400, "invalid_request")
