"""Steam's Web API: the ticket says, as hex of ASCII, what comes of it.

`ok;id=76561198000000001;owner=...;vac=1;pub=0;identity=acme-id-test;app=480`, or in place of `ok`
one of the scenarios below. A ticket that decodes to none of it is one that Steam would not know.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.support.servers import serving

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


class SteamFake:
    """Knows one key, and one application for each ticket. `scenario` overrides every ticket's."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.scenario: str | None = None
        self.paths: list[str] = []  # with their queries
        self.asked: list[dict[str, str]] = []
        self.gate = asyncio.Event()  # what `slow` waits for
        self.arrived = asyncio.Event()
        self.on_request: Callable[[], None] = lambda: None
        self._seen: set[str] = set()

    @property
    def requests(self) -> int:
        return len(self.paths)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get(PATH, self._answer)
        return app

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async with serving(self.application()) as url:
            try:
                yield url
            finally:
                self.gate.set()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        self.asked.append(dict(request.query))
        self.on_request()
        self.arrived.set()
        if request.headers.get("x-webapi-key", request.query.get("key")) != self.key:
            return web.Response(status=403, text=_DENIED, content_type="text/html")
        if not {"appid", "ticket"} <= request.query.keys():
            return web.Response(status=400, text="Required parameter missing")
        try:
            scenario, *rest = bytes.fromhex(request.query["ticket"]).decode("ascii").split(";")
            fields = dict(one.split("=") for one in rest)
        except ValueError:
            return _error(3, "Invalid parameter")
        scenario = self.scenario or scenario
        if scenario in _SCENARIOS:
            return await _SCENARIOS[scenario](self, request)
        return self._judge(scenario, fields, request)

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
        return _json({"response": {"params": params}})

    async def slow(self, _request: web.Request) -> web.StreamResponse:
        await self.gate.wait()
        return web.Response(status=500)

    async def reset(self, request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        return web.Response()

    async def broken_off(self, request: web.Request) -> web.StreamResponse:
        """Less than was announced."""
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"response": {')
        assert request.transport
        request.transport.close()
        return response


_Scenario = Callable[[SteamFake, web.Request], Awaitable[web.StreamResponse]]


def _error(code: int, text: str) -> web.Response:
    return _json({"response": {"error": {"errorcode": code, "errordesc": text}}})


def _json(body: object) -> web.Response:
    return _text(json.dumps(body), "application/json; charset=UTF-8")


def _text(text: str, content_type: str = "application/json", **more: Any) -> web.Response:  # noqa: ANN401 - aiohttp's
    headers = {"Content-Type": content_type, **more.pop("headers", {})}
    return web.Response(body=text.encode(), headers=headers, **more)


def _always(text: str, content_type: str = "application/json", **more: Any) -> _Scenario:  # noqa: ANN401 - aiohttp's
    async def answer(_fake: SteamFake, _request: web.Request) -> web.StreamResponse:
        return _text(text, content_type, **more)

    return answer


def _status(status: int, **headers: str) -> _Scenario:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return _always("<html>no</html>", "text/html", status=status, headers=named)


_GOOD = {
    "result": "OK",
    "steamid": PLAYER,
    "ownersteamid": PLAYER,
    "vacbanned": False,
    "publisherbanned": False,
}

_SCENARIOS: dict[str, _Scenario] = {
    "slow": SteamFake.slow,
    "reset": SteamFake.reset,
    "brokenoff": SteamFake.broken_off,
    "http400": _always("Required parameter missing", "text/plain", status=400),
    "http401": _status(401),
    "http403": _status(403),
    "http404": _status(404),
    "http405": _status(405),
    "http429": _status(429),
    "http429at1": _status(429, Retry_After="1"),
    "http429soon": _status(429, Retry_After="2"),
    "http429late": _status(429, Retry_After="30"),
    "http500": _status(500),
    "http503": _status(503),
    "redirect": _status(302, Location="https://elsewhere.test/"),
    "html200": _always("<html>maintenance</html>", "text/html"),
    "cut": _always('{"response": {"params": {"result": "OK", "stea'),
    "twice": _always('{"response": {"params": {"result": "OK", "result": "OK"}}}'),
    "huge": _always('{"response": "' + "x" * 70_000 + '"}'),
    "noparams": _always('{"response": {}}'),
    "list": _always("[]"),
    "nested102": _always('{"response": {"params": {"error": {"errorcode": 102}}}}'),
    "javascript": _always(json.dumps({"response": {"params": _GOOD}}), "text/javascript"),
}
