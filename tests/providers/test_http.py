"""Calls to platforms are bounded and silent, and a platform that is down is left alone."""

import asyncio
import math
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from services.identity.idempotency import Idempotency
from services.identity.nonces import Nonces
from services.identity.ports import IdempotencyStore
from services.identity.providers.breaker import CircuitBreaker
from services.identity.providers.connections import Connections, open_connections
from services.identity.providers.http import TIMEOUT, Answer, ProviderHttp
from services.identity.providers.shape import Refused, unavailable
from shared import errors
from tests.support.clock import ManualClock
from tests.support.fakes.steam import APP_ID, IDENTITY, PATH, SteamFake, ticket
from tests.support.platforms import refresh_key, seals
from tests.support.servers import serving

KEY = "CANARY-publisher-key"
PAUSE = 10
MOST_FAILURES = 5


@pytest.fixture
def fake() -> SteamFake:
    return SteamFake(KEY)


@pytest.fixture
async def http(fake: SteamFake, connections: Connections) -> AsyncIterator[ProviderHttp]:
    async with fake.serving() as url:
        yield connections.http("steam", url)


async def get(http: ProviderHttp, scenario: str = "ok") -> Answer:
    params = {"appid": APP_ID, "identity": IDENTITY, "ticket": ticket(scenario)}
    return await http.get(PATH, params=params, headers={"x-webapi-key": KEY})


async def refusal(call: Awaitable[object]) -> tuple[str, str]:
    """Code and reason."""
    with pytest.raises(Refused) as caught:
        await call
    return caught.value.error.code, caught.value.reason


def retry_after(refused: Refused) -> int:
    assert isinstance(refused.error, errors.ProviderUnavailable)
    return refused.error.retry_after


# Calls


def test_a_call_has_two_seconds_to_connect_and_five_in_all() -> None:
    assert (TIMEOUT.connect, TIMEOUT.total) == (2, 5)


@pytest.mark.parametrize(
    ("scenario", "reason", "requests"),
    [
        ("http500", "http_5xx", 2),
        ("http503", "http_5xx", 2),
        ("http429", "http_429", 2),
        ("slow", "timeout", 2),
        ("brokenoff", "connection", 2),
        ("reset", "connection", 2),
        ("redirect", "redirect", 1),
        ("html200", "no_json", 1),
        ("cut", "no_json", 1),
        ("twice", "no_json", 1),
        ("huge", "too_large", 1),
    ],
)
async def test_what_is_no_answer_is_unavailable_and_asked_twice_only_where_it_may_help(
    http: ProviderHttp, fake: SteamFake, scenario: str, reason: str, requests: int
) -> None:
    assert await refusal(get(http, scenario)) == ("provider_unavailable", reason)
    assert fake.requests == requests


@pytest.mark.parametrize(("scenario", "status"), [("http401", 401), ("http403", 403)])
async def test_a_refusal_is_answered_and_asked_once(
    http: ProviderHttp, fake: SteamFake, scenario: str, status: int
) -> None:
    assert await get(http, scenario) == Answer(status, None)
    assert fake.requests == 1


async def test_between_two_calls_there_is_a_short_pause(
    http: ProviderHttp, pauses: list[float]
) -> None:
    await refusal(get(http, "http503"))
    assert [0.2 <= pause <= 0.5 for pause in pauses] == [True]


@pytest.mark.parametrize(("scenario", "seconds"), [("http429after1", 1), ("http429after2", 2)])
async def test_a_short_wait_that_is_asked_for_is_kept(
    http: ProviderHttp, pauses: list[float], scenario: str, seconds: int
) -> None:
    await refusal(get(http, scenario))
    assert pauses == [seconds]


async def test_a_long_wait_is_the_client_s(http: ProviderHttp, fake: SteamFake) -> None:
    with pytest.raises(Refused) as caught:
        await get(http, "http429after30")
    assert retry_after(caught.value) == 30
    assert fake.requests == 1


async def test_where_nobody_listens_it_is_tried_twice(
    connections: Connections, pauses: list[float]
) -> None:
    http = connections.http("steam", "http://127.0.0.1:1")
    assert await refusal(get(http)) == ("provider_unavailable", "connection")
    assert len(pauses) == 1


async def test_a_certificate_that_does_not_hold_is_unavailable_and_shows_nothing(
    connections: Connections, fake: SteamFake
) -> None:
    async with fake.serving() as url:  # speaks no TLS
        http = connections.http("steam", url.replace("http:", "https:"))
        with pytest.raises(Refused) as caught:
            await get(http)
    text = "".join(traceback.format_exception(caught.value))
    assert [secret for secret in (KEY, ticket("ok"), "127.0.0.1") if secret in text] == []


async def test_an_answer_of_64_kib_is_taken_and_one_byte_more_is_not(
    connections: Connections,
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b'"' + b"x" * (int(request.query["size"]) - 2) + b'"')

    app = web.Application()
    app.router.add_get("/", answer)
    async with serving(app) as url:
        http = connections.http("some", url)
        assert (await http.get("/", params={"size": "65536"}, headers={})).status == 200
        too_much = http.get("/", params={"size": "65537"}, headers={})
        assert await refusal(too_much) == ("provider_unavailable", "too_large")


async def test_calls_are_counted_by_outcome(http: ProviderHttp) -> None:
    def count(outcome: str) -> float:
        labels = {"provider": "steam", "outcome": outcome}
        return REGISTRY.get_sample_value("playmesh_provider_calls_total", labels) or 0.0

    before = {outcome: count(outcome) for outcome in ("answered", "http_5xx")}
    await get(http)
    await refusal(get(http, "http503"))
    assert count("answered") == before["answered"] + 1
    assert count("http_5xx") == before["http_5xx"] + 2


async def test_an_answer_s_repr_does_not_show_what_it_says(http: ProviderHttp) -> None:
    assert "7656" not in repr(await get(http))


# What is sent once


async def post(connections: Connections, answer: Callable[[], web.Response]) -> tuple[str, int]:
    """The refusal, or nothing, and how many requests came."""
    requests = 0

    async def handle(request: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        await request.read()
        response = answer()
        if response.status == HTTPStatus.IM_A_TEAPOT:
            assert request.transport
            request.transport.abort()
        return response

    app = web.Application()
    app.router.add_post("/", handle)
    async with serving(app) as url:
        try:
            await connections.http("some", url).post_form("/", {"code": "4/0A"})
        except Refused as refused:
            return type(refused).__name__, requests
        return "", requests


@pytest.mark.parametrize(
    ("status", "refused"),
    [(200, ""), (400, ""), (401, ""), (429, "_Transient"), (503, "_Transient"), (302, "Refused")],
)
async def test_a_form_that_was_answered_is_never_sent_again(
    connections: Connections, status: int, refused: str
) -> None:
    answer = await post(connections, lambda: web.Response(status=status, body=b"{}"))
    assert answer == (refused, 1)


async def test_a_form_that_was_not_answered_is_not_sent_again_either(
    connections: Connections,
) -> None:
    assert await post(connections, lambda: web.Response(status=418)) == ("Unanswered", 1)


async def test_a_form_is_sent_again_where_nobody_listens(
    connections: Connections, pauses: list[float]
) -> None:
    http = connections.http("some", "http://127.0.0.1:1")
    assert await refusal(http.post_form("/", {})) == ("provider_unavailable", "connection")
    assert [0.2 <= pause <= 0.5 for pause in pauses] == [True]


# The breaker


@pytest.fixture
def breaker(clock: ManualClock) -> CircuitBreaker:
    return CircuitBreaker("test", clock)


def state() -> str:
    (found,) = [
        name
        for name in ("closed", "open", "half_open")
        if REGISTRY.get_sample_value(
            "playmesh_provider_breaker",
            {"provider": "test", "playmesh_provider_breaker": name},
        )
    ]
    return found


async def good() -> str:
    return "good"


async def bad() -> str:
    raise unavailable("http_5xx")


async def fails(breaker: CircuitBreaker, call: Callable[[], Awaitable[str]] = bad) -> str:
    return (await refusal(breaker.run(call)))[1]


@pytest.fixture
async def opened(breaker: CircuitBreaker) -> CircuitBreaker:
    for _ in range(MOST_FAILURES):
        assert await fails(breaker) == "http_5xx"
    return breaker


async def test_it_opens_after_five_failures_in_a_row(breaker: CircuitBreaker) -> None:
    for _ in range(MOST_FAILURES):
        assert await fails(breaker) == "http_5xx"
    assert await fails(breaker) == "breaker_open"
    assert state() == "open"


async def test_a_good_call_begins_the_count_anew(breaker: CircuitBreaker) -> None:
    for _ in range(3):
        for _ in range(MOST_FAILURES - 1):
            assert await fails(breaker) == "http_5xx"
        assert await breaker.run(good) == "good"
    assert state() == "closed"


async def test_while_it_is_open_nobody_calls_and_all_are_told_when_to_come_back(
    opened: CircuitBreaker, clock: ManualClock
) -> None:
    for passed in range(PAUSE):
        with pytest.raises(Refused) as caught:
            await opened.run(good)
        assert caught.value.error.code == "provider_unavailable"
        assert retry_after(caught.value) == PAUSE - passed
        clock.advance(1)


@pytest.mark.parametrize("passed", [0, 0.5, 9.001, 9.999])
async def test_whoever_comes_back_when_told_is_not_too_early(
    opened: CircuitBreaker, clock: ManualClock, passed: float
) -> None:
    clock.advance(passed)
    with pytest.raises(Refused) as caught:
        await opened.run(good)
    assert retry_after(caught.value) == max(1, math.ceil(PAUSE - passed))
    clock.advance(retry_after(caught.value))
    assert await opened.run(good) == "good"


async def test_a_good_probe_closes_it(opened: CircuitBreaker, clock: ManualClock) -> None:
    clock.advance(PAUSE)
    assert await opened.run(good) == "good"
    assert state() == "closed"
    assert await fails(opened) == "http_5xx"
    assert await opened.run(good) == "good"


async def test_a_failed_probe_opens_it_for_another_pause(
    opened: CircuitBreaker, clock: ManualClock
) -> None:
    clock.advance(PAUSE)
    assert await fails(opened) == "http_5xx"
    assert state() == "open"
    clock.advance(PAUSE - 1)
    assert await fails(opened, good) == "breaker_open"
    clock.advance(1)
    assert await opened.run(good) == "good"


async def test_there_is_one_probe_and_the_others_do_not_wait_for_it(
    opened: CircuitBreaker, clock: ManualClock
) -> None:
    clock.advance(PAUSE)
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "good"

    probe = asyncio.create_task(opened.run(slow))
    await asyncio.sleep(0)
    assert state() == "half_open"
    for _ in range(100):
        with pytest.raises(Refused) as caught:
            await opened.run(good)
        assert retry_after(caught.value) == 1
    gate.set()
    assert await probe == "good"
    assert await opened.run(good) == "good"


async def test_a_probe_whose_client_goes_away_gives_its_place_to_another(
    opened: CircuitBreaker, clock: ManualClock
) -> None:
    clock.advance(PAUSE)
    probe = asyncio.create_task(opened.run(asyncio.Event().wait))
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.wait([probe])
    assert await opened.run(good) == "good"


async def test_a_late_answer_to_an_earlier_call_does_not_close_it(
    breaker: CircuitBreaker,
) -> None:
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "good"

    early = asyncio.create_task(breaker.run(slow))
    await asyncio.sleep(0)
    for _ in range(MOST_FAILURES):
        await fails(breaker)
    gate.set()
    assert await early == "good"
    assert await fails(breaker, good) == "breaker_open"


async def test_late_failures_of_earlier_calls_do_not_keep_it_open_for_longer(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return await bad()

    early = [asyncio.create_task(fails(breaker, slow)) for _ in range(10)]
    await asyncio.sleep(0)
    for _ in range(MOST_FAILURES):
        await fails(breaker)
    clock.advance(PAUSE - 1)
    gate.set()
    await asyncio.gather(*early)
    clock.advance(1)
    assert await breaker.run(good) == "good"


async def test_a_bug_in_a_call_decides_nothing(opened: CircuitBreaker, clock: ManualClock) -> None:
    async def bug() -> str:
        raise ZeroDivisionError

    clock.advance(PAUSE)
    with pytest.raises(ZeroDivisionError):
        await opened.run(bug)
    assert await opened.run(good) == "good"


async def test_a_flood_meets_a_platform_that_is_down_with_few_calls(
    http: ProviderHttp, fake: SteamFake, clock: ManualClock
) -> None:
    for _ in range(6):
        outcomes = [await refusal(get(http, "http503")) for _ in range(50)]
        assert {code for code, _ in outcomes} == {"provider_unavailable"}
        clock.advance(PAUSE)
    assert fake.requests == MOST_FAILURES + 5  # and one probe for each pause


async def test_platforms_have_a_breaker_each(connections: Connections, fake: SteamFake) -> None:
    async with fake.serving() as url:
        one, other = connections.http("one", url), connections.http("other", url)
        for _ in range(MOST_FAILURES):
            await refusal(get(one, "http503"))
        assert (await refusal(get(one)))[1] == "breaker_open"
        assert (await get(other)).status == 200


async def test_no_cookie_is_kept_and_no_proxy_taken(connections: Connections) -> None:
    session = connections._session
    assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
    assert not session.trust_env


# Beside another platform


async def test_one_that_answers_slowly_leaves_connections_for_the_others(
    fake: SteamFake, store: IdempotencyStore, clock: ManualClock
) -> None:
    gate = asyncio.Event()

    async def answer_late(_request: web.Request) -> web.Response:
        await gate.wait()
        return web.json_response({})

    slow = web.Application()
    slow.router.add_get("/", answer_late)
    idempotency = Idempotency(store, refresh_key, clock)
    opened = open_connections(idempotency, Nonces(refresh_key, clock), seals(clock), clock)
    async with opened as connections, serving(slow) as slow_url, fake.serving() as url:
        one, other = connections.http("slow", slow_url), connections.http("steam", url)
        calls = [asyncio.create_task(one.get("/", params={}, headers={})) for _ in range(200)]
        try:
            assert (await asyncio.wait_for(get(other), 1)).status == 200
        finally:
            gate.set()
            await asyncio.gather(*calls, return_exceptions=True)
