"""What a user pool asks for after the password, told to the client and taken up again.

Cognito's session leaves us sealed only, with the name of who it is: nobody else can go on with it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from services.identity.providers.shape import Refused, part, unavailable
from services.identity.sealing import Seals
from shared import errors, strict_json
from shared.clock import Clock
from shared.limits import Limiter, RateLimit
from shared.strict_json import JsonValue

_PURPOSE = "cognito challenge"
_LIFETIME = timedelta(minutes=15)  # the longest that a pool may give a session
# Whoever has the password guesses a code of six digits: how often, Cognito does not promise.
_ANSWERS_OF_ONE = RateLimit(burst=5, per_second=1 / 60)
_LONGEST_ANSWER = 2048
_LONGEST_PARAMETER = 1024

# What the answer is called: by Cognito, and in our credential.
_ANSWERS: Mapping[str, tuple[str, str]] = {
    "NEW_PASSWORD_REQUIRED": ("NEW_PASSWORD", "new_password"),
    "SMS_MFA": ("SMS_MFA_CODE", "answer"),
    "SOFTWARE_TOKEN_MFA": ("SOFTWARE_TOKEN_MFA_CODE", "answer"),
    "EMAIL_OTP": ("EMAIL_OTP_CODE", "answer"),
    "SMS_OTP": ("SMS_OTP_CODE", "answer"),
    "SELECT_MFA_TYPE": ("ANSWER", "answer"),
    "SELECT_CHALLENGE": ("ANSWER", "answer"),
    "CUSTOM_CHALLENGE": ("ANSWER", "answer"),
}
_ATTRIBUTE = re.compile(r"userAttributes\.[!-~]{1,64}")
_SHOWN = {
    "CODE_DELIVERY_DELIVERY_MEDIUM",
    "CODE_DELIVERY_DESTINATION",  # with all but its ends blotted out, by Cognito
    "FRIENDLY_DEVICE_NAME",
    "MFAS_CAN_CHOOSE",
    "requiredAttributes",
}
_HIDDEN = {"USERNAME", "USER_ID_FOR_SRP", "userAttributes"}
"""Of what a pool's own trigger shows its clients, too."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """`username` is the real one, which is what the secret hash is of from now on."""

    name: str
    username: str
    session: str = field(repr=False)

    def responses(self, credential: Mapping[str, str]) -> dict[str, str]:
        """Cognito's names and the client's answers. Raises Refused."""
        theirs, ours = _ANSWERS[self.name]
        answer = part(credential, ours)
        if not can_be_sent(answer, _LONGEST_ANSWER):
            wrong = errors.WeakPassword() if theirs == "NEW_PASSWORD" else errors.InvalidCode()
            raise Refused(wrong, "no_answer")
        attributes = {name: value for name, value in credential.items() if _is_attribute(name)}
        if not all(can_be_sent(value, _LONGEST_ANSWER) for value in attributes.values()):
            raise Refused(errors.InvalidRequest(), "no_attribute")
        return {**attributes, theirs: answer, "USERNAME": self.username}


class Challenges:
    def __init__(self, seals: Seals, clock: Clock) -> None:
        self._seals = seals
        self._answers = Limiter(_ANSWERS_OF_ONE, clock)

    def asked(self, answer: Mapping[str, JsonValue], username: str) -> Refused:
        """What to refuse with until the client has answered a challenge."""
        name, session = answer.get("ChallengeName"), answer.get("Session")
        if not isinstance(name, str):
            return unavailable("malformed")
        if name not in _ANSWERS:
            return Refused(errors.ActionRequired(), "unsupported")
        if not isinstance(session, str):
            return unavailable("malformed")
        given = answer.get("ChallengeParameters")
        parameters = _texts(given if isinstance(given, Mapping) else {})
        real = parameters.get("USER_ID_FOR_SRP") or parameters.get("USERNAME") or username
        content = {"name": name, "username": real, "session": session}
        required = errors.ActionRequired(
            challenge=name,
            parameters=_shown(name, parameters, answer.get("AvailableChallenges")),
            token=self._seals.seal(_PURPOSE, content),
        )
        return Refused(required, name.lower())

    def open(self, token: str) -> Challenge:
        """For one answer. Raises Refused where it is none of ours, too old, or had too many."""
        match self._seals.open(_PURPOSE, token, within=_LIFETIME):
            case {"name": str(name), "username": str(username), "session": str(session)}:
                self._admit(session)
                return Challenge(name, username, session)
            case _ if self._seals.open(_PURPOSE, token) is not None:
                raise Refused(errors.ExpiredCredential(), "challenge_over")
            case _:
                raise Refused(errors.InvalidCredential(), "no_challenge")

    def _admit(self, session: str) -> None:
        """By what is sealed: one token can be written in several ways."""
        try:
            self._answers.take(session)
        except errors.TooManyRequests as limited:
            wait = limited.retry_after
        else:
            return
        raise Refused(errors.TooManyRequests(retry_after=wait), "answers")


def can_be_sent(text: str, longest: int) -> bool:
    return 0 < len(text) <= longest and not any("\ud800" <= char <= "\udfff" for char in text)


def _is_attribute(name: str) -> bool:
    return _ATTRIBUTE.fullmatch(name) is not None


def _texts(parameters: Mapping[str, JsonValue]) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if isinstance(value, str)}


def _shown(name: str, parameters: Mapping[str, str], available: JsonValue) -> dict[str, str]:
    shown = {
        key: value
        for key, value in parameters.items()
        if len(value) <= _LONGEST_PARAMETER
        and (key not in _HIDDEN if name == "CUSTOM_CHALLENGE" else key in _SHOWN)
    }
    if isinstance(available, list):
        shown["AVAILABLE_CHALLENGES"] = strict_json.dumps(available)
    return shown
