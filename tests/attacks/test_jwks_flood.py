"""Floods, outages and lies about the keys: who has a good token notices none of them.

A service and its issuer over sockets, and a minute that passes on a manual clock. The minute has
10,000 hostile requests with PLAYMESH_TEST_LONG=1, and 240 otherwise: the bounds are the same.
"""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from joserfc.jwk import ECKey

from shared.auth.jwk_set import LARGEST_DOCUMENT
from shared.auth.jwks_client import JwksClient
from shared.auth.middleware import authenticate
from shared.auth.verifier import Expectations, TokenVerifier
from shared.http.app import new_app
from shared.http.client import Document, fetch, new_session
from tests.support import figures
from tests.support.clock import ManualClock
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, ec_key
from tests.support.long import LONG
from tests.support.servers import serving

HOSTILE = 10_000 if LONG else 240
AT_ONCE = 8

TTL = 300.0
HARD_LIMIT = 4 * 3600.0
MOST_FETCHES_A_MINUTE = 3
MOST_ATTEMPTS_A_MINUTE = 8
MOST_WAITING = 64

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Origin:
    """Serves the issuer's set, until told to answer otherwise or to listen no longer."""

    def __init__(self, issuer: Issuer) -> None:
        self.answer: Answer | None = None
        self.gate = asyncio.Event()  # who waits for it hangs
        self.issuer = issuer
        self._server = contextlib.AsyncExitStack()

    async def start(self) -> str:
        """The URL of the set."""
        app = web.Application()
        app.router.add_get("/jwks.json", self._serve)
        return f"{await self._server.enter_async_context(serving(app))}/jwks.json"

    async def stop(self) -> None:
        self.gate.set()
        await self._server.aclose()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.answer:
            return await self.answer(request)
        return web.Response(body=self.issuer.jwk_set())


class Attacked:
    """A service that trusts the issuer, and what attackers and players ask of it."""

    def __init__(self, issuer: Issuer, clock: ManualClock, session: aiohttp.ClientSession) -> None:
        self.issuer = issuer
        self.clock = clock
        self.origin = Origin(issuer)
        self.client = JwksClient(self._fetch, ttl=TTL, clock=clock)
        self.attempts = 0
        self._session = session
        self._jwks_url = ""
        self._remembered = issuer.token()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Attacked"]:
        self._jwks_url = await self.origin.start()
        anonymous = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        async with serving(self.app()) as self.url, anonymous as self.http:
            yield self
        await self.origin.stop()

    def app(self, *outer: Middleware, most_under_way: int = 256) -> web.Application:
        async def hello(_request: web.Request) -> web.Response:
            return web.Response()

        app = new_app(largest_body=1000, most_under_way=most_under_way)
        app.router.add_get("/hello", hello)
        expectations = Expectations(
            issuer=ISSUER,
            player_audience=AUDIENCE,
            service_audience=None,
            longest_lifetime=timedelta(seconds=900),
        )
        verifier = TokenVerifier(self.client, expectations, self.clock)
        app.middlewares.extend((*outer, authenticate(verifier)))
        return app

    async def get(self, token: str, url: str | None = None) -> int:
        """The status; a 503 must say when to come again."""
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.get(f"{url or self.url}/hello", headers=headers) as response:
            assert response.status != 503 or int(response.headers["Retry-After"]) >= 1
            return response.status

    async def warm(self) -> None:
        """The set is there, and a token is remembered."""
        assert await self.get(self._remembered) == 200
        self.attempts = 0

    async def players(self) -> set[int]:
        """What is answered to a token that was seen before and to one that was not."""
        return {await self.get(self._remembered), await self.get(self.issuer.token())}

    async def minute(self, hostile: Callable[[int], str]) -> tuple[set[int], set[int]]:
        """What is answered to a minute of hostile tokens, and to the players meanwhile."""
        refused, served = set[int](), set[int]()
        for first in range(0, HOSTILE, AT_ONCE):
            numbers = range(first, first + AT_ONCE)
            refused.update(await asyncio.gather(*(self.get(hostile(one)) for one in numbers)))
            served |= await self.players()
            self.clock.advance(60 * AT_ONCE / HOSTILE)
            await self.client.tick()
        return refused, served

    def unknown_key(self, number: int) -> str:
        return self.issuer.token({"kid": f"unknown-{number}"})

    async def _fetch(self) -> Document:
        self.attempts += 1
        return await fetch(self._session, self._jwks_url, largest=LARGEST_DOCUMENT)


@pytest.fixture
def issuer(clock: ManualClock) -> Issuer:
    """Of quick keys: thousands of tokens are signed."""
    return Issuer(clock, ec_key("key-1"))


@pytest.fixture
async def attacked(issuer: Issuer, clock: ManualClock) -> AsyncIterator[Attacked]:
    async with new_session() as session, Attacked(issuer, clock, session).running() as attacked:
        yield attacked


@pytest.fixture
async def impatient(issuer: Issuer, clock: ManualClock) -> AsyncIterator[Attacked]:
    """A fetch is given up after a twentieth of a second, in long tests after the real two."""
    quick = aiohttp.ClientTimeout(total=0.05)
    async with (
        new_session() if LONG else new_session(quick) as session,
        Attacked(issuer, clock, session).running() as attacked,
    ):
        yield attacked


# Floods


async def test_a_minute_of_unknown_key_ids_costs_three_fetches_and_no_player_anything(
    attacked: Attacked,
) -> None:
    refused, served = await attacked.minute(attacked.unknown_key)
    figures.note("unknown key ids in 60 s", requests=HOSTILE, fetches=attacked.attempts)
    assert (refused, served) == ({401}, {200})
    assert attacked.attempts <= MOST_FETCHES_A_MINUTE


async def test_a_minute_of_bad_signatures_under_a_known_key_costs_no_fetch(
    attacked: Attacked, issuer: Issuer
) -> None:
    await attacked.warm()
    forger = ec_key("key-1")
    refused, served = await attacked.minute(
        lambda number: issuer.token(key=forger, jti=f"{number}")
    )
    figures.note("bad signatures in 60 s", requests=HOSTILE, fetches=attacked.attempts)
    assert (refused, served) == ({401}, {200})
    assert attacked.attempts == 0


async def test_a_minute_of_tampered_tokens_that_were_good_costs_no_fetch(
    attacked: Attacked, issuer: Issuer
) -> None:
    await attacked.warm()
    head, payload, signature = issuer.token().split(".")
    refused, served = await attacked.minute(
        lambda number: f"{head}.{payload}.{number:05}{signature[5:]}"
    )
    assert (refused, served) == ({401}, {200})
    assert attacked.attempts == 0


# A key that is taken back


async def test_a_remembered_token_falls_with_its_key(
    attacked: Attacked, issuer: Issuer, clock: ManualClock
) -> None:
    await attacked.warm()
    issuer.published = [ec_key("key-2")]
    clock.advance(TTL)
    await attacked.client.tick()
    assert await attacked.players() == {401}


# Outages


async def refused_connections(origin: Origin) -> None:
    await origin.stop()


async def errors_503(origin: Origin) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=503)

    origin.answer = answer


async def hanging(origin: Origin) -> None:
    async def answer(_request: web.Request) -> web.Response:
        await origin.gate.wait()
        return web.Response(body=origin.issuer.jwk_set())

    origin.answer = answer


async def web_pages(origin: Origin) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="<html>Sign in</html>", content_type="text/html")

    origin.answer = answer


outages = pytest.mark.parametrize("fail", [refused_connections, errors_503, hanging, web_pages])
Fail = Callable[[Origin], Awaitable[None]]


@outages
async def test_in_an_outage_a_flood_costs_eight_attempts_a_minute_and_no_player_anything(
    impatient: Attacked, fail: Fail
) -> None:
    await impatient.warm()
    await fail(impatient.origin)
    impatient.clock.advance(TTL)
    refused, served = await impatient.minute(impatient.unknown_key)
    what = f"unknown key ids in 60 s, issuer down ({fail.__name__})"
    figures.note(what, requests=HOSTILE, attempts=impatient.attempts)
    assert served == {200}
    assert refused <= {401, 503}
    assert 0 < impatient.attempts <= MOST_ATTEMPTS_A_MINUTE


@outages
async def test_an_outage_is_survived_for_four_hours_and_no_longer(
    impatient: Attacked, issuer: Issuer, clock: ManualClock, fail: Fail
) -> None:
    await impatient.warm()
    await fail(impatient.origin)
    for _ in range(4):
        clock.advance(HARD_LIMIT / 4 - 1)
        await impatient.client.tick()
        assert await impatient.get(issuer.token()) == 200
    clock.advance(4)
    assert await impatient.get(issuer.token()) == 503
    assert impatient.client.not_ready()


@outages
@pytest.mark.parametrize("requests", [60, HOSTILE])
async def test_a_cold_start_in_an_outage_is_503_with_eight_attempts_a_minute_at_any_rate(
    impatient: Attacked, issuer: Issuer, clock: ManualClock, fail: Fail, requests: int
) -> None:
    await fail(impatient.origin)
    for _ in range(requests):
        assert await impatient.get(issuer.token()) == 503
        assert impatient.client.not_ready()
        clock.advance(60 / requests)
        await impatient.client.tick()
    assert 0 < impatient.attempts <= MOST_ATTEMPTS_A_MINUTE


async def test_while_the_issuer_hangs_those_who_wait_for_it_leave_room_for_the_players(
    attacked: Attacked, clock: ManualClock
) -> None:
    await attacked.warm()
    await hanging(attacked.origin)
    clock.advance(30)
    crowd = [asyncio.create_task(attacked.get(attacked.unknown_key(one))) for one in range(300)]
    answers = asyncio.as_completed(crowd)
    assert {await next(answers) for _ in range(300 - MOST_WAITING)} == {503}
    assert await attacked.players() == {200}
    attacked.origin.gate.set()
    assert {await one for one in answers} == {401}
    assert attacked.attempts == 1


# Stampedes


async def test_a_thousand_first_requests_at_once_cost_one_fetch(
    attacked: Attacked, issuer: Issuer
) -> None:
    token = issuer.token()
    async with serving(attacked.app(most_under_way=1000)) as url:
        statuses = await asyncio.gather(*(attacked.get(token, url) for _ in range(1000)))
    assert set(statuses) == {200}
    assert attacked.attempts == 1


async def test_a_first_client_that_hangs_up_does_not_fail_the_others(
    attacked: Attacked, issuer: Issuer
) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        arrived.set()
        try:
            return await handler(request)
        except asyncio.CancelledError:
            left.set()
            raise

    await hanging(attacked.origin)
    runner = web.AppRunner(attacked.app(watch), access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    first = asyncio.create_task(attacked.get(issuer.token(), url))
    await arrived.wait()
    others = [asyncio.create_task(attacked.get(issuer.token(), url)) for _ in range(20)]
    first.cancel()
    await left.wait()
    attacked.origin.gate.set()
    assert set(await asyncio.gather(*others)) == {200}
    await runner.cleanup()
    assert attacked.attempts == 1


# Lies


def public(key: ECKey) -> dict[str, object]:
    return dict(key.as_dict(private=False))


def document(*entries: dict[str, object], padding: int = 0) -> bytes:
    return json.dumps({"keys": entries}).encode() + b" " * padding


def sending(body: bytes, **headers: str) -> Callable[[Origin], Answer]:
    def lie(_origin: Origin) -> Answer:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(body=body, headers=headers)

        return answer

    return lie


def redirecting(_origin: Origin) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        if request.query:
            return web.Response(body=document(public(INTRUDER)))
        raise web.HTTPFound("/jwks.json?again")

    return answer


def dripping(_origin: Origin) -> Answer:
    """A byte now and then: each comes in time, all of them never do."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for byte in document(public(INTRUDER)):
                await response.write(bytes((byte,)))
                await asyncio.sleep(0.02)
        return response

    return answer


INTRUDER = ec_key("intruder")
LIES = {
    "no keys": sending(document()),
    "a web page": sending(b"<html>Sign in</html>"),
    "an empty answer": sending(b""),
    "more than 64 KiB": sending(document(public(INTRUDER), padding=LARGEST_DOCUMENT)),
    "one key id twice": sending(
        document(public(INTRUDER), public(ec_key("twice")), public(ec_key("twice")))
    ),
    "the key id of a known key twice": sending(
        document(public(INTRUDER), public(ec_key("key-1")), public(ec_key("key-1")))
    ),
    "a private key": sending(document(public(INTRUDER), dict(ec_key("own").as_dict(private=True)))),
    "a secret key": sending(document(public(INTRUDER), {"kty": "oct", "kid": "k", "k": "AAAA"})),
    "an unasked encoding": sending(
        gzip.compress(document(public(INTRUDER))), **{"Content-Encoding": "gzip"}
    ),
    "a member twice": sending(document(public(INTRUDER)).replace(b"{", b'{"keys": [], ', 1)),
    "a redirect": redirecting,
    "a drip": dripping,
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_about_the_keys_replaces_nothing(
    impatient: Attacked, issuer: Issuer, clock: ManualClock, lie: str
) -> None:
    await impatient.warm()
    impatient.origin.answer = LIES[lie](impatient.origin)
    for _ in range(3):
        clock.advance(TTL)
        await impatient.client.tick()
        assert await impatient.players() == {200}
        assert await impatient.get(issuer.token(key=INTRUDER)) == 503
    assert impatient.attempts == 3
    impatient.origin.answer = None
    clock.advance(30)
    assert await impatient.get(issuer.token(key=INTRUDER)) == 401
    assert impatient.attempts == 4


async def test_an_intruder_s_key_would_be_taken_from_an_honest_document(
    attacked: Attacked, issuer: Issuer
) -> None:
    """What the lies above would have to bring in."""
    attacked.origin.answer = sending(document(public(INTRUDER)))(attacked.origin)
    assert await attacked.get(issuer.token(key=INTRUDER)) == 200
