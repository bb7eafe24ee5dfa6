"""Random ids, secrets and their digests."""

import hashlib
from base64 import urlsafe_b64decode

import pytest

from shared.ids import (
    digest,
    is_id,
    is_secret,
    jitter,
    matches,
    new_id,
    new_key,
    new_operation,
    new_secret,
)


def test_an_id_is_128_bits_in_lower_case_hex() -> None:
    assert len(bytes.fromhex(new_id())) == 16
    assert is_id(new_id())


def test_a_secret_is_256_bits_in_base64url_without_padding() -> None:
    assert len(urlsafe_b64decode(new_secret() + "=")) == 32
    assert is_secret(new_secret())


def test_a_key_is_256_bits() -> None:
    assert len(new_key()) == 32


def test_an_operation_is_128_bits() -> None:
    assert len(new_operation()) == 16


@pytest.mark.parametrize("make", [new_id, new_secret, new_key, new_operation])
def test_a_thousand_of_them_are_all_different(make: object) -> None:
    assert callable(make)
    assert len({make() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 31,
        "0" * 33,
        "0" * 31 + "g",
        "A" * 32,
        "0" * 32 + "\n",
        "\N{ARABIC-INDIC DIGIT ZERO}" * 32,
        "../" + "0" * 29,
    ],
)
def test_what_has_another_form_is_no_id(text: str) -> None:
    assert not is_id(text)


@pytest.mark.parametrize(
    "text",
    ["", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + "+", "A" * 43 + "\n", "é" * 43],
)
def test_what_has_another_form_is_no_secret(text: str) -> None:
    assert not is_secret(text)


def test_a_digest_is_the_sha_256_of_the_secret() -> None:
    assert digest("secret") == hashlib.sha256(b"secret").digest()


def test_a_secret_matches_its_own_digest_only() -> None:
    secret = new_secret()
    assert matches(secret, digest(secret))
    assert not matches(new_secret(), digest(secret))
    assert not matches(secret, b"")


def test_jitter_stays_within_its_spread_and_is_not_always_the_same() -> None:
    factors = {jitter(0.1) for _ in range(1000)}
    assert min(factors) >= 0.9
    assert max(factors) <= 1.1
    assert len(factors) > 1
