"""The header names algorithm, key and type, each once, and nothing else."""

import json

import pytest
from joserfc.jwk import RSAKey

from shared.auth.verifier import TokenVerifier
from tests.support.issuer import Issuer
from tests.support.tokens import HEADER, encode, refuse, seal, seal_text

HOSTILE_MEMBERS: dict[str, object] = {
    "jku": "https://attacker.test/jwks.json",
    "x5u": "https://attacker.test/cert.pem",
    "x5c": ["MIIB"],
    "x5t": "AAAA",
    "x5t#S256": "AAAA",
    "cty": "JWT",
    "zip": "DEF",
    "b64": False,
    "enc": "A128GCM",
    "epk": {},
    "anything": "else",
}


@pytest.mark.parametrize("name", HOSTILE_MEMBERS)
async def test_a_header_with_a_member_that_our_issuer_never_sends_is_refused(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, name: str
) -> None:
    header = HEADER | {name: HOSTILE_MEMBERS[name]}
    await refuse(verifier, seal(signing_key, header, issuer.claims()))


@pytest.mark.parametrize(
    "crit", [["b64"], ["exp"], ["http://example.invalid/UNDEFINED"], ["alg"], [], None, "b64", [7]]
)
async def test_crit_is_refused_whatever_it_names(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, crit: object
) -> None:
    await refuse(verifier, seal(signing_key, HEADER | {"crit": crit}, issuer.claims()))


async def test_b64_false_with_an_unencoded_payload_is_refused(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey
) -> None:
    header = encode(json.dumps(HEADER | {"b64": False, "crit": ["b64"]}).encode())
    await refuse(verifier, seal_text(signing_key, f"{header}.{json.dumps(issuer.claims())}"))


@pytest.mark.parametrize("key_id", ["key-1", "embedded"])
async def test_jwk_in_the_header_is_refused_under_a_known_and_an_unknown_id(
    verifier: TokenVerifier, issuer: Issuer, stranger: RSAKey, key_id: str
) -> None:
    jwk = stranger.as_dict(private=False) | {"kid": key_id}
    await refuse(verifier, seal(stranger, HEADER | {"kid": key_id, "jwk": jwk}, issuer.claims()))


@pytest.mark.parametrize(
    "typ",
    ["JWT", "jwt", "rt+jwt", "dpop+jwt", "at-jwt", "at+jwt ", "application/jwt", "", 7, ["at+jwt"]],
)
async def test_another_type_is_refused(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, typ: object
) -> None:
    await refuse(verifier, seal(signing_key, HEADER | {"typ": typ}, issuer.claims()))


@pytest.mark.parametrize("name", HEADER)
@pytest.mark.parametrize("change", ["left out", "null", "in upper case", "twice"])
async def test_a_header_that_lacks_a_member_or_has_it_twice_is_refused(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, name: str, change: str
) -> None:
    raw = json.dumps(HEADER)
    member = f'"{name}": "{HEADER[name]}"'
    replacement = {
        "left out": '"cty": "x"',
        "null": f'"{name}": null',
        "in upper case": f'"{name.upper()}": "{HEADER[name]}"',
        "twice": f"{member}, {member}",
    }[change]
    assert member in raw
    header = raw.replace(member, replacement).encode()
    await refuse(verifier, seal(signing_key, header, issuer.claims()))


@pytest.mark.parametrize(
    "header",
    [
        b"null",
        b"[]",
        b'"text"',
        b"7",
        b"{",
        b"{}",
        b"\xff{}",
        b"[" * 700,
        b"{} {}",
        b"\xef\xbb\xbf",
    ],
)
async def test_a_header_that_is_no_object_of_ours_is_refused(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, header: bytes
) -> None:
    await refuse(verifier, seal(signing_key, header, issuer.claims()))
