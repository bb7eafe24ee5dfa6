"""A key of one issuer proves nothing about another (the lesson of Storm-0558)."""

import pytest

from tests.support.clock import ManualClock
from tests.support.issuer import ISSUER, Issuer, ec_key
from tests.support.tokens import accept, refuse, verifier_of

OTHER = "https://other.test"


@pytest.fixture
def other(clock: ManualClock) -> Issuer:
    """An issuer whose tokens are good elsewhere."""
    return Issuer(clock, ec_key("key-2"))


async def test_each_issuer_s_token_is_accepted_where_that_issuer_is_trusted(
    issuer: Issuer, other: Issuer
) -> None:
    await accept(verifier_of(issuer), issuer.token())
    await accept(verifier_of(other, issuer=OTHER), other.token(iss=OTHER))


async def test_a_token_of_another_issuer_is_refused(issuer: Issuer, other: Issuer) -> None:
    await refuse(verifier_of(issuer), other.token(iss=OTHER))
    await refuse(verifier_of(other, issuer=OTHER), issuer.token())


async def test_a_key_of_another_issuer_does_not_sign_in_our_issuer_s_name(
    issuer: Issuer, other: Issuer
) -> None:
    await refuse(verifier_of(issuer), other.token(iss=ISSUER))
    await refuse(verifier_of(issuer), other.token({"kid": "key-1"}, iss=ISSUER))


async def test_a_key_of_our_issuer_does_not_sign_in_another_s_name(
    issuer: Issuer, other: Issuer
) -> None:
    await refuse(verifier_of(issuer), issuer.token(iss=OTHER))
    await refuse(verifier_of(other, issuer=OTHER), issuer.token(iss=OTHER))


async def test_two_issuers_with_the_same_key_id_have_two_keys(issuer: Issuer) -> None:
    twin = Issuer(issuer.clock, ec_key("key-1"))
    await refuse(verifier_of(issuer), twin.token(iss=ISSUER))
    await refuse(verifier_of(twin, issuer=OTHER), issuer.token(iss=OTHER))


async def test_a_token_of_another_issuer_is_refused_even_if_our_issuer_publishes_its_key(
    issuer: Issuer, other: Issuer
) -> None:
    issuer.published.append(other.key)
    await refuse(verifier_of(issuer), other.token(iss=OTHER))


async def test_what_one_verifier_remembers_is_not_accepted_by_that_of_another_issuer(
    issuer: Issuer, other: Issuer
) -> None:
    token = issuer.token()
    ours, theirs = verifier_of(issuer), verifier_of(other, issuer=OTHER)
    await accept(ours, token)
    await refuse(theirs, token)
    await accept(ours, token)
