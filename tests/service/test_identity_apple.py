"""The drop-in login with Apple, over a socket and with keys of a test's own."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from joserfc.jwk import RSAKey

from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call
from tests.support.clock import ManualClock
from tests.support.fakes.oidc import AUDIENCE, HASHED_NONCE, SUBJECT, OidcFake
from tests.support.servers import Answer


@pytest.fixture
def fake(clock: ManualClock, signing_key: RSAKey) -> OidcFake:
    return OidcFake(clock, signing_key, iss="https://appleid.apple.com", nonce_supported=True)


@contextlib.asynccontextmanager
async def identity(
    folder: Path, clock: ManualClock, fake: OidcFake, providers: str
) -> AsyncIterator[RunningIdentity]:
    async with fake.serving() as url:
        environ = {
            **QUICK_KEYS,
            "PLAYMESH_PROVIDERS": providers,
            "PLAYMESH_APPLE_JWKS_URL": url,
            "PLAYMESH_APPLE_AUDIENCES": AUDIENCE,
            "PLAYMESH_APPLE_TEAM_ID": "TEAM123456",
        }
        async with apps.identity(folder, clock, environ) as running:
            yield running


async def log_in(running: RunningIdentity, token: str) -> Answer:
    query = {"apple_auth_token": token}
    return await call(running.http, "GET", "/login-with-apple-id", params=query)


async def test_the_sdks_read_the_id_without_the_team_in_front(
    tmp_path: Path, clock: ManualClock, fake: OidcFake
) -> None:
    async with identity(tmp_path, clock, fake, "apple,apple_drop_in") as running:
        answer = await log_in(running, fake.id_token(nonce=None))
        assert set(answer.json()) == {
            "user_id",
            "apple_id",
            "auth_token",
            "refresh_token",
            "auth_token_expires_in",
            "refresh_token_expires_in",
        }
        assert answer.json()["apple_id"] == SUBJECT


async def test_a_token_with_a_nonce_does_not_get_in_there(
    tmp_path: Path, clock: ManualClock, fake: OidcFake
) -> None:
    async with identity(tmp_path, clock, fake, "apple,apple_drop_in") as running:
        answer = await log_in(running, fake.id_token(nonce=HASHED_NONCE))
        assert (answer.status, answer.code) == (401, "invalid_credential")


async def test_nobody_gets_in_there_unless_the_settings_name_it(
    tmp_path: Path, clock: ManualClock, fake: OidcFake
) -> None:
    async with identity(tmp_path, clock, fake, "apple") as running:
        answer = await log_in(running, fake.id_token(nonce=None))
        assert (answer.status, answer.code) == (400, "invalid_request")
