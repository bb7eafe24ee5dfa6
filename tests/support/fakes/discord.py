"""Discord's API: the token endpoint and `@me`.

The code says what comes of it: `NhhvTDYsFcdgNLnn;ok;id=80351110224678912;app=...;n=1`, or in
place of `ok` a scenario. What begins otherwise is none of its codes. A name of `_TOKEN` is the
exchange's answer, one of `_ME` that of `@me`. Codes are good once; one that was asked for with a
challenge says of which verifier: `verifier=...`.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from tests.support.servers import serving

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


class DiscordFake:
    """Knows one application. `scenario` overrides every code's."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.redirect_uri = REDIRECT_URI
        self.scenario: str | None = None
        self.paths: list[str] = []  # with their queries
        self.forms: list[dict[str, str]] = []  # of the token endpoint
        self.gate = asyncio.Event()  # what `slow` waits for
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

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async with serving(self.application()) as url:
            try:
                yield url
            finally:
                self.gate.set()

    async def _token(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        if request.content_type != "application/x-www-form-urlencoded":
            return _json({"message": "400: Bad Request", "code": 0}, 400)  # JSON, say
        parsed = parse_qs(await request.text(), keep_blank_values=True, strict_parsing=True)
        form = {name: value for name, [value] in parsed.items()}
        self.forms.append(form)
        sent = form.get("code", "")
        begin, scenario, *rest = [*sent.split(";"), ""]
        if begin != _BEGIN:
            return _no_grant()
        fields = dict(one.split("=") for one in rest if one)
        if refused := self._refused(form, fields):
            return refused
        self._used.add(sent)
        scenario = self.scenario or scenario
        if scenario in _TOKEN:
            return await self._trouble(_TOKEN[scenario], request)
        token = f"{ACCESS_TOKEN}{len(self._tokens)}"
        self._tokens[token] = scenario, fields
        return _json(
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
            return _json({"error": "invalid_client"}, 401)
        if form.get("grant_type") != "authorization_code":
            return _json({"error": "unsupported_grant_type"}, 400)
        spent = form.get("code") in self._used
        if spent or form.get("redirect_uri", "") != self.redirect_uri:
            return _no_grant()
        return _no_grant() if form.get("code_verifier") != fields.get("verifier") else None

    async def _me(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self._tokens:
            return _json({"message": "401: Unauthorized", "code": 0}, 401)
        scenario, fields = self._tokens[token]
        if scenario in _ME:
            return await self._trouble(_ME[scenario], request)
        if scenario == "once503" and self.paths.count(ME_PATH) == 1:
            return _text("", 503)
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
        return _json(me)

    async def _revoke(self, request: web.Request) -> web.StreamResponse:
        """Of any token ends all that the player has allowed the application."""
        self.paths.append(request.path_qs)
        self._tokens.clear()
        return _json({})

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


def _json(body: object, status: int = 200, **headers: str) -> web.Response:
    return _text(json.dumps(body), status, "application/json", **headers)


def _no_grant() -> web.Response:
    text = 'Invalid "code" in request.'
    return _json({"error": "invalid_grant", "error_description": text}, 400)


def _no_request(text: str) -> web.Response:
    return _json({"error": "invalid_request", "error_description": text}, 400)


def _limited(wait: float, *, everywhere: bool = False, says: str | None = None) -> web.Response:
    body = {
        "message": "You are being rate limited.",
        "retry_after": wait,
        "global": everywhere,
    }
    headers = {"X-RateLimit-Global": "true"} if everywhere else {}
    return _json(body, 429, **{"Retry-After": says or str(wait), **headers})


def _text(
    text: str, status: int = 200, content_type: str = "text/html", **headers: str
) -> web.Response:
    return web.Response(
        body=text.encode(), status=status, headers={"Content-Type": content_type, **headers}
    )


_Answers = dict[str, Callable[[], web.StreamResponse] | str]

_BROKEN: _Answers = {
    "slow": "slow",
    "reset": "reset",
    "brokenoff": "brokenoff",
    "limited": lambda: _limited(0.5),
    "limitedlong": lambda: _limited(20.25),
    "limitedall": lambda: _limited(30, everywhere=True),
    "http400": lambda: _json({"message": "400: Bad Request", "code": 0}, 400),
    "http401": lambda: _json({"message": "401: Unauthorized", "code": 0}, 401),
    "http403": lambda: _text("<html>no</html>", 403),
    "http404": lambda: _text("<html>no</html>", 404),
    "http500": lambda: _text("", 500),
    "http503": lambda: _text("", 503),
    "html200": lambda: _text("<html>maintenance</html>"),
    "cut": lambda: _text('{"access_token": "CANARY-access-token-'),
    "twice": lambda: _text('{"access_token": "a", "access_token": "b"}'),
    "huge": lambda: _text('{"x": "' + "x" * 70_000 + '"}'),
    "list": lambda: _text("[]"),
    "redirect": lambda: _text("", 302, Location="https://elsewhere.test/"),
}
_TOKEN: _Answers = {
    **_BROKEN,
    "grantonly": lambda: _json({"error": "invalid_grant"}, 400),
    "oldcode": lambda: _no_request('Invalid "code" in request.'),
    "oldredirect": lambda: _no_request('Invalid "redirect_uri" in request.'),
    "noverifier": lambda: _no_request('Missing "code_verifier" in request.'),
    "requestonly": lambda: _json({"error": "invalid_request"}, 400),
    "badclient": lambda: _json({"error": "invalid_client"}, 401),
    "badclient400": lambda: _json({"error": "invalid_client"}, 400),
    "noclient": lambda: _json({"error": "unauthorized_client"}, 400),
    "othererror": lambda: _json({"error": "something_of_theirs"}, 400),
    "notoken": lambda: _json({"token_type": "Bearer"}),
    "numtoken": lambda: _json({"access_token": 1}),
    "linetoken": lambda: _json({"access_token": "a\r\nX-Evil: 1"}),
}
_ME: _Answers = {f"me-{name}": answer for name, answer in _BROKEN.items()}
