"""Meta Quest: a user id and a nonce of the player's client, which Meta validates once.

The app's secret is in the body of the one call and in the query of the other, for Meta takes it
there. What its errors are like is not documented: they are read as Facebook's, by their code.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from services.identity.models import ExternalIdentity
from services.identity.providers.connections import Connections
from services.identity.providers.http import Answer, ProviderHttp, Unanswered
from services.identity.providers.secret import Secret, read_secret
from services.identity.providers.shape import Platform, Refused, part, unavailable
from shared import errors
from shared.env import Env
from shared.http.client import is_tamper_proof

_VALIDATE_PATH = "/user_nonce_validate"
# Without zero: Meta's library has it where an app may not see the id, so for everybody.
_ID = re.compile(r"[1-9][0-9]{0,19}")
_NONCE = re.compile(r"[!-~]{1,1024}")
_ORGANISATION = re.compile(r"[A-Za-z0-9_-]{1,64}")

_TRANSIENT = (1, 2)
_APP_LIMITS = (4, 341)
_PARAMETER, _TOKEN_IS_BAD = 100, 190
_OURS = (3, 10, _TOKEN_IS_BAD, *range(200, 300))


@dataclass(frozen=True, slots=True)
class MetaQuestSettings:
    """`organisation_id` is whose ids players have: one for all of an organisation's apps."""

    url: str
    organisation_id: str
    app_id: str
    app_secret: Secret

    @classmethod
    def read(cls, env: Env) -> "MetaQuestSettings":
        url = env.url("META_QUEST_URL", "https://graph.oculus.com")
        if not is_tamper_proof(url):
            env.fault("META_QUEST_URL", "must be https, or http to this machine")
        organisation_id = env.required("META_QUEST_ORG_ID")
        if organisation_id and not _ORGANISATION.fullmatch(organisation_id):
            env.fault("META_QUEST_ORG_ID", "must be up to 64 letters and digits")
        app_id = env.required("META_QUEST_APP_ID")
        if app_id and not _ID.fullmatch(app_id):
            env.fault("META_QUEST_APP_ID", "must be a number such as 1234567890123456")
        app_secret = read_secret(env, "META_QUEST_APP_SECRET")
        return cls(url, organisation_id, app_id, app_secret)

    def open(self, connections: Connections) -> Platform:
        return MetaQuestPlatform(self, connections.http("meta_quest", self.url))


class MetaQuestPlatform:
    """The credential has `user_id` and `nonce`. Meta validates a nonce once, so nothing is
    remembered here; of one that does not hold it does not say whether it ever did.
    """

    name = "meta_quest"

    def __init__(self, settings: MetaQuestSettings, http: ProviderHttp) -> None:
        self._settings = settings
        self._http = http

    async def verify(self, credential: Mapping[str, str]) -> ExternalIdentity:
        user_id, nonce = part(credential, "user_id"), part(credential, "nonce")
        if not _ID.fullmatch(user_id):
            raise Refused(errors.InvalidCredential(), "no_id")
        if not _NONCE.fullmatch(nonce):
            raise Refused(errors.InvalidCredential(), "no_nonce")
        access_token = f"OC|{self._settings.app_id}|{await self._settings.app_secret.read()}"
        await self._validate(access_token, user_id, nonce)
        scoped_id = await self._scoped_id(access_token, user_id)
        external_id = f"{self._settings.organisation_id}:{scoped_id}"
        return ExternalIdentity(self.name, external_id, {"user_id": user_id})

    async def _validate(self, access_token: str, user_id: str, nonce: str) -> None:
        form = {"access_token": access_token, "nonce": nonce, "user_id": user_id}
        try:
            answer = await self._http.post_form(_VALIDATE_PATH, form)
        except Unanswered as lost:
            # The nonce may be spent, so that sending it again would help nobody.
            raise Refused(errors.ExpiredCredential(), lost.reason) from None
        match answer.json:
            case {"error": Mapping()}:
                # Ids are of an app: ours may not have this user.
                raise _refused(answer, of_theirs=errors.WrongAudience())
            case {"is_valid": True} if answer.status == HTTPStatus.OK:
                return
            case {"is_valid": False}:
                raise Refused(errors.InvalidCredential(), "not_valid")
            case _:
                raise unavailable("malformed")

    async def _scoped_id(self, access_token: str, user_id: str) -> str:
        answer = await self._http.get(
            f"/{user_id}",
            params={"access_token": access_token, "fields": "org_scoped_id"},
            headers={},
            again=lambda answer: _code(answer) in _TRANSIENT,
            down=lambda answer: _code(answer) in _APP_LIMITS,
        )
        match answer.json:
            case {"error": Mapping()}:
                # By now it is our app that may not see the player.
                raise _refused(answer, of_theirs=errors.ProviderMisconfigured())
            case {"id": str(answered), **more} if answer.status == HTTPStatus.OK:
                scoped_id = more.get("org_scoped_id", "0")
            case _:
                raise unavailable("malformed")
        if scoped_id == "0":  # what the Data Use Checkup has not allowed
            raise Refused(errors.ProviderMisconfigured(), "no_org_scoped_id")
        if answered != user_id or not isinstance(scoped_id, str) or not _ID.fullmatch(scoped_id):
            raise unavailable("malformed")
        return scoped_id


def _code(answer: Answer) -> int | None:
    match answer.json:
        case {"error": {"code": int(code)}}:
            return code
        case _:
            return None


def _refused(answer: Answer, *, of_theirs: errors.PlaymeshError) -> Refused:
    """`of_theirs`: what it is where a parameter is wrong."""
    code = _code(answer)
    if code == _PARAMETER:
        return Refused(of_theirs, "100")
    if code in _OURS:
        return Refused(errors.ProviderMisconfigured(), str(code))
    return unavailable(str(code) if code in (*_TRANSIENT, *_APP_LIMITS) else "other_error")
