"""Play Games: Google's token endpoint and two routes of its games, on one host.

The code says what comes of it: `4/0Aok;id=a_1;original=g1;app=123;n=1`, or in place of `ok` a
scenario. A name of `_TOKEN` is the exchange's answer, one of `_GAMES` that of the games' routes; as
`verify-...` it is that of `verify` alone. A `+` is a space. Codes are good once, and arrive
encoded once.
"""

from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from tests.support.fakes.fake import Answers, Fake, answer_json, answer_text, fields_of

PLAYER = "a_1234567890123456789"
APPLICATION = "123456789012"
CLIENT_ID = "123456789012-web.apps.googleusercontent.com"
TOKEN_PATH = "/token"
PLAYER_PATH = "/games/v1/players/me"
VERIFY_PATH = "/games/v1/applications/{application}/verify"
ACCESS_TOKEN = "ya29.CANARY-access-token-"


def code(scenario: str = "ok", **fields: str | int) -> str:
    return "4/0A" + ";".join([scenario, *(f"{name}={value}" for name, value in fields.items())])


class GooglePlayFake(Fake):
    """Knows one client."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.secret = secret
        self.bodies: list[str] = []  # of the token endpoint
        self._used: set[str] = set()
        self._tokens: dict[str, tuple[str, dict[str, str]]] = {}

    @property
    def exchanges(self) -> int:
        return len(self.bodies)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post(TOKEN_PATH, self._token)
        app.router.add_get(PLAYER_PATH, self._player)
        app.router.add_get(VERIFY_PATH, self._verify)
        return app

    def settings(self, url: str) -> dict[str, str]:
        return {
            "PROVIDERS": "google_play",
            "GOOGLE_PLAY_OAUTH_URL": url,
            "GOOGLE_PLAY_GAMES_URL": url,
            "GOOGLE_PLAY_CLIENT_ID": CLIENT_ID,
            "GOOGLE_PLAY_CLIENT_SECRET": self.secret,
            "GOOGLE_PLAY_APPLICATION_ID": APPLICATION,
        }

    async def _token(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        body = await request.text()
        self.bodies.append(body)
        form = parse_qs(body, keep_blank_values=True)
        sent = form.get("code", [""])[-1]
        if refused := self._refused(form, encoded_once="code=4%2F0A" in body):
            return refused
        self._used.add(sent)
        scenario, *rest = sent.removeprefix("4/0A").split(";")
        scenario = self.scenario or scenario
        if known := await self.answer(scenario, request, _TOKEN):
            return known
        token = f"{ACCESS_TOKEN}{len(self._tokens)}"
        self._tokens[token] = scenario, fields_of([one.replace("+", " ") for one in rest])
        return answer_json({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def _refused(self, form: dict[str, list[str]], *, encoded_once: bool) -> web.Response | None:
        if form.get("client_id") != [CLIENT_ID] or form.get("client_secret") != [self.secret]:
            return answer_json(
                {"error": "invalid_client", "error_description": "Unauthorized"}, 401
            )
        if form.get("grant_type") != ["authorization_code"]:
            return answer_json({"error": "unsupported_grant_type"}, 400)
        if form.get("redirect_uri") != [""]:
            return answer_json({"error": "redirect_uri_mismatch"}, 400)
        if not encoded_once or len(form["code"]) != 1:
            return _no_grant("Malformed auth code.")
        return _no_grant("Bad Request") if form["code"][0] in self._used else None

    async def _player(self, request: web.Request) -> web.StreamResponse:
        scenario, fields, refused = await self._asked(request)
        if refused:
            return refused
        player: dict[str, Any] = {
            "kind": "games#player",
            "playerId": fields.get("id", PLAYER),
            "displayName": "Riverfox",
        }
        if "original" in fields:
            player["originalPlayerId"] = fields["original"]
        if scenario == "numid":
            player["playerId"] = 1234567890123456789
        if scenario == "numoriginal":
            player["originalPlayerId"] = 1234567890123456789
        if scenario == "noid":
            del player["playerId"]
        return answer_json(player)

    async def _verify(self, request: web.Request) -> web.StreamResponse:
        scenario, fields, refused = await self._asked(request)
        if refused:
            return refused
        if fields.get("app", APPLICATION) != request.match_info["application"]:
            return _games_error(404 if scenario == "notfound" else 403, "forbidden")
        return answer_json({"kind": "games#applicationVerifyResponse", "player_id": PLAYER})

    async def _asked(
        self, request: web.Request
    ) -> tuple[str, dict[str, str], web.StreamResponse | None]:
        self.paths.append(request.path_qs)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self._tokens:
            return "", {}, _games_error(401, "authError")
        scenario, fields = self._tokens[token]
        where = ("games", "verify") if "verify" in request.path else ("games",)
        place, _, name = scenario.partition("-")
        if scenario == "once503" and self.paths.count(request.path_qs) == 1:
            place, name = "games", "http503"
        if place not in where:
            return scenario, fields, None
        return scenario, fields, await self.answer(name, request, _GAMES)


def _no_grant(description: str) -> web.Response:
    return answer_json({"error": "invalid_grant", "error_description": description}, 400)


def _games_error(status: int, reason: str) -> web.Response:
    entry = {"domain": "global", "reason": reason, "message": "no"}
    return answer_json({"error": {"code": status, "message": "no", "errors": [entry]}}, status)


_TOKEN: Answers = {
    "malformed": lambda: _no_grant("Malformed auth code."),
    "used": lambda: _no_grant("Bad Request"),
    "redeemed": lambda: _no_grant("Code was already redeemed."),
    "grantonly": lambda: answer_json({"error": "invalid_grant"}, 400),
    "otherclient": lambda: answer_json({"error": "unauthorized_client"}, 401),
    "badclient": lambda: answer_json({"error": "invalid_client"}, 401),
    "badclient400": lambda: answer_json({"error": "invalid_client"}, 400),
    "mismatch": lambda: answer_json({"error": "redirect_uri_mismatch"}, 400),
    "othererror": lambda: answer_json({"error": "something_of_theirs"}, 400),
    "notoken": lambda: answer_json({"token_type": "Bearer"}),
    "numtoken": lambda: answer_json({"access_token": 1}),
    "linetoken": lambda: answer_json({"access_token": "a\r\nX-Evil: 1"}),
}
_GAMES: Answers = {
    "http401": lambda: _games_error(401, "authError"),
    "http400": lambda: _games_error(400, "badRequest"),
    "disabled": lambda: _games_error(403, "accessNotConfigured"),
    "quota": lambda: _games_error(403, "rateLimitExceeded"),
    "noscope": lambda: _games_error(403, "insufficientPermissions"),
    "bare403": lambda: answer_text("<html>no</html>", 403),
}
