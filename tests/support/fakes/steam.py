"""Steam's Web API: the ticket says, as hex of ASCII, what comes of it.

`ok;id=76561198000000001;owner=...;vac=1;pub=0;identity=acme-id-test;app=480`, or in place of `ok`
one of the scenarios below. A ticket that decodes to none of it is one that Steam would not know.
"""

from typing import Any

from aiohttp import web

from tests.support.fakes.fake import Answers, Fake, answer_json, answer_text, fields_of

PLAYER = "76561198000000001"
LENDER = "76561198000000002"
IDENTITY = "acme-id-test"
APP_ID = "480"
PATH = "/ISteamUserAuth/AuthenticateUserTicket/v1/"

_DENIED = """<html><head><title>Forbidden</title></head><body><h1>Forbidden</h1>
Access is denied. Retrying will not help. Please verify your <pre>key=</pre> parameter.
</body></html>"""


def ticket(scenario: str = "ok", **fields: str | int) -> str:
    text = ";".join([scenario, *(f"{name}={value}" for name, value in fields.items())])
    return text.encode().hex()


class SteamFake(Fake):
    """Knows one key, and one application for each ticket."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.secret = secret
        self.asked: list[dict[str, str]] = []
        self._seen: set[str] = set()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get(PATH, self._answer)
        return app

    def settings(self, url: str) -> dict[str, str]:
        return {
            "PROVIDERS": "steam",
            "STEAM_URL": url,
            "STEAM_KEY": self.secret,
            "STEAM_APP_IDS": APP_ID,
            "STEAM_IDENTITY": IDENTITY,
        }

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        self.asked.append(dict(request.query))
        if request.headers.get("x-webapi-key", request.query.get("key")) != self.secret:
            return answer_text(_DENIED, 403)
        if not {"appid", "ticket"} <= request.query.keys():
            return answer_text("Required parameter missing", 400)
        try:
            scenario, *rest = bytes.fromhex(request.query["ticket"]).decode("ascii").split(";")
            fields = fields_of(rest)
        except ValueError:
            return _error(3, "Invalid parameter")
        scenario = self.scenario or scenario
        known = await self.answer(scenario, request, _ANSWERS)
        return known or self._judge(scenario, fields, request)

    def _judge(
        self, scenario: str, fields: dict[str, str], request: web.Request
    ) -> web.StreamResponse:
        again = request.query["ticket"] in self._seen
        self._seen.add(request.query["ticket"])
        if scenario.startswith("e") and scenario != "e103once":
            return _error(int(scenario.removeprefix("e").removesuffix("forever")), "Some error")
        if scenario == "e103once" and not again:
            return _error(103, "Some error")
        if fields.get("app", APP_ID) != request.query["appid"]:
            return _error(102, "Ticket for other app")
        if fields.get("identity", IDENTITY) != request.query.get("identity"):
            return _error(101, "Invalid ticket")
        player: Any = fields.get("id", PLAYER)
        params: dict[str, Any] = {
            "result": fields.get("result", "OK"),
            "steamid": int(player) if scenario == "numid" else player,
            "ownersteamid": fields.get("owner", player),
            "vacbanned": fields.get("vac") == "1",
            "publisherbanned": fields.get("pub") == "1",
        }
        if scenario == "numowner":
            params["ownersteamid"] = int(player)
        if scenario == "textbans":
            params["vacbanned"] = "false"
        params.pop(fields.get("without", ""), None)
        return answer_json({"response": {"params": params}})


def _error(code: int, text: str) -> web.Response:
    return answer_json({"response": {"error": {"errorcode": code, "errordesc": text}}})


_GOOD = {
    "result": "OK",
    "steamid": PLAYER,
    "ownersteamid": PLAYER,
    "vacbanned": False,
    "publisherbanned": False,
}

_ANSWERS: Answers = {
    "noparams": lambda: answer_json({"response": {}}),
    "nested102": lambda: answer_json({"response": {"params": {"error": {"errorcode": 102}}}}),
    "javascript": lambda: answer_json({"response": {"params": _GOOD}}, 200, "text/javascript"),
}
