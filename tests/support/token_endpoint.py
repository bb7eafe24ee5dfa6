"""A token endpoint under a test's control, and a service that wants its tokens; both count."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.servers import serving


@dataclass
class TokenEndpoint:
    """Issues `token-1`, `token-2` and so on. `forms` and `headers` are of the requests."""

    life: int = 900
    status: int = 200
    answer: Any = None  # instead of a token, if given
    more_headers: dict[str, str] = field(default_factory=dict)
    gate: asyncio.Event | None = None  # answers wait for it, if given
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    forms: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self.forms)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/oauth2/token", self._serve)
        async with serving(app) as url:
            yield f"{url}/oauth2/token"

    async def _serve(self, request: web.Request) -> web.Response:
        self.forms.append({name: str(value) for name, value in (await request.post()).items()})
        self.headers.append(dict(request.headers))
        token = f"token-{self.requests}"
        self.asked.set()
        if self.gate:
            await self.gate.wait()
        body = {"access_token": token, "token_type": "Bearer", "expires_in": self.life}
        answer = body if self.answer is None else self.answer
        return web.json_response(answer, status=self.status, headers=self.more_headers)


class FixedTokens:
    """A TokenSource without HTTP, as whoever signs tokens has one: `token-0`, `token-1`, ..."""

    def __init__(self) -> None:
        self.number = 0
        self.forgotten: list[str] = []
        self.asked: list[tuple[str, str]] = []

    async def token(self, audience: str, scope: str) -> str:
        self.asked.append((audience, scope))
        return f"token-{self.number}"

    def forget(self, token: str) -> None:
        self.forgotten.append(token)
        self.number += 1
