"""Facebook's classic login: a user access token, judged by the Graph API's debug_token.

Its app secret and the player's token are in that call's query, for Facebook takes them nowhere
else. An answer is told by the code in its JSON: the status of one and the same code varies.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeGuard

from services.identity.models import ExternalIdentity, Notice
from services.identity.providers.connections import Connections
from services.identity.providers.facebook_notices import read_signed_request
from services.identity.providers.http import Answer, ProviderHttp
from services.identity.providers.secret import Secret, read_secret
from services.identity.providers.shape import Platform, Refused, part, unavailable
from shared import errors
from shared.clock import Clock, to_seconds
from shared.env import Env
from shared.http.client import is_tamper_proof
from shared.strict_json import JsonValue

_TOKEN = re.compile(r"[\x21-\x7e]{1,2048}")
_ID = re.compile(r"[1-9][0-9]{0,31}")
_VERSION = re.compile(r"v[1-9][0-9]?\.[0-9]")

_TRANSIENT = (1, 2)
_APP_LIMITS = (4, 341)
_USER_LIMIT, _PARAMETER, _SESSION, _TOKEN_IS_BAD, _BLOCKED = 17, 100, 102, 190, 368
_OURS = (3, 10, *range(200, 300))
"""A capability or a permission that our application lacks."""
_OVER = (458, 460, 461, 462, 463, 466, 467, 468, 492)
_INVALID = (456, 457, 459, 464, 465)
_LIMIT_WAIT = 60


@dataclass(frozen=True, slots=True)
class FacebookSettings:
    """`asks_user`: the token is used for a call as well, which must lead to the same player."""

    url: str
    version: str
    app_id: str
    app_secret: Secret
    asks_user: bool

    @classmethod
    def read(cls, env: Env) -> "FacebookSettings":
        url = env.url("FACEBOOK_URL", "https://graph.facebook.com")
        if not is_tamper_proof(url):
            env.fault("FACEBOOK_URL", "must be https, or http to this machine")
        app_id = env.required("FACEBOOK_APP_ID")
        if app_id and not _ID.fullmatch(app_id):
            env.fault("FACEBOOK_APP_ID", "must be a number such as 1234567890123456")
        version = env.text("FACEBOOK_VERSION", "v25.0")
        if not _VERSION.fullmatch(version):
            env.fault("FACEBOOK_VERSION", "must be a version of the Graph API, such as v25.0")
        return cls(
            url,
            version,
            app_id,
            read_secret(env, "FACEBOOK_APP_SECRET"),
            asks_user=env.flag("FACEBOOK_ASK_USER", default=False),
        )

    def open(self, connections: Connections) -> Platform:
        return FacebookPlatform(self, connections.http("facebook", self.url), connections.clock)


class FacebookPlatform:
    """The credential has `access_token`. Whose it is, Facebook says, and nobody else: where
    `facebook_user_id` is there as well, it must be that player's.

    A token is good as often as Facebook says: its client library keeps one for weeks.
    """

    name = "facebook"

    def __init__(self, settings: FacebookSettings, http: ProviderHttp, clock: Clock) -> None:
        self._settings = settings
        self._http = http
        self._clock = clock

    async def verify(self, credential: Mapping[str, str]) -> ExternalIdentity:
        token = part(credential, "access_token")
        if not _TOKEN.fullmatch(token):
            raise Refused(errors.InvalidCredential(), "no_token")
        user_id = self._player(await self._debug(token))
        if credential.get("facebook_user_id", user_id) != user_id:
            raise Refused(errors.InvalidCredential(), "another_user")
        if self._settings.asks_user and await self._user_of(token) != user_id:
            raise Refused(errors.InvalidCredential(), "another_user")
        app_id = self._settings.app_id
        # In the space of Limited Login's ids: of one person in one application they are the same.
        return ExternalIdentity(self.name, f"{app_id}:{user_id}", {"user_id": user_id})

    async def read_notice(self, sent: str) -> Notice:
        """Of a signed request."""
        secret = await self._settings.app_secret.read()
        return read_signed_request(
            sent, app_id=self._settings.app_id, app_secret=secret, clock=self._clock
        )

    async def _debug(self, token: str) -> Mapping[str, JsonValue]:
        """What Facebook knows of a token."""
        settings = self._settings
        app_token = f"{settings.app_id}|{await settings.app_secret.read()}"
        answer = await self._http.get(
            f"/{settings.version}/debug_token",
            params={"input_token": token, "access_token": app_token},
            headers={},
            again=lambda answer: _code(answer) in _TRANSIENT,
            down=lambda answer: _code(answer) in _APP_LIMITS,
        )
        match answer.json:
            case {"error": Mapping() as error}:
                raise _refused(error, of_theirs=False)
            case {"data": {"error": Mapping() as error}}:
                raise _refused(error, of_theirs=True)
            case {"data": Mapping() as data} if answer.status == HTTPStatus.OK:
                return data
            case _:
                raise unavailable("malformed")

    async def _user_of(self, token: str) -> str:
        """Whom the Graph API takes its bearer for, with the proof that we know the app's secret."""
        settings = self._settings
        answer = await self._http.get(
            f"/{settings.version}/me",
            params={
                "fields": "id",
                "access_token": token,
                "appsecret_proof": proof(token, await settings.app_secret.read()),
            },
            headers={},
            again=lambda answer: _code(answer) in _TRANSIENT,
            down=lambda answer: _code(answer) in _APP_LIMITS,
        )
        match answer.json:
            case {"error": Mapping() as error}:
                raise _refused(error, of_theirs=True)
            case {"id": str(user_id)} if answer.status == HTTPStatus.OK:
                return user_id
            case _:
                raise unavailable("malformed")

    def _player(self, data: Mapping[str, JsonValue]) -> str:
        valid, app_id = data.get("is_valid"), _id(data.get("app_id"))
        if valid is False and app_id is None:
            raise Refused(errors.InvalidCredential(), "not_valid")
        if not isinstance(valid, bool) or app_id is None:
            raise unavailable("malformed")
        if app_id != self._settings.app_id:
            raise Refused(errors.WrongAudience(), "app_id")
        if not valid:
            raise Refused(errors.ExpiredCredential(), "not_valid")
        if data.get("type") != "USER":
            raise Refused(errors.InvalidCredential(), "type")
        user_id, expires = _id(data.get("user_id")), data.get("expires_at")
        if user_id is None or not _is_whole(expires):
            raise unavailable("malformed")
        if expires != 0 and expires <= to_seconds(self._clock.now()):  # 0: never
            raise Refused(errors.ExpiredCredential(), "expired")
        return user_id


def _code(answer: Answer) -> int | None:
    match answer.json:
        case {"error": {"code": int(code)}} | {"data": {"error": {"code": int(code)}}}:
            return code
        case _:
            return None


def _refused(error: Mapping[str, JsonValue], *, of_theirs: bool) -> Refused:
    """`of_theirs`: the error is one of the token that was asked about, not of the call."""
    code = error.get("code")
    reason = str(code)
    if code == _TOKEN_IS_BAD:
        return _bad_token(error, of_theirs=of_theirs)
    if code == _PARAMETER:
        # "You must provide an app access token" is also what is said of another application's.
        return Refused(errors.WrongAudience(), reason)
    if code == _SESSION:
        return Refused(errors.ExpiredCredential(), reason)
    if code == _USER_LIMIT:
        return Refused(errors.TooManyRequests(retry_after=_LIMIT_WAIT), reason)
    if code in _OURS:
        return Refused(errors.ProviderMisconfigured(), reason)
    return unavailable(reason if code in (*_TRANSIENT, _BLOCKED) else "other_error")


def _bad_token(error: Mapping[str, JsonValue], *, of_theirs: bool) -> Refused:
    """Ours has no session, so what is said of one is said of theirs, wherever it stands."""
    subcode = error.get("error_subcode", error.get("subcode"))
    if subcode in _OVER:
        return Refused(errors.ExpiredCredential(), f"190_{subcode}")
    if subcode in _INVALID:
        return Refused(errors.InvalidCredential(), f"190_{subcode}")
    if of_theirs:
        return Refused(errors.InvalidCredential(), "190")
    return Refused(errors.ProviderMisconfigured(), "190")


def _is_whole(value: JsonValue) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def proof(token: str, secret: str) -> str:
    """`appsecret_proof`: who has a player's token alone cannot make the call."""
    return hmac.digest(secret.encode(), token.encode(), hashlib.sha256).hex()


def _id(value: JsonValue) -> str | None:
    """Ids come as text and, in older answers, as numbers."""
    text = str(value) if _is_whole(value) else value
    return text if isinstance(text, str) and _ID.fullmatch(text) else None
