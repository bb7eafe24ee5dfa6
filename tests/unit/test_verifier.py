"""What the verifier accepts, and what is not the token's fault.

What it refuses is in tests/attacks.
"""

from datetime import UTC, datetime, timedelta

import pytest
from joserfc.jwk import ECKey, RSAKey

from shared import errors
from shared.auth.claims import Claims
from shared.auth.jwt_claims import LEEWAY
from shared.auth.verifier import TokenVerifier
from tests.support.issuer import AUDIENCE, ISSUER, Issuer
from tests.support.tokens import HEADER, SERVICE_AUDIENCE, accept, refuse, seal, verifier_of


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


async def test_a_service_s_token_is_no_player_s(verifier: TokenVerifier, issuer: Issuer) -> None:
    token = issuer.service_token("identity", audience=SERVICE_AUDIENCE, scope="players:erase")
    with pytest.raises(errors.InvalidToken):
        await verifier.verify_player(token)
    assert await verifier.verify_player(issuer.token(sub="robin")) == "robin"


@pytest.mark.parametrize(
    "bans", [["chat"], ["chat", "ranked.eu-west_1"], ["0"], ["x" * 32], [str(n) for n in range(16)]]
)
async def test_a_token_says_what_parts_of_the_game_its_player_is_kept_out_of(
    verifier: TokenVerifier, issuer: Issuer, bans: list[str]
) -> None:
    assert (await accept(verifier, issuer.token(bans=bans))).bans == frozenset(bans)


async def test_a_token_that_says_nothing_of_bans_has_none(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    assert (await accept(verifier, issuer.token())).bans == frozenset()


async def test_a_token_with_an_elliptic_signature_is_accepted(
    issuer: Issuer, elliptic_key: ECKey
) -> None:
    issuer.published.append(elliptic_key)
    await accept(verifier_of(issuer), issuer.token(key=elliptic_key))


async def test_what_the_attacks_seal_by_hand_is_accepted_when_it_is_right(
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


def test_clocks_may_be_a_minute_apart_at_most() -> None:
    assert timedelta(seconds=60) >= LEEWAY


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
