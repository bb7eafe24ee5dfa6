"""Facebook's signed requests, with which it tells of its players."""

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.identity.models import Notice, NoticeKind
from services.identity.providers.connections import Connections
from services.identity.providers.guarded import GuardedNotices
from services.identity.providers.shape import SendsNotices
from shared import errors
from shared.clock import to_seconds
from tests.support.clock import ManualClock
from tests.support.fakes.facebook import APP_ID, FRIEND, PLAYER, sign_request, signed_request
from tests.support.platforms import read
from tests.support.tokens import encode

SECRET = "0123456789abcdef0123456789abcdef"
DAY = 24 * 3600
VECTOR = (
    "7YzVg6ajNh55zvW9Z2aiE1hsTQlpoBYGDR1OkTo7XOk.eyJhbGdvcml0aG0iOiJITUFDLVNIQTI1NiIsImV4cGlyZXMi"
    "OjE3NjcyMjU2MDAsImlzc3VlZF9hdCI6MTc2NzIyMjAwMCwidXNlcl9pZCI6IjEwMTUwMDAwMDAwMDAwMDAxIn0"
)
ISSUED = 1767222000


def notices(connections: Connections, **changes: str) -> GuardedNotices:
    variables = {
        "PROVIDERS": "facebook",
        "FACEBOOK_APP_ID": APP_ID,
        "FACEBOOK_APP_SECRET": SECRET,
        **changes,
    }
    (settings,) = read(**variables).platforms.values()
    platform = settings.open(connections)
    assert isinstance(platform, SendsNotices)
    return GuardedNotices("facebook", platform)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime.fromtimestamp(ISSUED, UTC))


@pytest.fixture
def facebook(connections: Connections) -> GuardedNotices:
    return notices(connections)


async def test_a_known_request_is_read(facebook: GuardedNotices) -> None:
    expected = Notice(NoticeKind.OTHER, "facebook", f"{APP_ID}:10150000000000001")
    assert await facebook.read(VECTOR) == expected


async def test_one_may_be_without_an_end(facebook: GuardedNotices) -> None:
    sent = signed_request(SECRET, ISSUED, expires=None)
    assert (await facebook.read(sent)).external_id == f"{APP_ID}:{PLAYER}"


def _of(**changes: Any) -> str:  # noqa: ANN401 - also wrong types
    return signed_request(SECRET, ISSUED, **changes)


def _sha1() -> str:
    payload = encode(json.dumps({"algorithm": "HMAC-SHA1", "issued_at": ISSUED}).encode())
    return f"{encode(hmac.digest(SECRET.encode(), payload.encode(), hashlib.sha1))}.{payload}"


def _of_the_payload_itself() -> str:
    """As one that was signed before it was encoded."""
    payload = json.dumps({"algorithm": "HMAC-SHA256", "issued_at": ISSUED, "user_id": PLAYER})
    tag = hmac.digest(SECRET.encode(), payload.encode(), hashlib.sha256)
    return sign_request(SECRET, payload, encode(tag))


WRONG: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "a dot": lambda: ".",
    "no dot": lambda: VECTOR.replace(".", ""),
    "two dots": lambda: f"{VECTOR}.",
    "two dots, in the payload": lambda: f"{VECTOR[:80]}.{VECTOR[80:]}",
    "padding of the signature": lambda: VECTOR.replace(".", "=."),
    "padding of the payload": lambda: f"{VECTOR}=",
    "of the other alphabet": lambda: f"+{VECTOR[1:]}",
    "a line's end": lambda: f"{VECTOR}\n",
    "another signature": lambda: f"8{VECTOR[1:]}",
    "another signature, in bits that say nothing": lambda: VECTOR.replace("XOk.", "XOl."),
    "a short signature": lambda: VECTOR[1:],
    "no signature": lambda: VECTOR[43:],
    "another payload": lambda: (
        f"{VECTOR.partition('.')[0]}.{_of(user_id=FRIEND).partition('.')[2]}"
    ),
    "another secret": lambda: signed_request(SECRET[::-1], ISSUED),
    "an empty secret": lambda: signed_request("", ISSUED),
    "another algorithm": lambda: _of(algorithm="HMAC-SHA1"),
    "another algorithm, by which it is signed": _sha1,
    "an algorithm in lower case": lambda: _of(algorithm="hmac-sha256"),
    "no algorithm": lambda: _of(algorithm=None),
    "signed before it was encoded": _of_the_payload_itself,
    "no JSON": lambda: sign_request(SECRET, "{"),
    "a list": lambda: sign_request(SECRET, "[]"),
    "a member twice": lambda: sign_request(SECRET, '{"user_id":"1","user_id":"2"}'),
    "no user": lambda: _of(user_id=None),
    "a user that is a number": lambda: _of(user_id=1015),
    "a user that is no id": lambda: _of(user_id="me"),
    "a user with a path": lambda: _of(user_id="1/../2"),
    "no moment": lambda: _of(issued_at=None),
    "a moment that is text": lambda: _of(issued_at=str(ISSUED)),
    "a moment that is true": lambda: _of(issued_at=True),
    "older than a day": lambda: _of(issued_at=ISSUED - DAY - 1),
    "of the future": lambda: _of(issued_at=ISSUED + 61),
    "of a page's login": lambda: _of(code="AQD"),
    "of a page within Facebook": lambda: _of(oauth_token="EAA"),
    "huge": lambda: sign_request(SECRET, json.dumps({"user_id": "1", "x": "x" * 4096})),
}


@pytest.mark.parametrize("wrong", list(WRONG))
async def test_a_request_is_refused_that_is(facebook: GuardedNotices, wrong: str) -> None:
    with capture_logs() as logs, pytest.raises(errors.InvalidCredential) as refused:
        await facebook.read(WRONG[wrong]())
    assert refused.value.code == "invalid_credential"
    assert PLAYER not in str(logs)
    assert SECRET not in str(logs)


async def test_a_request_is_taken_for_a_day(facebook: GuardedNotices, clock: ManualClock) -> None:
    clock.advance(DAY)
    await facebook.read(VECTOR)
    clock.advance(1)
    with pytest.raises(errors.InvalidCredential):
        await facebook.read(VECTOR)


async def test_clocks_may_be_a_minute_apart(facebook: GuardedNotices, clock: ManualClock) -> None:
    sent = signed_request(SECRET, to_seconds(clock.now()) + 60)
    assert (await facebook.read(sent)).external_id == f"{APP_ID}:{PLAYER}"


async def test_the_secret_is_the_one_that_the_file_has_now(
    connections: Connections, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET[::-1])
    facebook = notices(connections, FACEBOOK_APP_SECRET="", FACEBOOK_APP_SECRET_FILE=str(file))
    with pytest.raises(errors.InvalidCredential):
        await facebook.read(VECTOR)
    file.write_text(SECRET)
    await facebook.read(VECTOR)
