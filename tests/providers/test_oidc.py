"""ID tokens of any issuer: one verifier, closed, for Google, Facebook, Apple and any other."""

import asyncio
import hashlib
import json
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey
from joserfc.util import urlsafe_b64decode
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.identity.idempotency import Idempotency
from services.identity.models import ExternalIdentity
from services.identity.nonces import Nonces
from services.identity.ports import IdentityProvider
from services.identity.providers.connections import Connections
from services.identity.providers.settings import open_providers
from shared import errors
from shared.clock import to_seconds
from shared.env import SettingsError
from tests.providers.conftest import Open
from tests.support.clock import ManualClock
from tests.support.fakes.oidc import (
    AUDIENCE,
    HASHED_NONCE,
    ISSUER,
    RAW_NONCE,
    SUBJECT,
    WRONG,
    OidcFake,
)
from tests.support.issuer import ec_key
from tests.support.platforms import opened, read
from tests.support.platforms import seals as seals_of
from tests.support.tokens import encode, seal

HOUR = 3600
DAY = 24 * HOUR
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
APPLE: dict[str, Any] = {
    "iss": "https://appleid.apple.com",
    "nonce": HASHED_NONCE,
    "nonce_supported": True,
    "real_user_status": 2,
    "is_private_email": "true",
}
EPIC: dict[str, Any] = {"iss": "https://api.epicgames.dev/epic/oauth/v1", "pfdid": "live"}
EOS: dict[str, Any] = {
    "iss": "https://api.epicgames.dev/auth/v1/oauth",
    "pfpid": "product",
    "pfdid": "live",
    "act": {"eat": "steam", "eaid": "76561198000000001"},
}
TWITCH = "https://id.twitch.tv/oauth2"


@pytest.fixture
def fake(clock: ManualClock, signing_key: RSAKey) -> OidcFake:
    return OidcFake(clock, signing_key)


@pytest.fixture
def any_issuer(url: str) -> dict[str, str]:
    return {
        "OIDC_PROVIDERS": "acme",
        "OIDC_ACME_ISSUERS": ISSUER,
        "OIDC_ACME_JWKS_URL": url,
        "OIDC_ACME_AUDIENCES": f"{AUDIENCE},com.acme.web",
        "OIDC_ACME_ALGORITHMS": "RS256,ES256",
    }


@pytest.fixture
def google(url: str) -> dict[str, str]:
    return {"PROVIDERS": "google", "GOOGLE_JWKS_URL": url, "GOOGLE_AUDIENCES": AUDIENCE}


@pytest.fixture
def apple(url: str) -> dict[str, str]:
    return {
        "PROVIDERS": "apple",
        "APPLE_JWKS_URL": url,
        "APPLE_AUDIENCES": f"{AUDIENCE},com.acme.web",
        "APPLE_TEAM_ID": "TEAM123456",
    }


@pytest.fixture
def facebook(url: str) -> dict[str, str]:
    return {
        "PROVIDERS": "facebook_limited",
        "FACEBOOK_LIMITED_JWKS_URL": url,
        "FACEBOOK_LIMITED_AUDIENCES": "1234567890123456",
    }


@pytest.fixture
def epic(url: str) -> dict[str, str]:
    return {
        "PROVIDERS": "epic",
        "EPIC_JWKS_URL": url,
        "EPIC_AUDIENCES": AUDIENCE,
        "EPIC_DEPLOYMENT_ID": "live",
    }


@pytest.fixture
def eos(url: str) -> dict[str, str]:
    return {
        "PROVIDERS": "eos",
        "EOS_JWKS_URL": url,
        "EOS_AUDIENCES": AUDIENCE,
        "EOS_PRODUCT_ID": "product",
        "EOS_DEPLOYMENT_ID": "live",
    }


@pytest.fixture
def twitch(url: str) -> dict[str, str]:
    return {"PROVIDERS": "twitch", "TWITCH_JWKS_URL": url, "TWITCH_AUDIENCES": AUDIENCE}


@pytest.fixture
def acme(open_provider: Open, any_issuer: dict[str, str]) -> IdentityProvider:
    return open_provider(**any_issuer)


async def login(
    provider: IdentityProvider, token: str, nonce: str | None = None
) -> ExternalIdentity:
    return await provider.verify(
        {"id_token": token} if nonce is None else {"id_token": token, "nonce": nonce}
    )


async def code(provider: IdentityProvider, token: str, nonce: str | None = None) -> str:
    with pytest.raises(errors.PlaymeshError) as caught:
        await login(provider, token, nonce)
    error = caught.value
    if not isinstance(error, errors.InvalidRequest):
        assert error.detail is None  # whoever tries learns the kind of it, and nothing else
    assert error.__context__ is None
    return error.code


async def reason(provider: IdentityProvider, token: str, nonce: str | None = None) -> str:
    with capture_logs() as logs:
        await code(provider, token, nonce)
    return str(logs[-1]["reason"])


# Any issuer


async def test_a_good_token_names_the_player(acme: IdentityProvider, fake: OidcFake) -> None:
    assert await login(acme, fake.id_token()) == ExternalIdentity(
        "oidc_acme", f"{ISSUER}:{SUBJECT}", {"audience": AUDIENCE}
    )


@pytest.mark.parametrize("what", WRONG)
async def test_a_token_is_refused_in_which_is_wrong(
    acme: IdentityProvider, fake: OidcFake, what: str
) -> None:
    expected, forge = WRONG[what]
    assert await code(acme, forge(fake)) == expected
    await login(acme, fake.id_token())  # and a good one gets in all the same


async def test_a_token_of_somebody_else_s_key_is_refused(
    acme: IdentityProvider, fake: OidcFake, stranger: RSAKey
) -> None:
    forged = fake.token({"typ": "JWT"}, stranger)
    assert await code(acme, forged) == "invalid_credential"


@pytest.mark.parametrize(
    "header", [{"typ": None}, {"typ": "jwt"}, {"x5t": "AAAA"}, {"x5t#S256": "AAAA"}]
)
async def test_what_other_issuers_write_in_a_header_is_taken(
    acme: IdentityProvider, fake: OidcFake, signing_key: RSAKey, header: dict[str, Any]
) -> None:
    members = {"alg": "RS256", "kid": "key-1", "typ": "JWT"} | header
    kept = {name: value for name, value in members.items() if value is not None}
    await login(acme, seal(signing_key, kept, fake.claims()))


async def test_a_key_may_leave_its_algorithm_to_its_type_and_have_an_id_in_base64(
    acme: IdentityProvider, fake: OidcFake
) -> None:
    """As Entra ID has it, and Cognito."""
    key = RSAKey.generate_key(2048, {"kid": "Tk4tN+0fm/mJuhc=", "use": "sig"})
    entry = key.as_dict(private=False)
    assert "alg" not in entry
    fake.document = json.dumps({"keys": [entry]}).encode()
    header = {"alg": "RS256", "kid": "Tk4tN+0fm/mJuhc=", "typ": "JWT"}
    await login(acme, seal(key, header, fake.claims()))


async def test_an_elliptic_key_is_taken_where_the_settings_allow_it(
    open_provider: Open, any_issuer: dict[str, str], fake: OidcFake, elliptic_key: ECKey
) -> None:
    fake.published.append(elliptic_key)
    token = fake.token({"typ": "JWT"}, elliptic_key)
    await login(open_provider(**any_issuer), token)
    only_rsa = open_provider(**any_issuer | {"OIDC_ACME_ALGORITHMS": "RS256"})
    assert await reason(only_rsa, token) == "alg"


async def test_times_may_be_fractions(acme: IdentityProvider, fake: OidcFake) -> None:
    now = to_seconds(fake.clock.now())
    await login(acme, fake.id_token(iat=now - 0.5, exp=now + 10.25))


@pytest.mark.parametrize(("offset", "gets_in"), [(59, True), (60, False)])
async def test_a_minute_after_its_end_a_token_is_over(
    acme: IdentityProvider, fake: OidcFake, clock: ManualClock, offset: int, *, gets_in: bool
) -> None:
    now = to_seconds(clock.now())
    token = fake.id_token(iat=now - 10, exp=now)
    clock.advance(offset)
    if gets_in:
        await login(acme, token)
    else:
        assert await reason(acme, token) == "expired"


async def test_clocks_may_be_a_minute_apart(acme: IdentityProvider, fake: OidcFake) -> None:
    now = to_seconds(fake.clock.now())
    await login(acme, fake.id_token(iat=now + 60, nbf=now + 60, exp=now + 90))


# Audiences and parties


async def test_defect_11_each_of_several_audiences_is_taken(
    acme: IdentityProvider, fake: OidcFake
) -> None:
    for audience in (AUDIENCE, "com.acme.web", [AUDIENCE]):
        identity = await login(acme, fake.id_token(aud=audience, jti=str(audience)))
        assert identity.external_id == f"{ISSUER}:{SUBJECT}"


@pytest.mark.parametrize(
    ("azp", "outcome"),
    [
        (AUDIENCE, "ok"),
        ("com.acme.web", "ok"),
        ("com.other", "wrong_audience"),
        (None, "wrong_audience"),
    ],
)
async def test_of_two_audiences_one_of_ours_must_have_asked(
    acme: IdentityProvider, fake: OidcFake, azp: str | None, outcome: str
) -> None:
    token = fake.id_token(aud=[AUDIENCE, "com.acme.web"], azp=azp)
    if outcome == "ok":
        await login(acme, token)
    else:
        assert await code(acme, token) == outcome


@pytest.mark.parametrize(
    ("azp", "outcome"),
    [("android.client", "ok"), ("other.client", "azp"), (None, "azp"), (7, "azp")],
)
async def test_where_parties_are_named_one_of_them_must_have_asked(
    open_provider: Open,
    any_issuer: dict[str, str],
    fake: OidcFake,
    azp: str | None,
    outcome: str,
) -> None:
    acme = open_provider(**any_issuer, OIDC_ACME_AUTHORIZED_PARTIES="android.client,ios.client")
    token = fake.id_token(azp=azp)
    if outcome == "ok":
        await login(acme, token)
    else:
        assert await reason(acme, token) == outcome


@pytest.mark.parametrize(
    ("claims", "outcome"),
    [
        ({"tid": "t1", "verified": True}, "ok"),
        ({"tid": "t1", "verified": "true"}, "ok"),
        ({"tid": "t2", "verified": True}, "required_claim"),
        ({"tid": "t1", "verified": False}, "required_claim"),
        ({"tid": ["t1"], "verified": True}, "required_claim"),
        ({"tid": "t1"}, "required_claim"),
        ({}, "required_claim"),
    ],
)
async def test_claims_that_are_required_must_be_there_and_booleans_may_be_text(
    open_provider: Open,
    any_issuer: dict[str, str],
    fake: OidcFake,
    claims: dict[str, Any],
    outcome: str,
) -> None:
    acme = open_provider(**any_issuer, OIDC_ACME_REQUIRED_CLAIMS="tid=t1,verified=true")
    token = fake.id_token(**claims)
    if outcome == "ok":
        await login(acme, token)
    else:
        assert await reason(acme, token) == outcome


async def test_the_subject_may_be_another_claim(
    open_provider: Open, any_issuer: dict[str, str], fake: OidcFake
) -> None:
    acme = open_provider(**any_issuer, OIDC_ACME_SUBJECT_CLAIM="oid")
    assert (await login(acme, fake.id_token(oid="of the whole tenant"))).external_id == (
        f"{ISSUER}:of the whole tenant"
    )
    assert await reason(acme, fake.id_token()) == "sub"


async def test_subjects_are_compared_as_they_are(acme: IdentityProvider, fake: OidcFake) -> None:
    subjects = ("abc", "ABC", "abc ", "007", "7")
    ids = [(await login(acme, fake.id_token(sub=subject))).external_id for subject in subjects]
    assert ids == [f"{ISSUER}:{subject}" for subject in subjects]


# Age and replay


@pytest.mark.parametrize(("age", "gets_in"), [(659, True), (660, False)])
async def test_a_token_is_too_old_long_before_its_end(
    open_provider: Open,
    any_issuer: dict[str, str],
    fake: OidcFake,
    clock: ManualClock,
    age: int,
    *,
    gets_in: bool,
) -> None:
    acme = open_provider(**any_issuer, OIDC_ACME_MAX_AGE="10m")
    token = fake.id_token(exp=to_seconds(clock.now()) + DAY)
    clock.advance(age)
    if gets_in:
        await login(acme, token)
    else:
        assert await reason(acme, token) == "too_old"


async def test_a_token_is_good_once_for_as_long_as_it_is_good(
    acme: IdentityProvider, fake: OidcFake, clock: ManualClock
) -> None:
    token = fake.id_token()
    await login(acme, token)
    for _ in range(61):
        assert await reason(acme, token) == "replayed"
        clock.advance(60)
    assert await reason(acme, token) == "expired"


async def test_a_token_that_is_taken_for_a_day_is_good_once_to_its_last_second(
    open_provider: Open, any_issuer: dict[str, str], fake: OidcFake, clock: ManualClock
) -> None:
    """The issuer's clock may be a minute before ours, and a token is taken for a minute more."""
    acme = open_provider(**any_issuer, OIDC_ACME_MAX_AGE="24h")
    now = to_seconds(clock.now())
    token = fake.id_token(iat=now + 60, exp=now + 2 * DAY)
    await login(acme, token)
    clock.advance(DAY + 119)
    assert await reason(acme, token) == "replayed"
    clock.advance(1)
    assert await reason(acme, token) == "too_old"


async def test_of_two_ways_in_that_take_the_same_token_one_does(
    open_provider: Open, apple: dict[str, str], fake: OidcFake
) -> None:
    """Of a device that has no nonces, Apple's way and the one for clients that make none."""
    token = fake.id_token(**APPLE | {"nonce": None, "nonce_supported": False})
    await login(open_provider(**apple), token)
    drop_in = open_provider(**apple | {"PROVIDERS": "apple_drop_in"})
    assert await reason(drop_in, token) == "replayed"


async def test_another_signature_makes_no_other_token(
    acme: IdentityProvider, fake: OidcFake, elliptic_key: ECKey
) -> None:
    """Whoever has an ES256 signature (r, s) has (r, n - s), which is as good."""
    fake.published.append(elliptic_key)
    token = fake.token({"typ": "JWT"}, elliptic_key)
    await login(acme, token)
    head, _, signature = token.rpartition(".")
    raw = urlsafe_b64decode(signature.encode())
    mirrored = raw[:32] + (P256_ORDER - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    assert await reason(acme, f"{head}.{encode(mirrored)}") == "replayed"


async def test_a_token_may_be_used_again_where_the_settings_say_so(
    open_provider: Open, any_issuer: dict[str, str], fake: OidcFake
) -> None:
    acme = open_provider(**any_issuer, OIDC_ACME_SINGLE_USE="false")
    token = fake.id_token()
    assert await login(acme, token) == await login(acme, token)


async def test_a_token_that_was_refused_is_not_used_up(
    open_provider: Open, any_issuer: dict[str, str], fake: OidcFake
) -> None:
    acme = open_provider(**any_issuer, OIDC_ACME_NONCE="raw")
    token = fake.id_token()
    assert await reason(acme, token, "another") == "nonce"
    await login(acme, token, RAW_NONCE)


# Nonces


@pytest.mark.parametrize(
    ("policy", "claim", "sent", "outcome"),
    [
        ("raw", RAW_NONCE, RAW_NONCE, "ok"),
        ("raw", HASHED_NONCE, RAW_NONCE, "nonce"),
        ("raw", RAW_NONCE, "another", "nonce"),
        ("raw", RAW_NONCE, "", "nonce"),
        ("raw", RAW_NONCE, None, "nonce"),
        ("raw", None, RAW_NONCE, "nonce"),
        ("raw", None, None, "nonce"),
        ("raw", "", "", "nonce"),
        ("raw", 7, "7", "nonce"),
        ("raw", "é", "é", "ok"),
        ("raw", "n" * 257, "n" * 257, "nonce"),
        ("sha256", HASHED_NONCE, RAW_NONCE, "ok"),
        ("sha256", RAW_NONCE, RAW_NONCE, "nonce"),
        ("sha256", HASHED_NONCE.upper(), RAW_NONCE, "nonce"),
        ("sha256", HASHED_NONCE, HASHED_NONCE, "nonce"),
        ("sha256", hashlib.sha256().hexdigest(), "", "nonce"),
        ("sha256", None, RAW_NONCE, "nonce"),
        ("off", None, None, "ok"),
        ("off", RAW_NONCE, None, "ok"),
        ("absent", None, None, "ok"),
        ("absent", None, RAW_NONCE, "ok"),
        ("absent", RAW_NONCE, RAW_NONCE, "nonce"),
        ("absent", "", None, "nonce"),
    ],
)
async def test_the_nonce_is_what_the_policy_makes_of_it(
    open_provider: Open,
    any_issuer: dict[str, str],
    fake: OidcFake,
    policy: str,
    claim: object,
    sent: str | None,
    outcome: str,
) -> None:
    acme = open_provider(**any_issuer, OIDC_ACME_NONCE=policy)
    token = fake.id_token(nonce=claim)
    if outcome == "ok":
        await login(acme, token, sent)
    else:
        assert await reason(acme, token, sent) == outcome


# Nonces that must be ours


@pytest.fixture
def asking(any_issuer: dict[str, str]) -> dict[str, str]:
    return any_issuer | {"OIDC_ACME_NONCE": "raw", "OIDC_ACME_NONCE_ISSUED": "true"}


async def test_with_a_nonce_of_ours_the_player_gets_in(
    open_provider: Open, asking: dict[str, str], fake: OidcFake, nonces: Nonces
) -> None:
    nonce = nonces.issue()
    identity = await login(open_provider(**asking), fake.id_token(nonce=nonce), nonce)
    assert identity.external_id == f"{ISSUER}:{SUBJECT}"


async def test_a_nonce_of_ours_may_be_hashed_on_its_way(
    open_provider: Open, apple: dict[str, str], fake: OidcFake, nonces: Nonces
) -> None:
    provider = open_provider(**apple, APPLE_NONCE_ISSUED="true")
    nonce = nonces.issue()
    hashed = hashlib.sha256(nonce.encode()).hexdigest()
    await login(provider, fake.id_token(**APPLE | {"nonce": hashed}), nonce)
    assert await reason(provider, fake.id_token(**APPLE), RAW_NONCE) == "foreign_nonce"


async def test_a_nonce_that_is_not_ours_is_refused_in_a_token_that_holds(
    open_provider: Open, asking: dict[str, str], fake: OidcFake, nonces: Nonces, clock: ManualClock
) -> None:
    acme = open_provider(**asking)
    issued = nonces.issue()
    forged = issued[:-1] + ("A" if issued[-1] != "A" else "B")
    others = Nonces(lambda: b"o" * 32, clock).issue()
    for foreign in (RAW_NONCE, forged, others, f"{issued} "):
        token = fake.id_token(nonce=foreign)
        assert await reason(acme, token, foreign) == "foreign_nonce"
        assert await code(acme, token, foreign) == "invalid_credential"


async def test_a_nonce_of_ours_that_is_not_the_token_s_is_refused(
    open_provider: Open, asking: dict[str, str], fake: OidcFake, nonces: Nonces
) -> None:
    acme = open_provider(**asking)
    token = fake.id_token(nonce=nonces.issue())
    assert await reason(acme, token, nonces.issue()) == "nonce"
    assert await reason(acme, token) == "nonce"


@pytest.mark.parametrize("age", [599, 600])
async def test_a_nonce_of_ours_holds_for_ten_minutes(
    open_provider: Open,
    asking: dict[str, str],
    fake: OidcFake,
    nonces: Nonces,
    clock: ManualClock,
    age: int,
) -> None:
    acme = open_provider(**asking)
    nonce = nonces.issue()
    clock.advance(age)
    token = fake.id_token(nonce=nonce)
    if age < 600:
        await login(acme, token, nonce)
    else:
        assert await reason(acme, token, nonce) == "nonce_expired"
        assert await code(acme, token, nonce) == "expired_credential"


async def test_a_nonce_of_ours_is_good_once_in_all_processes(
    open_provider: Open,
    asking: dict[str, str],
    fake: OidcFake,
    nonces: Nonces,
    beside: Connections,
) -> None:
    """Also in another token, which the issuer gives to whoever asks it with the same nonce."""
    acme, another = open_provider(**asking), opened(beside, **asking)
    nonce = nonces.issue()
    await login(acme, fake.id_token(nonce=nonce, jti="1"), nonce)
    for number, provider in enumerate((acme, another)):
        token = fake.id_token(nonce=nonce, jti=f"other {number}")
        assert await reason(provider, token, nonce) == "replayed"


async def test_a_nonce_of_ours_is_good_once_also_where_tokens_are_not(
    open_provider: Open, asking: dict[str, str], fake: OidcFake, nonces: Nonces
) -> None:
    acme = open_provider(**asking, OIDC_ACME_SINGLE_USE="false")
    nonce = nonces.issue()
    token = fake.id_token(nonce=nonce)
    await login(acme, token, nonce)
    assert await reason(acme, token, nonce) == "replayed"


async def test_of_50_tokens_with_one_nonce_at_once_one_gets_in(
    open_provider: Open,
    asking: dict[str, str],
    fake: OidcFake,
    nonces: Nonces,
    beside: Connections,
) -> None:
    processes = [open_provider(**asking), opened(beside, **asking)]
    nonce = nonces.issue()
    outcomes = await asyncio.gather(
        *(
            login(processes[number % 2], fake.id_token(nonce=nonce, jti=str(number)), nonce)
            for number in range(50)
        ),
        return_exceptions=True,
    )
    kinds = [type(one) for one in outcomes if not isinstance(one, errors.ExpiredCredential)]
    assert kinds == [ExternalIdentity]


async def test_a_nonce_of_a_token_that_was_refused_is_not_used_up(
    open_provider: Open, asking: dict[str, str], fake: OidcFake, nonces: Nonces
) -> None:
    acme = open_provider(**asking)
    nonce = nonces.issue()
    assert await code(acme, fake.id_token(nonce=nonce, sub=""), nonce) == "invalid_credential"
    await login(acme, fake.id_token(nonce=nonce), nonce)


async def test_a_device_without_nonces_must_have_asked_for_one_all_the_same(
    open_provider: Open, apple: dict[str, str], fake: OidcFake, nonces: Nonces
) -> None:
    provider = open_provider(**apple, APPLE_NONCE_ISSUED="true")
    bare = APPLE | {"nonce": None, "nonce_supported": False}
    assert await reason(provider, fake.id_token(**bare)) == "foreign_nonce"
    await login(provider, fake.id_token(**bare), nonces.issue())


async def test_apple_s_clients_without_nonces_get_in_where_the_others_ask_for_one(
    open_provider: Open, apple: dict[str, str], fake: OidcFake
) -> None:
    variables = apple | {"PROVIDERS": "apple_drop_in", "APPLE_NONCE_ISSUED": "true"}
    await login(open_provider(**variables), fake.id_token(**APPLE | {"nonce": None}))


@pytest.mark.parametrize("policy", ["off", "absent"])
def test_nonces_of_ours_need_a_policy_that_looks_at_them(
    any_issuer: dict[str, str], policy: str
) -> None:
    wrong = any_issuer | {"OIDC_ACME_NONCE": policy, "OIDC_ACME_NONCE_ISSUED": "true"}
    assert faults(**wrong) == ["OIDC_ACME_NONCE_ISSUED"]


# Google


@pytest.mark.parametrize("issuer", ["https://accounts.google.com", "accounts.google.com"])
async def test_google_has_two_names(
    open_provider: Open, google: dict[str, str], fake: OidcFake, issuer: str
) -> None:
    identity = await login(open_provider(**google), fake.id_token(iss=issuer, azp="android"))
    assert (identity.provider, identity.external_id) == ("google", SUBJECT)


@pytest.mark.parametrize(
    "issuer",
    ["https://accounts.google.com/", "http://accounts.google.com", "ACCOUNTS.GOOGLE.COM", ISSUER],
)
async def test_nobody_else_is_google(
    open_provider: Open, google: dict[str, str], fake: OidcFake, issuer: str
) -> None:
    assert await code(open_provider(**google), fake.id_token(iss=issuer)) == "wrong_audience"


@pytest.mark.parametrize(("length", "gets_in"), [(255, True), (256, False)])
async def test_a_subject_has_255_characters_at_most(
    open_provider: Open, google: dict[str, str], fake: OidcFake, length: int, *, gets_in: bool
) -> None:
    token = fake.id_token(iss="accounts.google.com", sub="1" * length)
    provider = open_provider(**google)
    if gets_in:
        assert (await login(provider, token)).external_id == "1" * length
    else:
        assert await reason(provider, token) == "sub"


# Facebook


async def test_facebook_limited_login_takes_the_raw_nonce_and_ids_of_the_application(
    open_provider: Open, facebook: dict[str, str], fake: OidcFake
) -> None:
    limited = open_provider(**facebook)
    claims: dict[str, Any] = {"iss": "https://www.facebook.com", "aud": "1234567890123456"}
    identity = await login(limited, fake.id_token(**claims), RAW_NONCE)
    assert limited.name == "facebook_limited"
    assert (identity.provider, identity.external_id) == ("facebook", f"1234567890123456:{SUBJECT}")
    assert await reason(limited, fake.id_token(**claims, jti="2")) == "nonce"
    bare = claims | {"iss": "https://facebook.com"}
    assert await reason(limited, fake.id_token(**bare), RAW_NONCE) == "iss"


# Apple


async def test_apple_hashes_the_nonce_and_has_ids_of_the_team(
    open_provider: Open, apple: dict[str, str], fake: OidcFake
) -> None:
    identity = await login(open_provider(**apple), fake.id_token(**APPLE), RAW_NONCE)
    assert (identity.provider, identity.external_id) == ("apple", f"TEAM123456:{SUBJECT}")
    assert identity.details == {
        "audience": AUDIENCE,
        "real_user_status": "2",
        "is_private_email": "true",
    }


@pytest.mark.parametrize(
    ("supported", "gets_in"),
    [(True, False), ("true", False), (False, True), ("false", True), (None, True), (0, False)],
)
async def test_apple_s_nonce_may_be_missing_only_where_the_device_has_none(
    open_provider: Open,
    apple: dict[str, str],
    fake: OidcFake,
    supported: object,
    *,
    gets_in: bool,
) -> None:
    token = fake.id_token(**APPLE | {"nonce": None, "nonce_supported": supported})
    provider = open_provider(**apple)
    if gets_in:
        await login(provider, token)
    else:
        assert await reason(provider, token, RAW_NONCE) == "nonce"


@pytest.mark.parametrize("supported", [False, None])
async def test_apple_s_nonce_counts_wherever_it_is(
    open_provider: Open, apple: dict[str, str], fake: OidcFake, supported: object
) -> None:
    token = fake.id_token(**APPLE | {"nonce_supported": supported})
    assert await reason(open_provider(**apple), token, "another") == "nonce"


async def test_a_web_client_may_give_apple_the_nonce_as_it_is(
    open_provider: Open, apple: dict[str, str], fake: OidcFake
) -> None:
    provider = open_provider(**apple, APPLE_RAW_NONCE_AUDIENCES="com.acme.web")
    web = APPLE | {"aud": "com.acme.web", "nonce": RAW_NONCE}
    await login(provider, fake.id_token(**web), RAW_NONCE)
    await login(provider, fake.id_token(**APPLE), RAW_NONCE)
    native = APPLE | {"nonce": RAW_NONCE, "jti": "3"}
    assert await reason(provider, fake.id_token(**native), RAW_NONCE) == "nonce"


@pytest.mark.parametrize("age", [659, 660])
async def test_apple_s_tokens_of_a_day_are_taken_for_ten_minutes(
    open_provider: Open, apple: dict[str, str], fake: OidcFake, clock: ManualClock, age: int
) -> None:
    provider = open_provider(**apple)
    token = fake.id_token(**APPLE, exp=to_seconds(clock.now()) + DAY)
    clock.advance(age)
    if age < 660:
        await login(provider, token, RAW_NONCE)
    else:
        assert await reason(provider, token, RAW_NONCE) == "too_old"


async def test_apple_s_second_issuer_is_not_trusted_unless_it_is_named(
    open_provider: Open, apple: dict[str, str], fake: OidcFake
) -> None:
    second = APPLE | {"iss": "https://account.apple.com"}
    token = fake.id_token(**second)
    assert await reason(open_provider(**apple), token, RAW_NONCE) == "iss"
    both = "https://appleid.apple.com,https://account.apple.com"
    identity = await login(open_provider(**apple, APPLE_ISSUERS=both), token, RAW_NONCE)
    assert identity.external_id == f"TEAM123456:{SUBJECT}"


@pytest.mark.parametrize("what", ["wrong issuer", "no exp", "wrong audience"])
async def test_defect_8_apple_s_issuer_nonce_and_end_are_looked_at(
    open_provider: Open, apple: dict[str, str], fake: OidcFake, what: str
) -> None:
    fake.base = APPLE
    expected, forge = WRONG[what]
    provider = open_provider(**apple)
    assert await code(provider, forge(fake), RAW_NONCE) == expected
    assert await reason(provider, fake.id_token(), "another nonce") == "nonce"
    await login(provider, fake.id_token(), RAW_NONCE)


@pytest.mark.parametrize("nonce", ["raw", "sha256"])
async def test_apple_without_a_nonce_is_refused_unless_the_drop_in_is_named(
    open_provider: Open, apple: dict[str, str], fake: OidcFake, nonce: str
) -> None:
    token = fake.id_token(**APPLE | {"nonce": None})
    apple["APPLE_NONCE"] = nonce
    assert await reason(open_provider(**apple), token) == "nonce"
    drop_in = open_provider(**apple | {"PROVIDERS": "apple_drop_in"})
    identity = await login(drop_in, token)
    assert (identity.provider, identity.external_id) == ("apple", f"TEAM123456:{SUBJECT}")
    assert identity.details["sub"] == SUBJECT


@pytest.mark.parametrize("nonce", [HASHED_NONCE, RAW_NONCE, ""])
async def test_a_token_with_a_nonce_is_not_taken_where_nobody_looks_at_it(
    open_provider: Open, apple: dict[str, str], fake: OidcFake, nonce: str
) -> None:
    """Otherwise who has stolen one from a client that makes nonces could use it there."""
    variables = apple | {"PROVIDERS": "apple_drop_in", "APPLE_RAW_NONCE_AUDIENCES": AUDIENCE}
    drop_in = open_provider(**variables)
    token = fake.id_token(**APPLE | {"nonce": nonce})
    assert await reason(drop_in, token) == "nonce"
    assert await reason(drop_in, token, RAW_NONCE) == "nonce"


# Epic


@pytest.mark.parametrize(("version", "expected"), [("v1", "ok"), ("v2", "ok"), ("v3", "iss")])
async def test_epic_has_two_names_and_ids_of_all_of_it(
    open_provider: Open, epic: dict[str, str], fake: OidcFake, version: str, expected: str
) -> None:
    provider = open_provider(**epic)
    token = fake.id_token(**EPIC | {"iss": f"https://api.epicgames.dev/epic/oauth/{version}"})
    if expected == "ok":
        identity = await login(provider, token)
        assert (identity.provider, identity.external_id) == ("epic", SUBJECT)
    else:
        assert await reason(provider, token) == expected


@pytest.mark.parametrize("deployment", ["sandbox", "", None])
async def test_epic_s_token_of_another_deployment_is_for_another_audience(
    open_provider: Open, epic: dict[str, str], fake: OidcFake, deployment: str | None
) -> None:
    token = fake.id_token(**EPIC | {"pfdid": deployment})
    assert await code(open_provider(**epic), token) == "wrong_audience"
    more = open_provider(**epic, EPIC_REQUIRED_CLAIMS=f"pfdid={deployment or 'x'},pfsid=live")
    assert await code(more, token) == "wrong_audience"


async def test_eos_has_ids_of_the_product(
    open_provider: Open, eos: dict[str, str], fake: OidcFake
) -> None:
    identity = await login(open_provider(**eos), fake.id_token(**EOS))
    assert (identity.provider, identity.external_id) == ("eos", f"product:{SUBJECT}")


@pytest.mark.parametrize("claim", ["pfpid", "pfdid"])
@pytest.mark.parametrize("value", ["another", None])
async def test_eos_s_token_of_another_product_or_deployment_is_for_another_audience(
    open_provider: Open, eos: dict[str, str], fake: OidcFake, claim: str, value: str | None
) -> None:
    token = fake.id_token(**EOS | {claim: value})
    assert await code(open_provider(**eos), token) == "wrong_audience"


@pytest.mark.parametrize("account", [None, {}, ""])
async def test_eos_s_login_of_a_device_alone_names_nobody(
    open_provider: Open, eos: dict[str, str], fake: OidcFake, account: object
) -> None:
    token = fake.id_token(**EOS | {"act": account})
    assert await reason(open_provider(**eos), token) == "needed_claim"


async def test_of_epic_and_eos_neither_takes_the_other_s_tokens(
    open_provider: Open, epic: dict[str, str], eos: dict[str, str], fake: OidcFake
) -> None:
    assert await reason(open_provider(**epic), fake.id_token(**EOS)) == "iss"
    assert await reason(open_provider(**eos), fake.id_token(**EPIC)) == "iss"


# Twitch


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [(TWITCH, "ok"), (f"{TWITCH}/", "iss"), ("https://id.twitch.tv", "iss")],
)
async def test_twitch_has_one_name_and_ids_of_all_of_it(
    open_provider: Open, twitch: dict[str, str], fake: OidcFake, issuer: str, expected: str
) -> None:
    provider = open_provider(**twitch)
    token = fake.id_token(iss=issuer)
    if expected == "ok":
        identity = await login(provider, token)
        assert (identity.provider, identity.external_id) == ("twitch", SUBJECT)
    else:
        assert await reason(provider, token) == expected


# Keys


async def test_a_rotated_key_is_fetched_when_its_first_token_comes(
    acme: IdentityProvider, fake: OidcFake, clock: ManualClock
) -> None:
    await login(acme, fake.id_token())
    clock.advance(60)
    fake.rotate()
    await login(acme, fake.id_token())
    assert fake.requests == 2


async def test_defect_10_unknown_key_ids_cause_one_fetch_a_minute(
    acme: IdentityProvider, fake: OidcFake, clock: ManualClock
) -> None:
    await login(acme, fake.id_token())
    for second in range(180):
        token = fake.id_token({"kid": f"unknown-{second}"})
        assert await code(acme, token) == "invalid_credential"
        clock.advance(1)
    assert fake.requests == 1 + 2


async def test_defect_10_keys_that_do_not_come_make_nobody_wait_for_long(
    acme: IdentityProvider, fake: OidcFake
) -> None:
    fake.gate = asyncio.Event()
    assert await code(acme, fake.id_token()) == "provider_unavailable"


async def test_known_keys_hold_for_a_day_while_they_cannot_be_fetched(
    acme: IdentityProvider, fake: OidcFake, clock: ManualClock, connections: Connections
) -> None:
    await login(acme, fake.id_token())
    fake.status = 503
    for hour in range(24):
        await connections.tick()
        await login(acme, fake.id_token(jti=str(hour)))
        clock.advance(HOUR)
    assert await code(acme, fake.id_token()) == "provider_unavailable"


@pytest.mark.parametrize(
    ("max_age", "fetched_after"), [("0", 330), ("60", 330), ("900", 900), ("86400", HOUR)]
)
async def test_keys_are_fetched_again_when_the_issuer_says_within_bounds(
    acme: IdentityProvider,
    fake: OidcFake,
    clock: ManualClock,
    connections: Connections,
    max_age: str,
    fetched_after: int,
) -> None:
    fake.headers["Cache-Control"] = f"public, max-age={max_age}"
    await login(acme, fake.id_token())
    clock.advance(fetched_after * 0.6)
    await connections.tick()
    assert fake.requests == 1
    clock.advance(fetched_after * 0.4)
    await connections.tick()
    assert fake.requests == 2


@pytest.mark.parametrize(
    "document",
    [
        b"<html>",
        b'{"keys": [',
        b"[]",
        b'{"keys": []}',
        b'{"keys": "none"}',
        b"x" * 70_000,
        b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "key-1", "alg": "RS256"}]}',
    ],
)
async def test_a_set_that_is_none_is_unavailable_and_replaces_no_good_one(
    acme: IdentityProvider,
    fake: OidcFake,
    connections: Connections,
    clock: ManualClock,
    document: bytes,
) -> None:
    fake.document = document
    assert await code(acme, fake.id_token()) == "provider_unavailable"
    fake.document = None
    clock.advance(60)
    await login(acme, fake.id_token())
    fake.document = document
    clock.advance(HOUR)
    await connections.tick()
    await login(acme, fake.id_token())


@pytest.mark.parametrize("status", [404, 429, 500, 503])
async def test_keys_that_are_not_answered_are_unavailable_and_never_a_401(
    acme: IdentityProvider, fake: OidcFake, status: int
) -> None:
    fake.status = status
    assert await code(acme, fake.id_token()) == "provider_unavailable"


async def test_fetches_of_keys_are_counted_for_each_issuer(
    acme: IdentityProvider, fake: OidcFake, clock: ManualClock
) -> None:
    def count(outcome: str) -> float:
        labels = {"provider": "oidc_acme", "outcome": outcome}
        return REGISTRY.get_sample_value("playmesh_provider_calls_total", labels) or 0.0

    before = count("keys"), count("keys_failed")
    fake.status = 503
    await code(acme, fake.id_token())
    clock.advance(60)
    fake.status = 200
    await login(acme, fake.id_token())
    assert (count("keys"), count("keys_failed")) == (before[0] + 1, before[1] + 1)


async def test_a_redirect_to_other_keys_is_not_followed(
    acme: IdentityProvider, fake: OidcFake
) -> None:
    async with OidcFake(fake.clock, ec_key("key-1")).serving() as elsewhere:
        fake.status, fake.headers["Location"] = 302, elsewhere
        assert await code(acme, fake.id_token()) == "provider_unavailable"


# All of it


async def test_providers_are_found_by_name_and_closed_again(
    clock: ManualClock,
    idempotency: Idempotency,
    nonces: Nonces,
    any_issuer: dict[str, str],
    google: dict[str, str],
    fake: OidcFake,
) -> None:
    settings = read(**any_issuer, **google)
    seals = seals_of(clock)
    async with open_providers(settings, idempotency, nonces, seals, clock) as providers:
        assert sorted(providers.ways_in) == ["google", "oidc_acme"]
        assert providers.user_pool is None
        await login(providers.ways_in["oidc_acme"], fake.id_token())


async def test_an_access_token_that_comes_along_is_the_one_of_the_id_token(
    acme: IdentityProvider, fake: OidcFake
) -> None:
    """OpenID Connect Core 1.0, 3.1.3.8."""
    sent = {
        "id_token": fake.id_token(at_hash="7BoHY1b3yl3m-Imbo8RgiQ"),
        "access_token": "ya29.example-access-token",
    }
    for other in ("ya29.another", "", "é\ud800"):
        with pytest.raises(errors.InvalidCredential):
            await acme.verify({**sent, "access_token": other})
    await acme.verify(sent)


async def test_an_access_token_that_the_id_token_does_not_name_says_nothing(
    acme: IdentityProvider, fake: OidcFake
) -> None:
    await acme.verify(
        {"id_token": fake.id_token(at_hash=None), "access_token": "ya29.example-access-token"}
    )


@pytest.mark.parametrize("at_hash", [7, "", ["7BoHY1b3yl3m-Imbo8RgiQ"]])
async def test_what_is_no_hash_is_no_access_token_s(
    acme: IdentityProvider, fake: OidcFake, at_hash: object
) -> None:
    sent = {"id_token": fake.id_token(at_hash=at_hash), "access_token": "ya29.x"}
    with pytest.raises(errors.InvalidCredential):
        await acme.verify(sent)


async def test_a_start_does_not_wait_for_an_issuer_that_hangs(
    clock: ManualClock,
    idempotency: Idempotency,
    nonces: Nonces,
    any_issuer: dict[str, str],
    fake: OidcFake,
) -> None:
    fake.gate = asyncio.Event()
    settings = read(**any_issuer)
    async with (
        asyncio.timeout(2),
        open_providers(settings, idempotency, nonces, seals_of(clock), clock) as providers,
    ):
        assert list(providers.ways_in) == ["oidc_acme"]


# Settings


def faults(**variables: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(**variables)
    return [fault.split(":")[0].removeprefix("PLAYMESH_") for fault in caught.value.faults]


def test_nothing_is_on_unless_it_is_named() -> None:
    assert read().platforms == {}


def test_a_platform_that_is_on_without_what_it_needs_is_a_fault_for_each_of_it() -> None:
    names = "apple,eos,epic,facebook,facebook_limited,google,steam,twitch"
    assert faults(PROVIDERS=names) == [
        "APPLE_TEAM_ID",
        "APPLE_AUDIENCES",
        "EOS_PRODUCT_ID",
        "EOS_DEPLOYMENT_ID",
        "EOS_AUDIENCES",
        "EPIC_DEPLOYMENT_ID",
        "EPIC_AUDIENCES",
        "FACEBOOK_APP_ID",
        "FACEBOOK_APP_SECRET",
        "FACEBOOK_LIMITED_AUDIENCES",
        "GOOGLE_AUDIENCES",
        "STEAM_APP_IDS",
        "STEAM_KEY",
        "STEAM_IDENTITY",
        "TWITCH_AUDIENCES",
    ]
    assert faults(PROVIDERS="apple_drop_in") == ["APPLE_TEAM_ID", "APPLE_AUDIENCES"]
    assert faults(OIDC_PROVIDERS="acme") == [
        "OIDC_ACME_ISSUERS",
        "OIDC_ACME_JWKS_URL",
        "OIDC_ACME_AUDIENCES",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROVIDERS", "googel"),
        ("OIDC_PROVIDERS", "Acme"),
        ("OIDC_PROVIDERS", "a-b"),
        ("OIDC_PROVIDERS", "a" * 28),
        ("OIDC_ACME_JWKS_URL", "http://idp.acme.example/keys"),
        ("OIDC_ACME_JWKS_URL", "no url"),
        ("OIDC_ACME_ALGORITHMS", "HS256"),
        ("OIDC_ACME_ALGORITHMS", "RS256,none"),
        ("OIDC_ACME_NONCE", "maybe"),
        ("OIDC_ACME_NONCE_ISSUED", "maybe"),
        ("OIDC_ACME_MAX_AGE", "25h"),
        ("OIDC_ACME_MAX_AGE", "0"),
        ("OIDC_ACME_REQUIRED_CLAIMS", "tid"),
        ("OIDC_ACME_REQUIRED_CLAIMS", "tid="),
        ("OIDC_ACME_SINGLE_USE", "maybe"),
        ("OIDC_ACME_ISSUERS", "https://" + "x" * 121),
    ],
)
def test_a_setting_that_is_wrong_is_a_fault_by_its_name(name: str, value: str) -> None:
    good = {
        "OIDC_PROVIDERS": "acme",
        "OIDC_ACME_ISSUERS": ISSUER,
        "OIDC_ACME_JWKS_URL": "https://idp.acme.example/keys",
        "OIDC_ACME_AUDIENCES": AUDIENCE,
    }
    assert read(**good).platforms
    assert faults(**good | {name: value}) == [name]


@pytest.mark.parametrize(
    ("name", "variables", "keys"),
    [
        (
            "epic",
            {"EPIC_DEPLOYMENT_ID": "live"},
            "https://api.epicgames.dev/epic/oauth/v2/.well-known/jwks.json",
        ),
        (
            "eos",
            {"EOS_PRODUCT_ID": "product", "EOS_DEPLOYMENT_ID": "live"},
            "https://api.epicgames.dev/auth/v1/oauth/jwks",
        ),
        ("twitch", {}, "https://id.twitch.tv/oauth2/keys"),
    ],
)
def test_it_is_known_where_the_keys_of_an_issuer_are(
    name: str, variables: dict[str, str], keys: str
) -> None:
    audiences = {f"{name.upper()}_AUDIENCES": AUDIENCE}
    settings: Any = read(PROVIDERS=name, **variables, **audiences)
    assert settings.platforms[name].jwks_url == keys


def test_a_jwks_url_keeps_the_slash_at_its_end() -> None:
    settings: Any = read(PROVIDERS="facebook_limited", FACEBOOK_LIMITED_AUDIENCES="1")
    assert settings.platforms["facebook_limited"].jwks_url.endswith("/jwks/")
