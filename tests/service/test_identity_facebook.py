"""The drop-in login with Facebook, over a socket and with Facebook's stand-in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call
from tests.support.clock import ManualClock
from tests.support.fakes.facebook import APP_ID, FRIEND, OTHER_APP, PLAYER, FacebookFake, token
from tests.support.people import Person, new_person
from tests.support.servers import Answer

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def identity(tmp_path: Path, clock: ManualClock) -> AsyncIterator[RunningIdentity]:
    fake = FacebookFake(clock, SECRET)
    async with fake.serving() as url:
        environ = {**QUICK_KEYS, **fake.environ(url)}
        async with apps.identity(tmp_path, clock, environ) as running:
            yield running


async def log_in(
    identity: RunningIdentity, sent: str | None = None, user_id: str = PLAYER, **more: str
) -> Answer:
    query = {"facebook_access_token": sent or token(), "facebook_user_id": user_id, **more}
    return await call(identity.http, "GET", "/login-with-facebook", params=query)


async def test_the_drop_in_route_answers_what_the_sdks_read(identity: RunningIdentity) -> None:
    answer = await log_in(identity)
    assert answer.status == 200
    assert set(answer.json()) == {
        "user_id",
        "facebook_id",
        "auth_token",
        "refresh_token",
        "auth_token_expires_in",
        "refresh_token_expires_in",
    }


async def test_the_sdks_know_the_id_without_the_application_in_front(
    identity: RunningIdentity,
) -> None:
    answer = await log_in(identity)
    assert answer.json()["facebook_id"] == PLAYER
    player = Person(identity, answer.json()["user_id"], "", answer.json())
    player.tokens["access_token"] = answer.json()["auth_token"]
    account = (await player.call("GET", "/v1/account")).json()
    assert [(one["provider"], one["external_id"]) for one in account["identities"]] == [
        ("facebook", f"{APP_ID}:{PLAYER}")
    ]


async def test_defect_13_who_claims_a_friend_s_id_is_refused(identity: RunningIdentity) -> None:
    friend = (await log_in(identity, token(user=FRIEND), FRIEND)).json()["user_id"]
    answer = await log_in(identity, token(), FRIEND)
    assert (answer.status, answer.code) == (401, "invalid_credential")
    assert friend not in str(answer)


async def test_defect_14_another_game_s_token_is_refused(identity: RunningIdentity) -> None:
    answer = await log_in(identity, token(app=OTHER_APP))
    assert (answer.status, answer.code) == (401, "wrong_audience")


@pytest.mark.parametrize(
    ("scenario", "status", "code"),
    [
        ("e2", 503, "provider_unavailable"),
        ("http503", 503, "provider_unavailable"),
        ("e17", 429, "too_many_requests"),
    ],
)
async def test_defect_15_what_may_be_gone_later_says_when_to_come_back(
    identity: RunningIdentity, scenario: str, status: int, code: str
) -> None:
    answer = await log_in(identity, token(scenario))
    assert (answer.status, answer.code) == (status, code)
    assert int(answer.headers["Retry-After"]) >= 1
    assert SECRET not in str(answer)


async def test_v1_takes_the_token_and_no_word_of_who_it_is(identity: RunningIdentity) -> None:
    first = (await log_in(identity)).json()["user_id"]
    body = {"provider": "facebook", "credential": {"access_token": token(), "user_id": FRIEND}}
    answer = await call(identity.http, "POST", "/v1/sessions", json=body)
    assert (answer.status, answer.json()["user_id"]) == (201, first)


async def test_a_guest_links_and_stays_who_it_is(identity: RunningIdentity) -> None:
    guest = await new_person(identity)
    more = {"auth_token": guest.tokens["access_token"], "link_to_existing_user": "Yes"}
    answer = await log_in(identity, **more)
    assert (answer.status, answer.json()["user_id"]) == (200, guest.user_id)
