"""Tokens sealed by hand, right or wrong, and verifiers to judge them."""

import asyncio
import json
from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc.jwk import RSAKey

from shared import errors
from shared.auth.claims import Claims
from shared.auth.jwks_client import JwksClient
from shared.auth.jws import KeySource
from shared.auth.revocations import Revocations
from shared.auth.verifier import Expectations, TokenVerifier
from shared.http.client import Document
from tests.support.issuer import AUDIENCE, ISSUER, Issuer

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
    keys: KeySource | None = None,
    revocations: Revocations | None = None,
    /,
    **changes: Any,  # noqa: ANN401 - any field
) -> TokenVerifier:
    expectations: dict[str, Any] = {
        "issuer": ISSUER,
        "player_audience": AUDIENCE,
        "service_audience": SERVICE_AUDIENCE,
        "longest_lifetime": LIFETIME,
    }
    keys = keys or keys_of(issuer)
    return TokenVerifier(keys, Expectations(**expectations | changes), issuer.clock, revocations)


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
    # Not by pytest, which a machine that runs the fakes beside the mesh does not have.
    (outcome,) = await asyncio.gather(verifier.verify(token), return_exceptions=True)
    assert isinstance(outcome, errors.InvalidToken), outcome
    # Whoever is trying learns nothing of the reason.
    assert outcome.detail is None
    assert outcome.__cause__ is None
