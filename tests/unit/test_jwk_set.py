"""JWK Sets are read strictly: a bad document is refused, a foreign entry skipped."""

import json
import math
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey
from joserfc.util import int_to_base64

from shared.auth.jwk_set import LARGEST_DOCUMENT, OURS, THEIRS, InvalidJwkSet, parse_jwk_set
from tests.support.issuer import ec_key, rsa_key

Entry = dict[str, Any]

RSA = rsa_key("rsa-1")
EC = ec_key("ec-1")
GOOD: Entry = dict(RSA.as_dict(private=False))
GOOD_EC: Entry = dict(EC.as_dict(private=False))


def document(*entries: object, **more: object) -> bytes:
    return json.dumps({"keys": entries, **more}).encode()


def ids(raw: bytes) -> set[str]:
    return set(parse_jwk_set(raw))


def rsa_entry(*, bits: int = 2048, exponent: int = 65537) -> Entry:
    public = rsa.generate_private_key(exponent, bits).public_key().public_numbers()
    return GOOD | {"kid": "x", "n": int_to_base64(public.n), "e": int_to_base64(public.e)}


def roca_entry() -> Entry:
    """A modulus as the primes of CVE-2017-15361 make it: a power of 65537 modulo small primes."""
    primes = [p for p in range(2, 702) if all(p % divisor for divisor in range(2, p))]
    product = math.prod(primes)
    modulus = pow(65537, 12345, product) + product * (2**2047 // product + 2)
    return GOOD | {"kid": "x", "n": int_to_base64(modulus)}


def curve_entry(curve: str, algorithm: str) -> Entry:
    key = ECKey.generate_key(curve)
    return {**key.as_dict(private=False), "kid": "x", "alg": algorithm, "use": "sig"}


def without(entry: Entry, name: str) -> Entry:
    return {member: value for member, value in entry.items() if member != name}


def test_keys_are_found_by_their_id_with_their_algorithm() -> None:
    keys = parse_jwk_set(document(GOOD, GOOD_EC))
    assert {key_id: (key.key_id, key.algorithm) for key_id, key in keys.items()} == {
        "rsa-1": ("rsa-1", "RS256"),
        "ec-1": ("ec-1", "ES256"),
    }


def test_a_key_is_what_the_issuer_published() -> None:
    keys = parse_jwk_set(document(GOOD, GOOD_EC))
    assert keys["rsa-1"].key.thumbprint() == RSA.thumbprint()
    assert keys["ec-1"].key.thumbprint() == EC.thumbprint()


@pytest.mark.parametrize(
    "changes",
    [
        {"key_ops": ["verify"]},
        {"key_ops": ["sign", "verify"]},
        {"x5c": ["MIIB"], "x5t": "abc", "x5u": "https://elsewhere.test/", "unknown": {"a": [1]}},
        {"kid": "a" * 128},
        {"kid": "A-Z_a.z~0=9"},
        {"kid": "bilbo.baggins@hobbiton.example"},  # of RFC 7520
    ],
)
def test_an_entry_that_fits_is_used(changes: Entry) -> None:
    assert len(parse_jwk_set(document(GOOD | changes))) == 1


def test_a_key_without_use_may_verify() -> None:
    assert ids(document(without(GOOD, "use"))) == {"rsa-1"}


def test_other_members_of_the_document_do_not_matter() -> None:
    assert ids(document(GOOD, issued="today", previous=[])) == {"rsa-1"}


FOREIGN = [
    pytest.param(GOOD | {"use": "enc"}, id="to-encrypt"),
    pytest.param(GOOD | {"use": None}, id="use-null"),
    pytest.param(GOOD | {"use": ["sig"]}, id="use-list"),
    pytest.param(GOOD | {"key_ops": ["encrypt"]}, id="operation-encrypt"),
    pytest.param(GOOD | {"key_ops": []}, id="no-operation"),
    pytest.param(GOOD | {"key_ops": "verify"}, id="operation-text"),
    pytest.param(without(GOOD, "alg"), id="no-algorithm"),
    pytest.param(GOOD | {"alg": "PS256"}, id="PS256"),
    pytest.param(GOOD | {"alg": "RS512"}, id="RS512"),
    pytest.param(GOOD | {"alg": "RS1"}, id="RS1"),
    pytest.param(GOOD | {"alg": "HS256"}, id="HS256"),
    pytest.param(GOOD | {"alg": "none"}, id="none"),
    pytest.param(GOOD | {"alg": "ES256"}, id="RSA-with-ES256"),
    pytest.param(GOOD | {"alg": ["RS256"]}, id="algorithm-list"),
    pytest.param(GOOD_EC | {"alg": "RS256"}, id="EC-with-RS256"),
    pytest.param(GOOD_EC | {"alg": "ES384"}, id="P-256-with-ES384"),
    pytest.param(GOOD_EC | {"crv": "P-384"}, id="wrong-curve-name"),
    pytest.param(GOOD_EC | {"crv": "secp256k1"}, id="other-curve-name"),
    pytest.param(curve_entry("P-384", "ES256"), id="P-384-with-ES256"),
    pytest.param(curve_entry("P-384", "ES384"), id="P-384"),
    pytest.param(curve_entry("secp256k1", "ES256"), id="secp256k1"),
    pytest.param(GOOD_EC | {"x": GOOD_EC["y"]}, id="point-off-the-curve"),
    pytest.param(GOOD_EC | {"x": "AA", "y": "AA"}, id="point-at-zero"),
    pytest.param(GOOD_EC | {"y": ""}, id="point-without-y"),
    pytest.param(
        {
            **OKPKey.generate_key("Ed25519").as_dict(private=False),
            "kid": "x",
            "alg": "EdDSA",
            "use": "sig",
        },
        id="Ed25519",
    ),
    pytest.param(rsa_entry(bits=1024), id="RSA-1024"),
    pytest.param(rsa_entry(exponent=3), id="exponent-3"),
    pytest.param(roca_entry(), id="ROCA"),
    pytest.param(GOOD | {"e": "AQ"}, id="exponent-1"),
    pytest.param(GOOD | {"e": "AQAC"}, id="even-exponent"),
    pytest.param(GOOD | {"n": ""}, id="empty-modulus"),
    pytest.param(GOOD | {"n": "AQAB"}, id="tiny-modulus"),
    pytest.param(GOOD | {"n": "not base64url!"}, id="modulus-not-base64url"),
    pytest.param(GOOD | {"n": "é" * 342}, id="modulus-not-ascii"),
    pytest.param(GOOD | {"n": 65537}, id="modulus-number"),
    pytest.param(GOOD | {"e": ["AQAB"]}, id="exponent-list"),
    pytest.param(without(GOOD, "n"), id="no-modulus"),
    pytest.param(without(GOOD_EC, "crv"), id="no-curve"),
    pytest.param(without(GOOD, "kty"), id="no-type"),
    pytest.param(GOOD | {"kty": "rsa"}, id="type-in-lower-case"),
    pytest.param(GOOD | {"kty": "quantum"}, id="unknown-type"),
    pytest.param(without(GOOD, "kid"), id="no-id"),
    *[
        pytest.param(GOOD | {"kid": kid}, id=f"id-{name}")
        for name, kid in {
            "empty": "",
            "long": "a" * 129,
            "path": "../../dev/null",
            "statement": "' OR 1=1--",
            "command": "|sleep 10",
            "nul": "a\x00",
            "line": "a\n",
            "number": 7,
            "null": None,
            "list": ["rsa-1"],
        }.items()
    ],
    pytest.param({}, id="empty"),
]


@pytest.mark.parametrize("entry", FOREIGN)
def test_an_entry_that_is_not_for_us_is_skipped(entry: Entry) -> None:
    assert ids(document(entry, {**GOOD, "kid": "ours"})) == {"ours"}


@pytest.mark.parametrize("entry", FOREIGN)
def test_a_document_with_nothing_for_us_is_refused(entry: Entry) -> None:
    with pytest.raises(InvalidJwkSet, match="no usable key"):
        parse_jwk_set(document(entry))


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(RSA.as_dict(private=True), id="private-RSA"),
        pytest.param(EC.as_dict(private=True), id="private-EC"),
        pytest.param({**OctKey.generate_key(256).as_dict(), "kid": "x"}, id="symmetric"),
        pytest.param({"kty": "oct", "kid": "x"}, id="symmetric-without-its-value"),
        *[
            pytest.param({**GOOD, "kid": "x", member: "AQAB"}, id=f"with-{member}")
            for member in ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
        ],
    ],
)
def test_a_secret_or_private_entry_rejects_the_whole_document(entry: Entry) -> None:
    with pytest.raises(InvalidJwkSet, match="secret or private"):
        parse_jwk_set(document({**GOOD, "kid": "good"}, entry))


@pytest.mark.parametrize("second", [GOOD, GOOD_EC | {"kid": "rsa-1"}, {"kid": "rsa-1"}])
def test_two_entries_of_one_id_reject_the_whole_document(second: Entry) -> None:
    with pytest.raises(InvalidJwkSet, match="same key id"):
        parse_jwk_set(document(GOOD, GOOD_EC, second))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<!doctype html><title>Sign in</title>",
        b"null",
        b"[]",
        b'"keys"',
        b"{}",
        document(),
        b'{"keys": null}',
        b'{"keys": {}}',
        b'{"keys": "rsa-1"}',
        json.dumps(GOOD).encode(),
        document(GOOD, "rsa-1"),
        document(GOOD, None),
        document(GOOD, [GOOD]),
        document(GOOD)[:-1],
        b"\xff" + document(GOOD),
        document(GOOD).replace(b'"keys"', b'"keys": [], "keys"'),
        document(GOOD).replace(b'"kid"', b'"kid": "other", "kid"'),
        document(GOOD) + b" " * LARGEST_DOCUMENT,
        b'{"keys":' + b"[" * 60_000,
    ],
)
def test_what_is_no_jwk_set_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidJwkSet):
        parse_jwk_set(raw)


def test_a_document_of_the_largest_size_is_read() -> None:
    assert ids(document(GOOD).ljust(LARGEST_DOCUMENT)) == {"rsa-1"}


@pytest.mark.parametrize("text", ["", "a b", "a/b", "a" * 129, "é", "a\n", None, 7, b"a", ["a"]])
def test_what_has_another_form_is_no_key_id(text: object) -> None:
    assert not OURS.is_key_id(text)


@given(
    st.dictionaries(
        st.sampled_from(["kid", "kty", "alg", "use", "crv", "n", "e", "x", "y", "key_ops"]),
        st.none()
        | st.integers()
        | st.text(max_size=8)
        | st.lists(st.text(max_size=3), max_size=2)
        | st.sampled_from(list(GOOD.values()) + list(GOOD_EC.values())),
    )
)
def test_whatever_an_entry_says_the_answer_is_a_set_or_a_refusal(changes: Entry) -> None:
    for entry in (GOOD | changes, GOOD_EC | changes):
        try:
            keys = parse_jwk_set(document(entry))
        except InvalidJwkSet:
            continue
        for key in keys.values():
            assert key.algorithm in ("RS256", "ES256")
            assert not key.key.is_private


# Of issuers that are not ours


@pytest.mark.parametrize(("entry", "algorithm"), [(GOOD, "RS256"), (GOOD_EC, "ES256")])
def test_a_foreign_key_may_leave_its_algorithm_to_its_type_and_ours_may_not(
    entry: Entry, algorithm: str
) -> None:
    raw = document(without(entry, "alg"), GOOD | {"kid": "other"})
    keys = parse_jwk_set(raw, THEIRS)
    assert keys[entry["kid"]].algorithm == algorithm
    assert ids(raw) == {"other"}


@pytest.mark.parametrize(
    "entry",
    [
        GOOD | {"alg": "RS512"},
        GOOD | {"alg": "ES256"},
        GOOD | {"use": "enc"},
        without(curve_entry("P-384", "ES384"), "alg"),
        without(rsa_entry(bits=1024), "alg"),
        without(roca_entry(), "alg"),
    ],
)
def test_a_foreign_key_that_ours_could_not_be_is_skipped_all_the_same(entry: Entry) -> None:
    raw = document(entry | {"kid": "x"}, GOOD)
    assert set(parse_jwk_set(raw, THEIRS)) == {"rsa-1"}


def test_a_foreign_key_id_may_be_base64() -> None:
    raw = document(GOOD | {"kid": "a+b/c="}, GOOD)
    assert set(parse_jwk_set(raw, THEIRS)) == {"a+b/c=", "rsa-1"}
    assert ids(raw) == {"rsa-1"}


@pytest.mark.parametrize("text", ["", "a b", "a\n", "a\0", "é", "a" * 257, "$(x)", "'", 7, None])
def test_a_foreign_key_id_is_no_less_harmless(text: object) -> None:
    assert not THEIRS.is_key_id(text)


def test_no_header_may_bring_a_key_along_or_change_how_a_token_is_read() -> None:
    forbidden = {"crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c"}
    assert not (OURS.header | THEIRS.header) & forbidden
