"""A new guest that is asked for again with the same Idempotency-Key is the same guest."""

import asyncio
import contextlib
import logging
import re
import sqlite3
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from services.identity.app import new_signer, open_app
from services.identity.settings import Settings
from services.identity.stores import open_stores
from shared import errors
from shared.ids import digest
from shared.keys.stores import open_key_stores
from shared.start_check import StartCheck
from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call, claims_of
from tests.support.clock import ManualClock
from tests.support.identity_store import contents, count
from tests.support.issuer import ISSUER
from tests.support.servers import Answer, send, serving

KEY = "1b8e5d5a-6f0e-4b7e-9a44-0c1d6f0f7a11"
OTHER_KEY = "c0a7c1b0-3d4f-4e59-8f5e-5a3a9b7f9d22"
DAY = 24 * 60 * 60
ROUTES = [
    ("POST", "/v1/guests"),
    ("POST", "/login-as-guest"),
    ("GET", "/login-as-guest"),
]
WRITES = [("idempotency", "claim"), ("accounts", "create"), ("sessions", "create")]
"""What a new guest writes, in this order."""


def keyed(key: str = KEY) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def ask(
    http: aiohttp.ClientSession,
    route: tuple[str, str] = ROUTES[0],
    key: str = KEY,
    body: Mapping[str, object] | None = None,
) -> Answer:
    method, path = route
    return await call(http, method, path, headers=keyed(key), json=body)


async def new_guest(
    http: aiohttp.ClientSession, route: tuple[str, str] = ROUTES[0], key: str = KEY
) -> dict[str, Any]:
    answer = await ask(http, route, key)
    assert answer.status in (200, 201), answer
    return dict(answer.json())


def who(guest: Mapping[str, Any]) -> tuple[str, str]:
    return guest["user_id"], guest["guest_secret"]


async def log_in(http: aiohttp.ClientSession, guest: Mapping[str, Any]) -> int:
    credential = {name: guest[name] for name in ("user_id", "guest_secret")}
    body = {"provider": "guest", "credential": credential}
    return (await call(http, "POST", "/v1/sessions", json=body)).status


def change(data_dir: Path, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(data_dir / "identity.db")) as connection:
        connection.execute(statement, values)
        connection.commit()


def stored_key(data_dir: Path) -> bytes:
    with contextlib.closing(sqlite3.connect(data_dir / "identity.db")) as connection:
        (key,) = connection.execute("SELECT key FROM idempotency").fetchone()
        return bytes(key)


# Repetitions


@pytest.mark.parametrize("route", ROUTES)
async def test_the_same_key_again_is_the_same_guest_with_the_same_secret(
    identity: RunningIdentity, tmp_path: Path, route: tuple[str, str]
) -> None:
    guests = [await new_guest(identity.http, route) for _ in range(3)]
    assert {who(guest) for guest in guests} == {who(guests[0])}
    assert contents(tmp_path) == (1, 3)


async def test_a_repetition_is_answered_like_the_first_request(identity: RunningIdentity) -> None:
    first, again = [await ask(identity.http) for _ in range(2)]
    assert (first.status, first.json().keys()) == (again.status, again.json().keys())


async def test_each_repetition_has_a_session_and_working_tokens_of_its_own(
    identity: RunningIdentity,
) -> None:
    guests = [await new_guest(identity.http) for _ in range(2)]
    claims = [claims_of(guest["access_token"]) for guest in guests]
    assert {claim["sub"] for claim in claims} == {guests[0]["user_id"]}
    assert len({claim["sid"] for claim in claims}) == 2
    for guest in guests:
        token = {"refresh_token": guest["refresh_token"]}
        answer = await call(identity.http, "POST", "/v1/sessions/refresh", json=token)
        assert answer.status == 200


async def test_the_secret_is_one_like_any_other(identity: RunningIdentity) -> None:
    guest = await new_guest(identity.http)
    assert re.fullmatch("[A-Za-z0-9_-]{43}", guest["guest_secret"])
    assert await log_in(identity.http, guest) == 201


async def test_both_ways_to_a_new_guest_share_their_keys(identity: RunningIdentity) -> None:
    assert len({who(await new_guest(identity.http, route)) for route in ROUTES}) == 1


async def test_another_key_is_another_guest(identity: RunningIdentity) -> None:
    one, other = [await new_guest(identity.http, key=key) for key in (KEY, OTHER_KEY)]
    assert one["user_id"] != other["user_id"]
    assert one["guest_secret"] != other["guest_secret"]


async def test_without_a_key_every_guest_is_a_new_one(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    for method, path in ROUTES * 2:
        await call(identity.http, method, path)
    assert contents(tmp_path) == (6, 6)
    assert count(tmp_path, "idempotency") == 0


async def test_50_requests_at_once_are_one_guest(identity: RunningIdentity, tmp_path: Path) -> None:
    guests = await asyncio.gather(*(new_guest(identity.http) for _ in range(50)))
    assert len({who(guest) for guest in guests}) == 1
    assert contents(tmp_path) == (1, 50)


async def test_a_guest_is_the_same_after_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    guests = []
    for _ in range(2):
        async with apps.identity(tmp_path, clock, QUICK_KEYS) as identity:
            guests.append(await new_guest(identity.http))
    assert who(guests[0]) == who(guests[1])


async def test_a_key_holds_for_24_hours(identity: RunningIdentity, clock: ManualClock) -> None:
    first = await new_guest(identity.http)
    clock.advance(DAY - 0.001)
    assert who(await new_guest(identity.http)) == who(first)
    clock.advance(0.001)
    later = await new_guest(identity.http)
    assert later["user_id"] != first["user_id"]
    assert later["guest_secret"] != first["guest_secret"]
    assert await log_in(identity.http, first) == 201


async def test_a_login_takes_no_notice_of_a_key(identity: RunningIdentity, tmp_path: Path) -> None:
    guest = await new_guest(identity.http)
    credential = {name: guest[name] for name in ("user_id", "guest_secret")}
    for key in (KEY, OTHER_KEY, "short"):
        answer = await ask(identity.http, ("POST", "/login-as-guest"), key, credential)
        assert answer.status == 200
        assert who(answer.json()) == who(guest)
    assert count(tmp_path, "idempotency") == 1


# Other requests with the same key


BODIES: list[Mapping[str, object]] = [
    {"device": {"name": "phone"}},
    {"device": {"name": "Phone"}},
    {"device": {}},
    {"device": None},
    {"more": 1},
]


@pytest.mark.parametrize("body", BODIES)
async def test_another_body_is_refused_and_changes_nothing(
    identity: RunningIdentity, tmp_path: Path, body: Mapping[str, object]
) -> None:
    guest = await new_guest(identity.http)
    answer = await ask(identity.http, body=body)
    assert (answer.status, answer.code) == (422, "idempotency_key_reused")
    assert guest["user_id"].encode() not in answer.body
    assert contents(tmp_path) == (1, 1)
    assert who(await new_guest(identity.http)) == who(guest)


async def test_no_body_is_the_same_as_an_empty_object(identity: RunningIdentity) -> None:
    guest = await new_guest(identity.http)
    assert who((await ask(identity.http, body={})).json()) == who(guest)


async def test_the_order_of_members_does_not_matter(identity: RunningIdentity) -> None:
    device = {"name": "Zoë's 🎮", "model": {"a": 1, "b": [2, 3]}}
    turned = {"model": {"b": [2, 3], "a": 1}, "name": "Zoë's 🎮"}
    answers = [
        await ask(identity.http, body={"device": device, "more": True}),
        await ask(identity.http, body={"more": True, "device": turned}),
    ]
    assert [answer.status for answer in answers] == [201, 201]
    assert who(answers[0].json()) == who(answers[1].json())


@pytest.mark.parametrize("new_digest", [None, digest("A" * 43)], ids=["none", "another"])
async def test_a_guest_whose_secret_has_changed_is_not_given_away(
    identity: RunningIdentity, tmp_path: Path, new_digest: bytes | None
) -> None:
    guest = await new_guest(identity.http)
    statement = "UPDATE accounts SET guest_secret_digest = ? WHERE user_id = ?"
    change(tmp_path, statement, new_digest, guest["user_id"])
    answer = await ask(identity.http)
    assert (answer.status, answer.code) == (422, "idempotency_key_reused")
    assert not any(part.encode() in answer.body for part in who(guest))
    assert contents(tmp_path) == (1, 1)


# Which keys there may be


@pytest.mark.parametrize("key", ["!" * 16, "~" * 128, '"8e03978e-40d5"!'])
async def test_16_to_128_visible_characters_are_a_key(identity: RunningIdentity, key: str) -> None:
    assert who(await new_guest(identity.http, key=key)) == who(
        await new_guest(identity.http, key=key)
    )


BAD_KEYS = {
    "empty": "",
    "15 characters": "x" * 15,
    "129 characters": "x" * 129,
    "a space": "8e03978e 40d5 43dd",
    "a tab": "8e03978e-40d5\t43dd",
    "beyond ASCII": "8e03978e-40d5-43dé",
    "two in one": f"{KEY}, {KEY}",
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS.keys())
async def test_another_key_is_refused_by_a_rule_that_is_named(
    identity: RunningIdentity, tmp_path: Path, route: tuple[str, str], key: str
) -> None:
    head = f"{' '.join(route)} HTTP/1.1\r\nIdempotency-Key: {key}"
    answer = await send(identity.url, head)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert "16 to 128 visible ASCII characters without spaces" in answer.json()["detail"]
    assert not key or key.encode("latin-1") not in answer.body
    assert contents(tmp_path) == (0, 0)


@pytest.mark.parametrize("other", [KEY, OTHER_KEY], ids=["same", "other"])
async def test_two_keys_are_refused(identity: RunningIdentity, tmp_path: Path, other: str) -> None:
    head = f"POST /v1/guests HTTP/1.1\r\nIdempotency-Key: {KEY}\r\nidempotency-key: {other}"
    answer = await send(identity.url, head)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert KEY.encode() not in answer.body
    assert contents(tmp_path) == (0, 0)


async def test_a_web_build_may_send_a_key(identity: RunningIdentity) -> None:
    answer = await send(
        identity.url,
        "OPTIONS /v1/guests HTTP/1.1\r\nOrigin: https://game.example\r\n"
        "Access-Control-Request-Method: POST\r\n"
        "Access-Control-Request-Headers: content-type,idempotency-key",
    )
    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert (answer.status, "idempotency-key" in allowed) == (204, True)


# Crashes


class Crash:
    """Of the stores' writes the one of this name fails once, before it is done or after."""

    def __init__(self, store: str, method: str, *, done: bool, error: Exception) -> None:
        self.store = store
        self._method = method
        self._done = done
        self._error: Exception | None = error

    def into(self, inner: object) -> Any:  # noqa: ANN401 - a store of whatever kind
        return _Crashing(inner, self)

    async def write(self, operation: Any, *arguments: object, **more: object) -> Any:  # noqa: ANN401
        error, self._error = self._error, None
        if error and not self._done:
            raise error
        answer = await operation(*arguments, **more)
        if error:
            raise error
        return answer

    def concerns(self, method: str) -> bool:
        return method == self._method


class _Crashing:
    def __init__(self, inner: object, crash: Crash) -> None:
        self._inner = inner
        self._crash = crash

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the store's own
        operation = getattr(self._inner, name)
        if not self._crash.concerns(name):
            return operation
        return lambda *arguments, **more: self._crash.write(operation, *arguments, **more)


@contextlib.asynccontextmanager
async def crashing(
    data_dir: Path, clock: ManualClock, crash: Crash
) -> AsyncIterator[aiohttp.ClientSession]:
    """Identity with a key ring that is there already, and a store that fails once."""
    environ = {"PLAYMESH_DATA_DIR": str(data_dir), "PLAYMESH_ISSUER": ISSUER}
    settings = Settings.from_env(environ)
    async with (
        open_stores(settings.server, StartCheck()) as stores,
        open_key_stores(settings.server, settings.caches, StartCheck()) as keys,
    ):
        signer = new_signer(settings, keys, clock)
        await signer.refresh()
        broken = replace(stores, **{crash.store: crash.into(getattr(stores, crash.store))})
        async with (
            open_app(settings, broken, signer, clock) as app,
            serving(app) as url,
            aiohttp.ClientSession(url) as http,
        ):
            yield http


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("store", "method"), WRITES)
async def test_after_a_failure_at_any_write_a_repetition_finishes_the_guest(
    identity: RunningIdentity,
    tmp_path: Path,
    clock: ManualClock,
    store: str,
    method: str,
    *,
    done: bool,
) -> None:
    crash = Crash(store, method, done=done, error=errors.Unavailable())
    async with crashing(tmp_path, clock, crash) as http:
        assert (await ask(http)).status == 503
        guest = await new_guest(http)
    assert await log_in(identity.http, guest) == 201
    assert who(await new_guest(identity.http)) == who(guest)
    assert count(tmp_path, "accounts") == 1
    assert count(tmp_path, "idempotency") == 1


# What nobody else may learn


@pytest.mark.parametrize(("store", "method"), WRITES)
async def test_neither_the_key_nor_the_secret_is_in_a_log_or_in_the_answer_to_a_failure(
    identity: RunningIdentity,
    tmp_path: Path,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    store: str,
    method: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    crash = Crash(store, method, done=True, error=RuntimeError("a bug"))
    with structlog.testing.capture_logs() as lines:
        async with crashing(tmp_path, clock, crash) as http:
            failures = [await ask(http)]
            guest = await new_guest(http)
            failures += [
                await ask(http, body={"more": 1}),
                await ask(http, key=KEY * 4),
                await ask(http, key=f"{KEY} {KEY}"),
                await send(
                    identity.url,
                    f"POST /v1/guests HTTP/1.1\r\nIdempotency-Key: {KEY}\r\nIdempotency-Key: {KEY}",
                ),
            ]
    assert [failure.status for failure in failures] == [500, 422, 400, 400, 400]
    logs = f"{lines}{caplog.text}"
    assert "request.failed" in logs
    for secret in (KEY, guest["guest_secret"]):
        assert secret not in logs
        assert not any(secret.encode() in failure.body for failure in failures)


async def test_who_steals_the_store_can_not_try_keys_out(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Two installations keep different digests of one key: each needs its own secret key."""
    folders = [tmp_path / "one", tmp_path / "other"]
    guests = []
    for folder in folders:
        async with apps.identity(folder, clock, QUICK_KEYS) as identity:
            guests.append(await new_guest(identity.http))
    assert len({stored_key(folder) for folder in folders}) == 2
    assert len({guest["guest_secret"] for guest in guests}) == 2


async def test_the_secret_depends_on_the_key(identity: RunningIdentity, tmp_path: Path) -> None:
    """Who can write to the store cannot get at a guest by a key of its own."""
    victim = await new_guest(identity.http)
    await new_guest(identity.http, key=OTHER_KEY)
    change(tmp_path, "UPDATE idempotency SET result = ?", victim["user_id"])
    answer = await ask(identity.http, key=OTHER_KEY)
    assert (answer.status, answer.code) == (422, "idempotency_key_reused")
    assert who(await new_guest(identity.http)) == who(victim)
