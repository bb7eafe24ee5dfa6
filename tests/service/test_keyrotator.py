"""keyrotator over a socket: what operators see, and who may ask."""

from pathlib import Path

import pytest

from services.keyrotator.app import open_rotator
from services.keyrotator.settings import Settings
from shared.start_check import StartCheck
from tests.support import apps
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer

SCOPE = "keys:rotate"
AUDIENCE = "playmesh:keyrotator"
LEAD = 60 + 300 + 60 + 60


async def tick(data_dir: Path, clock: ManualClock) -> None:
    """Another rotator on the same store, as the service's own loop is."""
    settings = Settings.from_env({"PLAYMESH_DATA_DIR": str(data_dir)})
    async with open_rotator(settings, clock, StartCheck()) as (rotator, _):
        await rotator.tick()


def operator(issuer: Issuer) -> dict[str, str]:
    token = issuer.service_token("operator", audience=AUDIENCE, scope=SCOPE)
    return {"Authorization": f"Bearer {token}"}


async def test_the_ring_is_shown_with_states_and_times_and_no_key_material(
    tmp_path: Path, clock: ManualClock, issuer: Issuer
) -> None:
    await tick(tmp_path, clock)
    async with (
        apps.keyrotator(tmp_path, issuer, clock) as rotator,
        rotator.http.get("/v1/keys", headers=operator(issuer)) as response,
    ):
        body = await response.json()
    assert response.status == 200
    _, key = body["keys"]
    moments = {"created", "published", "activated", "retires", "revoked"}
    assert key.keys() == {"kid", "alg", "state"} | moments
    assert (key["alg"], key["state"], key["retires"]) == ("RS256", "active", None)
    assert key["activated"] == "2026-01-02T03:04:05.000Z"


async def test_a_rotation_can_be_asked_for_and_its_time_is_told(
    tmp_path: Path, clock: ManualClock, issuer: Issuer
) -> None:
    await tick(tmp_path, clock)
    async with apps.keyrotator(tmp_path, issuer, clock) as rotator:
        async with rotator.http.post("/v1/keys/rotate", headers=operator(issuer)) as response:
            asked = await response.json()
        assert response.status == 202
        assert [key["state"] for key in asked["keys"]] == ["pending", "active"]
        assert asked["activates_at"] == "2026-01-02T03:12:05.000Z"

        clock.advance(LEAD)
        await tick(tmp_path, clock)
        async with rotator.http.get("/v1/keys", headers=operator(issuer)) as response:
            rotated = await response.json()
    assert [key["state"] for key in rotated["keys"]] == ["pending", "active", "retiring"]
    assert rotated["keys"][1]["kid"] == asked["keys"][0]["kid"]


async def test_a_revoked_key_leaves_the_set_and_the_time_is_told_when_it_is_refused(
    tmp_path: Path, clock: ManualClock, issuer: Issuer
) -> None:
    await tick(tmp_path, clock)
    async with apps.keyrotator(tmp_path, issuer, clock) as rotator:
        async with rotator.http.get("/v1/keys", headers=operator(issuer)) as response:
            leaked = (await response.json())["keys"][1]["kid"]
        path = f"/v1/keys/{leaked}/revoke"
        async with rotator.http.post(path, headers=operator(issuer)) as response:
            revoked = await response.json()
    assert response.status == 202
    assert [key["state"] for key in revoked["keys"]] == ["pending", "active", "revoked"]
    assert revoked["keys"][2]["kid"] == leaked
    assert revoked["refused_at"] == "2026-01-02T03:08:05.000Z"
    assert leaked.encode() not in (tmp_path / "keys" / "jwks.json").read_bytes()


async def test_an_unknown_key_cannot_be_revoked(
    tmp_path: Path, clock: ManualClock, issuer: Issuer
) -> None:
    await tick(tmp_path, clock)
    async with (
        apps.keyrotator(tmp_path, issuer, clock) as rotator,
        rotator.http.post("/v1/keys/unknown/revoke", headers=operator(issuer)) as response,
    ):
        assert response.status == 404


async def test_a_rotation_before_the_first_key_is_answered_with_try_again(
    tmp_path: Path, clock: ManualClock, issuer: Issuer
) -> None:
    async with (
        apps.keyrotator(tmp_path, issuer, clock) as rotator,
        rotator.http.post("/v1/keys/rotate", headers=operator(issuer)) as response,
    ):
        assert (response.status, response.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/keys"), ("POST", "/v1/keys/rotate"), ("POST", "/v1/keys/some/revoke")],
)
async def test_only_a_service_with_the_scope_for_this_audience_may_ask(
    tmp_path: Path, clock: ManualClock, issuer: Issuer, method: str, path: str
) -> None:
    refused = {
        "no token": (None, 401),
        "a player's token": (issuer.token(), 403),
        "another audience": (
            issuer.service_token("operator", audience="playmesh:player_data", scope=SCOPE),
            401,
        ),
        "another scope": (
            issuer.service_token("operator", audience=AUDIENCE, scope="player_data:admin"),
            403,
        ),
        "a player who claims the scope": (issuer.token(scope=SCOPE), 403),
        "a player for this audience": (issuer.token(aud=AUDIENCE, scope=SCOPE), 401),
    }
    async with apps.keyrotator(tmp_path, issuer, clock) as rotator:
        for who, (token, status) in refused.items():
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with rotator.http.request(method, path, headers=headers) as response:
                assert (who, response.status) == (who, status)
