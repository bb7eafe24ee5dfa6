"""Only what the issuer has signed is accepted, to the last bit."""

import asyncio

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, RSAKey

from shared.auth.verifier import TokenVerifier
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer, ec_key
from tests.support.tokens import (
    BASE64URL,
    accept,
    encode,
    refuse,
    verifier_of,
)


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
