"""A Cognito user pool: its API, which is one path, and its keys.

Whose name is one of the scenarios below is refused with its exception, whatever is asked of them;
other names are players of their own: `robin` has a password and is confirmed, who signs up has to
be. `form` is where an exception says its name.
"""

import base64
import functools
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

from shared.clock import Clock, to_seconds
from tests.support.fakes.fake import Answers, Fake, answer_json
from tests.support.issuer import rsa_key

REGION = "eu-west-1"
POOL = f"{REGION}_AbCdEfGhI"
ISSUER = f"https://cognito-idp.{REGION}.amazonaws.com/{POOL}"
CLIENT = "1exampleclientid23456789ab"
OTHER_CLIENT = "2exampleclientid23456789ab"
PLAYER = "robin"
SUBJECT = "5b0b7bd0-0a3c-4f5e-9c38-6a9b2f6f7a01"
PASSWORD = "CANARY-Passw0rd!"
CODE = "123456"
SESSION = "CANARY-session-of-cognito-AYABeG"
WRONG_PASSWORD = ("NotAuthorizedException", "Incorrect username or password.")

SCENARIOS: dict[str, tuple[str, str]] = {
    "u-locked": ("NotAuthorizedException", "Password attempts exceeded"),
    "u-disabled": ("NotAuthorizedException", "User is disabled."),
    "u-unknown": ("UserNotFoundException", "User does not exist."),
    "u-notconfirmed": ("UserNotConfirmedException", "User is not confirmed."),
    "u-reset": ("PasswordResetRequiredException", "Password reset required for the user"),
    "u-exists": ("UsernameExistsException", "User already exists"),
    "u-alias": ("AliasExistsException", "An account with the email already exists."),
    "u-throttle": ("TooManyRequestsException", "Rate exceeded"),
    "u-limit": ("LimitExceededException", "Attempt limit exceeded, please try after some time."),
    "u-500": ("InternalErrorException", "Something went wrong"),
}
CHALLENGES: dict[str, tuple[str, dict[str, str]]] = {
    "u-newpw": (
        "NEW_PASSWORD_REQUIRED",
        {"requiredAttributes": "[]", "userAttributes": '{"email": "robin@example.com"}'},
    ),
    "u-mfa": (
        "SMS_MFA",
        {
            "CODE_DELIVERY_DELIVERY_MEDIUM": "SMS",
            "CODE_DELIVERY_DESTINATION": "+*******4567",
        },
    ),
    "u-totp": ("SOFTWARE_TOKEN_MFA", {"FRIENDLY_DEVICE_NAME": "phone"}),
    "u-email-otp": ("EMAIL_OTP", {}),
    "u-sms-otp": ("SMS_OTP", {}),
    "u-select": ("SELECT_MFA_TYPE", {"MFAS_CAN_CHOOSE": '["SMS_MFA","SOFTWARE_TOKEN_MFA"]'}),
    "u-choose": ("SELECT_CHALLENGE", {}),
    "u-custom": ("CUSTOM_CHALLENGE", {"riddle": "what am I?", "USERNAME": "internal"}),
    "u-setup": ("MFA_SETUP", {"MFAS_CAN_SETUP": '["SOFTWARE_TOKEN_MFA"]'}),
    "u-srp": ("PASSWORD_VERIFIER", {"SALT": "1", "SRP_B": "2"}),
}
ANSWERS = {
    "NEW_PASSWORD_REQUIRED": "NEW_PASSWORD",
    "SMS_MFA": "SMS_MFA_CODE",
    "SOFTWARE_TOKEN_MFA": "SOFTWARE_TOKEN_MFA_CODE",
    "EMAIL_OTP": "EMAIL_OTP_CODE",
    "SMS_OTP": "SMS_OTP_CODE",
    "SELECT_MFA_TYPE": "ANSWER",
    "SELECT_CHALLENGE": "ANSWER",
    "CUSTOM_CHALLENGE": "ANSWER",
}
POOL_ALONE = {
    "PLAYMESH_PROVIDERS": "cognito",
    "PLAYMESH_COGNITO_URL": "http://127.0.0.1:1",  # nobody is there
    "PLAYMESH_COGNITO_JWKS_URL": "http://127.0.0.1:1",
    "PLAYMESH_COGNITO_USER_POOL_ID": POOL,
    "PLAYMESH_COGNITO_CLIENT_IDS": CLIENT,
}
"""Settings of an identity that has the routes of a pool, and no pool."""


@functools.cache
def keys() -> tuple[RSAKey, RSAKey]:
    """Of access tokens and of ID tokens, with ids in base64."""
    return rsa_key("acc3ss+tokens/="), rsa_key("1d+tokens/=")


@dataclass
class User:
    password: str
    subject: str
    is_confirmed: bool = True
    email: str | None = None
    has_code: bool = True


class Exceptional(Exception):
    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text


class CognitoFake(Fake):
    """`refuse` and `scenario` are for every call, `once` for the next one alone."""

    def __init__(self, clock: Clock, *, secret: str | None = None) -> None:
        super().__init__()
        keys()  # now: to find them takes longer than a client waits
        self.clock = clock
        self.secret = secret
        self.users = {PLAYER: User(PASSWORD, SUBJECT)}
        self.form = "plain"
        self.refuse: tuple[str, str] | None = None
        self.once: tuple[str, str] | None = None
        self.client = CLIENT  # of the tokens that it hands out
        self.keys_status = 200
        self.document: bytes | None = None
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.signed_out: set[str] = set()
        self._challenged: dict[str, str] = {}
        self._numbers = 0

    def operations(self) -> list[str]:
        return [operation for operation, _ in self.asked]

    def claims(self, kind: str = "access", **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - also wrong types
        """A change to None leaves a claim out."""
        self._numbers += 1
        now = to_seconds(self.clock.now())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": SUBJECT,
            "token_use": kind,
            "auth_time": now,
            "iat": now,
            "exp": now + 3600,
            "jti": f"jti-{self._numbers}",
            "origin_jti": "origin",
            "event_id": "event",
            **(
                {"client_id": CLIENT, "username": PLAYER, "scope": "aws.cognito.signin.user.admin"}
                if kind == "access"
                else {"aud": CLIENT, "cognito:username": PLAYER, "email": "robin@example.com"}
            ),
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, kind: str = "access", *, key: RSAKey | None = None, **changes: Any) -> str:  # noqa: ANN401 - also wrong types
        key = key or keys()[0 if kind == "access" else 1]
        return jwt.encode({"alg": "RS256", "kid": key["kid"]}, self.claims(kind, **changes), key)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/", self._answer)
        app.router.add_get("/keys", self._keys)
        return app

    def settings(self, url: str) -> dict[str, str]:
        return {
            "PROVIDERS": "cognito",
            "COGNITO_URL": url,
            "COGNITO_JWKS_URL": f"{url}/keys",
            "COGNITO_USER_POOL_ID": POOL,
            "COGNITO_CLIENT_IDS": CLIENT,
        }

    async def _keys(self, _request: web.Request) -> web.Response:
        published = {"keys": [key.as_dict(private=False) for key in keys()]}
        body = self.document if self.document is not None else json.dumps(published).encode()
        return web.Response(body=body, status=self.keys_status, content_type="application/json")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        target, _, operation = request.headers["X-Amz-Target"].partition(".")
        body = json.loads(await request.read())
        self.asked.append((operation, body))
        self.headers.append(dict(request.headers))
        if known := await self.answer(self.scenario or "", request, _ANSWERS):
            return known
        assert target == "AWSCognitoIdentityProviderService"
        try:
            answer = self._dispatch(operation, body)
        except Exceptional as exception:
            return self._refusal(exception)
        return _json(answer)

    def _refusal(self, exception: Exceptional) -> web.Response:
        name, text = exception.name, exception.text
        status = 500 if name == "InternalErrorException" else 400
        match self.form:
            case "namespace":
                name = f"com.amazonaws.cognito.identity.idp.model#{name}"
                return _json({"__type": name, "message": text}, status)
            case "header":
                url = "http://internal.amazon.com/coral/com.amazonaws.cognito.identity.idp.model/"
                said = {"x-amzn-ErrorType": f"{name}:{url}", "x-amzn-ErrorMessage": text}
                return _json({}, status, **said)
            case "Message":
                return _json({"__type": name, "Message": text}, status)
        return _json({"__type": name, "message": text}, status)

    def _dispatch(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        once, self.once = self.once, None
        if refused := once or self.refuse:
            raise Exceptional(*refused)
        if operation == "GlobalSignOut":
            assert set(body) == {"AccessToken"}
            if body["AccessToken"] in self.signed_out:
                raise Exceptional("NotAuthorizedException", "Access Token has been revoked")
            self.signed_out.add(body["AccessToken"])
            return {}
        if body.get("ClientId") != CLIENT:
            raise Exceptional("ResourceNotFoundException", "User pool client does not exist.")
        inner = body.get("AuthParameters") or body.get("ChallengeResponses")
        username = inner["USERNAME"] if inner else body["Username"]
        self._check_hash(username, (inner or {}).get("SECRET_HASH") or body.get("SecretHash"))
        if operation == "InitiateAuth":
            return self._initiate(username, body)
        if operation == "RespondToAuthChallenge":
            return self._respond(username, body)
        if username in SCENARIOS:
            raise Exceptional(*SCENARIOS[username])
        return self._of_an_account(operation, username, body)

    def _check_hash(self, username: str, given: str | None) -> None:
        if self.secret is None:
            return
        digest = hmac.digest(self.secret.encode(), (username + CLIENT).encode(), hashlib.sha256)
        if given != base64.b64encode(digest).decode():
            text = f"Unable to verify secret hash for client {CLIENT}"
            raise Exceptional("NotAuthorizedException", text)

    def _initiate(self, username: str, body: dict[str, Any]) -> dict[str, Any]:
        assert body["AuthFlow"] == "USER_PASSWORD_AUTH"
        if username in CHALLENGES:
            return self._challenge(username)
        password = body["AuthParameters"]["PASSWORD"]
        if username == "u-disabled" and password != PASSWORD:
            raise Exceptional(*WRONG_PASSWORD)
        if username in SCENARIOS:
            raise Exceptional(*SCENARIOS[username])
        user = self.users.get(username)
        if user is None or user.password != password:
            raise Exceptional(*WRONG_PASSWORD)
        if not user.is_confirmed:
            raise Exceptional(*SCENARIOS["u-notconfirmed"])
        return self._tokens(user.subject)

    def _challenge(self, username: str) -> dict[str, Any]:
        name, parameters = CHALLENGES[username]
        self._challenged[SESSION] = username
        answer: dict[str, Any] = {
            "ChallengeName": name,
            "Session": SESSION,
            "ChallengeParameters": {"USER_ID_FOR_SRP": f"real-{username}", **parameters},
        }
        if name == "SELECT_CHALLENGE":
            answer["AvailableChallenges"] = ["PASSWORD", "EMAIL_OTP"]
        return answer

    def _respond(self, username: str, body: dict[str, Any]) -> dict[str, Any]:
        asked = self._challenged.get(body["Session"])
        if asked is None or username not in (f"real-{asked}", "internal"):
            raise Exceptional("NotAuthorizedException", "Invalid session for the user.")
        name = CHALLENGES[asked][0]
        assert body["ChallengeName"] == name
        match body["ChallengeResponses"][ANSWERS[name]]:
            case "wrong":
                raise Exceptional("CodeMismatchException", "Invalid code or auth state.")
            case "weak":
                raise Exceptional("InvalidPasswordException", "Password is too short")
            case "SMS_MFA":  # of those that can be chosen
                del self._challenged[body["Session"]]
                return self._challenge("u-mfa")
        del self._challenged[body["Session"]]
        return self._tokens(SUBJECT)

    def _of_an_account(self, operation: str, username: str, body: dict[str, Any]) -> dict[str, Any]:
        user = self.users.get(username)
        if operation == "SignUp":
            if user:
                raise Exceptional(*SCENARIOS["u-exists"])
            if len(body["Password"]) < 8:
                raise Exceptional("InvalidPasswordException", "Password did not conform")
            email = {one["Name"]: one["Value"] for one in body.get("UserAttributes", [])}
            confirmed = username.startswith("auto-")
            new = User(body["Password"], f"sub-{username}", confirmed, email.get("email"))
            self.users[username] = new
            return {"UserConfirmed": confirmed, "UserSub": new.subject, **_DELIVERY}
        if user is None:
            raise Exceptional(*SCENARIOS["u-unknown"])
        if operation in ("ResendConfirmationCode", "ForgotPassword"):
            return _DELIVERY
        if body["ConfirmationCode"] == "999999" or not user.has_code:
            text = "Invalid code provided, please request a code again."
            raise Exceptional("ExpiredCodeException", text)
        if body["ConfirmationCode"] != CODE:
            raise Exceptional("CodeMismatchException", "Invalid verification code provided")
        if operation == "ConfirmSignUp":
            if user.is_confirmed:
                text = "User cannot be confirmed. Current status is CONFIRMED"
                raise Exceptional("NotAuthorizedException", text)
            user.is_confirmed = True
        else:
            user.password = body["Password"]
        return {}

    def _tokens(self, subject: str) -> dict[str, Any]:
        access = self.token(sub=subject, client_id=self.client)
        result = {
            "AccessToken": access,
            "IdToken": self.token("id", sub=subject),
            "RefreshToken": "CANARY-refresh-token",
            "ExpiresIn": 3600,
            "TokenType": "Bearer",
        }
        return {"AuthenticationResult": result, "ChallengeParameters": {}}


_DELIVERY: dict[str, Any] = {
    "CodeDeliveryDetails": {
        "AttributeName": "email",
        "DeliveryMedium": "EMAIL",
        "Destination": "r***@e***",
    }
}


def _json(body: object, status: int = 200, **headers: str) -> web.Response:
    return answer_json(body, status, "application/x-amz-json-1.1", **headers)


_ANSWERS: Answers = {"notype": lambda: _json({"message": "something"}, 400)}
