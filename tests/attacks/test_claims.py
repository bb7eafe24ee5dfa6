"""Every claim is there once, of its type, and for us."""

import json
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from shared.auth.verifier import TokenVerifier
from tests.support.issuer import AUDIENCE, ISSUER, Issuer
from tests.support.tokens import (
    HEADER,
    MOMENTS,
    SERVICE_AUDIENCE,
    TEXTS,
    accept,
    refuse,
    seal,
    verifier_of,
)


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


@pytest.mark.parametrize(
    "bans",
    [
        "null",
        "true",
        "7",
        "[]",
        "{}",
        '""',
        '"chat"',
        '"chat ranked"',
        '{"chat": true}',
        "[null]",
        '["chat", 7]',
        '["chat", ["ranked"]]',
        '[{"chat": 1}]',
        '[""]',
        '["Chat"]',
        '["chat "]',
        '["chat\\n"]',
        '["chat,ranked"]',
        '["ch\u00e4t"]',
        '["chat", "chat"]',
        f'["{"x" * 33}"]',
        json.dumps([str(number) for number in range(17)]),
    ],
)
async def test_bans_that_are_no_list_of_words_lose_none_of_them(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, bans: str
) -> None:
    raw = json.dumps(issuer.claims(bans="<here>")).replace('"<here>"', bans)
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


@pytest.mark.parametrize(
    ("subject", "audience", "is_service"),
    [("service:identity", SERVICE_AUDIENCE, True), ("0123456789abcdef", AUDIENCE, False)],
)
async def test_whose_audience_counts_follows_from_the_subject_alone(
    verifier: TokenVerifier, issuer: Issuer, subject: str, audience: str, *, is_service: bool
) -> None:
    both = [AUDIENCE, SERVICE_AUDIENCE]
    claims = await accept(verifier, issuer.token(sub=subject, aud=both))
    assert (claims.audience, claims.is_service) == (audience, is_service)


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
