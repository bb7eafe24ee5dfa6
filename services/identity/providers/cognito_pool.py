"""Calls to one Amazon Cognito user pool that need no credentials of AWS.

JSON is sent to one path, and a header says what for. A name with its password is sent once at most:
whoever guesses locks the player out over there.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from services.identity.providers import cognito_errors as failures
from services.identity.providers.cognito_challenges import Challenge, can_be_sent
from services.identity.providers.http import Answer, ProviderHttp
from services.identity.providers.secret import Secret
from services.identity.providers.shape import Refused, unavailable
from shared import errors
from shared.strict_json import JsonValue

_TARGET = "AWSCognitoIdentityProviderService."
_MEDIA_TYPE = "application/x-amz-json-1.1"
_LONGEST_USERNAME, _LONGEST_PASSWORD, _LONGEST_CODE, _LONGEST_EMAIL = 128, 256, 2048, 254

Body = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class CognitoClient:
    """The app client that the calls are made for; with a secret, each name is sent with a hash."""

    client_id: str
    secret: Secret | None
    tells_taken_names: bool

    async def secret_hash(self, username: str) -> str | None:
        if self.secret is None:
            return None
        return secret_hash(username, self.client_id, await self.secret.read())


class CognitoPool:
    """Every method raises Refused."""

    def __init__(self, client: CognitoClient, http: ProviderHttp) -> None:
        self._client = client
        self._http = http

    async def initiate(self, username: str, password: str) -> Mapping[str, JsonValue]:
        """With `AuthenticationResult`, or `ChallengeName` and what belongs to it."""
        if not is_username(username) or not _is_word(password, _LONGEST_PASSWORD):
            raise Refused(errors.InvalidCredential(), "no_password")
        parameters = await self._parameters(username, PASSWORD=password)
        body: Body = {"AuthFlow": "USER_PASSWORD_AUTH", "AuthParameters": parameters}
        return await self._call(failures.INITIATE, body)

    async def respond(
        self, challenge: Challenge, credential: Mapping[str, str]
    ) -> Mapping[str, JsonValue]:
        """As `initiate`."""
        responses = challenge.responses(credential)
        body: Body = {
            "ChallengeName": challenge.name,
            "Session": challenge.session,
            "ChallengeResponses": await self._parameters(challenge.username, **responses),
        }
        return await self._call(failures.RESPOND, body)

    async def sign_up(self, username: str, password: str, email: str | None) -> bool:
        _check_new_password(password)
        body = await self._body(username, Password=password)
        if email is not None:
            if not _is_word(email, _LONGEST_EMAIL):
                raise Refused(errors.InvalidRequest("`email` is no address"), "no_email")
            body["UserAttributes"] = [{"Name": "email", "Value": email}]
        try:
            answer = await self._call(failures.SIGN_UP, body, patient=True, again=True)
        except Refused as refused:
            # Who has that name is nobody's business: it is as if a code had been sent.
            if isinstance(refused.error, errors.AlreadyExists):
                if not self._client.tells_taken_names:
                    return False
                raise Refused(errors.AlreadyExists("the name is taken"), refused.reason) from None
            raise
        return answer.get("UserConfirmed") is True

    async def confirm_sign_up(self, username: str, code: str) -> None:
        _check_code(code)
        await self._call(failures.CONFIRM, await self._body(username, ConfirmationCode=code))

    async def resend_code(self, username: str) -> None:
        await self._call(failures.RESEND, await self._body(username), patient=True, again=True)

    async def forgot_password(self, username: str) -> None:
        await self._call(failures.FORGOT, await self._body(username), patient=True, again=True)

    async def reset_password(self, username: str, code: str, password: str) -> None:
        _check_code(code)
        _check_new_password(password)
        body = await self._body(username, ConfirmationCode=code, Password=password)
        await self._call(failures.RESET, body)

    async def sign_out(self, access_token: str) -> None:
        """Everywhere. A token that was signed out before has nothing left to end."""
        body: Body = {"AccessToken": access_token}
        try:
            await self._call(failures.SIGN_OUT, body, again=True, repeatable=True)
        except Refused as refused:
            if not isinstance(refused.error, errors.ExpiredCredential):
                raise

    async def _parameters(self, username: str, **more: str) -> dict[str, JsonValue]:
        """As authentication spells them."""
        hashed = await self._client.secret_hash(username)
        return {"USERNAME": username, **more, **({"SECRET_HASH": hashed} if hashed else {})}

    async def _body(self, username: str, **more: str) -> Body:
        """As everything else spells it."""
        if not is_username(username):
            raise Refused(errors.InvalidRequest("`username` is no name"), "no_username")
        hashed = await self._client.secret_hash(username)
        return {"Username": username, **more, **({"SecretHash": hashed} if hashed else {})}

    async def _call(
        self,
        operation: str,
        body: Body,
        *,
        again: bool = False,
        repeatable: bool = False,
        patient: bool = False,
    ) -> Mapping[str, JsonValue]:
        """`again`: where Cognito was too busy to look at it, it is sent once more."""
        if operation != failures.SIGN_OUT:
            body = {**body, "ClientId": self._client.client_id}

        def is_busy(answer: Answer) -> bool:
            if not again or answer.status == HTTPStatus.OK:
                return False
            return failures.exception_of(operation, answer).name == failures.TOO_MANY

        answer = await self._http.post_json(
            "/",
            body,
            headers={"X-Amz-Target": f"{_TARGET}{operation}", "Content-Type": _MEDIA_TYPE},
            again=is_busy,
            repeatable=repeatable,
            patient=patient,
        )
        if answer.status == HTTPStatus.OK:
            if isinstance(answer.json, Mapping):
                return answer.json
            raise unavailable("malformed")
        exception = failures.exception_of(operation, answer)
        if exception.only_says_who_there_is:
            return {}
        raise exception.refused()


def secret_hash(username: str, client_id: str, secret: str) -> str:
    """The value of SECRET_HASH, or SecretHash: Cognito has both spellings."""
    message = f"{username}{client_id}".encode()
    return base64.b64encode(hmac.digest(secret.encode(), message, hashlib.sha256)).decode()


def is_username(text: str) -> bool:
    return _is_word(text, _LONGEST_USERNAME) and text.isprintable()


def _is_word(text: str, longest: int) -> bool:
    """Text without white space, which can be sent."""
    return can_be_sent(text, longest) and not any(char.isspace() or char < " " for char in text)


def _check_new_password(password: str) -> None:
    if not _is_word(password, _LONGEST_PASSWORD):
        raise Refused(errors.WeakPassword(), "no_password")


def _check_code(code: str) -> None:
    if not _is_word(code, _LONGEST_CODE):
        raise Refused(errors.InvalidCode(), "no_code")
