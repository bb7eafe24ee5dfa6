"""Clients of player_data that share a few records, and what they saw of each."""

import asyncio
import contextlib
import json
import random  # noqa: TID251 - seeded: what they ask for can be asked again
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from shared.ids import new_id
from tests.support.calls import bearer, call
from tests.support.linearizability import Operation
from tests.support.one_record import Answer, Ask, text
from tests.support.records import RECORDS
from tests.support.servers import Answer as Reply

History = list[Operation[Ask, Answer]]

_ATTEMPTS = 20
_METHODS = {"get": "GET", "put": "PUT", "delete": "DELETE", "merge": "PATCH"}
_PATHS = {"add": "/increment", "max": "/max"}


class Dropping:
    """Every `every`-th request is done, and its connection ends without a reply; 0: none is."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.dropped = 0
        self._requests = 0

    def prepare(self, app: web.Application) -> None:
        @web.middleware
        async def drop(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await handler(request)
            self._requests += 1
            if self.every and self._requests % self.every == 0:
                self.dropped += 1
                assert request.transport
                request.transport.abort()
            return response

        app.middlewares.insert(0, drop)


@dataclass
class Client:
    """One of many; a request with an Idempotency-Key it sends until it is answered."""

    http: aiohttp.ClientSession
    url: str
    token: str = field(repr=False)
    statuses: Counter[int] = field(default_factory=Counter)

    async def do(self, key: str, ask: Ask, *, keyed: bool) -> Operation[Ask, Answer]:
        called = time.perf_counter()
        reply = await self.send(key, ask, idempotency_key=new_id() if keyed else None)
        returned = time.perf_counter()
        if reply is None:
            return Operation(ask, called)
        return Operation(ask, called, returned, _answer(ask, reply))

    async def send(self, key: str, ask: Ask, *, idempotency_key: str | None) -> Reply | None:
        """None where there was no answer that says what has become of it."""
        path = f"{RECORDS}/shared/{key}{_PATHS.get(ask.kind, '')}"
        kind = "application/merge-patch+json" if ask.kind == "merge" else "application/json"
        return await self.request(
            _METHODS.get(ask.kind, "POST"),
            path,
            _body(ask),
            headers={**_condition(ask), "Content-Type": kind},
            idempotency_key=idempotency_key,
        )

    async def request(
        self,
        method: str,
        path: str,
        body: str | None,
        *,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None,
    ) -> Reply | None:
        """As `send`, anything."""
        everything = {"Content-Type": "application/json", **(headers or {}), **bearer(self.token)}
        if idempotency_key:
            everything["Idempotency-Key"] = idempotency_key
        for _ in range(_ATTEMPTS if idempotency_key else 1):
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                reply = await call(
                    self.http, method, self.url + path, headers=everything, data=body
                )
                self.statuses[reply.status] += 1
                if reply.status != 503:
                    return reply
        return None


async def play(
    clients: Sequence[Client], keys: Sequence[str], *, operations: int, seed: int
) -> Mapping[str, History]:
    """`operations` of all of them together, one after the other of each, by key."""
    histories: defaultdict[str, History] = defaultdict(list)
    numbers = count()

    async def turn(client: Client, rng: random.Random) -> None:
        seen: dict[str, int] = {}
        while (number := next(numbers)) < operations:
            key = rng.choice(keys)
            ask = _draw(rng, number, seen.get(key, 1))
            keyed = ask.kind != "get" and rng.random() < 0.7
            one = await client.do(key, ask, keyed=keyed)
            histories[key].append(one)
            if one.answer and one.answer.version:
                seen[key] = one.answer.version

    await asyncio.gather(
        *(turn(client, random.Random(f"{seed} {n}")) for n, client in enumerate(clients))  # noqa: S311
    )
    return histories


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[aiohttp.ClientSession]:
    """Connections as clients have them; what gets no reply is not sent again unasked."""
    async with aiohttp.ClientSession() as http:
        http._retry_connection = False
        yield http


def _draw(rng: random.Random, number: int, seen: int) -> Ask:
    conditions: list[int | str | None] = [None, None, seen, seen, "any", "none"]
    match rng.choices(["get", "put", "delete", "add", "max", "merge"], [25, 25, 8, 20, 8, 14])[0]:
        case "get":
            return Ask("get")
        case "put":
            return Ask("put", {"n": number, "by": f"{number}"}, rng.choice(conditions))
        case "delete":
            return Ask("delete", only_if=rng.choice([None, seen]))
        case "add":
            return Ask("add", rng.randrange(1, 9))
        case "max":
            return Ask("max", rng.randrange(100))
        case _:
            return Ask("merge", {"by": rng.choice([f"{number}", None])}, rng.choice([None, seen]))


def _condition(ask: Ask) -> Mapping[str, str]:
    match ask.only_if:
        case None:
            return {}
        case "none":
            return {"If-None-Match": "*"}
        case "any":
            return {"If-Match": "*"}
        case version:
            return {"If-Match": f'"{version}"'}


def _body(ask: Ask) -> str | None:
    match ask.kind:
        case "get" | "delete":
            return None
        case "add":
            return json.dumps({"by": ask.argument, "path": "/n"})
        case "max":
            return json.dumps({"value": ask.argument, "path": "/top"})
        case _:
            return json.dumps(ask.argument)


def _answer(ask: Ask, reply: Reply) -> Answer:
    if reply.status in (204, 404):
        return Answer(reply.status)
    told = reply.json()
    if reply.status == 412:
        told = told["current"]
        if told is None:
            return Answer(412)
    assert reply.status in (200, 201, 412), (ask, reply)
    return Answer(reply.status, told["version"], text(told["value"]))
