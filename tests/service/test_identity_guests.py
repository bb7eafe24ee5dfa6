"""Guests: made, recognised, never told apart by whoever guesses."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call, claims_of, without_request_id
from tests.support.clock import ManualClock
from tests.support.guests import credential_of, log_in, new_guest
from tests.support.identity_store import contents
from tests.support.servers import Answer

NEW_GUEST = {
    "user_id",
    "guest_secret",
    "access_token",
    "refresh_token",
    "expires_in",
    "refresh_expires_in",
}
SECRET = "A" * 43


async def test_a_new_guest_is_told_exactly_what_it_needs(identity: RunningIdentity) -> None:
    answer = await call(identity.http, "POST", "/v1/guests")
    assert answer.status == 201
    assert answer.json().keys() == NEW_GUEST


async def test_a_user_id_is_128_bits_in_hex(identity: RunningIdentity) -> None:
    assert re.fullmatch("[0-9a-f]{32}", (await new_guest(identity.http))["user_id"])


async def test_a_guest_secret_is_256_bits_that_need_no_escaping(identity: RunningIdentity) -> None:
    assert re.fullmatch("[A-Za-z0-9_-]{43}", (await new_guest(identity.http))["guest_secret"])


async def test_no_two_guests_share_anything_but_lifetimes(identity: RunningIdentity) -> None:
    guests = [await new_guest(identity.http) for _ in range(10)]
    for name in NEW_GUEST - {"expires_in", "refresh_expires_in"}:
        assert len({guest[name] for guest in guests}) == 10, name


async def test_a_new_guest_is_the_subject_of_its_access_token(identity: RunningIdentity) -> None:
    guest = await new_guest(identity.http)
    assert claims_of(guest["access_token"])["sub"] == guest["user_id"]


@pytest.mark.parametrize(
    "body", [{}, {"device": None}, {"device": {}}, {"device": {"name": "Zoë's 🎮" * 16}}]
)
async def test_a_new_guest_may_name_its_device(
    identity: RunningIdentity, body: Mapping[str, object]
) -> None:
    assert (await call(identity.http, "POST", "/v1/guests", json=body)).status == 201


async def test_a_guest_logs_in_with_its_secret(identity: RunningIdentity) -> None:
    guest = await new_guest(identity.http)
    answer = await log_in(identity.http, credential_of(guest))
    assert answer.status == 201
    assert answer.json()["user_id"] == guest["user_id"]


async def test_a_login_does_not_repeat_the_secret(identity: RunningIdentity) -> None:
    guest = await new_guest(identity.http)
    answer = await log_in(identity.http, credential_of(guest))
    assert answer.json().keys() == NEW_GUEST - {"guest_secret"}


async def test_a_secret_holds_again_and_again(identity: RunningIdentity) -> None:
    guest = await new_guest(identity.http)
    statuses = [(await log_in(identity.http, credential_of(guest))).status for _ in range(3)]
    assert statuses == [201] * 3


async def test_each_login_opens_a_session_of_its_own(identity: RunningIdentity) -> None:
    guest = await new_guest(identity.http)
    answers = [await log_in(identity.http, credential_of(guest)) for _ in range(2)]
    tokens = [guest["access_token"], *(answer.json()["access_token"] for answer in answers)]
    assert len({claims_of(token)["sid"] for token in tokens}) == 3


async def test_a_guest_is_known_after_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    async with apps.identity(tmp_path, clock, QUICK_KEYS) as identity:
        guest = await new_guest(identity.http)
    async with apps.identity(tmp_path, clock, QUICK_KEYS) as identity:
        assert (await log_in(identity.http, credential_of(guest))).status == 201


async def test_the_secret_of_one_guest_does_not_open_another(identity: RunningIdentity) -> None:
    one, other = await new_guest(identity.http), await new_guest(identity.http)
    answer = await log_in(identity.http, {**credential_of(one), "user_id": other["user_id"]})
    assert (answer.status, answer.code) == (401, "invalid_credential")


async def test_the_right_secret_still_holds_after_many_wrong_ones(
    identity: RunningIdentity,
) -> None:
    guest = await new_guest(identity.http)
    for _ in range(50):
        await log_in(identity.http, {**credential_of(guest), "guest_secret": SECRET})
    assert (await log_in(identity.http, credential_of(guest))).status == 201


WRONG = {
    "unknown user": {"user_id": "0" * 32, "guest_secret": SECRET},
    "unknown user, malformed secret": {"user_id": "0" * 32, "guest_secret": "x"},
    "malformed user": {"user_id": "nobody", "guest_secret": SECRET},
    "malformed user and secret": {"user_id": "../../etc", "guest_secret": "' OR 1=1 --"},
    "malformed secret": {"guest_secret": "x"},
    "secret with a stray end": {"guest_secret": SECRET + "="},
    "non-ASCII secret": {"guest_secret": "é" * 43},
    "long secret": {"guest_secret": "A" * 256},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
async def test_a_login_that_fails_does_not_tell_why(
    identity: RunningIdentity, wrong: Mapping[str, str]
) -> None:
    credential = credential_of(await new_guest(identity.http))
    wrong_secret = await log_in(identity.http, {**credential, "guest_secret": SECRET})
    answer = await log_in(identity.http, {**credential, **wrong})
    assert (answer.status, answer.code) == (401, "invalid_credential")
    assert without_request_id(answer) == without_request_id(wrong_secret)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
async def test_a_drop_in_login_that_fails_does_not_tell_why(
    identity: RunningIdentity, wrong: Mapping[str, str]
) -> None:
    async def log_in_as_guest(values: Mapping[str, str]) -> Answer:
        return await call(identity.http, "GET", f"/login-as-guest?{urlencode(values)}")

    credential = credential_of(await new_guest(identity.http))
    wrong_secret = await log_in_as_guest({**credential, "guest_secret": SECRET})
    answer = await log_in_as_guest({**credential, **wrong})
    assert (answer.status, answer.code) == (401, "invalid_credential")
    assert without_request_id(answer) == without_request_id(wrong_secret)


async def test_a_login_that_fails_creates_nothing(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    await new_guest(identity.http)
    for wrong in WRONG.values():
        await log_in(identity.http, {"user_id": "0" * 32, **wrong})
    assert contents(tmp_path) == (1, 1)


async def test_the_answer_does_not_carry_the_wrong_secret_back(identity: RunningIdentity) -> None:
    answer = await log_in(identity.http, {"user_id": "0" * 32, "guest_secret": SECRET})
    assert SECRET.encode() not in answer.body
