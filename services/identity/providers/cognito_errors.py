"""What Cognito refuses, in our words: by the exception's name and, where one has many meanings, by
what it says.

Of who there is a stranger learns nothing: a name that is not there is a wrong password, or a wrong
code, or a mail that is said to have been sent.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from services.identity.providers.http import Answer
from services.identity.providers.shape import Refused, unavailable
from shared import errors

INITIATE, RESPOND = "InitiateAuth", "RespondToAuthChallenge"
SIGN_UP, CONFIRM, RESEND = "SignUp", "ConfirmSignUp", "ResendConfirmationCode"
FORGOT, RESET = "ForgotPassword", "ConfirmForgotPassword"
SIGN_OUT = "GlobalSignOut"

TOO_MANY = "TooManyRequestsException"
_MAILS, _CODES = (FORGOT, RESEND), (CONFIRM, RESET)
_SIGN_INS = (INITIATE, RESPOND)
_PROVEN = (*_SIGN_INS, SIGN_OUT)
"""Where "User is disabled." is said only to who has the password, or a token."""
_OF_THE_CLIENT = ("not enabled", "not configured", "not supported", "secret")
"""In the text of an exception that is for what the app client is, and not for what was sent."""
_NAME = re.compile(r"[A-Za-z]{1,64}")
_LOCKED_FOR = 60
_HOUR = 3600
_BACK_OFF = 5

Make = Callable[[], errors.PlaymeshError]
Meaning = tuple[Make, str]
"""With the word for log and metrics."""


@dataclass(frozen=True, slots=True)
class Exceptional:
    """An exception of Cognito's; its text leaves this package in no way."""

    operation: str
    name: str
    text: str = field(repr=False)

    @property
    def only_says_who_there_is(self) -> bool:
        """Where a mail is asked for: that the pool knows nobody, or nobody whom it can send one."""
        if self.operation not in _MAILS or self._is_ours():
            return False
        return self.name in (
            "UserNotFoundException",
            "NotAuthorizedException",
            "InvalidParameterException",
        )

    def refused(self) -> Refused:
        make, reason = self._meaning()
        return Refused(make(), reason)

    def _meaning(self) -> Meaning:
        match self.name:
            case "NotAuthorizedException":
                return self._not_authorized()
            case "InvalidParameterException":
                return _POOL_SETTINGS if self._is_ours() else _BAD_PARAMETER
            case "UserNotFoundException" if self.operation in _CODES:
                return errors.InvalidCode, "no_such_user"
            case "LimitExceededException" if self.operation == SIGN_UP:
                return _sign_up_limit, "limit"
            case name if name.startswith(_CONFIGURATION):
                return _POOL_SETTINGS
            case name:
                return _TABLE.get(name, (_down, "other_error"))

    def _is_ours(self) -> bool:
        text = self.text.lower()
        return any(word in text for word in _OF_THE_CLIENT)

    def _not_authorized(self) -> Meaning:
        if self._is_ours():
            return errors.ProviderMisconfigured, "client_secret"
        text = self.text.lower()
        for words, operations, meaning in _NOT_AUTHORIZED:
            if self.operation in operations and any(word in text for word in words):
                return meaning
        return errors.InvalidCredential, "not_authorized"


def exception_of(operation: str, answer: Answer) -> Exceptional:
    """Of an answer that is no success. Raises Refused where it is none of Cognito's."""
    body = answer.json if isinstance(answer.json, Mapping) else {}
    kind = body.get("__type") or answer.headers.get("x-amzn-errortype", "")
    # Both decorations there are: `namespace#Name`, and `Name:http://...`.
    name = str(kind).partition(":")[0].rpartition("#")[2]
    text = body.get("message") or body.get("Message")
    if not _NAME.fullmatch(name):
        raise unavailable("malformed")
    text = text or answer.headers.get("x-amzn-errormessage", "")
    return Exceptional(operation, name, str(text))


def _too_many() -> errors.PlaymeshError:
    return errors.TooManyRequests(retry_after=_HOUR)


def _sign_up_limit() -> errors.PlaymeshError:
    """The name may be taken by now, by this very player, who lacks nothing but a code."""
    detail = "ask for another code, rather than sign up again"
    return errors.TooManyRequests(detail, retry_after=_HOUR)


def _locked() -> errors.PlaymeshError:
    return errors.TooManyRequests(retry_after=_LOCKED_FOR)


def _action(challenge: str) -> Make:
    return lambda: errors.ActionRequired(challenge=challenge)


def _down() -> errors.PlaymeshError:
    return errors.ProviderUnavailable(retry_after=_BACK_OFF)


_POOL_SETTINGS: Meaning = (errors.ProviderMisconfigured, "pool_settings")
_BAD_PARAMETER: Meaning = (errors.InvalidRequest, "invalid_parameter")
# By words of its text and the operations that they mean this of; the first that fits.
_NOT_AUTHORIZED: tuple[tuple[tuple[str, ...], tuple[str, ...], Meaning], ...] = (
    (("not permitted",), (SIGN_UP,), (errors.RefusedByPolicy, "not_permitted")),
    (("",), _CODES, (errors.InvalidCode, "state")),  # who is disabled, or confirmed already
    (("attempts exceeded",), _SIGN_INS, (_locked, "locked")),
    (("disabled",), _PROVEN, (errors.ProviderBanned, "disabled")),
    (("session", "expired"), (RESPOND,), (errors.ExpiredCredential, "session_over")),
    (("revoked", "expired"), (SIGN_OUT,), (errors.ExpiredCredential, "token_over")),
)
_CONFIGURATION = (
    "ResourceNotFoundException",
    "InvalidUserPoolConfigurationException",
    "InvalidSmsRole",
    "InvalidEmailRoleAccessPolicyException",
    "OperationNotEnabled",
    "FeatureUnavailableInTier",
)
_TABLE: Mapping[str, Meaning] = {
    "UserNotFoundException": (errors.InvalidCredential, "no_such_user"),
    "UserNotConfirmedException": (_action("CONFIRM_SIGN_UP"), "not_confirmed"),
    "PasswordResetRequiredException": (_action("RESET_PASSWORD"), "reset_required"),
    "UsernameExistsException": (errors.AlreadyExists, "username_exists"),
    "AliasExistsException": (errors.Conflict, "alias_exists"),
    "InvalidPasswordException": (errors.WeakPassword, "weak_password"),
    "PasswordHistoryPolicyViolationException": (errors.WeakPassword, "password_history"),
    "CodeMismatchException": (errors.InvalidCode, "code_mismatch"),
    "ExpiredCodeException": (errors.ExpiredCode, "expired_code"),
    "TooManyFailedAttemptsException": (_too_many, "failed_attempts"),
    "LimitExceededException": (_too_many, "limit"),
    TOO_MANY: (_down, "throttled"),
    "CodeDeliveryFailureException": (_down, "delivery"),
    "UserLambdaValidationException": (errors.RefusedByPolicy, "lambda_validation"),
    "UnexpectedLambdaException": (_down, "lambda"),
    "InvalidLambdaResponseException": (_down, "lambda"),
    "MFAMethodNotFoundException": (errors.ActionRequired, "no_mfa"),
    "SoftwareTokenMFANotFoundException": (errors.ActionRequired, "no_mfa"),
    "ForbiddenException": (errors.ProviderMisconfigured, "forbidden"),
    "InternalErrorException": (_down, "internal_error"),
    "RefreshTokenReuseException": (errors.ExpiredCredential, "refresh_reuse"),
}
