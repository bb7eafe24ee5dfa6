"""A nonce from us, into a platform's token, and back: over a socket."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from joserfc.jwk import RSAKey

from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call
from tests.support.clock import ManualClock
from tests.support.fakes.oidc import AUDIENCE, OidcFake
from tests.support.servers import Answer


@pytest.fixture
def google(clock: ManualClock, signing_key: RSAKey) -> OidcFake:
    return OidcFake(clock, signing_key, iss="https://accounts.google.com")


@pytest.fixture
async def identity(
    tmp_path: Path, clock: ManualClock, google: OidcFake
) -> AsyncIterator[RunningIdentity]:
    async with google.serving() as url:
        environ = {
            **QUICK_KEYS,
            "PLAYMESH_PROVIDERS": "google",
            "PLAYMESH_GOOGLE_JWKS_URL": url,
            "PLAYMESH_GOOGLE_AUDIENCES": AUDIENCE,
            "PLAYMESH_GOOGLE_NONCE": "raw",
            "PLAYMESH_GOOGLE_NONCE_ISSUED": "true",
        }
        async with apps.identity(tmp_path, clock, environ) as running:
            yield running


async def new_nonce(identity: RunningIdentity) -> str:
    answer = await call(identity.http, "POST", "/v1/nonces")
    assert (answer.status, set(answer.json())) == (201, {"nonce", "expires_in"})
    assert answer.json()["expires_in"] == 600
    assert answer.headers["Cache-Control"] == "no-store"
    return str(answer.json()["nonce"])


async def log_in(identity: RunningIdentity, token: str, nonce: str) -> Answer:
    body = {"provider": "google", "credential": {"id_token": token, "nonce": nonce}}
    return await call(identity.http, "POST", "/v1/sessions", json=body)


async def test_a_token_with_our_nonce_lets_in_once(
    identity: RunningIdentity, google: OidcFake
) -> None:
    nonce = await new_nonce(identity)
    answers = [await log_in(identity, google.id_token(nonce=nonce, jti=jti), nonce) for jti in "ab"]
    assert [answer.status for answer in answers] == [201, 401]
    assert answers[1].code == "expired_credential"


async def test_a_token_with_a_nonce_of_the_client_s_own_does_not(
    identity: RunningIdentity, google: OidcFake
) -> None:
    answer = await log_in(identity, google.id_token(nonce="of my own"), "of my own")
    assert (answer.status, answer.code) == (401, "invalid_credential")


async def test_a_nonce_that_is_refused_is_in_no_log(
    identity: RunningIdentity, google: OidcFake, capsys: pytest.CaptureFixture[str]
) -> None:
    nonce = await new_nonce(identity)
    for _ in range(2):
        await log_in(identity, google.id_token(nonce=nonce), nonce)
    assert nonce not in capsys.readouterr().out
