"""Identity before it has a signing key: it says so, and loses nothing."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from services.identity.app import new_signer, open_app
from services.identity.settings import Settings
from services.identity.stores import open_stores
from shared.keys.signer import Signer
from shared.keys.stores import open_key_stores
from shared.start_check import StartCheck
from tests.service.conftest import QUICK_KEYS
from tests.service.test_identity_oauth import ROTATE, basic, operator_secret
from tests.support import apps
from tests.support.calls import call
from tests.support.clock import ManualClock
from tests.support.identity_store import contents, count
from tests.support.issuer import ISSUER
from tests.support.servers import Answer, serving

Request = tuple[str, str, dict[str, Any]]


@dataclass(frozen=True)
class Keyless:
    """`signer.refresh()` finds the key that has been there all along."""

    http: aiohttp.ClientSession
    signer: Signer
    guest: dict[str, Any]
    operator: dict[str, str]


@pytest.fixture
async def keyless(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Keyless]:
    """Started again after it had one guest with one session; its keys are not loaded yet."""
    async with apps.identity(tmp_path, clock, QUICK_KEYS) as before:
        guest = (await call(before.http, "POST", "/v1/guests")).json()
    async with _started(tmp_path, clock) as (http, signer):
        yield Keyless(http, signer, guest, basic("operator", operator_secret(tmp_path)))


@contextlib.asynccontextmanager
async def _started(
    data_dir: Path, clock: ManualClock
) -> AsyncIterator[tuple[aiohttp.ClientSession, Signer]]:
    environ = {"PLAYMESH_DATA_DIR": str(data_dir), "PLAYMESH_ISSUER": ISSUER}
    settings = Settings.from_env(environ)
    async with (
        open_stores(settings.server, StartCheck()) as stores,
        open_key_stores(settings.server, settings.caches, StartCheck()) as keys,
    ):
        signer = new_signer(settings, keys, clock)
        async with (
            open_app(settings, stores, signer, clock) as app,
            serving(app) as url,
            aiohttp.ClientSession(url) as http,
        ):
            yield http, signer


def requests_of(guest: Mapping[str, Any], operator: Mapping[str, str]) -> dict[str, Request]:
    """Everything that needs a key, by name: method, path and aiohttp's options."""
    credential = {"user_id": guest["user_id"], "guest_secret": guest["guest_secret"]}
    login = {"provider": "guest", "credential": credential}
    token = {"refresh_token": guest["refresh_token"]}
    grant = {"grant_type": "client_credentials", **ROTATE}
    return {
        "new guest": ("POST", "/v1/guests", {}),
        "keyed new guest": ("POST", "/v1/guests", {"headers": {"Idempotency-Key": "k" * 36}}),
        "login": ("POST", "/v1/sessions", {"json": login}),
        "refresh": ("POST", "/v1/sessions/refresh", {"json": token}),
        "drop-in new guest": ("GET", "/login-as-guest", {}),
        "drop-in login": ("GET", "/login-as-guest", {"params": credential}),
        "drop-in refresh": ("GET", "/refresh-access-token", {"params": token}),
        "service token": ("POST", "/oauth2/token", {"data": grant, "headers": operator}),
        "keys": ("GET", "/.well-known/jwks.json", {}),
    }


async def request(keyless: Keyless, name: str) -> Answer:
    method, path, options = requests_of(keyless.guest, keyless.operator)[name]
    return await call(keyless.http, method, path, **options)


REQUESTS = list(requests_of({"user_id": "", "guest_secret": "", "refresh_token": ""}, operator={}))


@pytest.mark.parametrize("name", REQUESTS)
async def test_what_needs_a_key_is_unavailable_and_says_when_to_try_again(
    keyless: Keyless, name: str
) -> None:
    answer = await request(keyless, name)
    assert (answer.status, answer.code) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", REQUESTS)
async def test_nothing_is_created(keyless: Keyless, tmp_path: Path, name: str) -> None:
    await request(keyless, name)
    assert contents(tmp_path) == (1, 1)
    assert count(tmp_path, "idempotency") == 0


async def test_a_guest_that_cannot_be_made_does_not_count_as_one(keyless: Keyless) -> None:
    for _ in range(30):  # more than an address may have in an hour
        assert (await request(keyless, "new guest")).status == 503
    await keyless.signer.refresh()
    assert (await request(keyless, "new guest")).status == 201


@pytest.mark.parametrize("name", ["refresh", "drop-in refresh"])
async def test_no_refresh_token_is_consumed(keyless: Keyless, name: str) -> None:
    await request(keyless, name)
    await keyless.signer.refresh()
    assert (await request(keyless, "refresh")).status == 200


@pytest.mark.parametrize("name", REQUESTS)
async def test_everything_works_as_soon_as_the_key_is_there(keyless: Keyless, name: str) -> None:
    assert (await request(keyless, name)).status == 503
    await keyless.signer.refresh()
    assert (await request(keyless, name)).status in (200, 201)


async def test_the_configuration_needs_no_key(keyless: Keyless) -> None:
    answer = await call(keyless.http, "GET", "/.well-known/openid-configuration")
    assert answer.status == 200


async def test_what_was_taken_back_is_not_said_to_be_nothing_before_it_was_looked_up(
    keyless: Keyless,
) -> None:
    answer = await call(keyless.http, "GET", "/.well-known/revocations.json")
    assert (answer.status, answer.code) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


async def test_a_first_start_before_keyrotator_is_no_crash(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with _started(tmp_path, clock) as (http, signer):
        await signer.refresh()
        answer = await call(http, "POST", "/v1/guests")
    assert (answer.status, answer.code) == (503, "unavailable")
    assert contents(tmp_path) == (0, 0)
