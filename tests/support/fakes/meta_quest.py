"""Meta's Graph API for Quest: the nonce says what comes of it.

`ok;id=1234567890123456;org=...;n=1`, or in place of `ok` a scenario. It is the answer to the
nonce's validation, as `id-...` that to the id of the organisation; `e190` is an error of that code,
also as `id-e190`. A nonce is good once, and for one player.
"""

import json
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from tests.support.fakes.fake import Answers, Fake, answer_json, fields_of

PLAYER = "1234567890123456"
FRIEND = "1234567890123457"
SCOPED = "3141592653589793"
APP_ID = "2345678901234567"
ORG_ID = "9876543210"
VALIDATE_PATH = "/user_nonce_validate"


def nonce(scenario: str = "ok", **fields: str | int) -> str:
    return ";".join([scenario, *(f"{name}={value}" for name, value in fields.items())])


class MetaQuestFake(Fake):
    """Knows one app and its secret. Its `paths` are without their queries."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.secret = secret
        self.queries: list[dict[str, str]] = []
        self.forms: list[dict[str, str]] = []
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

    def settings(self, url: str) -> dict[str, str]:
        return {
            "PROVIDERS": "meta_quest",
            "META_QUEST_URL": url,
            "META_QUEST_ORG_ID": ORG_ID,
            "META_QUEST_APP_ID": APP_ID,
            "META_QUEST_APP_SECRET": self.secret,
        }

    async def _validate(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        parsed = parse_qs(await request.text(), keep_blank_values=True, strict_parsing=True)
        form = {name: value for name, [value] in parsed.items()}
        self.forms.append(form)
        if form.get("access_token") != f"OC|{APP_ID}|{self.secret}":
            return _error(190, "Invalid OAuth access token.")
        scenario, *rest = form["nonce"].split(";")
        fields = fields_of(rest)
        if form["nonce"] in self._used or fields.get("id", PLAYER) != form["user_id"]:
            return _json({"is_valid": False})
        self._used.add(form["nonce"])
        scenario = self.scenario or scenario
        self._valid[form["user_id"]] = scenario, fields
        if known := await self._known(scenario, request):
            return known
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
        place, _, name = scenario.partition("-")
        if place == "id" and (known := await self._known(name, request)):
            return known
        answer: dict[str, Any] = {"id": user_id, "org_scoped_id": fields.get("org", SCOPED)}
        if "wrong" in fields:
            name, value = fields["wrong"].split(":")
            answer[name] = json.loads(value)
        answer.pop(fields.get("without", ""), None)
        return _json(answer, int(fields.get("status", 200)))

    def _note(self, request: web.Request) -> None:
        self.paths.append(request.path)
        self.queries.append(dict(request.query))

    async def _known(self, scenario: str, request: web.Request) -> web.StreamResponse | None:
        if scenario[:1] == "e" and scenario[1:].isdigit():
            return _error(int(scenario[1:]), "Some error")
        return await self.answer(scenario, request, _ANSWERS)


def _error(code: int, text: str) -> web.Response:
    error = {"message": text, "type": "OAuthException", "code": code, "fbtrace_id": "Axyz123"}
    return _json({"error": error}, 400)


def _json(body: object, status: int = 200) -> web.Response:
    return answer_json(body, status, "text/javascript; charset=UTF-8")


_ANSWERS: Answers = {
    "texterror": lambda: _json({"error": "no"}, 400),
    "textcode": lambda: _json({"error": {"code": "190"}}, 400),
    "valid400": lambda: _json({"is_valid": True, "id": PLAYER, "org_scoped_id": SCOPED}, 400),
}
