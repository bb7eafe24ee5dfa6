"""The two public documents: what they say and how long they may be kept."""

from pathlib import Path

import pytest

from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call, claims_of, header_of, holds
from tests.support.clock import ManualClock
from tests.support.issuer import ISSUER
from tests.support.servers import send

LEAD = 480
KEYS = "/.well-known/jwks.json"
CONFIGURATION = "/.well-known/openid-configuration"
MEMBERS = {
    "RS256": {"kty", "n", "e", "kid", "use", "alg"},
    "ES256": {"kty", "crv", "x", "y", "kid", "use", "alg"},
}


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_the_key_set_holds_public_members_only(
    tmp_path: Path, clock: ManualClock, algorithm: str
) -> None:
    environ = {"PLAYMESH_SIGNING_ALG": algorithm}
    async with apps.identity(tmp_path, clock, environ) as identity:
        keys = (await call(identity.http, "GET", KEYS)).json()["keys"]
    assert len(keys) == 2
    for key in keys:
        assert key.keys() == MEMBERS[algorithm]
        assert (key["use"], key["alg"]) == ("sig", algorithm)


async def test_the_key_set_is_the_one_that_keyrotator_published(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    answer = await call(identity.http, "GET", KEYS)
    assert answer.body == (tmp_path / "keys" / "jwks.json").read_bytes()


@pytest.mark.parametrize("path", [KEYS, CONFIGURATION])
async def test_a_document_is_json_that_anybody_may_keep_for_a_minute(
    identity: RunningIdentity, path: str
) -> None:
    answer = await call(identity.http, "GET", path)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("path", [KEYS, CONFIGURATION])
async def test_how_long_a_document_may_be_kept_is_a_setting(
    tmp_path: Path, clock: ManualClock, path: str
) -> None:
    environ = {**QUICK_KEYS, "PLAYMESH_JWKS_MAX_AGE": "7"}
    async with apps.identity(tmp_path, clock, environ) as identity:
        answer = await call(identity.http, "GET", path)
    assert answer.headers["Cache-Control"] == "public, max-age=7"


@pytest.mark.parametrize("path", [KEYS, CONFIGURATION])
async def test_head_answers_the_headers_of_get(identity: RunningIdentity, path: str) -> None:
    get, head = [await call(identity.http, method, path) for method in ("GET", "HEAD")]
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Type", "Content-Length", "Cache-Control", "ETag"):
        assert head.headers.get(name) == get.headers.get(name)


@pytest.mark.parametrize("shape", ["{}", "W/{}", '"a", {}', '{}, "b"', "*"])
async def test_a_known_key_set_is_not_sent_again(identity: RunningIdentity, shape: str) -> None:
    first = await call(identity.http, "GET", KEYS)
    condition = {"If-None-Match": shape.format(first.headers["ETag"])}
    answer = await call(identity.http, "GET", KEYS, headers=condition)
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["ETag"] == first.headers["ETag"]
    assert answer.headers["Cache-Control"] == "public, max-age=60"


@pytest.mark.parametrize("condition", ['"other"', "garbage", "", '"', "W/"])
async def test_another_key_set_is_sent_whole(identity: RunningIdentity, condition: str) -> None:
    answer = await send(identity.url, f"GET {KEYS} HTTP/1.1\r\nIf-None-Match: {condition}")
    assert (answer.status, len(answer.json()["keys"])) == (200, 2)


async def test_a_new_key_changes_the_key_set_and_its_tag(
    identity: RunningIdentity, clock: ManualClock
) -> None:
    first = await call(identity.http, "GET", KEYS)
    clock.advance(LEAD)
    await identity.rotator.request_rotation()
    await identity.signer.refresh()
    condition = {"If-None-Match": first.headers["ETag"]}
    answer = await call(identity.http, "GET", KEYS, headers=condition)
    assert answer.status == 200
    assert answer.headers["ETag"] != first.headers["ETag"]
    assert len(answer.json()["keys"]) == 3


async def test_the_key_of_a_token_is_in_the_set_before_and_after_a_rotation(
    identity: RunningIdentity, clock: ManualClock
) -> None:
    await identity.rotator.request_rotation()
    key_ids = set()
    for _ in range(3):
        await identity.rotator.tick()
        await identity.signer.refresh()
        token = (await call(identity.http, "POST", "/v1/guests")).json()["access_token"]
        assert holds(token, (await call(identity.http, "GET", KEYS)).json())
        key_ids.add(header_of(token)["kid"])
        clock.advance(600)
    assert len(key_ids) == 2


async def test_the_configuration_names_what_token_verifiers_ask_for(
    identity: RunningIdentity,
) -> None:
    body = (await call(identity.http, "GET", CONFIGURATION)).json()
    assert body == {
        "issuer": ISSUER,
        "jwks_uri": f"{ISSUER}{KEYS}",
        "token_endpoint": f"{ISSUER}/oauth2/token",
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "scopes_supported": ["guest", "authenticated"],
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }


async def test_the_configured_issuer_is_that_of_the_tokens(
    tmp_path: Path, clock: ManualClock
) -> None:
    environ = {**QUICK_KEYS, "PLAYMESH_ISSUER": "https://id.example.com/game/"}
    async with apps.identity(tmp_path, clock, environ) as identity:
        issuer = (await call(identity.http, "GET", CONFIGURATION)).json()["issuer"]
        token = (await call(identity.http, "POST", "/v1/guests")).json()["access_token"]
    assert issuer == claims_of(token)["iss"] == "https://id.example.com/game"
