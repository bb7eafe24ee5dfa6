"""Three independent verifiers, each asked for as much of our profile as it knows."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt as pyjwt
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.support.issuer import AUDIENCE, ISSUER

ALGORITHMS = ["RS256", "ES256"]
LEEWAY = 60
LIFETIME = 900
REQUIRED = ["iss", "aud", "sub", "exp", "iat", "nbf", "jti"]

DRIVER = Path(__file__).with_name("jose_driver.mjs")


@dataclass(frozen=True)
class Question:
    """`now` is in seconds; PyJWT takes the time from the system, so it must be about now."""

    jwks: Mapping[str, Any]
    now: int
    tokens: Sequence[str]


def joserfc(question: Question) -> list[bool]:
    keys = KeySet.import_key_set({"keys": question.jwks["keys"]})
    values = {"iss": ISSUER, "aud": AUDIENCE}
    essential: dict[str, Any] = {
        name: {"essential": True, **({"value": values[name]} if name in values else {})}
        for name in REQUIRED
    }
    claims = jwt.JWTClaimsRegistry(now=question.now, leeway=LEEWAY, **essential)

    def verify(token: str) -> None:
        claims.validate(jwt.decode(token, keys, algorithms=ALGORITHMS).claims)

    return [_passes(verify, token) for token in question.tokens]


def pyjwt_(question: Question) -> list[bool]:
    keys = pyjwt.PyJWKSet.from_dict(dict(question.jwks))

    def verify(token: str) -> None:
        pyjwt.decode(
            token,
            keys[pyjwt.get_unverified_header(token)["kid"]],
            algorithms=ALGORITHMS,
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY,
            options={"require": REQUIRED},
        )

    return [_passes(verify, token) for token in question.tokens]


def jose(directory: str) -> Callable[[Question], list[bool]]:
    """`directory` is where `npm install jose` was run. All tokens are one call of Node."""

    def verify(question: Question) -> list[bool]:
        expected = {
            "jwks": question.jwks,
            "now": question.now,
            "algorithms": ALGORITHMS,
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "typ": "at+jwt",
            "clockTolerance": LEEWAY,
            "maxTokenAge": LIFETIME,
            "requiredClaims": REQUIRED,
        }
        lines = "\n".join(json.dumps(line) for line in [expected, *question.tokens])
        node = subprocess.run(  # noqa: S603 - our own driver
            ["node", DRIVER, directory],  # noqa: S607 - Node is where the machine has it
            input=lines,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return [line == "true" for line in node.stdout.splitlines()]

    return verify


def _passes(verify: Callable[[str], None], token: str) -> bool:
    try:
        verify(token)
    except Exception:  # noqa: BLE001 - whatever they raise is a refusal
        return False
    return True
