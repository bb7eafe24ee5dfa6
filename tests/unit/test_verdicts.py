"""A token that was verified once is remembered no longer than it would be verified again."""

from joserfc.jwk import ECKey, RSAKey

from shared.auth.verifier import TokenVerifier
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer, ec_key
from tests.support.tokens import accept, keys_of, refuse, verifier_of


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
