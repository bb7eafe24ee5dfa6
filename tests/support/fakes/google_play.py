"""Play Games: Google's token endpoint and two routes of its games, on one host.

The code says what comes of it: `4/0Aok;id=a_1;original=g1;app=123;n=1`, or in place of `ok` a
scenario. A name of `_TOKEN` is the exchange's answer, one of `_GAMES` that of the games' routes; as
`verify-...` it is that of `verify` alone. A `+` is a space. Codes are good once, and arrive
encoded once.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from tests.support.servers import serving

PLAYER = "a_1234567890123456789"
APPLICATION = "123456789012"
CLIENT_ID = "123456789012-web.apps.googleusercontent.com"
TOKEN_PATH = "/token"
PLAYER_PATH = "/games/v1/players/me"
VERIFY_PATH = "/games/v1/applications/{application}/verify"
ACCESS_TOKEN = "ya29.CANARY-access-token-"


def code(scenario: str = "ok", **fields: str | int) -> str:
    return "4/0A" + ";".join([scenario, *(f"{name}={value}" for name, value in fields.items())])


class GooglePlayFake:
    """Knows one client. `scenario` overrides every code's."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.scenario: str | None = None
        self.paths: list[str] = []  # with their queries
        self.bodies: list[str] = []  # of the token endpoint
        self.gate = asyncio.Event()  # what `slow` waits for
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

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async with serving(self.application()) as url:
            try:
                yield url
            finally:
                self.gate.set()

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
        if scenario in _TOKEN:
            return await self._trouble(_TOKEN[scenario], request)
        token = f"{ACCESS_TOKEN}{len(self._tokens)}"
        self._tokens[token] = scenario, dict(one.replace("+", " ").split("=") for one in rest)
        return _json({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def _refused(self, form: dict[str, list[str]], *, encoded_once: bool) -> web.Response | None:
        if form.get("client_id") != [CLIENT_ID] or form.get("client_secret") != [self.secret]:
            return _json({"error": "invalid_client", "error_description": "Unauthorized"}, 401)
        if form.get("grant_type") != ["authorization_code"]:
            return _json({"error": "unsupported_grant_type"}, 400)
        if form.get("redirect_uri") != [""]:
            return _json({"error": "redirect_uri_mismatch"}, 400)
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
        return _json(player)

    async def _verify(self, request: web.Request) -> web.StreamResponse:
        scenario, fields, refused = await self._asked(request)
        if refused:
            return refused
        if fields.get("app", APPLICATION) != request.match_info["application"]:
            return _games_error(404 if scenario == "notfound" else 403, "forbidden")
        return _json({"kind": "games#applicationVerifyResponse", "player_id": PLAYER})

    async def _asked(
        self, request: web.Request
    ) -> tuple[str, dict[str, str], web.StreamResponse | None]:
        self.paths.append(request.path_qs)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self._tokens:
            return "", {}, _games_error(401, "authError")
        scenario, fields = self._tokens[token]
        name = scenario.replace("verify-", "games-") if "verify" in request.path else scenario
        if name in _GAMES:
            return scenario, fields, await self._trouble(_GAMES[name], request)
        if scenario == "once503" and self.paths.count(request.path_qs) == 1:
            return scenario, fields, _text("", 503)
        return scenario, fields, None

    async def _trouble(
        self, name: Callable[[], web.StreamResponse] | str, request: web.Request
    ) -> web.StreamResponse:
        if not isinstance(name, str):
            return name()
        assert request.transport
        if name == "slow":
            await self.gate.wait()
        if name == "reset":
            request.transport.abort()
            return web.Response()
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        if name == "brokenoff":
            await response.write(b'{"access_token": "')
            request.transport.close()
        return response


def _json(body: object, status: int = 200) -> web.Response:
    return _text(json.dumps(body), status, "application/json; charset=UTF-8")


def _no_grant(description: str) -> web.Response:
    return _json({"error": "invalid_grant", "error_description": description}, 400)


def _text(
    text: str, status: int = 200, content_type: str = "text/html", **headers: str
) -> web.Response:
    return web.Response(
        body=text.encode(), status=status, headers={"Content-Type": content_type, **headers}
    )


def _games_error(status: int, reason: str) -> web.Response:
    entry = {"domain": "global", "reason": reason, "message": "no"}
    return _json({"error": {"code": status, "message": "no", "errors": [entry]}}, status)


_Answers = dict[str, Callable[[], web.StreamResponse] | str]

_BROKEN: _Answers = {
    "slow": "slow",
    "reset": "reset",
    "brokenoff": "brokenoff",
    "http429": lambda: _text("", 429),
    "http500": lambda: _text("", 500),
    "http503": lambda: _text("", 503),
    "http404": lambda: _text("<html>no</html>", 404),
    "html200": lambda: _text("<html>maintenance</html>"),
    "cut": lambda: _text('{"access_token": "ya29.CANARY-access-token-'),
    "twice": lambda: _text('{"access_token": "a", "access_token": "b"}'),
    "huge": lambda: _text('{"x": "' + "x" * 70_000 + '"}'),
    "list": lambda: _text("[]"),
    "redirect": lambda: _text("", 302, Location="https://elsewhere.test/"),
}
_TOKEN: _Answers = {
    **_BROKEN,
    "malformed": lambda: _no_grant("Malformed auth code."),
    "used": lambda: _no_grant("Bad Request"),
    "redeemed": lambda: _no_grant("Code was already redeemed."),
    "grantonly": lambda: _json({"error": "invalid_grant"}, 400),
    "otherclient": lambda: _json({"error": "unauthorized_client"}, 401),
    "badclient": lambda: _json({"error": "invalid_client"}, 401),
    "badclient400": lambda: _json({"error": "invalid_client"}, 400),
    "mismatch": lambda: _json({"error": "redirect_uri_mismatch"}, 400),
    "othererror": lambda: _json({"error": "something_of_theirs"}, 400),
    "notoken": lambda: _json({"token_type": "Bearer"}),
    "numtoken": lambda: _json({"access_token": 1}),
    "linetoken": lambda: _json({"access_token": "a\r\nX-Evil: 1"}),
}
_GAMES: _Answers = {
    **{f"games-{name}": answer for name, answer in _BROKEN.items()},
    "games-http401": lambda: _games_error(401, "authError"),
    "games-http400": lambda: _games_error(400, "badRequest"),
    "games-disabled": lambda: _games_error(403, "accessNotConfigured"),
    "games-quota": lambda: _games_error(403, "rateLimitExceeded"),
    "games-noscope": lambda: _games_error(403, "insufficientPermissions"),
    "games-bare403": lambda: _text("<html>no</html>", 403),
}
