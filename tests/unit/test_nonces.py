"""Nonces of ours: who can make one, and for how long it holds."""

import re

import pytest

from services.identity.models import SessionKey
from services.identity.nonces import Nonces
from services.identity.refresh_tokens import RefreshToken, RefreshTokens
from shared.clock import to_millis
from tests.support.clock import ManualClock


def key() -> bytes:
    return b"k" * 32


@pytest.fixture
def nonces(clock: ManualClock) -> Nonces:
    return Nonces(key, clock)


def test_one_is_known_in_every_process_until_ten_minutes_later(
    nonces: Nonces, clock: ManualClock
) -> None:
    issued = nonces.issue()
    expires_at = Nonces(key, clock).expires_at(issued)
    assert expires_at is not None
    assert to_millis(expires_at) == to_millis(clock.now()) + 600_000


def test_each_is_another(nonces: Nonces) -> None:
    assert len({nonces.issue() for _ in range(100)}) == 100


def test_any_platform_s_client_may_carry_it(nonces: Nonces) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", nonces.issue())


def test_that_of_another_key_is_not_ours(nonces: Nonces, clock: ManualClock) -> None:
    assert nonces.expires_at(Nonces(lambda: b"o" * 32, clock).issue()) is None


def test_any_changed_byte_is_noticed(nonces: Nonces) -> None:
    issued = nonces.issue()
    for place, byte in enumerate(issued):
        for other in "1", "2":
            if byte != other:
                assert nonces.expires_at(issued[:place] + other + issued[place + 1 :]) is None


@pytest.mark.parametrize(
    "text", ["", "x", "n1...", "n1.0.0.0", "\x00", "\ud800", "n1" * 5000, "n1.é.1.x"]
)
def test_what_is_no_nonce_is_not_ours(nonces: Nonces, text: str) -> None:
    assert nonces.expires_at(text) is None


def test_no_refresh_token_passes_for_one_nor_one_for_a_refresh_token(nonces: Nonces) -> None:
    tokens = RefreshTokens(key)
    token = tokens.render(RefreshToken(SessionKey("a" * 32, "b" * 32), counter=1))
    assert nonces.expires_at(token) is None
    assert nonces.expires_at(token.replace("r1", "n1")) is None
    issued = nonces.issue()
    assert tokens.parse(issued) is None
    assert tokens.parse(issued.replace("n1", "r1")) is None
