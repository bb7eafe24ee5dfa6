"""Play Games: a server auth code of the player's client, exchanged once for who it is."""

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
from shared.strict_json import JsonValue

_TOKEN_PATH = "/token"  # noqa: S105 - a path
_PLAYER_PATH = "/games/v1/players/me"
_CODE = re.compile(r"[!-~]{1,1024}")
_ACCESS_TOKEN = re.compile(r"[!-~]{1,4096}")  # what may be in a header
_PLAYER_ID = re.compile(r"[!-~]{1,128}")
_APPLICATION_ID = re.compile(r"[1-9][0-9]{0,19}")
_NOT_ENABLED = "accessNotConfigured"
_LIMITS = {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded"}


@dataclass(frozen=True, slots=True)
class GooglePlaySettings:
    """`client_id` is the web client's, of the game's own project: codes are for that one."""

    oauth_url: str
    games_url: str
    client_id: str
    client_secret: Secret
    application_id: str
    redirect_uri: str
    verifies_application: bool

    @classmethod
    def read(cls, env: Env) -> "GooglePlaySettings":
        application_id = env.text("GOOGLE_PLAY_APPLICATION_ID", "")
        if not _APPLICATION_ID.fullmatch(application_id):
            env.fault("GOOGLE_PLAY_APPLICATION_ID", "must be a project's number of up to 20 digits")
        return cls(
            oauth_url=_url(env, "GOOGLE_PLAY_OAUTH_URL", "https://oauth2.googleapis.com"),
            games_url=_url(env, "GOOGLE_PLAY_GAMES_URL", "https://games.googleapis.com"),
            client_id=env.required("GOOGLE_PLAY_CLIENT_ID"),
            client_secret=read_secret(env, "GOOGLE_PLAY_CLIENT_SECRET"),
            application_id=application_id,
            redirect_uri=env.text("GOOGLE_PLAY_REDIRECT_URI", ""),
            verifies_application=env.flag("GOOGLE_PLAY_VERIFY", default=True),
        )

    def open(self, connections: Connections) -> Platform:
        # A breaker each: of two hosts one may be down.
        oauth = connections.http("google_play_oauth", self.oauth_url)
        return GooglePlayPlatform(self, oauth, connections.http("google_play", self.games_url))


class GooglePlayPlatform:
    """The credential has `server_auth_code`, which Google takes once: nothing is remembered here.

    `original_player_id` of the details is who the player was before Google gave them another id.
    """

    name = "google_play"

    def __init__(
        self, settings: GooglePlaySettings, oauth: ProviderHttp, games: ProviderHttp
    ) -> None:
        self._settings = settings
        self._oauth = oauth
        self._games = games

    async def verify(self, credential: Mapping[str, str]) -> ExternalIdentity:
        code = part(credential, "server_auth_code")
        if not _CODE.fullmatch(code):
            raise Refused(errors.InvalidCredential(), "no_code")
        headers = {"Authorization": f"Bearer {await self._exchange(code)}"}
        player_id, original_id = _read_player(await self._ask(_PLAYER_PATH, headers))
        if self._settings.verifies_application:
            await self._verify_application(headers)
        details, former = {"player_id": player_id}, None
        if original_id not in ("", player_id):
            details["original_player_id"] = original_id
            former = self._external_id(original_id)
        return ExternalIdentity(self.name, self._external_id(player_id), details, former=former)

    def _external_id(self, player_id: str) -> str:
        return f"{self._settings.application_id}:{player_id}"

    async def _exchange(self, code: str) -> str:
        """The access token."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self._settings.client_id,
            "client_secret": await self._settings.client_secret.read(),
            "redirect_uri": self._settings.redirect_uri,
        }
        try:
            answer = await self._oauth.post_form(_TOKEN_PATH, form)
        except Unanswered as lost:
            # The code may be spent, so that sending it again would help nobody.
            raise Refused(errors.ExpiredCredential(), lost.reason) from None
        return _read_token(answer)

    async def _verify_application(self, headers: Mapping[str, str]) -> None:
        path = f"/games/v1/applications/{self._settings.application_id}/verify"
        answer = await self._ask(path, headers, of_another=errors.WrongAudience())
        match answer:
            case {"player_id": str()}:
                return
            case _:
                raise unavailable("malformed")

    async def _ask(
        self,
        path: str,
        headers: Mapping[str, str],
        *,
        of_another: errors.PlaymeshError | None = None,
    ) -> JsonValue:
        answer = await self._games.get(path, params={}, headers=headers)
        if answer.status != HTTPStatus.OK:
            raise _games_refusal(answer, of_another)
        return answer.json


def _url(env: Env, name: str, default: str) -> str:
    url = env.url(name, default)
    if not is_tamper_proof(url):
        env.fault(name, "must be https, or http to this machine")
    return url


def _read_token(answer: Answer) -> str:
    if answer.status != HTTPStatus.OK:
        raise _token_refusal(answer)
    match answer.json:
        case {"access_token": str(token)} if _ACCESS_TOKEN.fullmatch(token):
            return token
        case _:
            raise unavailable("malformed")


def _token_refusal(answer: Answer) -> Refused:
    """RFC 6749 section 5.2: all but what a code is the reason for is our fault."""
    match answer.json:
        # The error is the same for both; were the text another one day, a client would get a new
        # code instead of giving up.
        case {"error": "invalid_grant", "error_description": "Malformed auth code."}:
            return Refused(errors.InvalidCredential(), "malformed_code")
        case {"error": "invalid_grant"}:
            return Refused(errors.ExpiredCredential(), "invalid_grant")
        case {"error": "unauthorized_client"}:  # the code was given to another one
            return Refused(errors.WrongAudience(), "unauthorized_client")
        case {"error": "invalid_client" | "redirect_uri_mismatch" as known}:
            return Refused(errors.ProviderMisconfigured(), str(known))
        case {"error": str()}:
            return Refused(errors.ProviderMisconfigured(), "other_error")
        case _:
            return Refused(errors.ProviderMisconfigured(), f"http_{answer.status}")


def _games_refusal(answer: Answer, of_another: errors.PlaymeshError | None) -> Refused:
    """`of_another`: what it is where the token is good, and not for what was asked."""
    reasons = _reasons(answer.json)
    reason = f"http_{answer.status}"
    match answer.status:
        case HTTPStatus.UNAUTHORIZED:
            return Refused(errors.InvalidCredential(), reason)
        case HTTPStatus.FORBIDDEN if _NOT_ENABLED in reasons:
            return Refused(errors.ProviderMisconfigured(), "not_enabled")
        case HTTPStatus.FORBIDDEN if reasons & _LIMITS:
            return unavailable("quota")
        case HTTPStatus.FORBIDDEN | HTTPStatus.NOT_FOUND if of_another:
            return Refused(of_another, reason)
        case HTTPStatus.FORBIDDEN:  # the client has asked for a code without the scope of games
            return Refused(errors.InvalidCredential(), reason)
        case _:
            return Refused(errors.ProviderMisconfigured(), reason)


def _reasons(body: JsonValue) -> set[str]:
    match body:
        case {"error": {"errors": [*entries]}}:
            found = [entry.get("reason") for entry in entries if isinstance(entry, Mapping)]
            return {reason for reason in found if isinstance(reason, str)}
        case _:
            return set()


def _read_player(body: JsonValue) -> tuple[str, str]:
    """The id, and the one before, or nothing: text as it is, since a number has lost digits."""
    match body:
        case {"playerId": str(player_id), **more} if _PLAYER_ID.fullmatch(player_id):
            original_id = more.get("originalPlayerId", "")
        case _:
            raise unavailable("malformed")
    if isinstance(original_id, str) and (not original_id or _PLAYER_ID.fullmatch(original_id)):
        return player_id, original_id
    raise unavailable("malformed")
