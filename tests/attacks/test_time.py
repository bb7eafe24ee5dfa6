"""A token is accepted in its time, and that is short."""

from collections.abc import Callable
from typing import Any

import pytest

from shared.auth.verifier import TokenVerifier
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.tokens import accept, refuse


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
