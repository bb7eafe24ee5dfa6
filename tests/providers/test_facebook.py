"""Facebook's classic login: every answer of debug_token that is known, and what comes of it."""

from urllib.parse import urlsplit

import pytest
from joserfc.jwk import RSAKey
from structlog.testing import capture_logs

from services.identity.models import ExternalIdentity
from services.identity.ports import IdentityProvider
from services.identity.providers.facebook import proof
from shared import errors
from tests.providers.conftest import Open
from tests.support.clock import ManualClock
from tests.support.fakes.facebook import (
    APP_ID,
    FRIEND,
    OTHER_APP,
    PATH,
    PLAYER,
    FacebookFake,
    token,
)
from tests.support.fakes.oidc import RAW_NONCE, OidcFake
from tests.support.overheard import Overheard

SECRET = "CANARY6789abcdef0123456789abcdef"


@pytest.fixture
def fake(clock: ManualClock) -> FacebookFake:
    return FacebookFake(clock, SECRET)


@pytest.fixture
def facebook(open_provider: Open, variables: dict[str, str]) -> IdentityProvider:
    return open_provider(**variables)


async def refusal(
    facebook: IdentityProvider, sent: str, **more: str
) -> tuple[errors.PlaymeshError, str]:
    """And its reason."""
    with capture_logs() as logs, pytest.raises(errors.PlaymeshError) as caught:
        await facebook.verify({"access_token": sent, **more})
    return caught.value, str(logs[-1]["reason"])


async def outcome(facebook: IdentityProvider, sent: str, **more: str) -> tuple[str, str]:
    """Code and reason."""
    refused, reason = await refusal(facebook, sent, **more)
    return refused.code, reason


# Who it is


async def test_a_good_token_names_the_player(facebook: IdentityProvider) -> None:
    assert await facebook.verify({"access_token": token()}) == ExternalIdentity(
        "facebook", f"{APP_ID}:{PLAYER}", {"user_id": PLAYER}
    )


async def test_an_id_that_comes_as_a_number_is_the_same_player(facebook: IdentityProvider) -> None:
    identity = await facebook.verify({"access_token": token(numbers=1)})
    assert identity.external_id == f"{APP_ID}:{PLAYER}"


async def test_limited_login_names_the_same_player_the_same(
    open_provider: Open, facebook: IdentityProvider, clock: ManualClock, signing_key: RSAKey
) -> None:
    issuer = OidcFake(clock, signing_key, iss="https://www.facebook.com", aud=APP_ID, sub=PLAYER)
    async with issuer.serving() as keys:
        limited = open_provider(
            PROVIDERS="facebook_limited",
            FACEBOOK_LIMITED_JWKS_URL=keys,
            FACEBOOK_LIMITED_AUDIENCES=APP_ID,
        )
        other = await limited.verify({"id_token": issuer.id_token(), "nonce": RAW_NONCE})
    identity = await facebook.verify({"access_token": token()})
    assert (other.provider, other.external_id) == (identity.provider, identity.external_id)


async def test_a_token_is_good_again_for_as_long_as_facebook_says_so(
    facebook: IdentityProvider,
) -> None:
    credential = {"access_token": token()}
    assert await facebook.verify(credential) == await facebook.verify(credential)


@pytest.fixture
def asking(open_provider: Open, variables: dict[str, str]) -> IdentityProvider:
    return open_provider(**variables, FACEBOOK_ASK_USER="true")


# What is sent


async def test_the_token_is_asked_about_with_the_application_s_own(
    facebook: IdentityProvider, fake: FacebookFake
) -> None:
    sent = token(odd="a+b&c%20|#")
    await facebook.verify({"access_token": sent})
    assert fake.asked == [{"input_token": sent, "access_token": f"{APP_ID}|{SECRET}"}]
    assert urlsplit(fake.paths[0]).path == PATH


async def test_the_version_is_a_setting(
    open_provider: Open, variables: dict[str, str], fake: FacebookFake
) -> None:
    facebook = open_provider(**variables, FACEBOOK_VERSION="v26.0")
    await outcome(facebook, token())
    assert urlsplit(fake.paths[0]).path == "/v26.0/debug_token"


@pytest.mark.parametrize("sent", ["a b", "EAA;ok\n", "é", "E" * 2049])
async def test_what_is_no_token_is_refused_without_asking_facebook(
    facebook: IdentityProvider, fake: FacebookFake, sent: str
) -> None:
    assert await outcome(facebook, sent) == ("invalid_credential", "no_token")
    assert fake.requests == 0


async def test_the_longest_token_is_asked_about(
    facebook: IdentityProvider, fake: FacebookFake
) -> None:
    assert await outcome(facebook, "E" * 2048) == ("invalid_credential", "190")
    assert fake.requests == 1


async def test_the_token_itself_is_used_if_that_is_asked_for_with_a_proof_of_our_secret(
    asking: IdentityProvider, fake: FacebookFake
) -> None:
    identity = await asking.verify({"access_token": token()})
    assert identity.external_id == f"{APP_ID}:{PLAYER}"
    asked = {"fields": "id", "access_token": token(), "appsecret_proof": proof(token(), SECRET)}
    assert fake.asked[1:] == [asked]


def test_a_proof_is_what_facebook_makes_of_token_and_secret() -> None:
    known = proof("EAAexampleUserToken0001", "0123456789abcdef0123456789abcdef")
    assert known == "d75ed161e6e9b0df79be1d49507b1a6669d0c0898598d27aad364bdb5e410667"


@pytest.mark.parametrize(
    ("me", "expected"),
    [
        (FRIEND, ("invalid_credential", "another_user")),
        ("nobody", ("provider_unavailable", "malformed")),
        ("e190", ("invalid_credential", "190")),
        ("e4", ("provider_unavailable", "down")),
    ],
)
async def test_a_token_that_does_not_lead_to_its_player_lets_nobody_in(
    asking: IdentityProvider, me: str, expected: tuple[str, str]
) -> None:
    assert await outcome(asking, token(me=me)) == expected


# Defects of the reference


@pytest.mark.parametrize("claimed", [FRIEND, "", f"{PLAYER}?fields=id", "../me", f" {PLAYER}"])
async def test_defect_13_a_claimed_id_is_in_no_path_and_must_be_the_proven_one(
    facebook: IdentityProvider, fake: FacebookFake, claimed: str
) -> None:
    assert await outcome(facebook, token(), facebook_user_id=claimed) == (
        "invalid_credential",
        "another_user",
    )
    assert [urlsplit(path).path for path in fake.paths] == [PATH]
    assert FRIEND not in fake.paths[0]
    identity = await facebook.verify({"access_token": token(), "facebook_user_id": PLAYER})
    assert identity.external_id == f"{APP_ID}:{PLAYER}"


@pytest.mark.parametrize("name", ["user_id", "id", "app_id"])
async def test_defect_13_nothing_else_that_a_client_sends_counts(
    facebook: IdentityProvider, fake: FacebookFake, name: str
) -> None:
    identity = await facebook.verify({"access_token": token(), name: FRIEND})
    assert identity.external_id == f"{APP_ID}:{PLAYER}"
    assert FRIEND not in fake.paths[0]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"app": OTHER_APP}, ("wrong_audience", "app_id")),
        ({"app": OTHER_APP, "numbers": 1}, ("wrong_audience", "app_id")),
        ({"app": OTHER_APP, "valid": 0}, ("wrong_audience", "app_id")),
        ({"valid": 0}, ("expired_credential", "not_valid")),
        ({"valid": 0, "without": "app_id"}, ("invalid_credential", "not_valid")),
        ({"type": "PAGE"}, ("invalid_credential", "type")),
        ({"type": "APP"}, ("invalid_credential", "type")),
        ({"type": "SYSTEM_USER"}, ("invalid_credential", "type")),
        ({"type": "user"}, ("invalid_credential", "type")),
        ({"without": "type"}, ("invalid_credential", "type")),
        ({"expires": -1}, ("expired_credential", "expired")),
        ({"expires": 0}, ("expired_credential", "expired")),
    ],
)
async def test_defect_14_whose_it_is_whether_it_holds_its_kind_and_its_end_are_looked_at(
    facebook: IdentityProvider, fields: dict[str, str | int], expected: tuple[str, str]
) -> None:
    assert await outcome(facebook, token("ok", **fields)) == expected


@pytest.mark.parametrize("expires", ["1", "never"])
async def test_defect_14_a_token_is_good_until_its_end_if_it_has_one(
    facebook: IdentityProvider, expires: str
) -> None:
    await facebook.verify({"access_token": token(expires=expires)})


@pytest.mark.parametrize("scenario", ["e1", "e2", "n2"])
async def test_defect_15_trouble_of_facebook_s_is_unavailable_and_asked_about_once_more(
    facebook: IdentityProvider, fake: FacebookFake, scenario: str
) -> None:
    refused, _ = await refusal(facebook, token(scenario))
    assert isinstance(refused, errors.ProviderUnavailable)
    assert refused.retry_after >= 1
    assert fake.requests == 2


@pytest.mark.parametrize("scenario", ["e1once", "e2once", "n2once"])
async def test_defect_15_trouble_that_passes_is_not_noticed(
    facebook: IdentityProvider, fake: FacebookFake, scenario: str
) -> None:
    await facebook.verify({"access_token": token(scenario)})
    assert fake.requests == 2


# Errors, by their code


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("e1", ("provider_unavailable", "1")),
        ("e2", ("provider_unavailable", "2")),
        ("e3", ("provider_misconfigured", "3")),
        ("e4", ("provider_unavailable", "down")),
        ("e10", ("provider_misconfigured", "10")),
        ("e17", ("too_many_requests", "17")),
        ("e100", ("wrong_audience", "100")),
        ("e102", ("expired_credential", "102")),
        ("e190", ("provider_misconfigured", "190")),
        ("e190_463", ("expired_credential", "190_463")),
        ("e190_456", ("invalid_credential", "190_456")),
        ("e190_999", ("provider_misconfigured", "190")),
        ("e200", ("provider_misconfigured", "200")),
        ("e299", ("provider_misconfigured", "299")),
        ("e300", ("provider_unavailable", "other_error")),
        ("e341", ("provider_unavailable", "down")),
        ("e368", ("provider_unavailable", "368")),
        ("e99999", ("provider_unavailable", "other_error")),
        ("n100", ("wrong_audience", "100")),
        ("n190", ("invalid_credential", "190")),
        ("n190_463", ("expired_credential", "190_463")),
        ("n190_999", ("invalid_credential", "190")),
    ],
)
async def test_an_error_is_told_by_its_code_and_never_by_its_status(
    facebook: IdentityProvider, scenario: str, expected: tuple[str, str]
) -> None:
    for status in (400, 401, 403, 200):
        assert await outcome(facebook, token(scenario, status=status)) == expected, status


@pytest.mark.parametrize("where", ["e", "n"])
@pytest.mark.parametrize(
    ("subcodes", "code"),
    [
        ((456, 457, 459, 464, 465), "invalid_credential"),
        ((458, 460, 461, 462, 463, 466, 467, 468, 492), "expired_credential"),
    ],
)
async def test_a_bad_token_is_told_by_its_subcode_wherever_it_stands(
    facebook: IdentityProvider, where: str, subcodes: tuple[int, ...], code: str
) -> None:
    """As `error_subcode` in an error of the call, as `subcode` in one of the token."""
    outcomes = [await outcome(facebook, token(f"{where}190_{subcode}")) for subcode in subcodes]
    assert outcomes == [(code, f"190_{subcode}") for subcode in subcodes]


async def test_a_secret_of_ours_that_is_wrong_is_our_fault(
    facebook: IdentityProvider, fake: FacebookFake
) -> None:
    fake.secret = "another"
    assert await outcome(facebook, token()) == ("provider_misconfigured", "190")


@pytest.mark.parametrize(
    "sent",
    [
        *map(token, ("http404", "empty", "nodata", "emptydata")),
        *map(token, ("texterror", "textcode", "invalidtext")),
        token(status=400),
        token(without="is_valid"),
        token(without="app_id"),
        token(without="user_id"),
        token(without="expires_at"),
        token(user=0),
        token(user="me"),
        token(wrong="is_valid:1"),
        token(wrong="user_id:1e16"),
        token(wrong="user_id:true"),
        token(wrong='user_id:"10:1"'),
        token(wrong="user_id:-1"),
        token(wrong="expires_at:true"),
        token(wrong="expires_at:false"),
        token(wrong='expires_at:"0"'),
        token(wrong="app_id:[]"),
    ],
)
async def test_an_answer_that_makes_no_sense_lets_nobody_in(
    facebook: IdentityProvider, sent: str
) -> None:
    assert (await outcome(facebook, sent))[0] == "provider_unavailable"


async def test_a_token_that_is_not_valid_and_nobody_s_is_invalid(
    facebook: IdentityProvider,
) -> None:
    assert await outcome(facebook, token("invalid")) == ("invalid_credential", "not_valid")


# The breaker


@pytest.mark.parametrize("scenario", ["e4", "e341"])
async def test_while_our_application_has_no_calls_left_facebook_is_not_asked(
    facebook: IdentityProvider, fake: FacebookFake, clock: ManualClock, scenario: str
) -> None:
    fake.scenario = scenario
    for _ in range(5):
        assert await outcome(facebook, token()) == ("provider_unavailable", "down")
    assert fake.requests == 5
    assert await outcome(facebook, token()) == ("provider_unavailable", "breaker_open")
    assert fake.requests == 5
    fake.scenario = None
    clock.advance(10)
    await facebook.verify({"access_token": token()})


@pytest.mark.parametrize("scenario", ["e1", "e17", "e100", "e368", "n190", "e99999"])
async def test_nothing_that_one_token_may_cause_keeps_everybody_out(
    facebook: IdentityProvider, scenario: str
) -> None:
    for _ in range(10):
        await outcome(facebook, token(scenario))
    await facebook.verify({"access_token": token()})


# The secret


@pytest.mark.parametrize("scenario", ["e190", "e4", "e2", "e100", "n190", "n190_463", "textcode"])
async def test_no_secret_and_no_token_leaks(
    facebook: IdentityProvider, overheard: Overheard, scenario: str
) -> None:
    sent = token(scenario, canary="CANARYOFTHETOKEN")
    credential = {"access_token": sent, "facebook_user_id": PLAYER}
    said = await overheard.during(facebook.verify(credential))
    for secret in (SECRET, "CANARYOFTHETOKEN", "debug_token", "127.0.0.1:"):
        assert [text for text in said if secret in text] == []
