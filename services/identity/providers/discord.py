"""Discord: an OAuth code of the player's client, exchanged once for who it is."""

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

_TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path
_ME_PATH = "/oauth2/@me"
_CODE = re.compile(r"[!-~]{16,512}")  # a shorter one could be guessed (RFC 6749 section 10.10)
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 section 4.1
_ACCESS_TOKEN = re.compile(r"[!-~]{1,4096}")  # what may be in a header
_SNOWFLAKE = re.compile(r"[1-9][0-9]{0,19}")


@dataclass(frozen=True, slots=True)
class DiscordSettings:
    """`redirect_uri` empty: codes are asked for without one, as Activities do."""

    url: str
    client_id: str
    client_secret: Secret
    redirect_uri: str

    @classmethod
    def read(cls, env: Env) -> "DiscordSettings":
        url = env.url("DISCORD_URL", "https://discord.com/api/v10")
        if not is_tamper_proof(url):
            env.fault("DISCORD_URL", "must be https, or http to this machine")
        client_id = env.required("DISCORD_CLIENT_ID")
        if client_id and not _SNOWFLAKE.fullmatch(client_id):
            env.fault("DISCORD_CLIENT_ID", "must be an application's number of up to 20 digits")
        return cls(
            url=url,
            client_id=client_id,
            client_secret=read_secret(env, "DISCORD_CLIENT_SECRET"),
            redirect_uri=env.text("DISCORD_REDIRECT_URI", ""),
        )

    def open(self, connections: Connections) -> Platform:
        return DiscordPlatform(self, connections.http("discord", self.url))


class DiscordPlatform:
    """The credential has `code`, which Discord takes once, and `code_verifier` where the client
    has asked for it with a challenge (RFC 7636).

    The tokens are dropped, not revoked: that would end the player's authorization everywhere.
    """

    name = "discord"

    def __init__(self, settings: DiscordSettings, http: ProviderHttp) -> None:
        self._settings = settings
        self._http = http

    async def verify(self, credential: Mapping[str, str]) -> ExternalIdentity:
        code, verifier = part(credential, "code"), credential.get("code_verifier", "")
        if not _CODE.fullmatch(code):
            raise Refused(errors.InvalidCredential(), "no_code")
        if verifier and not _VERIFIER.fullmatch(verifier):
            raise Refused(errors.InvalidCredential(), "no_verifier")
        token = await self._exchange(code, verifier)
        answer = await self._http.get(
            _ME_PATH, params={}, headers={"Authorization": f"Bearer {token}"}
        )
        return ExternalIdentity(self.name, self._read_player(answer))

    async def _exchange(self, code: str, verifier: str) -> str:
        """The access token."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self._settings.client_id,
            "client_secret": await self._settings.client_secret.read(),
        }
        optional = {"redirect_uri": self._settings.redirect_uri, "code_verifier": verifier}
        form |= {name: value for name, value in optional.items() if value}
        try:
            answer = await self._http.post_form(_TOKEN_PATH, form)
        except Unanswered as lost:
            # The code may be spent, so that sending it again would help nobody.
            raise Refused(errors.ExpiredCredential(), lost.reason) from None
        return _read_token(answer)

    def _read_player(self, answer: Answer) -> str:
        if answer.status == HTTPStatus.UNAUTHORIZED:  # withdrawn since
            raise Refused(errors.InvalidCredential(), "http_401")
        if answer.status != HTTPStatus.OK:
            raise Refused(errors.ProviderMisconfigured(), f"http_{answer.status}")
        match answer.json:
            case {"application": {"id": str(application_id)}, **more}:
                if application_id != self._settings.client_id:
                    raise Refused(errors.WrongAudience(), "application_id")
            case _:
                raise unavailable("malformed")
        match more:
            case {"user": {"id": str(user_id)}} if _SNOWFLAKE.fullmatch(user_id):
                return user_id
            case {"user": _}:
                raise unavailable("malformed")
            case _:  # the client has asked for a code without the scope `identify`
                raise Refused(errors.InvalidCredential(), "no_user")


def _read_token(answer: Answer) -> str:
    if answer.status != HTTPStatus.OK:
        raise _token_refusal(answer)
    match answer.json:
        case {"access_token": str(token)} if _ACCESS_TOKEN.fullmatch(token):
            return token
        case _:
            raise unavailable("malformed")


def _token_refusal(answer: Answer) -> Refused:
    """RFC 6749 section 5.2. Older versions say what is wrong with a code in a text alone."""
    match answer.json:
        case {"error": "invalid_grant"}:  # spent, over, unknown, or of another redirect URI
            return Refused(errors.ExpiredCredential(), "invalid_grant")
        case {"error": "invalid_request", "error_description": str(text)} if '"code"' in text:
            return Refused(errors.ExpiredCredential(), "invalid_code")
        case {"error": "invalid_request", "error_description": str(text)} if '"code_v' in text:
            return Refused(errors.InvalidCredential(), "code_verifier")
        case {"error": "invalid_client" | "unauthorized_client" | "invalid_request" as known}:
            return Refused(errors.ProviderMisconfigured(), str(known))
        case {"error": str()}:
            return Refused(errors.ProviderMisconfigured(), "other_error")
        case _:
            return Refused(errors.ProviderMisconfigured(), f"http_{answer.status}")
