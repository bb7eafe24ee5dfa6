"""What was taken back is known in seconds; trouble at the issuer takes nothing away."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from prometheus_client import REGISTRY

from shared import errors
from shared.auth.revocations import LARGEST_DOCUMENT, MOST_MARKS, render, session_mark
from shared.auth.revocations_client import INTERVAL, OLDEST, Fetch, RevocationList
from shared.clock import SystemClock
from shared.http.client import Document, fetch, new_session
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer, revocations_beside
from tests.support.servers import serving

ENDED = session_mark("ended")
OTHER = session_mark("other")

Lines = list[MutableMapping[str, Any]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with new_session() as session:
        yield session


@pytest.fixture
async def fetch_list(issuer: Issuer, session: aiohttp.ClientSession) -> AsyncIterator[Fetch]:
    async with issuer.serving() as url:
        yield fetch_from(session, revocations_beside(url))


def fetch_from(session: aiohttp.ClientSession, url: str) -> Fetch:
    return lambda etag: fetch(session, url, largest=LARGEST_DOCUMENT, etag=etag)


@pytest.fixture
def revocations(fetch_list: Fetch, clock: ManualClock) -> RevocationList:
    return RevocationList(fetch_list, clock=clock)


@pytest.fixture
async def warm(revocations: RevocationList, issuer: Issuer) -> RevocationList:
    """One that has seen a list with `ENDED` on it."""
    issuer.revoked = {ENDED}
    await revocations.tick()
    return revocations


@pytest.fixture
def lines() -> Iterator[Lines]:
    with structlog.testing.capture_logs() as lines:
        yield lines


async def poll(revocations: RevocationList, clock: ManualClock) -> None:
    """The next fetch; it is due by then."""
    clock.advance(4)
    await revocations.tick()


# The plain case


async def test_before_the_first_list_nothing_is_refused(revocations: RevocationList) -> None:
    assert not revocations.refuses([ENDED])


async def test_any_mark_on_the_list_is_refused_and_no_other(warm: RevocationList) -> None:
    assert warm.refuses([ENDED])
    assert warm.refuses((OTHER, ENDED))
    assert not warm.refuses([OTHER])
    assert not warm.refuses([])


async def test_what_is_put_on_the_list_or_taken_off_it_counts_with_the_next_fetch(
    warm: RevocationList, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.revoked = {OTHER}
    assert warm.refuses([ENDED])
    await poll(warm, clock)
    assert warm.refuses([OTHER])
    assert not warm.refuses([ENDED])


async def test_a_list_that_has_not_changed_is_not_sent_again(
    warm: RevocationList, issuer: Issuer, clock: ManualClock
) -> None:
    for _ in range(5):
        await poll(warm, clock)
    assert (issuer.revocations_requests, issuer.revocations_unchanged) == (6, 5)
    assert warm.refuses([ENDED])


async def test_a_list_that_has_not_changed_is_as_young_as_the_request_for_it(
    warm: RevocationList, clock: ManualClock
) -> None:
    clock.advance(1000)
    assert warm.age() == 1000
    await warm.tick()
    assert warm.age() == 0


async def test_a_list_is_as_old_as_the_request_for_it(clock: ManualClock) -> None:
    async def fetch_list(_etag: str | None) -> Document | None:
        document = Document(render([ENDED]), None)
        clock.advance(2)
        return document

    revocations = RevocationList(fetch_list, clock=clock)
    await revocations.tick()
    assert revocations.age() == 2
    assert revocations.delay() <= 1.3


async def test_lists_may_come_and_go(
    warm: RevocationList, issuer: Issuer, clock: ManualClock
) -> None:
    for _ in range(10):
        for issuer.revoked in ({OTHER}, set(), {ENDED, OTHER}):
            await poll(warm, clock)
            assert warm.refuses([OTHER]) == (OTHER in issuer.revoked)
            assert warm.refuses([ENDED]) == (ENDED in issuer.revoked)


async def test_the_longest_list_is_fetched_and_used(
    revocations: RevocationList, issuer: Issuer
) -> None:
    issuer.revoked = {session_mark(str(number)) for number in range(MOST_MARKS)}
    await revocations.tick()
    assert all(revocations.refuses([mark]) for mark in issuer.revoked)


# How often


async def test_the_issuer_is_asked_every_three_seconds_give_or_take_a_tenth(
    warm: RevocationList, clock: ManualClock
) -> None:
    delays = []
    for _ in range(200):
        delays.append(warm.delay())
        await poll(warm, clock)
    assert all(2.7 <= delay <= 3.3 for delay in delays)
    assert min(delays) < 2.85
    assert max(delays) > 3.15


async def test_asking_more_often_causes_no_fetch(
    warm: RevocationList, issuer: Issuer, clock: ManualClock
) -> None:
    for _ in range(600):
        await warm.tick()
        clock.advance(0.1)
    assert 60 / 3.3 <= issuer.revocations_requests <= 60 / 2.7 + 1


async def test_an_issuer_that_is_down_is_asked_no_more_often(
    warm: RevocationList, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.revocations_status = 503
    for _ in range(600):
        await warm.tick()
        clock.advance(0.1)
    assert 60 / 3.3 <= issuer.revocations_requests <= 60 / 2.7 + 1


# Trouble at the issuer


@pytest.mark.parametrize("status", [201, 204, 301, 304, 400, 401, 404, 429, 500, 503])
async def test_an_answer_of_another_status_replaces_nothing(
    warm: RevocationList, issuer: Issuer, clock: ManualClock, status: int
) -> None:
    issuer.revoked = set()
    issuer.revocations_status = status
    await poll(warm, clock)
    assert warm.refuses([ENDED])


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answering(
    body: bytes, etag: str = '"changed"', content_type: str = "application/json"
) -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type, headers={"ETag": etag})

    return handler


async def redirecting(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/good")


async def pouring(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(b" " * 65536)
    return response


async def breaking_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"revoked":[]}')
    assert request.transport
    request.transport.close()
    return response


async def pressing(_request: web.Request) -> web.StreamResponse:
    response = web.Response(body=render([]))
    response.enable_compression(web.ContentCoding.gzip)
    return response


BAD_ANSWERS = {
    "html": answering(b"<html>Sign in</html>", content_type="text/html"),
    "empty": answering(b""),
    "wrong types": answering(b'{"revoked": [1, 2]}'),
    "no list": answering(b'{"revoked": null}'),
    "too many": answering(
        b'{"revoked": ["' + b'", "'.join([ENDED.encode()] * (MOST_MARKS + 1)) + b'"]}'
    ),
    "too large": answering(b'{"revoked": []}' + b" " * LARGEST_DOCUMENT),
    "without an end": pouring,
    "broken off": breaking_off,
    "compressed": pressing,
    "redirect": redirecting,
}


@contextlib.asynccontextmanager
async def issuing(handlers: list[Handler], session: aiohttp.ClientSession) -> AsyncIterator[Fetch]:
    """Answers of one server, one after the other."""
    answers = iter(handlers)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await next(answers)(request)

    app = web.Application()
    app.router.add_get("/revocations.json", handle)
    app.router.add_get("/good", answering(render([])))
    async with serving(app) as url:
        yield fetch_from(session, f"{url}/revocations.json")


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_a_bad_answer_replaces_nothing_and_the_next_good_one_counts(
    session: aiohttp.ClientSession, clock: ManualClock, name: str
) -> None:
    good = answering(render([ENDED]), '"1"')
    asked: list[str | None] = []
    async with issuing([good, BAD_ANSWERS[name], good], session) as fetch_list:

        async def fetch_and_tell(etag: str | None) -> Document | None:
            asked.append(etag)
            return await fetch_list(etag)

        revocations = RevocationList(fetch_and_tell, clock=clock)
        await revocations.tick()
        await poll(revocations, clock)
        assert revocations.refuses([ENDED])
        assert revocations.age() > 2
        await poll(revocations, clock)
        assert revocations.refuses([ENDED])
        assert revocations.age() == 0
    assert asked == [None, '"1"', '"1"']  # the condition is about the list in use


async def test_not_modified_without_a_list_is_no_list(
    revocations: RevocationList, issuer: Issuer
) -> None:
    issuer.revocations_status = 304
    await revocations.tick()
    assert revocations.age() == math.inf


@pytest.mark.parametrize("etag", ["", "1", '"\x80"', '"é"', '"' + "x" * 257 + '"', 'W/"', '"a b"'])
async def test_an_entity_tag_that_cannot_be_sent_is_done_without(
    session: aiohttp.ClientSession, clock: ManualClock, etag: str
) -> None:
    seen: list[str | None] = []

    async def serve_list(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("If-None-Match"))
        return web.Response(body=render([ENDED]), headers={"ETag": etag})

    async with issuing([serve_list, serve_list], session) as fetch_list:
        revocations = RevocationList(fetch_list, clock=clock)
        await revocations.tick()
        await poll(revocations, clock)
    assert seen == [None, None]
    assert revocations.age() == 0


@pytest.mark.parametrize("how", ["hangs", "drips"])
async def test_an_issuer_that_hangs_or_drips_is_given_up(clock: ManualClock, how: str) -> None:
    enough = asyncio.Event()

    async def stall(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if how == "drips":
            await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while not enough.is_set():
                if how == "drips":
                    await response.write(b" ")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(enough.wait(), 0.01)
        return response

    quick = aiohttp.ClientTimeout(total=0.1)
    good = answering(render([ENDED]))
    async with new_session(quick) as impatient, issuing([good, stall], impatient) as fetch_list:
        revocations = RevocationList(fetch_list, clock=clock)
        await revocations.tick()
        async with asyncio.timeout(2):
            await poll(revocations, clock)
        enough.set()
    assert revocations.refuses([ENDED])
    assert revocations.age() > 2


async def test_a_bug_in_the_fetch_takes_nothing_away(clock: ManualClock) -> None:
    replies: dict[str | None, Document] = {None: Document(render([ENDED]), None, '"1"')}

    async def fetch_list(etag: str | None) -> Document | None:
        return replies[etag]

    revocations = RevocationList(fetch_list, clock=clock)
    await revocations.tick()
    await poll(revocations, clock)
    assert revocations.refuses([ENDED])
    assert revocations.delay() > 2


async def test_an_hour_without_the_issuer_takes_nothing_away_and_lets_the_others_in(
    warm: RevocationList, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.revocations_status = 503
    began = clock.monotonic()
    while clock.monotonic() < began + 3600:
        await poll(warm, clock)
    assert warm.refuses([ENDED])
    assert not warm.refuses([OTHER])
    assert warm.age() >= 3600
    issuer.revocations_status = 200
    await poll(warm, clock)
    assert warm.age() == 0


# Where nobody may be let in without knowing


@pytest.fixture
def closed(fetch_list: Fetch, clock: ManualClock) -> RevocationList:
    return RevocationList(fetch_list, clock=clock, fail_closed=True)


async def test_closed_nobody_is_let_in_before_the_first_list(
    closed: RevocationList, issuer: Issuer
) -> None:
    issuer.revocations_status = 503
    await closed.tick()
    with pytest.raises(errors.Unavailable) as refused:
        closed.refuses([OTHER])
    assert refused.value.retry_after in (3, 4)
    with pytest.raises(errors.Unavailable):
        closed.refuses([])


async def test_closed_a_list_counts_for_half_a_minute_and_no_longer(
    closed: RevocationList, issuer: Issuer, clock: ManualClock
) -> None:
    await closed.tick()
    issuer.revocations_status = 503
    clock.advance(OLDEST)
    await closed.tick()
    assert not closed.refuses([OTHER])
    clock.advance(0.1)
    with pytest.raises(errors.Unavailable):
        closed.refuses([OTHER])
    issuer.revocations_status = 200
    await poll(closed, clock)
    assert not closed.refuses([OTHER])


async def test_closed_a_list_that_stays_the_same_does_not_become_too_old(
    closed: RevocationList, clock: ManualClock
) -> None:
    for _ in range(20):
        await poll(closed, clock)
        assert not closed.refuses([OTHER])
    assert clock.monotonic() > 1000 + OLDEST


def test_ten_fetches_fail_before_a_list_is_too_old() -> None:
    assert OLDEST / INTERVAL >= 10


# One reply after the other


class Replies:
    """Fetches that are answered by hand, whatever has become of who made them."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[asyncio.Future[Document | None]] = asyncio.Queue()

    async def fetch(self, _etag: str | None) -> Document | None:
        reply: asyncio.Future[Document | None] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait(reply)
        return await asyncio.shield(reply)


async def test_there_is_no_second_fetch_that_a_late_reply_could_cross(clock: ManualClock) -> None:
    replies = Replies()
    revocations = RevocationList(replies.fetch, clock=clock)
    first = asyncio.create_task(revocations.tick())
    reply = await replies.asked.get()
    clock.advance(60)  # so slow that the next one is due
    second = asyncio.create_task(revocations.tick())
    for _ in range(10):
        await asyncio.sleep(0)
    assert replies.asked.empty()
    reply.set_result(Document(render([ENDED]), None))
    (await replies.asked.get()).set_result(Document(render([OTHER]), None))
    await asyncio.gather(first, second)
    assert revocations.refuses([OTHER])
    assert not revocations.refuses([ENDED])


async def test_a_reply_to_a_cancelled_fetch_does_not_overwrite_a_newer_one(
    clock: ManualClock,
) -> None:
    replies = Replies()
    revocations = RevocationList(replies.fetch, clock=clock)
    abandoned = asyncio.create_task(revocations.tick())
    older = await replies.asked.get()
    abandoned.cancel()
    await asyncio.wait((abandoned,))
    clock.advance(4)
    current = asyncio.create_task(revocations.tick())
    (await replies.asked.get()).set_result(Document(render([ENDED]), None))
    await current
    older.set_result(Document(render([]), None))
    await asyncio.sleep(0)
    assert revocations.refuses([ENDED])


# In the background


async def test_while_it_runs_the_list_is_fetched_before_the_block_and_kept_fresh(
    issuer: Issuer, fetch_list: Fetch
) -> None:
    fetched: asyncio.Queue[None] = asyncio.Queue()

    async def fetch_and_tell(etag: str | None) -> Document | None:
        fetched.put_nowait(None)
        return await fetch_list(etag)

    issuer.revoked = {ENDED}
    revocations = RevocationList(fetch_and_tell, clock=SystemClock(), interval=0.01)
    async with revocations.running():
        assert revocations.refuses([ENDED])
        issuer.revoked = {OTHER}
        for _ in range(4):  # the third begins after the change, and has ended at the fourth
            await fetched.get()
        assert revocations.refuses([OTHER])
        assert not revocations.refuses([ENDED])


async def test_it_stops_although_a_fetch_is_under_way() -> None:
    started = asyncio.Event()
    replies = iter([Document(render([ENDED]), None)])

    async def fetch_list(_etag: str | None) -> Document | None:
        for reply in replies:
            return reply
        started.set()
        await asyncio.Event().wait()
        return None

    revocations = RevocationList(fetch_list, clock=SystemClock(), interval=0.01)
    async with asyncio.timeout(2), revocations.running():
        await started.wait()
    assert revocations.refuses([ENDED])


# What is told


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"playmesh_revocations{name}", labels) or 0.0


async def test_fetches_are_counted_by_outcome(
    revocations: RevocationList, issuer: Issuer, clock: ManualClock
) -> None:
    def counts() -> list[float]:
        outcomes = ("ok", "not_modified", "failed")
        return [sample("_fetches_total", outcome=outcome) for outcome in outcomes]

    before = counts()
    await poll(revocations, clock)
    await poll(revocations, clock)
    await poll(revocations, clock)
    issuer.revocations_status = 503
    await poll(revocations, clock)
    assert [after - earlier for after, earlier in zip(counts(), before, strict=True)] == [1, 2, 1]


async def test_the_age_of_the_list_and_its_length_are_shown(
    revocations: RevocationList, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.revocations_status = 503
    async with revocations.running():
        assert (sample("_age_seconds"), sample("")) == (math.inf, 0)
        issuer.revocations_status = 200
        issuer.revoked = {ENDED, OTHER}
        await poll(revocations, clock)
        assert (sample("_age_seconds"), sample("")) == (0, 2)
        issuer.revocations_status = 503
        clock.advance(1000)
        await revocations.tick()
        assert (sample("_age_seconds"), sample("")) == (1000, 2)


async def test_an_outage_is_told_once_and_its_end_once(
    warm: RevocationList, issuer: Issuer, clock: ManualClock, lines: Lines
) -> None:
    issuer.revocations_status = 503
    for _ in range(100):
        await poll(warm, clock)
    assert [(one["event"], one["log_level"]) for one in lines] == [
        ("revocations.fetch_failed", "warning")
    ]
    assert lines[0]["error"] == "127.0.0.1/revocations.json answered 503"
    issuer.revocations_status = 200
    for _ in range(3):
        await poll(warm, clock)
    assert [(one["event"], one["log_level"]) for one in lines[1:]] == [
        ("revocations.fetched_again", "info")
    ]


async def test_one_fetch_that_is_lost_is_no_news(
    warm: RevocationList, issuer: Issuer, clock: ManualClock, lines: Lines
) -> None:
    for issuer.revocations_status in (503, 503, 200) * 5:
        await poll(warm, clock)
    assert lines == []


async def test_a_bad_document_and_a_bug_are_told_as_what_they_are(
    clock: ManualClock, lines: Lines
) -> None:
    async def fetch_html(_etag: str | None) -> Document | None:
        return Document(b"<html>", None)

    async def fetch_wrongly(_etag: str | None) -> Document | None:
        raise LookupError("a bug")

    for fetch_list in (fetch_html, fetch_wrongly):
        revocations = RevocationList(fetch_list, clock=clock)
        for _ in range(10):
            await poll(revocations, clock)
    assert [one["log_level"] for one in lines] == ["warning", "error"]
    assert "not JSON" in lines[0]["error"]
    assert isinstance(lines[1]["exc_info"], LookupError)
