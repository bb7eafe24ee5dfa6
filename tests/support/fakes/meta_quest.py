"""Meta's Graph API for Quest: the nonce says what comes of it.

`ok;id=1234567890123456;org=...;n=1`, or in place of `ok` a scenario. A name of `_BROKEN` is the
answer to the nonce's validation, as `id-...` that to the id of the organisation; `e190` is an error
of that code, also as `id-e190`. A nonce is good once, and for one player.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from tests.support.servers import serving

PLAYER = "1234567890123456"
FRIEND = "1234567890123457"
SCOPED = "3141592653589793"
APP_ID = "2345678901234567"
ORG_ID = "9876543210"
VALIDATE_PATH = "/user_nonce_validate"


def nonce(scenario: str = "ok", **fields: str | int) -> str:
    return ";".join([scenario, *(f"{name}={value}" for name, value in fields.items())])


class MetaQuestFake:
    """Knows one app and its secret. `scenario` overrides every nonce's."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.scenario: str | None = None
        self.paths: list[str] = []  # without their queries
        self.queries: list[dict[str, str]] = []
        self.forms: list[dict[str, str]] = []
        self.gate = asyncio.Event()  # what `slow` waits for
        self._used: set[str] = set()
        self._valid: dict[str, tuple[str, dict[str, str]]] = {}  # by user id

    @property
    def validations(self) -> int:
        return len(self.forms)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post(VALIDATE_PATH, self._validate)
        app.router.add_get("/{user_id}", self._scoped_id)
        return app

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async with serving(self.application()) as url:
            try:
                yield url
            finally:
                self.gate.set()

    async def _validate(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        parsed = parse_qs(await request.text(), keep_blank_values=True, strict_parsing=True)
        form = {name: value for name, [value] in parsed.items()}
        self.forms.append(form)
        if form.get("access_token") != f"OC|{APP_ID}|{self.secret}":
            return _error(190, "Invalid OAuth access token.")
        scenario, *rest = form["nonce"].split(";")
        fields = dict(one.split("=") for one in rest)
        if form["nonce"] in self._used or fields.get("id", PLAYER) != form["user_id"]:
            return _json({"is_valid": False})
        self._used.add(form["nonce"])
        scenario = self.scenario or scenario
        self._valid[form["user_id"]] = scenario, fields
        if trouble := _trouble(scenario):
            return await self._answer(trouble, request)
        return _json({"is_valid": json.loads(fields.get("valid", "true"))})

    async def _scoped_id(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        query = dict(request.query)
        if query.pop("access_token", "") != f"OC|{APP_ID}|{self.secret}":
            return _error(190, "Invalid OAuth access token.")
        user_id = request.match_info["user_id"]
        if user_id not in self._valid or query != {"fields": "org_scoped_id"}:
            return _error(100, "Unsupported get request.")
        scenario, fields = self._valid[user_id]
        asked = self.paths.count(request.path)
        if scenario.startswith("once-"):
            scenario = scenario.replace("once-", "id-") if asked == 1 else "ok"
        if trouble := _trouble(scenario.removeprefix("id-") if scenario[:3] == "id-" else ""):
            return await self._answer(trouble, request)
        answer: dict[str, Any] = {"id": user_id, "org_scoped_id": fields.get("org", SCOPED)}
        if "wrong" in fields:
            name, value = fields["wrong"].split(":")
            answer[name] = json.loads(value)
        answer.pop(fields.get("without", ""), None)
        return _json(answer, int(fields.get("status", 200)))

    def _note(self, request: web.Request) -> None:
        self.paths.append(request.path)
        self.queries.append(dict(request.query))

    async def _answer(
        self, trouble: Callable[[], web.StreamResponse] | str, request: web.Request
    ) -> web.StreamResponse:
        if not isinstance(trouble, str):
            return trouble()
        assert request.transport
        if trouble == "slow":
            await self.gate.wait()
        if trouble == "reset":
            request.transport.abort()
            return web.Response()
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        if trouble == "brokenoff":
            await response.write(b'{"is_valid": ')
            request.transport.close()
        return response


def _trouble(scenario: str) -> Callable[[], web.StreamResponse] | str | None:
    if scenario[:1] == "e" and scenario[1:].isdigit():
        return lambda: _error(int(scenario[1:]), "Some error")
    return _BROKEN.get(scenario)


def _error(code: int, text: str) -> web.Response:
    error = {"message": text, "type": "OAuthException", "code": code, "fbtrace_id": "Axyz123"}
    return _json({"error": error}, 400)


def _json(body: object, status: int = 200) -> web.Response:
    return _text(json.dumps(body), status, "text/javascript; charset=UTF-8")


def _text(
    text: str, status: int = 200, content_type: str = "text/html", **headers: str
) -> web.Response:
    return web.Response(
        body=text.encode(), status=status, headers={"Content-Type": content_type, **headers}
    )


_BROKEN: dict[str, Callable[[], web.StreamResponse] | str] = {
    "slow": "slow",
    "reset": "reset",
    "brokenoff": "brokenoff",
    "http404": lambda: _text("<html>no</html>", 404),
    "http429": lambda: _text("", 429),
    "http503": lambda: _text("", 503),
    "html200": lambda: _text("<html>maintenance</html>"),
    "huge": lambda: _text('{"x": "' + "x" * 70_000 + '"}'),
    "list": lambda: _text("[]"),
    "empty": lambda: _text("{}"),
    "redirect": lambda: _text("", 302, Location="https://elsewhere.test/"),
    "texterror": lambda: _json({"error": "no"}, 400),
    "textcode": lambda: _json({"error": {"code": "190"}}, 400),
    "valid400": lambda: _json({"is_valid": True, "id": PLAYER, "org_scoped_id": SCOPED}, 400),
}
