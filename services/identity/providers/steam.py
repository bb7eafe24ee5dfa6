"""Steam: a ticket of the player's client, judged by ISteamUserAuth/AuthenticateUserTicket."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from services.identity.models import ExternalIdentity
from services.identity.providers.connections import Connections
from services.identity.providers.http import Answer, ProviderHttp
from services.identity.providers.replays import Replays
from services.identity.providers.secret import Secret, read_secret
from services.identity.providers.shape import Platform, Refused, part, unavailable
from shared import errors
from shared.env import Env
from shared.http.client import is_tamper_proof
from shared.strict_json import JsonValue

_PATH = "/ISteamUserAuth/AuthenticateUserTicket/v1/"
_TICKET = re.compile(r"(?:[0-9a-f]{2}){1,2560}")
_APP_ID = re.compile(r"[1-9][0-9]{0,9}")
_STEAM_ID = re.compile(r"[0-9]{17}")
_FIRST_PLAYER = 76561197960265728
"""Of the public universe; 32 bits above it are the number of an account."""
_MOST_APPS = 8  # each may cost a call

_INVALID, _OTHER_APP, _NOT_READY = (3, 100, 101), 102, 103


@dataclass(frozen=True, slots=True)
class SteamSettings:
    """`identity` is what our clients ask their tickets for. The app ids are tried in this order."""

    url: str
    key: Secret
    app_ids: tuple[str, ...]
    identity: str
    refuse_vac_banned: bool
    refuse_borrowed: bool

    @classmethod
    def read(cls, env: Env) -> "SteamSettings":
        url = env.url("STEAM_URL", "https://partner.steam-api.com")
        if not is_tamper_proof(url):
            env.fault("STEAM_URL", "must be https, or http to this machine")
        app_ids = env.texts("STEAM_APP_IDS")
        if not 1 <= len(app_ids) <= _MOST_APPS or not all(map(_APP_ID.fullmatch, app_ids)):
            env.fault("STEAM_APP_IDS", f"must be 1 to {_MOST_APPS} app ids, such as 480,481")
        return cls(
            url=url,
            key=read_secret(env, "STEAM_KEY"),
            app_ids=app_ids,
            identity=env.required("STEAM_IDENTITY"),
            refuse_vac_banned=_refuses(env, "STEAM_VAC_BANNED"),
            refuse_borrowed=_refuses(env, "STEAM_FAMILY_SHARING"),
        )

    def open(self, connections: Connections) -> Platform:
        return SteamPlatform(self, connections.http("steam", self.url), connections.used("steam"))


@dataclass(frozen=True, slots=True)
class _Player:
    steam_id: str
    owner_id: str
    vac_banned: bool
    publisher_banned: bool


class SteamPlatform:
    """The credential has `ticket`: two hex digits for each byte.

    Tickets are single-use here: that Steam refuses a second use is nowhere promised.
    """

    name = "steam"

    def __init__(self, settings: SteamSettings, http: ProviderHttp, used: Replays) -> None:
        self._settings = settings
        self._http = http
        self._used = used

    async def verify(self, credential: Mapping[str, str]) -> ExternalIdentity:
        ticket = part(credential, "ticket").lower()  # the same one in both cases
        if not _TICKET.fullmatch(ticket):
            raise Refused(errors.InvalidCredential(), "no_hex")
        app_id, player = await self._authenticate(ticket)
        await self._used.claim(ticket)
        self._check_policy(player)
        return ExternalIdentity(
            self.name,
            player.steam_id,
            {
                "app_id": app_id,
                "owner_id": player.owner_id,
                "vac_banned": "true" if player.vac_banned else "false",
            },
        )

    async def _authenticate(self, ticket: str) -> tuple[str, _Player]:
        """With the application that the ticket is for."""
        headers = {"x-webapi-key": await self._settings.key.read()}
        for app_id in self._settings.app_ids:
            answer = await self._http.get(
                _PATH,
                params={"appid": app_id, "ticket": ticket, "identity": self._settings.identity},
                headers=headers,
                again=lambda answer: _error_code(answer) == _NOT_READY,
            )
            if _error_code(answer) != _OTHER_APP:
                return app_id, _read(answer)
        raise Refused(errors.WrongAudience(), "102")

    def _check_policy(self, player: _Player) -> None:
        if player.publisher_banned:
            raise Refused(errors.ProviderBanned(), "publisher_banned")
        if player.vac_banned and self._settings.refuse_vac_banned:
            raise Refused(errors.ProviderBanned(), "vac_banned")
        if player.owner_id != player.steam_id and self._settings.refuse_borrowed:
            raise Refused(errors.NotOwned(), "borrowed")


def _refuses(env: Env, name: str) -> bool:
    return env.choice(name, "allow", ("allow", "refuse")) == "refuse"


def _read(answer: Answer) -> _Player:
    if answer.status != HTTPStatus.OK:
        # Our key, its rights, the address that we call from, or the URL; Steam says which in HTML.
        raise Refused(errors.ProviderMisconfigured(), f"http_{answer.status}")
    code = _error_code(answer)
    if code == _NOT_READY:
        raise unavailable("103")
    if code is not None:
        reason = str(code) if code in _INVALID else "other_error"
        raise Refused(errors.InvalidCredential(), reason)
    match answer.json:
        case {"response": {"params": Mapping() as params}}:
            if params.get("result") != "OK":
                raise Refused(errors.InvalidCredential(), "result")
            return _player(params)
        case _:
            raise unavailable("malformed")


def _error_code(answer: Answer) -> int | None:
    """Of `response.error` or, as one description has it, `response.params.error`."""
    match answer.json if answer.status == HTTPStatus.OK else None:
        case {"response": {"error": {"errorcode": int(code)}}}:
            return code
        case {"response": {"params": {"error": {"errorcode": int(code)}}}}:
            return code
        case _:
            return None


def _player(params: Mapping[str, JsonValue]) -> _Player:
    """Each field by its own name, and of its own type: a number has lost digits on its way."""
    match params:
        case {
            "steamid": str(steam_id),
            "ownersteamid": str(owner_id),
            "vacbanned": bool(vac_banned),
            "publisherbanned": bool(publisher_banned),
        } if _is_steam_id(steam_id) and _is_steam_id(owner_id):
            return _Player(steam_id, owner_id, vac_banned, publisher_banned)
        case _:
            raise unavailable("malformed")


def _is_steam_id(text: str) -> bool:
    return bool(_STEAM_ID.fullmatch(text)) and _FIRST_PLAYER < int(text) < _FIRST_PLAYER + 2**32
