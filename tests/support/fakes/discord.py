"""Discord's API: the token endpoint and `@me`.

The code says what comes of it: `NhhvTDYsFcdgNLnn;ok;id=80351110224678912;app=...;n=1`, or in
place of `ok` a scenario. What begins otherwise is none of its codes. A name of `_TOKEN` is the
exchange's answer, one of `_ME` that of `@me`. Codes are good once; one that was asked for with a
challenge says of which verifier: `verifier=...`.
"""

from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from tests.support.fakes.fake import Answers, Fake, answer_json, fields_of

PLAYER = "80351110224678912"
CLIENT_ID = "157730590492196864"
OTHER_CLIENT = "157730590492196865"
REDIRECT_URI = "https://game.test/back?to=1"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
ACCESS_TOKEN = "CANARY-access-token-"
TOKEN_PATH = "/oauth2/token"
ME_PATH = "/oauth2/@me"
REVOKE_PATH = "/oauth2/token/revoke"
_BEGIN = "NhhvTDYsFcdgNLnn"


def code(scenario: str = "ok", **fields: str | int) -> str:
    return ";".join([_BEGIN, scenario, *(f"{name}={value}" for name, value in fields.items())])


class DiscordFake(Fake):
    """Knows one application."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.secret = secret
        self.redirect_uri = REDIRECT_URI
        self.forms: list[dict[str, str]] = []  # of the token endpoint
        self._used: set[str] = set()
        self._tokens: dict[str, tuple[str, dict[str, str]]] = {}

    @property
    def exchanges(self) -> int:
        return self.paths.count(TOKEN_PATH)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post(TOKEN_PATH, self._token)
        app.router.add_get(ME_PATH, self._me)
        app.router.add_post(REVOKE_PATH, self._revoke)
        return app

    def settings(self, url: str) -> dict[str, str]:
        return {
            "PROVIDERS": "discord",
            "DISCORD_URL": url,
            "DISCORD_CLIENT_ID": CLIENT_ID,
            "DISCORD_CLIENT_SECRET": self.secret,
            "DISCORD_REDIRECT_URI": REDIRECT_URI,
        }

    async def _token(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        if request.content_type != "application/x-www-form-urlencoded":
            return answer_json({"message": "400: Bad Request", "code": 0}, 400)  # JSON, say
        parsed = parse_qs(await request.text(), keep_blank_values=True, strict_parsing=True)
        form = {name: value for name, [value] in parsed.items()}
        self.forms.append(form)
        sent = form.get("code", "")
        begin, scenario, *rest = [*sent.split(";"), ""]
        if begin != _BEGIN:
            return _no_grant()
        fields = fields_of([one for one in rest if one])
        if refused := self._refused(form, fields):
            return refused
        self._used.add(sent)
        scenario = self.scenario or scenario
        if known := await self.answer(scenario, request, _TOKEN):
            return known
        token = f"{ACCESS_TOKEN}{len(self._tokens)}"
        self._tokens[token] = scenario, fields
        return answer_json(
            {
                "access_token": token,
                "token_type": "Bearer",
                "expires_in": 604800,
                "refresh_token": "CANARY-refresh-token",
                "scope": "identify",
            }
        )

    def _refused(self, form: dict[str, str], fields: dict[str, str]) -> web.Response | None:
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, self.secret):
            return answer_json({"error": "invalid_client"}, 401)
        if form.get("grant_type") != "authorization_code":
            return answer_json({"error": "unsupported_grant_type"}, 400)
        spent = form.get("code") in self._used
        if spent or form.get("redirect_uri", "") != self.redirect_uri:
            return _no_grant()
        return _no_grant() if form.get("code_verifier") != fields.get("verifier") else None

    async def _me(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self._tokens:
            return answer_json({"message": "401: Unauthorized", "code": 0}, 401)
        scenario, fields = self._tokens[token]
        if scenario == "once503" and self.paths.count(ME_PATH) == 1:
            scenario = "me-http503"
        place, _, name = scenario.partition("-")
        known = await self.answer(name, request, _BROKEN) if place == "me" else None
        if known:
            return known
        me: dict[str, Any] = {
            "application": {"id": fields.get("app", CLIENT_ID), "name": "Acme Game"},
            "scopes": ["identify"],
            "expires": "2026-11-28T20:00:00.000000+00:00",
            "user": {
                "id": fields.get("id", PLAYER),
                "username": "riverfox",
                "global_name": "River Fox",
                "avatar": None,
            },
        }
        if scenario == "numid":
            me["user"]["id"] = int(PLAYER)
        if scenario == "numapp":
            me["application"]["id"] = int(CLIENT_ID)
        me.pop(fields.get("without", ""), None)
        return answer_json(me)

    async def _revoke(self, request: web.Request) -> web.StreamResponse:
        """Of any token ends all that the player has allowed the application."""
        self.paths.append(request.path_qs)
        self._tokens.clear()
        return answer_json({})


def _no_grant() -> web.Response:
    text = 'Invalid "code" in request.'
    return answer_json({"error": "invalid_grant", "error_description": text}, 400)


def _no_request(text: str) -> web.Response:
    return answer_json({"error": "invalid_request", "error_description": text}, 400)


def _limited(wait: float, *, everywhere: bool = False, says: str | None = None) -> web.Response:
    body = {
        "message": "You are being rate limited.",
        "retry_after": wait,
        "global": everywhere,
    }
    headers = {"X-RateLimit-Global": "true"} if everywhere else {}
    return answer_json(body, 429, **{"Retry-After": says or str(wait), **headers})


_BROKEN: Answers = {
    "limited": lambda: _limited(0.5),
    "limitedlong": lambda: _limited(20.25),
    "limitedall": lambda: _limited(30, everywhere=True),
    "http400": lambda: answer_json({"message": "400: Bad Request", "code": 0}, 400),
    "http401": lambda: answer_json({"message": "401: Unauthorized", "code": 0}, 401),
}
_TOKEN: Answers = {
    **_BROKEN,
    "grantonly": lambda: answer_json({"error": "invalid_grant"}, 400),
    "oldcode": lambda: _no_request('Invalid "code" in request.'),
    "oldredirect": lambda: _no_request('Invalid "redirect_uri" in request.'),
    "noverifier": lambda: _no_request('Missing "code_verifier" in request.'),
    "requestonly": lambda: answer_json({"error": "invalid_request"}, 400),
    "badclient": lambda: answer_json({"error": "invalid_client"}, 401),
    "badclient400": lambda: answer_json({"error": "invalid_client"}, 400),
    "noclient": lambda: answer_json({"error": "unauthorized_client"}, 400),
    "othererror": lambda: answer_json({"error": "something_of_theirs"}, 400),
    "notoken": lambda: answer_json({"token_type": "Bearer"}),
    "numtoken": lambda: answer_json({"access_token": 1}),
    "linetoken": lambda: answer_json({"access_token": "a\r\nX-Evil: 1"}),
}
