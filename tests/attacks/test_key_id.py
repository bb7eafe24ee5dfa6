"""A key id is looked up among the issuer's keys, and goes nowhere else."""

from collections.abc import Mapping

import pytest
import structlog
from joserfc.jwk import RSAKey

from shared.auth.jwk_set import VerificationKey
from shared.auth.verifier import TokenVerifier
from tests.support.issuer import Issuer
from tests.support.tokens import HEADER, refuse, seal, verifier_of

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
    "",
    "é",
    "a" * 129,
    "a" * 700,
    "a" * 10_000,
    7,
    True,
    ["key-1"],
    {"kid": "key-1"},
]


class Keys:
    """Keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def key(self, key_id: str) -> VerificationKey | None:
        self.asked.append(key_id)
        return None


@pytest.mark.parametrize("key_id", HOSTILE_KEY_IDS)
async def test_kid_injection_is_refused_and_nobody_is_asked_for_such_a_key(
    issuer: Issuer, signing_key: RSAKey, key_id: object
) -> None:
    keys = Keys()
    token = seal(signing_key, HEADER | {"kid": key_id}, issuer.claims())
    await refuse(verifier_of(issuer, keys), token)
    assert keys.asked == []


async def test_kid_injection_causes_no_fetch_of_the_issuer_s_keys(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey
) -> None:
    for key_id in HOSTILE_KEY_IDS:
        await refuse(verifier, seal(signing_key, HEADER | {"kid": key_id}, issuer.claims()))
    assert issuer.requests == 0


async def test_a_kid_in_another_case_is_refused(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey
) -> None:
    await refuse(verifier, seal(signing_key, HEADER | {"kid": "KEY-1"}, issuer.claims()))


@pytest.mark.parametrize(
    "hostile",
    [
        *({"kid": key_id} for key_id in HOSTILE_KEY_IDS),
        {"kid": "a\nlevel=error"},
        {"typ": "\x1b[31m"},
        {"typ": 7},
        {"alg": "none"},
        {"crit": ["x"]},
    ],
)
async def test_the_log_names_the_reason_and_nothing_that_the_token_says(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, hostile: Mapping[str, object]
) -> None:
    token = seal(signing_key, HEADER | dict(hostile), issuer.claims())
    with structlog.testing.capture_logs() as lines:
        await refuse(verifier, token)
    assert len(lines) == 1
    assert lines[0].keys() == {"event", "log_level", "reason"}
    assert lines[0]["reason"] in ("kid", "typ", "alg", "header members", "not a compact JWS")
