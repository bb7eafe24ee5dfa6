"""Cognito user pools: which tokens are taken, what is sent, and what every exception becomes."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from prometheus_client import REGISTRY, generate_latest
from structlog.testing import capture_logs

from services.identity.models import ExternalIdentity
from services.identity.ports import IdentityProvider, UserPool
from services.identity.providers.cognito import CognitoPlatform
from services.identity.providers.cognito_pool import secret_hash
from services.identity.providers.connections import Connections
from services.identity.providers.guarded import Guarded
from services.identity.providers.guarded_pool import GuardedPool
from shared import errors
from tests.support.clock import ManualClock
from tests.support.fakes import cognito
from tests.support.fakes.cognito import (
    CLIENT,
    CODE,
    ISSUER,
    OTHER_CLIENT,
    PASSWORD,
    PLAYER,
    POOL,
    SCENARIOS,
    SESSION,
    SUBJECT,
    CognitoFake,
)
from tests.support.overheard import Overheard
from tests.support.platforms import read

SECRET = "CANARY-client-secret-0001"
OTHER_POOL = "eu-west-1_ZzZzZzZzZ"


@dataclass
class Cognito:
    fake: CognitoFake
    provider: IdentityProvider
    pool: UserPool

    async def log_in(self, username: str = PLAYER, password: str = PASSWORD) -> ExternalIdentity:
        return await self.provider.verify({"username": username, "password": password})

    async def challenged(self, username: str) -> errors.ActionRequired:
        with pytest.raises(errors.ActionRequired) as caught:
            await self.log_in(username)
        return caught.value

    async def answer(self, token: str | None, **parts: str) -> ExternalIdentity:
        return await self.provider.verify({"challenge_token": token or "", **parts})


Call = Callable[[Cognito], Awaitable[object]]
OPERATIONS: dict[str, Call] = {
    "InitiateAuth": lambda it: it.log_in(),
    "SignUp": lambda it: it.pool.sign_up("new", PASSWORD, "new@example.com"),
    "ConfirmSignUp": lambda it: it.pool.confirm_sign_up(PLAYER, CODE),
    "ResendConfirmationCode": lambda it: it.pool.resend_code(PLAYER),
    "ForgotPassword": lambda it: it.pool.forgot_password(PLAYER),
    "ConfirmForgotPassword": lambda it: it.pool.reset_password(PLAYER, CODE, PASSWORD),
    "GlobalSignOut": lambda it: it.pool.sign_out("a.b.c"),
}


@pytest.fixture
def fake(clock: ManualClock) -> CognitoFake:
    return CognitoFake(clock)


Open = Callable[..., Cognito]


@pytest.fixture
def open_cognito(fake: CognitoFake, connections: Connections, variables: dict[str, str]) -> Open:
    def open_it(**more: str) -> Cognito:
        (settings,) = read(**variables | more).platforms.values()
        platform = settings.open(connections)
        assert isinstance(platform, CognitoPlatform)
        clock = connections.clock
        return Cognito(fake, Guarded(platform, clock), GuardedPool(platform, clock))

    return open_it


@pytest.fixture
def it(open_cognito: Open) -> Cognito:
    return open_cognito()


async def refusal(call: Awaitable[object]) -> tuple[errors.PlaymeshError, str]:
    """And its reason."""
    with capture_logs() as logs, pytest.raises(errors.PlaymeshError) as caught:
        await call
    return caught.value, str(logs[-1]["reason"])


async def outcome(call: Awaitable[object]) -> str:
    try:
        await call
    except errors.PlaymeshError as error:
        return error.code
    return "ok"


# Tokens


@pytest.mark.parametrize(("part", "kind"), [("access_token", "access"), ("id_token", "id")])
async def test_a_token_of_the_pool_names_the_player(it: Cognito, part: str, kind: str) -> None:
    assert await it.provider.verify({part: it.fake.token(kind)}) == ExternalIdentity(
        "cognito", f"{POOL}:{SUBJECT}", {"audience": CLIENT, "sub": SUBJECT}
    )


WRONG_TOKENS: dict[str, tuple[dict[str, Any], str]] = {
    "of another pool": ({"iss": ISSUER.replace(POOL, OTHER_POOL)}, "wrong_audience"),
    "of another region": ({"iss": ISSUER.replace("eu-west-1", "us-east-1")}, "wrong_audience"),
    "for another use": ({"token_use": "refresh"}, "wrong_audience"),
    "for no use": ({"token_use": None}, "wrong_audience"),
    "without an end": ({"exp": None}, "invalid_credential"),
    "without a beginning": ({"iat": None}, "invalid_credential"),
    "without an issuer": ({"iss": None}, "wrong_audience"),
    "of nobody": ({"sub": None}, "invalid_credential"),
}


@pytest.mark.parametrize("kind", ["access", "id"])
@pytest.mark.parametrize(("changes", "code"), WRONG_TOKENS.values(), ids=WRONG_TOKENS)
async def test_a_token_that_is_not_as_it_must_be_is_refused(
    it: Cognito, kind: str, changes: dict[str, Any], code: str
) -> None:
    part = "access_token" if kind == "access" else "id_token"
    assert await outcome(it.provider.verify({part: it.fake.token(kind, **changes)})) == code


@pytest.mark.parametrize(
    ("part", "kind", "changes"),
    [
        ("access_token", "access", {"client_id": OTHER_CLIENT}),
        ("access_token", "access", {"client_id": None}),
        ("access_token", "access", {"client_id": None, "aud": CLIENT}),
        ("access_token", "access", {"aud": CLIENT}),
        ("access_token", "id", {}),
        ("access_token", "id", {"client_id": CLIENT}),
        ("access_token", "id", {"client_id": CLIENT, "aud": None}),
        ("id_token", "access", {}),
        ("id_token", "access", {"aud": CLIENT}),
        ("id_token", "id", {"aud": OTHER_CLIENT}),
        ("id_token", "id", {"aud": None, "client_id": CLIENT}),
    ],
)
async def test_defect_16_whose_client_and_what_use_a_token_is_for_are_looked_at(
    it: Cognito, part: str, kind: str, changes: dict[str, Any]
) -> None:
    token = it.fake.token(kind, **changes)
    assert await outcome(it.provider.verify({part: token})) == "wrong_audience"


@pytest.mark.parametrize(
    "issuer", [f"{ISSUER}/", ISSUER.upper(), f"{ISSUER}.attacker.test", [ISSUER], None]
)
async def test_defect_17_the_issuer_is_compared_as_it_is(it: Cognito, issuer: Any) -> None:  # noqa: ANN401 - also wrong types
    token = it.fake.token(iss=issuer)
    assert await outcome(it.provider.verify({"access_token": token})) == "wrong_audience"


async def test_a_key_of_somebody_else_signs_nothing(it: Cognito, signing_key: RSAKey) -> None:
    token = it.fake.token(key=signing_key)
    assert await outcome(it.provider.verify({"access_token": token})) == "invalid_credential"


async def test_every_client_of_ours_is_taken(open_cognito: Open) -> None:
    it = open_cognito(COGNITO_CLIENT_IDS=f"{CLIENT},{OTHER_CLIENT}")
    await it.provider.verify({"access_token": it.fake.token(client_id=OTHER_CLIENT)})


async def test_a_token_is_good_until_its_end_where_the_settings_say_so(open_cognito: Open) -> None:
    it = open_cognito(COGNITO_SINGLE_USE="false")
    credential = {"access_token": it.fake.token()}
    assert await it.provider.verify(credential) == await it.provider.verify(credential)


async def test_a_token_is_too_old_an_hour_after_it_was_made(
    it: Cognito, clock: ManualClock
) -> None:
    long = it.fake.token(exp=it.fake.claims()["iat"] + 86_400)
    clock.advance(3660)
    assert await outcome(it.provider.verify({"access_token": long})) == "expired_credential"


async def test_defect_18_keys_are_fetched_once_and_not_for_each_login(
    it: Cognito, fake: CognitoFake
) -> None:
    await it.provider.verify({"access_token": fake.token()})
    fake.keys_status = 503
    for _ in range(10):
        await it.provider.verify({"access_token": fake.token()})


async def test_whose_a_token_is_does_not_use_it_up(it: Cognito) -> None:
    token = it.fake.token()
    for _ in range(2):
        assert (await it.pool.whose(token)).external_id == f"{POOL}:{SUBJECT}"
    await it.provider.verify({"access_token": token})


# What is sent


def test_the_secret_hash_is_cognito_s() -> None:
    hashed = secret_hash(
        "player@example.com", "1exampleclientid23456789ab", "example-client-secret-0001"
    )
    assert hashed == "gNN3PGYW1OwF3unAoGjcH8xTEIfRu8zuAosUmSnsV28="


async def test_a_password_logs_in(it: Cognito) -> None:
    assert await it.log_in() == ExternalIdentity(
        "cognito", f"{POOL}:{SUBJECT}", {"audience": CLIENT, "sub": SUBJECT}
    )
    assert it.fake.asked == [
        (
            "InitiateAuth",
            {
                "AuthFlow": "USER_PASSWORD_AUTH",
                "AuthParameters": {"USERNAME": PLAYER, "PASSWORD": PASSWORD},
                "ClientId": CLIENT,
            },
        )
    ]
    assert it.fake.headers[0]["Content-Type"] == "application/x-amz-json-1.1"


@pytest.mark.parametrize("in_a_file", [False, True])
async def test_with_a_client_secret_every_name_is_hashed(
    open_cognito: Open, fake: CognitoFake, tmp_path: Path, *, in_a_file: bool
) -> None:
    """The fake refuses what lacks it; of both spellings one call each."""
    fake.secret = SECRET
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    more = {"COGNITO_CLIENT_SECRET_FILE": str(file)} if in_a_file else {}
    it = open_cognito(**more or {"COGNITO_CLIENT_SECRET": SECRET})
    for name, call in OPERATIONS.items():
        if name != "ConfirmSignUp":
            await call(it)
    await it.pool.confirm_sign_up("new", CODE)
    assert "SECRET_HASH" in fake.asked[0][1]["AuthParameters"]
    assert "SecretHash" in fake.asked[1][1]


async def test_a_challenge_is_answered_with_the_hash_of_the_real_name(
    open_cognito: Open, fake: CognitoFake
) -> None:
    fake.secret = SECRET
    it = open_cognito(COGNITO_CLIENT_SECRET=SECRET)
    await it.answer((await it.challenged("u-mfa")).token, answer=CODE)
    assert fake.asked[-1][1]["ChallengeResponses"] == {
        "USERNAME": "real-u-mfa",
        "SMS_MFA_CODE": CODE,
        "SECRET_HASH": secret_hash("real-u-mfa", CLIENT, SECRET),
    }


async def test_defect_16_tokens_that_the_pool_hands_out_are_looked_at_too(
    it: Cognito, fake: CognitoFake
) -> None:
    """A mis-pointed pool is nobody's fault but ours."""
    fake.client = OTHER_CLIENT
    error, reason = await refusal(it.log_in())
    assert (type(error), reason) == (errors.ProviderMisconfigured, "token")


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("a b", PASSWORD),
        ("a\0", PASSWORD),
        ("\ud800", PASSWORD),
        ("u" * 129, PASSWORD),
        (PLAYER, "a b"),
        (PLAYER, "p" * 257),
        (PLAYER, "\ud800"),
        (PLAYER, "p\0"),
    ],
)
async def test_what_is_no_name_or_password_is_refused_without_asking(
    it: Cognito, username: str, password: str
) -> None:
    assert await outcome(it.log_in(username, password)) == "invalid_credential"
    assert it.fake.asked == []


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda it: it.pool.sign_up("a b", PASSWORD, None), "invalid_request"),
        (lambda it: it.pool.sign_up("new", "a b", None), "weak_password"),
        (lambda it: it.pool.sign_up("new", PASSWORD, "a b@example.com"), "invalid_request"),
        (lambda it: it.pool.confirm_sign_up(PLAYER, "12 34"), "invalid_code"),
        (lambda it: it.pool.reset_password(PLAYER, "12 34", PASSWORD), "invalid_code"),
        (lambda it: it.pool.reset_password(PLAYER, CODE, "a b"), "weak_password"),
        (lambda it: it.pool.forgot_password("a b"), "invalid_request"),
    ],
)
async def test_what_cognito_would_not_take_is_not_sent(it: Cognito, call: Call, code: str) -> None:
    assert await outcome(call(it)) == code
    assert it.fake.asked == []


@pytest.mark.parametrize(
    "credential",
    [
        {},
        {"username": PLAYER},
        {"password": PASSWORD},
        {"username": "", "password": PASSWORD},
        {"challenge_token": ""},
        {"id_token": ""},
    ],
)
async def test_a_credential_that_is_incomplete_is_a_bad_request(
    it: Cognito, credential: dict[str, str]
) -> None:
    assert await outcome(it.provider.verify(credential)) == "invalid_request"


# A player's account


async def test_who_signs_up_confirms_and_logs_in(it: Cognito) -> None:
    assert await it.pool.sign_up("new", PASSWORD, "new@example.com") is False
    assert it.fake.users["new"].email == "new@example.com"
    assert await outcome(it.log_in("new")) == "action_required"
    await it.pool.confirm_sign_up("new", CODE)
    assert (await it.log_in("new")).external_id == f"{POOL}:sub-new"


async def test_defect_20_who_is_confirmed_already_is_said_to_be(it: Cognito) -> None:
    assert await it.pool.sign_up("auto-new", PASSWORD, None) is True
    assert await it.pool.sign_up("new", PASSWORD, None) is False


async def test_a_forgotten_password_is_replaced(it: Cognito) -> None:
    await it.pool.forgot_password(PLAYER)
    await it.pool.reset_password(PLAYER, CODE, "An0ther-password")
    assert await outcome(it.log_in()) == "invalid_credential"
    await it.log_in(PLAYER, "An0ther-password")


async def test_a_sign_out_sends_the_token_alone_and_may_be_repeated(it: Cognito) -> None:
    for _ in range(2):
        await it.pool.sign_out("a.b.c")
    assert it.fake.asked == [("GlobalSignOut", {"AccessToken": "a.b.c"})] * 2


async def test_a_taken_name_is_answered_as_a_new_one(it: Cognito) -> None:
    assert await it.pool.sign_up(PLAYER, PASSWORD, None) is False


async def test_a_taken_name_is_told_where_the_settings_say_so(open_cognito: Open) -> None:
    it = open_cognito(COGNITO_TAKEN_NAME="tell")
    assert await outcome(it.pool.sign_up(PLAYER, PASSWORD, None)) == "already_exists"


# Challenges

ANSWERED = {
    "u-newpw": ("NEW_PASSWORD_REQUIRED", "new_password", "NEW_PASSWORD"),
    "u-mfa": ("SMS_MFA", "answer", "SMS_MFA_CODE"),
    "u-totp": ("SOFTWARE_TOKEN_MFA", "answer", "SOFTWARE_TOKEN_MFA_CODE"),
    "u-email-otp": ("EMAIL_OTP", "answer", "EMAIL_OTP_CODE"),
    "u-sms-otp": ("SMS_OTP", "answer", "SMS_OTP_CODE"),
    "u-select": ("SELECT_MFA_TYPE", "answer", "ANSWER"),
    "u-choose": ("SELECT_CHALLENGE", "answer", "ANSWER"),
    "u-custom": ("CUSTOM_CHALLENGE", "answer", "ANSWER"),
}


@pytest.mark.parametrize(
    ("username", "name", "part", "theirs"),
    [(username, *expected) for username, expected in ANSWERED.items()],
)
async def test_defect_19_a_challenge_is_asked_and_answered(
    it: Cognito, username: str, name: str, part: str, theirs: str
) -> None:
    asked = await it.challenged(username)
    assert asked.challenge == name
    identity = await it.answer(asked.token, **{part: "CANARY-Answ3r"})
    assert identity.external_id == f"{POOL}:{SUBJECT}"
    sent = it.fake.asked[-1][1]
    assert (sent["ChallengeName"], sent["Session"]) == (name, SESSION)
    assert sent["ChallengeResponses"] == {"USERNAME": f"real-{username}", theirs: "CANARY-Answ3r"}


@pytest.mark.parametrize("username", ["u-setup", "u-srp"])
async def test_a_challenge_that_cannot_be_answered_here_says_so(it: Cognito, username: str) -> None:
    asked = await it.challenged(username)
    assert (asked.challenge, asked.parameters, asked.token) == ("unsupported", {}, None)


@pytest.mark.parametrize(
    ("username", "shown"),
    [
        ("u-newpw", {"requiredAttributes": "[]"}),
        ("u-totp", {"FRIENDLY_DEVICE_NAME": "phone"}),
        ("u-select", {"MFAS_CAN_CHOOSE": '["SMS_MFA","SOFTWARE_TOKEN_MFA"]'}),
        ("u-choose", {"AVAILABLE_CHALLENGES": '["PASSWORD","EMAIL_OTP"]'}),
        ("u-custom", {"riddle": "what am I?"}),
        (
            "u-mfa",
            {"CODE_DELIVERY_DELIVERY_MEDIUM": "SMS", "CODE_DELIVERY_DESTINATION": "+*******4567"},
        ),
    ],
)
async def test_of_a_challenge_the_client_sees_what_the_player_may(
    it: Cognito, username: str, shown: dict[str, str]
) -> None:
    asked = await it.challenged(username)
    assert asked.parameters == shown
    assert SESSION not in repr(vars(asked))


async def test_a_choice_leads_to_the_next_challenge(it: Cognito) -> None:
    first = await it.challenged("u-select")
    with pytest.raises(errors.ActionRequired) as caught:
        await it.answer(first.token, answer="SMS_MFA")
    assert caught.value.challenge == "SMS_MFA"
    await it.answer(caught.value.token, answer=CODE)


async def test_attributes_that_a_pool_wants_go_with_the_new_password(it: Cognito) -> None:
    asked = await it.challenged("u-newpw")
    more = {"userAttributes.nickname": "Robin", "unknown": "x"}
    await it.answer(asked.token, new_password=PASSWORD, **more)
    assert it.fake.asked[-1][1]["ChallengeResponses"] == {
        "USERNAME": "real-u-newpw",
        "NEW_PASSWORD": PASSWORD,
        "userAttributes.nickname": "Robin",
    }


@pytest.mark.parametrize(
    ("username", "parts", "code"),
    [
        ("u-mfa", {"answer": "1" * 2049}, "invalid_code"),
        ("u-mfa", {"answer": "\ud800"}, "invalid_code"),
        ("u-newpw", {"new_password": "\ud800"}, "weak_password"),
        (
            "u-newpw",
            {"new_password": PASSWORD, "userAttributes.nickname": "\ud800"},
            "invalid_request",
        ),
        ("u-newpw", {"new_password": PASSWORD, "userAttributes.nickname": ""}, "invalid_request"),
    ],
)
async def test_an_answer_that_cannot_be_one_is_not_sent(
    it: Cognito, username: str, parts: dict[str, str], code: str
) -> None:
    asked = await it.challenged(username)
    assert await outcome(it.answer(asked.token, **parts)) == code
    assert it.fake.operations() == ["InitiateAuth"]


async def test_a_wrong_answer_may_be_followed_by_the_right_one(it: Cognito) -> None:
    asked = await it.challenged("u-mfa")
    assert await outcome(it.answer(asked.token, answer="wrong")) == "invalid_code"
    await it.answer(asked.token, answer=CODE)


async def test_a_code_is_not_guessed_however_the_token_is_written(
    it: Cognito, clock: ManualClock
) -> None:
    asked = await it.challenged("u-mfa")
    assert asked.token is not None
    guesses = [it.answer(f"{asked.token}{'!' * n}", answer="wrong") for n in range(8)]
    codes = [await outcome(guess) for guess in guesses]
    assert codes == ["invalid_code"] * 5 + ["too_many_requests"] * 3
    assert len(it.fake.operations()) == 6
    clock.advance(60)
    await it.answer(asked.token, answer=CODE)


async def test_a_challenge_is_answered_once(it: Cognito) -> None:
    asked = await it.challenged("u-mfa")
    await it.answer(asked.token, answer=CODE)
    assert await outcome(it.answer(asked.token, answer=CODE)) == "expired_credential"


async def test_a_new_password_may_be_too_weak(it: Cognito) -> None:
    asked = await it.challenged("u-newpw")
    assert await outcome(it.answer(asked.token, new_password="weak")) == "weak_password"


async def test_a_challenge_is_over_after_a_quarter_of_an_hour(
    it: Cognito, clock: ManualClock
) -> None:
    asked = await it.challenged("u-mfa")
    clock.advance(902)
    assert await outcome(it.answer(asked.token, answer=CODE)) == "expired_credential"


@pytest.mark.parametrize("token", ["x", SESSION, "gAAAAA", "\ud800"])
async def test_a_challenge_token_that_is_none_of_ours_is_invalid(it: Cognito, token: str) -> None:
    assert await outcome(it.answer(token, answer=CODE)) == "invalid_credential"
    assert it.fake.asked == []


@pytest.mark.parametrize("parts", [{}, {"answer": ""}, {"new_password": PASSWORD}])
async def test_an_answer_must_be_there(it: Cognito, parts: dict[str, str]) -> None:
    asked = await it.challenged("u-mfa")
    assert await outcome(it.answer(asked.token, **parts)) == "invalid_request"


# Exceptions

NOT_AUTHORIZED = "NotAuthorizedException"
NOT_PERMITTED = "SignUp is not permitted for this user pool"
AGAIN = "Invalid code provided, please request a code again."
FLOW = "USER_PASSWORD_AUTH flow not enabled for this client"
HASH = f"Unable to verify secret hash for client {CLIENT}"
NOT_RECEIVED = f"Client {CLIENT} is configured with secret but SECRET_HASH was not received"
NO_MATCH = f"SecretHash does not match for the client: {CLIENT}"
STATE = "User cannot be confirmed. Current status is CONFIRMED"
UNVERIFIED = "Cannot reset password as there is no registered/verified email or phone_number"
SCOPES = "Access Token does not have required scopes"
ALL = tuple(OPERATIONS)
TABLE: list[tuple[tuple[str, ...], str, str, str]] = [
    # operations, exception, what it says, our code
    (("InitiateAuth",), NOT_AUTHORIZED, "Incorrect username or password.", "invalid_credential"),
    (("InitiateAuth",), NOT_AUTHORIZED, "Password attempts exceeded", "too_many_requests"),
    (("InitiateAuth", "GlobalSignOut"), NOT_AUTHORIZED, "User is disabled.", "provider_banned"),
    (("SignUp",), NOT_AUTHORIZED, "User is disabled.", "invalid_credential"),
    (ALL, NOT_AUTHORIZED, HASH, "provider_misconfigured"),
    (ALL, NOT_AUTHORIZED, NO_MATCH, "provider_misconfigured"),
    (ALL, NOT_AUTHORIZED, NOT_RECEIVED, "provider_misconfigured"),
    (("SignUp",), NOT_AUTHORIZED, NOT_PERMITTED, "refused_by_policy"),
    (("ConfirmSignUp",), NOT_AUTHORIZED, STATE, "invalid_code"),
    (("GlobalSignOut",), NOT_AUTHORIZED, "Access Token has been revoked", "ok"),
    (("GlobalSignOut",), NOT_AUTHORIZED, SCOPES, "invalid_credential"),
    (("InitiateAuth",), "UserNotFoundException", "User does not exist.", "invalid_credential"),
    (("ForgotPassword", "ResendConfirmationCode"), "UserNotFoundException", "", "ok"),
    (("ConfirmSignUp", "ConfirmForgotPassword"), "UserNotFoundException", "", "invalid_code"),
    (("InitiateAuth", "GlobalSignOut"), "UserNotConfirmedException", "", "action_required"),
    (("ConfirmForgotPassword",), "UserNotConfirmedException", "", "invalid_code"),
    (("InitiateAuth", "GlobalSignOut"), "PasswordResetRequiredException", "", "action_required"),
    (("SignUp",), "UsernameExistsException", "User already exists", "ok"),
    (("ConfirmSignUp",), "AliasExistsException", "", "conflict"),
    (("SignUp", "ConfirmForgotPassword"), "InvalidPasswordException", "", "weak_password"),
    (
        ("ConfirmForgotPassword",),
        "PasswordHistoryPolicyViolationException",
        "",
        "weak_password",
    ),
    (("ConfirmSignUp", "ConfirmForgotPassword"), "CodeMismatchException", "", "invalid_code"),
    (("ConfirmSignUp", "ConfirmForgotPassword"), "ExpiredCodeException", AGAIN, "invalid_code"),
    (
        ("ConfirmSignUp", "ConfirmForgotPassword"),
        "TooManyFailedAttemptsException",
        "",
        "too_many_requests",
    ),
    (ALL, "LimitExceededException", SCENARIOS["u-limit"][1], "too_many_requests"),
    (ALL, "TooManyRequestsException", "Rate exceeded", "provider_unavailable"),
    (
        ("SignUp", "ForgotPassword", "ResendConfirmationCode"),
        "CodeDeliveryFailureException",
        "",
        "provider_unavailable",
    ),
    (("InitiateAuth",), "InvalidParameterException", FLOW, "provider_misconfigured"),
    (
        ("InitiateAuth", "SignUp", "ConfirmSignUp"),
        "InvalidParameterException",
        "1 validation error detected",
        "invalid_request",
    ),
    (("ForgotPassword",), "InvalidParameterException", UNVERIFIED, "ok"),
    (ALL, "ResourceNotFoundException", "", "provider_misconfigured"),
    (ALL, "InvalidUserPoolConfigurationException", "", "provider_misconfigured"),
    (ALL, "InvalidSmsRoleAccessPolicyException", "", "provider_misconfigured"),
    (ALL, "InvalidSmsRoleTrustRelationshipException", "", "provider_misconfigured"),
    (ALL, "InvalidEmailRoleAccessPolicyException", "", "provider_misconfigured"),
    (ALL, "OperationNotEnabledException", "", "provider_misconfigured"),
    (ALL, "FeatureUnavailableInTierException", "", "provider_misconfigured"),
    (ALL, "UserLambdaValidationException", "PreSignUp failed: no", "refused_by_policy"),
    (ALL, "UnexpectedLambdaException", "", "provider_unavailable"),
    (ALL, "InvalidLambdaResponseException", "", "provider_unavailable"),
    (ALL, "ForbiddenException", "Request not allowed due to WAF block.", "provider_misconfigured"),
    (ALL, "InternalErrorException", "", "provider_unavailable"),
    (("InitiateAuth",), "RefreshTokenReuseException", "", "expired_credential"),
    (ALL, "SomethingNewException", "", "provider_unavailable"),
]
ROWS = [(operation, *row[1:]) for row in TABLE for operation in row[0]]


@pytest.mark.parametrize(("operation", "name", "text", "code"), ROWS)
async def test_defect_19_an_exception_becomes_an_answer_of_its_own(
    it: Cognito, operation: str, name: str, text: str, code: str
) -> None:
    it.fake.refuse = (name, text)
    assert await outcome(OPERATIONS[operation](it)) == code
    assert set(it.fake.operations()) == {operation}


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        (NOT_AUTHORIZED, "Invalid session for the user.", "expired_credential"),
        (NOT_AUTHORIZED, "Invalid session for the user, session is expired.", "expired_credential"),
        (NOT_AUTHORIZED, "User is disabled.", "provider_banned"),
        (NOT_AUTHORIZED, HASH, "provider_misconfigured"),
        ("UserNotFoundException", "", "invalid_credential"),
        ("CodeMismatchException", "", "invalid_code"),
        ("ExpiredCodeException", AGAIN, "expired_code"),
        ("InvalidPasswordException", "", "weak_password"),
        ("PasswordHistoryPolicyViolationException", "", "weak_password"),
        ("AliasExistsException", "", "conflict"),
        ("MFAMethodNotFoundException", "", "action_required"),
        ("SoftwareTokenMFANotFoundException", "", "action_required"),
        ("TooManyRequestsException", "", "provider_unavailable"),
    ],
)
async def test_defect_19_so_does_one_of_a_challenge(
    it: Cognito, name: str, text: str, code: str
) -> None:
    asked = await it.challenged("u-mfa")
    it.fake.refuse = (name, text)
    assert await outcome(it.answer(asked.token, answer=CODE)) == code
    assert it.fake.operations() == ["InitiateAuth", "RespondToAuthChallenge"]


@pytest.mark.parametrize(
    ("name", "challenge"),
    [
        ("UserNotConfirmedException", "CONFIRM_SIGN_UP"),
        ("PasswordResetRequiredException", "RESET_PASSWORD"),
    ],
)
async def test_what_is_to_be_done_elsewhere_first_has_a_name_and_no_token(
    it: Cognito, name: str, challenge: str
) -> None:
    it.fake.refuse = (name, "")
    asked = await it.challenged(PLAYER)
    assert (asked.challenge, asked.token) == (challenge, None)


@pytest.mark.parametrize("form", ["plain", "namespace", "header", "Message"])
@pytest.mark.parametrize(
    ("username", "code"),
    [
        ("u-notconfirmed", "action_required"),
        ("u-locked", "too_many_requests"),
        ("u-throttle", "provider_unavailable"),
        ("u-disabled", "provider_banned"),
    ],
)
async def test_an_exception_is_told_by_its_name_wherever_that_stands(
    it: Cognito, form: str, username: str, code: str
) -> None:
    it.fake.form = form
    assert await outcome(it.log_in(username)) == code


async def test_only_who_has_the_password_hears_that_a_player_is_disabled(it: Cognito) -> None:
    assert await outcome(it.log_in("u-disabled", "An0ther-password")) == "invalid_credential"
    assert await outcome(it.log_in("u-disabled")) == "provider_banned"


async def test_who_may_have_signed_up_after_all_is_told_to_ask_for_a_code(it: Cognito) -> None:
    it.fake.refuse = SCENARIOS["u-limit"]
    error, _ = await refusal(it.pool.sign_up("new", PASSWORD, None))
    assert error.detail == "ask for another code, rather than sign up again"


# Trouble


REPEATED = {"SignUp", "ResendConfirmationCode", "ForgotPassword", "GlobalSignOut"}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_where_cognito_was_busy_all_but_passwords_and_codes_are_sent_once_more(
    it: Cognito, pauses: list[float], operation: str
) -> None:
    it.fake.once = ("TooManyRequestsException", "Rate exceeded")
    it.fake.users["unconfirmed"] = cognito.User(PASSWORD, "sub", is_confirmed=False)
    repeated = operation in REPEATED
    assert (await outcome(OPERATIONS[operation](it)) == "ok") is repeated
    assert len(it.fake.asked) == 1 + repeated
    assert all(0.2 <= pause <= 0.5 for pause in pauses)


@pytest.mark.parametrize(
    ("operation", "scenario"),
    [
        *itertools.product(OPERATIONS, ["http503"]),
        *itertools.product(["InitiateAuth", "GlobalSignOut"], ["http429", "reset", "slow"]),
    ],
)
async def test_defect_28_trouble_is_unavailable_and_only_a_sign_out_is_repeated(
    it: Cognito, operation: str, scenario: str
) -> None:
    it.fake.scenario = scenario
    assert await outcome(OPERATIONS[operation](it)) == "provider_unavailable"
    assert len(it.fake.asked) == (2 if operation == "GlobalSignOut" else 1)


async def test_a_long_wait_is_the_client_s(it: Cognito, pauses: list[float]) -> None:
    it.fake.scenario = "http429after30"
    error, _ = await refusal(it.pool.sign_out("a.b.c"))
    assert isinstance(error, errors.ProviderUnavailable)
    assert (error.retry_after, len(it.fake.asked), pauses) == (30, 1, [])


@pytest.mark.parametrize(
    ("operation", "scenario"),
    [
        *itertools.product(OPERATIONS, ["list", "notype"]),
        *itertools.product(["InitiateAuth", "GlobalSignOut"], ["html200", "redirect"]),
    ],
)
async def test_defect_28_an_answer_that_makes_no_sense_is_unavailable(
    it: Cognito, operation: str, scenario: str
) -> None:
    it.fake.scenario = scenario
    assert await outcome(OPERATIONS[operation](it)) == "provider_unavailable"


async def test_where_nobody_listens_a_password_is_sent_again_for_it_was_not_sent(
    open_cognito: Open, pauses: list[float]
) -> None:
    it = open_cognito(COGNITO_URL="http://127.0.0.1:1")
    assert await outcome(it.log_in()) == "provider_unavailable"
    assert len(pauses) == 1


@pytest.mark.parametrize("operation", ["SignUp", "ForgotPassword", "ResendConfirmationCode"])
async def test_what_sends_a_mail_over_there_has_twice_the_time(it: Cognito, operation: str) -> None:
    """Of half a second here, and of five seconds in use."""
    it.fake.scenario = "slow"
    began = asyncio.get_running_loop().time()
    await outcome(OPERATIONS[operation](it))
    assert asyncio.get_running_loop().time() - began >= 0.9


async def test_a_pool_that_is_down_is_left_alone(it: Cognito, clock: ManualClock) -> None:
    it.fake.scenario = "http503"
    for _ in range(7):
        assert await outcome(it.log_in()) == "provider_unavailable"
    assert len(it.fake.asked) == 5
    it.fake.scenario = None
    clock.advance(10)
    await it.log_in()


@pytest.mark.parametrize("username", sorted(SCENARIOS.keys() - {"u-500"}))
async def test_no_player_keeps_the_others_out(it: Cognito, username: str) -> None:
    for _ in range(10):
        await outcome(it.log_in(username))
    await it.log_in()


async def test_what_is_answered_after_the_password_without_sense_is_unavailable(
    it: Cognito, fake: CognitoFake
) -> None:
    fake.users.clear()
    fake.scenario = "list"
    assert await outcome(it.log_in()) == "provider_unavailable"


async def test_while_the_keys_cannot_be_had_nobody_is_turned_away(
    it: Cognito, fake: CognitoFake
) -> None:
    fake.keys_status = 503
    for call in (it.log_in(), it.pool.whose(fake.token())):
        assert await outcome(call) == "provider_unavailable"


# Secrets


LEAKY = ["slow", "reset", "html200", "http503", "http429", "list", "redirect"]


@pytest.mark.parametrize(
    ("operation", "scenario"),
    [
        *itertools.product(OPERATIONS, ["ok", "refused", "http503"]),
        *itertools.product(["InitiateAuth", "GlobalSignOut"], LEAKY),
    ],
)
async def test_no_secret_leaks(
    open_cognito: Open, fake: CognitoFake, overheard: Overheard, operation: str, scenario: str
) -> None:
    fake.secret = SECRET
    fake.scenario = None if scenario in ("ok", "refused") else scenario
    fake.refuse = (NOT_AUTHORIZED, f"no {PASSWORD}") if scenario == "refused" else None
    it = open_cognito(COGNITO_CLIENT_SECRET=SECRET)
    said = await overheard.during(OPERATIONS[operation](it))
    hashed = secret_hash(PLAYER, CLIENT, SECRET)
    for secret in (SECRET, PASSWORD, hashed, CODE, "a.b.c", "127.0.0.1:"):
        assert [text for text in said if secret in text] == []


async def test_a_challenge_leaks_neither_its_session_nor_its_answer(it: Cognito) -> None:
    with capture_logs() as logs:
        asked = await it.challenged("u-mfa")
        await outcome(it.answer(asked.token, answer="wrong"))
        await it.answer(asked.token, answer="CANARY-Answ3r")
    texts = repr(logs) + repr(asked) + generate_latest(REGISTRY).decode()
    assert asked.token
    for secret in (SESSION, asked.token, "CANARY-Answ3r"):
        assert secret not in texts
