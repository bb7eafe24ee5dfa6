"""A login with Game Center, over a socket and with Apple's stand-in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call
from tests.support.clock import ManualClock
from tests.support.fakes.game_center import PLAYER, TEAM, GameCenterFake, ca_pem
from tests.support.people import Person
from tests.support.servers import Answer


@pytest.fixture
def fake(clock: ManualClock) -> GameCenterFake:
    return GameCenterFake(clock)


@pytest.fixture
async def identity(
    tmp_path: Path, clock: ManualClock, fake: GameCenterFake
) -> AsyncIterator[RunningIdentity]:
    issuers = tmp_path / "issuers.pem"
    issuers.write_bytes(ca_pem())
    async with fake.serving() as url:
        environ = {
            **QUICK_KEYS,
            **fake.environ(url),
            "PLAYMESH_GAME_CENTER_CA_FILE": str(issuers),
        }
        async with apps.identity(tmp_path, clock, environ) as running:
            yield running


async def log_in(identity: RunningIdentity, credential: dict[str, object]) -> Answer:
    body = {"provider": "game_center", "credential": credential}
    return await call(identity.http, "POST", "/v1/sessions", json=body)


async def test_a_player_of_game_center_is_the_same_one_each_time(
    identity: RunningIdentity, fake: GameCenterFake
) -> None:
    first = await log_in(identity, {**fake.credential(salt=b"1")})
    again = await log_in(identity, {**fake.credential(salt=b"2")})
    assert (first.status, again.status) == (201, 201)
    assert first.json()["user_id"] == again.json()["user_id"]
    player = Person(identity, first.json()["user_id"], "", first.json())
    account = (await player.call("GET", "/v1/account")).json()
    assert [(one["provider"], one["external_id"]) for one in account["identities"]] == [
        ("game_center", f"{TEAM}:{PLAYER}")
    ]


async def test_whoever_has_seen_what_was_signed_does_not_get_in_with_it(
    identity: RunningIdentity, fake: GameCenterFake
) -> None:
    await log_in(identity, {**fake.credential()})
    answer = await log_in(identity, {**fake.credential()})
    assert (answer.status, answer.code) == (401, "expired_credential")


async def test_a_time_that_is_a_number_is_a_bad_request(
    identity: RunningIdentity, fake: GameCenterFake
) -> None:
    credential = fake.credential()
    answer = await log_in(identity, {**credential, "timestamp": int(credential["timestamp"])})
    assert (answer.status, answer.code) == (400, "invalid_request")
