"""Nothing but an access token of our issuer, for us, of now, is accepted."""

import asyncio
import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import ECKey, OctKey, RSAKey

from shared import errors
from shared.auth.claims import Claims
from shared.auth.jwks_client import JwksClient
from shared.auth.verifier import LEEWAY, Expectations, TokenVerifier
from shared.http.client import Document
from tests.support.clock import ManualClock
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, ec_key, rsa_key

SERVICE_AUDIENCE = "playmesh:player_data"
LIFETIME = timedelta(seconds=900)
HEADER = {"alg": "RS256", "kid": "key-1", "typ": "at+jwt"}
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
TEXTS = ["iss", "sub", "aud", "jti", "client_id", "scope", "sid"]
MOMENTS = ["exp", "iat", "nbf"]


def keys_of(issuer: Issuer) -> JwksClient:
    async def fetch_set() -> Document:
        issuer.requests += 1
        if issuer.status != 200:
            raise errors.Unavailable
        return Document(issuer.jwk_set(), max_age=None)

    return JwksClient(fetch_set, ttl=300, clock=issuer.clock)


def verifier_of(
    issuer: Issuer,
    keys: JwksClient | None = None,
    **changes: Any,  # noqa: ANN401 - any field
) -> TokenVerifier:
    expectations: dict[str, Any] = {
        "issuer": ISSUER,
        "player_audience": AUDIENCE,
        "service_audience": SERVICE_AUDIENCE,
        "longest_lifetime": LIFETIME,
    }
    keys = keys or keys_of(issuer)
    return TokenVerifier(keys, Expectations(**expectations | changes), issuer.clock)


@pytest.fixture
def verifier(issuer: Issuer) -> TokenVerifier:
    return verifier_of(issuer)


@pytest.fixture(scope="session")
def elliptic_key() -> ECKey:
    return ec_key("key-ec")


@pytest.fixture(scope="session")
def stranger() -> RSAKey:
    """A key of somebody else, under the id of ours."""
    return rsa_key("key-1")


def encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def seal(key: RSAKey, header: object = HEADER, claims: object = None) -> str:
    """A token with a good signature over whatever is given: bytes as they are, else as JSON."""
    parts = [
        part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)
    ]
    return seal_text(key, ".".join(encode(part) for part in parts))


def seal_text(key: RSAKey, signed: str) -> str:
    private = key.private_key
    assert private
    signature = private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{encode(signature)}"


async def accept(verifier: TokenVerifier, token: str) -> Claims:
    return await verifier.verify(token)


async def refuse(verifier: TokenVerifier, token: str) -> None:
    with pytest.raises(errors.InvalidToken) as caught:
        await verifier.verify(token)
    # Whoever is trying learns nothing of the reason.
    assert caught.value.detail is None
    assert caught.value.__cause__ is None


# What is accepted


async def test_a_player_s_token_says_who_when_and_what(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    assert await accept(verifier, issuer.token(scope="guest chat")) == Claims(
        issuer=ISSUER,
        subject="0123456789abcdef0123456789abcdef",
        audience=AUDIENCE,
        token_id="token-1",
        client_id="game",
        scopes=frozenset(("guest", "chat")),
        valid_from=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        expires_at=datetime(2026, 1, 2, 3, 19, 5, tzinfo=UTC),
        session_id="session-1",
    )


async def test_a_service_s_token_has_no_session(verifier: TokenVerifier, issuer: Issuer) -> None:
    token = issuer.service_token("identity", audience=SERVICE_AUDIENCE, scope="players:erase")
    claims = await accept(verifier, token)
    assert (claims.subject, claims.audience, claims.session_id, claims.is_service) == (
        "service:identity",
        SERVICE_AUDIENCE,
        None,
        True,
    )


async def test_a_token_with_an_elliptic_signature_is_accepted(
    issuer: Issuer, elliptic_key: ECKey
) -> None:
    issuer.published.append(elliptic_key)
    await accept(verifier_of(issuer), issuer.token(key=elliptic_key))


async def test_what_the_tests_below_seal_by_hand_is_accepted_when_it_is_right(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey
) -> None:
    await accept(verifier, seal(signing_key, HEADER, issuer.claims()))


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"])
async def test_the_type_is_that_of_access_tokens_in_any_case(
    verifier: TokenVerifier, issuer: Issuer, typ: str
) -> None:
    await accept(verifier, issuer.token({"typ": typ}))


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["other", AUDIENCE]])
async def test_an_audience_is_one_or_a_list(
    verifier: TokenVerifier, issuer: Issuer, audience: object
) -> None:
    claims = await accept(verifier, issuer.token(aud=audience))
    assert claims.audience == AUDIENCE


async def test_claims_that_nobody_asks_for_do_not_matter(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    await accept(verifier, issuer.token(nickname="Zoë", groups=["a", "b"], depth={"a": {}}))


# The algorithm


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "nOnE", "noNE", "", None, ["none"], {"alg": "none"}]
)
@pytest.mark.parametrize("signature", ["", "AA", None])
async def test_a_token_without_an_algorithm_is_refused_with_any_signature(
    verifier: TokenVerifier, issuer: Issuer, algorithm: object, signature: str | None
) -> None:
    signed, _, kept = issuer.token().rpartition(".")
    payload = signed.partition(".")[2]
    header = encode(json.dumps(HEADER | {"alg": algorithm}).encode())
    await refuse(verifier, f"{header}.{payload}.{kept if signature is None else signature}")


@pytest.mark.parametrize(
    "algorithm",
    ["RS384", "RS512", "PS256", "ES256", "HS256", "EdDSA", "RS1", "rs256", " RS256", "RS256\0"],
)
async def test_a_good_signature_under_another_algorithm_s_name_is_refused(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, algorithm: str
) -> None:
    await refuse(verifier, seal(signing_key, HEADER | {"alg": algorithm}, issuer.claims()))


PUBLIC_ENCODINGS: dict[str, Callable[[RSAKey], bytes]] = {
    "PEM": lambda key: key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "PEM without its last line end": lambda key: key.public_key.public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    ).rstrip(),
    "PKCS1 PEM": lambda key: key.public_key.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
    "DER": lambda key: key.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "PKCS1 DER": lambda key: key.public_key.public_bytes(Encoding.DER, PublicFormat.PKCS1),
    "JWK": lambda key: json.dumps(key.as_dict(private=False)).encode(),
    "compact JWK": lambda key: json.dumps(
        key.as_dict(private=False), separators=(",", ":")
    ).encode(),
    "modulus": lambda key: urlsafe_b64decode(str(key.as_dict(private=False)["n"]) + "=="),
    "modulus as text": lambda key: str(key.as_dict(private=False)["n"]).encode(),
    "nothing": lambda _key: b"",
}


@pytest.mark.parametrize("encoding", PUBLIC_ENCODINGS)
async def test_the_public_key_is_no_secret_to_sign_with(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, encoding: str
) -> None:
    header = encode(json.dumps(HEADER | {"alg": "HS256"}).encode())
    signed = f"{header}.{encode(json.dumps(issuer.claims()).encode())}"
    secret = PUBLIC_ENCODINGS[encoding](signing_key)
    mac = hmac.digest(secret, signed.encode(), hashlib.sha256)
    await refuse(verifier, f"{signed}.{encode(mac)}")


async def test_an_algorithm_that_is_not_configured_is_refused(
    issuer: Issuer, elliptic_key: ECKey
) -> None:
    issuer.published.append(elliptic_key)
    only_rsa = verifier_of(issuer, algorithms=frozenset(("RS256",)))
    await refuse(only_rsa, issuer.token(key=elliptic_key))


async def test_a_key_is_used_with_its_own_algorithm_only(
    issuer: Issuer, elliptic_key: ECKey, signing_key: RSAKey
) -> None:
    issuer.published.append(elliptic_key)
    with structlog.testing.capture_logs() as lines:
        await refuse(
            verifier_of(issuer), seal(signing_key, HEADER | {"kid": "key-ec"}, issuer.claims())
        )
    assert lines[-1]["reason"] == "kid"  # before the library sees it


# The header


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
async def test_a_critical_extension_is_refused(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, crit: object
) -> None:
    await refuse(verifier, seal(signing_key, HEADER | {"crit": crit}, issuer.claims()))


async def test_an_unencoded_payload_is_refused(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey
) -> None:
    header = encode(json.dumps(HEADER | {"b64": False, "crit": ["b64"]}).encode())
    await refuse(verifier, seal_text(signing_key, f"{header}.{json.dumps(issuer.claims())}"))


@pytest.mark.parametrize("key_id", ["key-1", "embedded"])
async def test_a_key_that_travels_in_the_token_itself_is_refused(
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


# The key id


HOSTILE_KEY_IDS = [
    "../../dev/null",
    "/proc/self/environ",
    "' OR 1=1--",
    "|sleep 10",
    "$(sleep 10)",
    "http://attacker.test/key",
    "key-1\0",
    "key-1\n",
    "key-1 ",
    "KEY-1",
    "",
    "é",
    "a" * 129,
    "a" * 700,
    7,
    True,
    ["key-1"],
    {"kid": "key-1"},
]


@pytest.mark.parametrize("key_id", HOSTILE_KEY_IDS)
async def test_an_id_that_names_no_key_is_refused(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, key_id: object
) -> None:
    await refuse(verifier, seal(signing_key, HEADER | {"kid": key_id}, issuer.claims()))


async def test_hostile_ids_cause_one_fetch_at_most(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey
) -> None:
    for key_id in HOSTILE_KEY_IDS:
        await refuse(verifier, seal(signing_key, HEADER | {"kid": key_id}, issuer.claims()))
    assert issuer.requests <= 1


async def test_a_key_of_ten_thousand_characters_is_refused(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey
) -> None:
    token = seal(signing_key, HEADER | {"kid": "a" * 10_000}, issuer.claims())
    await refuse(verifier, token)
    assert issuer.requests == 0


# The signature


async def test_a_stranger_s_key_under_a_known_id_is_refused_without_another_fetch(
    verifier: TokenVerifier, issuer: Issuer, stranger: RSAKey, clock: ManualClock
) -> None:
    token = issuer.token(key=stranger)
    for _ in range(1000):
        clock.advance(0.06)
        await refuse(verifier, token)
    assert issuer.requests == 1


async def test_the_signature_of_another_token_is_refused(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    signed = issuer.token(sub="victim").rpartition(".")[0]
    await refuse(verifier, f"{signed}.{issuer.token().rpartition('.')[2]}")


@pytest.mark.parametrize("signature", ["", "AA", "AAAA", "A" * 342, "A" * 344])
async def test_a_signature_of_zeros_or_of_another_length_is_refused(
    verifier: TokenVerifier, issuer: Issuer, signature: str
) -> None:
    await refuse(verifier, f"{issuer.token().rpartition('.')[0]}.{signature}")


async def test_an_elliptic_signature_of_zeros_is_refused(
    issuer: Issuer, elliptic_key: ECKey
) -> None:
    """CVE-2022-21449."""
    issuer.published.append(elliptic_key)
    signed = issuer.token(key=elliptic_key).rpartition(".")[0]
    await refuse(verifier_of(issuer), f"{signed}.{encode(bytes(64))}")


async def test_an_elliptic_signature_in_der_is_refused(issuer: Issuer, elliptic_key: ECKey) -> None:
    issuer.published.append(elliptic_key)
    signed = issuer.token(key=elliptic_key).rpartition(".")[0]
    private = elliptic_key.private_key
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    der = private.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(der)
    verifier = verifier_of(issuer)
    await accept(verifier, f"{signed}.{encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}")
    await refuse(verifier, f"{signed}.{encode(der)}")


async def test_a_token_of_an_unpublished_key_is_refused(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    await refuse(verifier, issuer.token(key=ec_key("key-2")))


# The form


FORMS: dict[str, Callable[[str], str]] = {
    "nothing": lambda _token: "",
    "dots": lambda _token: "..",
    "the scheme before it": lambda token: f"Bearer {token}",
    "space before": lambda token: f" {token}",
    "space after": lambda token: f"{token} ",
    "line end after": lambda token: f"{token}\n",
    "carriage return after": lambda token: f"{token}\r\n",
    "nul after": lambda token: f"{token}\0",
    "a space within": lambda token: f"{token[:50]} {token[50:]}",
    "a line end within": lambda token: f"{token[:50]}\n{token[50:]}",
    "padding": lambda token: f"{token}==",
    "padded header": lambda token: token.replace(".", "=.", 1),
    "percent": lambda token: token.replace(".", "%2E", 1),
    "question mark": lambda token: f"{token}?",
    "quotes": lambda token: f'"{token}"',
    "two parts": lambda token: token.rpartition(".")[0],
    "two parts and a dot": lambda token: token.rpartition(".")[0] + ".",
    "a leading dot": lambda token: f".{token}",
    "a fourth part": lambda token: f"{token}.AAAA",
    "twice": lambda token: f"{token}.{token}",
    "without a payload": lambda token: ".".join([*token.split(".")[:1], "", token.split(".")[2]]),
    "one character more": lambda token: f"{token}A",
    "one character less": lambda token: token[:-1],
    "full-width dots": lambda token: token.replace(".", "\N{FULLWIDTH FULL STOP}"),
    "a letter beyond ASCII": lambda token: f"{token[:-1]}\N{FULLWIDTH LATIN CAPITAL LETTER A}",
    "a lone surrogate": lambda token: f"{token[:-1]}\ud800",
}


@pytest.mark.parametrize("form", FORMS)
async def test_anything_but_a_compact_token_is_refused(
    verifier: TokenVerifier, issuer: Issuer, form: str
) -> None:
    await refuse(verifier, FORMS[form](issuer.token()))


@pytest.mark.parametrize("flattened", [True, False])
async def test_a_token_in_the_json_serialization_is_refused(
    verifier: TokenVerifier, issuer: Issuer, *, flattened: bool
) -> None:
    protected, payload, signature = issuer.token().split(".")
    sealed = {"protected": protected, "signature": signature}
    body = (
        {"payload": payload, **sealed}
        if flattened
        else {
            "payload": payload,
            "signatures": [sealed],
        }
    )
    await refuse(verifier, json.dumps(body))


async def test_an_encrypted_token_is_refused(verifier: TokenVerifier, issuer: Issuer) -> None:
    token = jwe.encrypt_compact(
        {"alg": "dir", "enc": "A128GCM", "kid": "key-1"},
        json.dumps(issuer.claims()),
        OctKey.generate_key(128),
    )
    assert token.count(".") == 4
    await refuse(verifier, token)


def spellings(segment: str) -> list[str]:
    """Other last characters for the same bytes: base64 leaves the last bits of some unused."""
    padded = segment + "=" * (-len(segment) % 4)
    return [
        segment[:-1] + last
        for last in BASE64URL
        if last != segment[-1]
        and urlsafe_b64decode(segment[:-1] + last + "==") == urlsafe_b64decode(padded)
    ]


async def test_another_spelling_of_a_good_signature_is_refused(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    signed, _, signature = issuer.token().rpartition(".")
    others = spellings(signature)
    assert len(others) == 15
    for other in others:
        await refuse(verifier, f"{signed}.{other}")


@pytest.mark.parametrize("part", [0, 1])
async def test_another_spelling_of_header_or_claims_is_refused_even_if_it_is_what_was_signed(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, part: int
) -> None:
    parts = [encode(json.dumps(HEADER).encode()), encode(json.dumps(issuer.claims()).encode())]
    while len(parts[part]) % 4 == 0:  # spaces at the end change nothing but the length
        parts[part] = encode(urlsafe_b64decode(parts[part]) + b" ")
    await accept(verifier, seal_text(signing_key, ".".join(parts)))
    parts[part] = spellings(parts[part])[0]
    await refuse(verifier, seal_text(signing_key, ".".join(parts)))


async def test_a_token_of_8_kib_is_read_and_a_longer_one_refused(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    length = 8192 - len(issuer.token())
    tokens = [issuer.token(filler="x" * (length * 3 // 4 - 20 + n)) for n in range(40)]
    assert min(map(len, tokens)) <= 8192 < max(map(len, tokens))
    for token in tokens:
        await (accept if len(token) <= 8192 else refuse)(verifier, token)


@pytest.mark.parametrize("token", ["." * 1_000_000, "A" * 10_000_000, "A" * 9_999_998 + ".."])
async def test_a_huge_token_costs_next_to_nothing(verifier: TokenVerifier, token: str) -> None:
    started = time.process_time()
    await refuse(verifier, token)
    assert time.process_time() - started < 0.05


# The claims


def wrong_values(name: str) -> list[str]:
    """JSON texts that are no value of the claim."""
    common = ["null", "true", "false", "{}", "[]", '""', "1.5", "-1", "[null]", "[7]"]
    if name in MOMENTS:
        return [
            *common,
            '"1767323045"',
            "NaN",
            "Infinity",
            "1e400",
            "1767323045.0",
            "1e9",
            "9" * 30,
        ]
    return [*common, "7", f'"{"x" * 2000}"']


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in TEXTS + MOMENTS for value in wrong_values(name)]
)
async def test_a_claim_of_another_type_is_refused(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, name: str, value: str
) -> None:
    raw = json.dumps(issuer.claims() | {name: "<here>"}).replace('"<here>"', value)
    await refuse(verifier, seal(signing_key, HEADER, raw.encode()))


@pytest.mark.parametrize("name", TEXTS + MOMENTS)
async def test_a_token_without_a_claim_is_refused(
    verifier: TokenVerifier, issuer: Issuer, name: str
) -> None:
    await refuse(verifier, issuer.token(**{name: None}))


@pytest.mark.parametrize("name", TEXTS + MOMENTS)
async def test_a_claim_that_is_there_twice_is_refused(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, name: str
) -> None:
    claims = issuer.claims()
    raw = json.dumps(claims)
    again = f', "{name}": {json.dumps(claims[name])}}}'
    await refuse(verifier, seal(signing_key, HEADER, (raw[:-1] + again).encode()))


@pytest.mark.parametrize(
    "claims", [b"null", b"[]", b"7", b'"text"', b"{}", b"{", b"\xff", b"[" * 5000, b"text"]
)
async def test_claims_that_are_no_object_are_refused(
    verifier: TokenVerifier, signing_key: RSAKey, claims: bytes
) -> None:
    await refuse(verifier, seal(signing_key, HEADER, claims))


@pytest.mark.parametrize(
    "issuer_name",
    [f"{ISSUER}/", ISSUER.upper(), ISSUER.removeprefix("https://"), f"{ISSUER} ", [ISSUER]],
)
async def test_another_issuer_is_refused(
    verifier: TokenVerifier, issuer: Issuer, issuer_name: object
) -> None:
    await refuse(verifier, issuer.token(iss=issuer_name))


@pytest.mark.parametrize(
    "audience",
    [
        "other",
        AUDIENCE.upper(),
        f"{AUDIENCE} ",
        AUDIENCE[:-1],
        f"{AUDIENCE},other",
        ["other"],
        [AUDIENCE, 7],
        [[AUDIENCE]],
        {AUDIENCE: True},
    ],
)
async def test_another_audience_is_refused(
    verifier: TokenVerifier, issuer: Issuer, audience: object
) -> None:
    await refuse(verifier, issuer.token(aud=audience))


async def test_a_player_s_token_is_refused_where_a_service_s_is_asked_for(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    await refuse(verifier, issuer.token(aud=SERVICE_AUDIENCE))


async def test_a_service_s_token_is_refused_where_a_player_s_is_asked_for(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    await refuse(verifier, issuer.service_token("identity", audience=AUDIENCE, scope="all"))


async def test_a_token_for_another_service_is_refused(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    token = issuer.service_token("identity", audience="playmesh:keyrotator", scope="keys:rotate")
    await refuse(verifier, token)


async def test_where_no_player_is_expected_no_player_s_token_is_accepted(issuer: Issuer) -> None:
    await refuse(verifier_of(issuer, player_audience=None), issuer.token())


async def test_where_no_service_is_expected_no_service_s_token_is_accepted(issuer: Issuer) -> None:
    token = issuer.service_token("identity", audience=SERVICE_AUDIENCE, scope="all")
    await refuse(verifier_of(issuer, service_audience=None), token)


async def test_a_service_s_token_needs_its_claims_as_a_player_s_does(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    for name in {*TEXTS, *MOMENTS} - {"sid"}:
        service: dict[str, Any] = {
            "sub": "service:identity",
            "aud": SERVICE_AUDIENCE,
            "sid": None,
        }
        await refuse(verifier, issuer.token(**service | {name: None}))


# Time


async def test_a_token_lives_until_its_leeway_is_over_and_not_an_instant_longer(
    verifier: TokenVerifier, issuer: Issuer, clock: ManualClock
) -> None:
    token = issuer.token()
    clock.advance(900 + 60 - 0.001)
    await accept(verifier, token)
    clock.advance(0.001)
    await refuse(verifier, token)


@pytest.mark.parametrize("name", ["iat", "nbf"])
async def test_a_token_of_the_future_is_accepted_within_the_leeway_and_not_an_instant_earlier(
    verifier: TokenVerifier, issuer: Issuer, clock: ManualClock, name: str
) -> None:
    future = issuer.claims()["iat"] + 60
    token = issuer.token(**{name: future})
    await accept(verifier, token)
    clock.advance(-0.001)
    await refuse(verifier, token)


@pytest.mark.parametrize(
    ("lifetime", "judge"),
    [(1, accept), (900, accept), (901, refuse), (10**9, refuse), (0, refuse), (-1, refuse)],
)
async def test_a_lifetime_is_positive_and_no_longer_than_allowed(
    verifier: TokenVerifier,
    issuer: Issuer,
    lifetime: int,
    judge: Callable[[TokenVerifier, str], Any],
) -> None:
    await judge(verifier, issuer.token(exp=issuer.claims()["iat"] + lifetime))


def test_clocks_may_be_a_minute_apart_at_most() -> None:
    assert timedelta(seconds=60) >= LEEWAY


# What is not the token's fault


async def test_without_the_issuer_s_keys_the_answer_is_unavailable_not_invalid(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    issuer.status = 503
    with pytest.raises(errors.Unavailable):
        await verifier.verify(issuer.token())


async def test_without_the_issuer_s_keys_what_is_no_token_is_still_invalid(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    issuer.status = 503
    await refuse(verifier, "garbage")


@pytest.mark.parametrize(
    "hostile", [{"kid": "a\nlevel=error"}, {"typ": "\x1b[31m"}, {"alg": "none"}, {"crit": ["x"]}]
)
async def test_the_log_names_the_reason_and_nothing_that_the_token_says(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, hostile: Mapping[str, object]
) -> None:
    token = seal(signing_key, HEADER | dict(hostile), issuer.claims())
    with structlog.testing.capture_logs() as lines:
        await refuse(verifier, token)
    assert len(lines) == 1
    assert lines[0].keys() == {"event", "log_level", "reason"}
    assert lines[0]["reason"] in ("kid", "typ", "alg", "header members")


# Any change at all


@pytest.fixture(scope="session")
def sealed(signing_key: RSAKey, elliptic_key: ECKey) -> list[tuple[TokenVerifier, str]]:
    """A verifier and a token that it accepts, for each algorithm."""
    issuers = [Issuer(ManualClock(), signing_key), Issuer(ManualClock(), elliptic_key)]
    return [(verifier_of(issuer), issuer.token()) for issuer in issuers]


def changed(token: str, change: str, position: int, character: str) -> str:
    at = position % len(token)
    match change:
        case "flip":
            return token[:at] + character + token[at + 1 :]
        case "insert":
            return token[:at] + character + token[at:]
        case _:
            return token[:at] + token[at + 1 :]


@settings(max_examples=500, deadline=None)
@given(
    st.integers(0, 1),
    st.lists(
        st.tuples(
            st.sampled_from(["flip", "insert", "delete"]),
            st.integers(-100, 1000),
            st.sampled_from(BASE64URL) | st.sampled_from(".=+/ \n\0é") | st.characters(),
        ),
        min_size=1,
        max_size=4,
    ),
)
@example(0, [("insert", 0, " ")])
@example(1, [("flip", -1, "B")])
def test_a_token_is_accepted_as_it_was_issued_or_not_at_all(
    sealed: list[tuple[TokenVerifier, str]], which: int, changes: list[tuple[str, int, str]]
) -> None:
    verifier, token = sealed[which]
    mutant = token
    for change in changes:
        mutant = changed(mutant, *change)
    assume(mutant != token)
    asyncio.run(refuse(verifier, mutant))


def test_the_tokens_that_are_mutated_are_good_ones(
    sealed: list[tuple[TokenVerifier, str]],
) -> None:
    for verifier, token in sealed:
        asyncio.run(accept(verifier, token))


# What is remembered


async def test_a_token_seen_before_is_refused_when_it_has_expired(
    verifier: TokenVerifier, issuer: Issuer, clock: ManualClock
) -> None:
    token = issuer.token()
    claims = await accept(verifier, token)
    clock.advance(900 + 59)
    assert await accept(verifier, token) == claims
    clock.advance(1)
    await refuse(verifier, token)


async def test_a_token_seen_before_is_refused_when_its_key_has_left_the_set(
    issuer: Issuer,
) -> None:
    keys = keys_of(issuer)
    verifier = verifier_of(issuer, keys)
    token = issuer.token()
    await accept(verifier, token)

    issuer.published = [ec_key("key-2")]
    await keys.refresh()

    await refuse(verifier, token)


async def test_a_token_seen_before_is_refused_when_its_key_was_replaced_under_the_same_id(
    issuer: Issuer, stranger: RSAKey
) -> None:
    keys = keys_of(issuer)
    verifier = verifier_of(issuer, keys)
    token = issuer.token()
    await accept(verifier, token)

    issuer.published = [stranger]
    await keys.refresh()

    await refuse(verifier, token)


async def test_no_more_tokens_are_remembered_than_the_bound(
    issuer: Issuer, elliptic_key: ECKey
) -> None:
    issuer.published = [elliptic_key]
    verifier = verifier_of(issuer)
    tokens = [issuer.token(key=elliptic_key, jti=str(number)) for number in range(10_050)]
    for token in tokens:
        await accept(verifier, token)
    assert len(verifier._verdicts) == 10_000
    await accept(verifier, tokens[0])
