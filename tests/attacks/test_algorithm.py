"""The algorithm is the key's, whatever the token says."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode
from collections.abc import Callable

import pytest
import structlog
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import ECKey, RSAKey

from shared.auth.verifier import TokenVerifier
from tests.support.issuer import Issuer
from tests.support.tokens import HEADER, encode, refuse, seal, verifier_of


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "nOnE", "noNE", "", None, ["none"], {"alg": "none"}]
)
@pytest.mark.parametrize("signature", ["", "AA", None])
async def test_alg_none_in_any_spelling_is_refused_with_any_signature(
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
async def test_algorithm_confusion_a_mac_keyed_with_the_public_key_is_refused(
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
