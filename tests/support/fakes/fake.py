"""What the fakes of platforms share: a server, and how a call to any of them may go wrong."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping

from aiohttp import web

from tests.support.servers import serving

Answers = Mapping[str, Callable[[], web.StreamResponse]]
"""By scenario: what a platform answers whatever it is asked."""


class Fake:
    """`scenario` overrides what every credential says."""

    def __init__(self) -> None:
        self.url = ""  # while it serves
        self.scenario: str | None = None
        self.paths: list[str] = []  # with their queries
        self.gate = asyncio.Event()  # what `slow` waits for

    @property
    def requests(self) -> int:
        return len(self.paths)

    def application(self) -> web.Application:
        raise NotImplementedError

    def settings(self, url: str) -> dict[str, str]:
        """Identity's, without `PLAYMESH_` in front, to take this for the platform."""
        raise NotImplementedError

    def environ(self, url: str) -> dict[str, str]:
        return {f"PLAYMESH_{name}": value for name, value in self.settings(url).items()}

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async with serving(self.application()) as self.url:
            try:
                yield self.url
            finally:
                self.gate.set()

    async def answer(
        self, scenario: str, request: web.Request, answers: Answers
    ) -> web.StreamResponse | None:
        """The platform's own of `answers`, or of those that every platform may give: `slow`,
        `reset`, `brokenoff`, `http503`, `http429after30` (with a Retry-After) and `_ANSWERS`.

        None: the scenario says nothing of what is answered here.
        """
        if known := answers.get(scenario) or _ANSWERS.get(scenario):
            return known()
        if status := re.fullmatch(r"http(\d{3})(?:after(\d+))?", scenario):
            wait = {"Retry-After": status[2]} if status[2] else {}
            return answer_text("<html>no</html>", int(status[1]), **wait)
        assert request.transport
        match scenario:
            case "slow":
                await self.gate.wait()
                return web.Response(status=500)
            case "reset":
                request.transport.abort()
                return web.Response()
            case "brokenoff":  # less than was announced
                response = web.StreamResponse(headers={"Content-Length": "1000"})
                await response.prepare(request)
                await response.write(b'{"access_token": "')
                request.transport.close()
                return response
        return None


def fields_of(parts: list[str]) -> dict[str, str]:
    """Of a credential's `name=value`."""
    return dict(part.split("=") for part in parts)


def answer_text(
    text: str, status: int = 200, content_type: str = "text/html", **headers: str
) -> web.Response:
    headers["Content-Type"] = content_type
    return web.Response(body=text.encode(), status=status, headers=headers)


def answer_json(
    body: object, status: int = 200, content_type: str = "application/json", **headers: str
) -> web.Response:
    return answer_text(json.dumps(body), status, content_type, **headers)


_ANSWERS: Answers = {
    "html200": lambda: answer_text("<html>maintenance</html>"),
    "cut": lambda: answer_text('{"access_token": "CANARY-access-token-'),
    "twice": lambda: answer_text('{"access_token": "a", "access_token": "b"}'),
    "huge": lambda: answer_text('{"x": "' + "x" * 70_000 + '"}'),
    "list": lambda: answer_text("[]"),
    "empty": lambda: answer_text("{}"),
    "redirect": lambda: answer_text("", 302, Location="https://elsewhere.test/"),
}
