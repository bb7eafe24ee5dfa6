"""The issuer's keys are fetched seldom, and trouble at the issuer is not ours."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from joserfc.jwk import RSAKey
from prometheus_client import REGISTRY

from shared import errors
from shared.auth.jwk_set import LARGEST_DOCUMENT
from shared.auth.jwks_client import Fetch, JwksClient
from shared.clock import SystemClock
from shared.http.client import Document, fetch, is_tamper_proof, new_session
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer, ec_key
from tests.support.servers import serving

TTL = 300.0
HARD_LIMIT = 4 * 3600.0
PAUSES = [1, 3, 10, 10, 10, 10]  # seconds at most, a twentieth less at least
MOST_WAITING = 64
MOST_ATTEMPTS_A_MINUTE = 8
MOST_FETCHES_A_MINUTE = 3  # the first one, and one for each half minute


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with new_session() as session:
        yield session


@pytest.fixture
async def fetch_set(issuer: Issuer, session: aiohttp.ClientSession) -> AsyncIterator[Fetch]:
    async with issuer.serving() as url:
        yield lambda: fetch(session, url, largest=LARGEST_DOCUMENT)


@pytest.fixture
def client(fetch_set: Fetch, clock: ManualClock) -> JwksClient:
    return JwksClient(fetch_set, ttl=TTL, clock=clock)


@pytest.fixture
async def warm(client: JwksClient) -> JwksClient:
    """A client that has seen a good set."""
    assert await client.refresh("initial")
    return client


async def is_unavailable(client: JwksClient, key_id: str = "key-1") -> bool:
    try:
        await client.key(key_id)
    except errors.Unavailable:
        return True
    return False


# The plain case


async def test_a_key_is_fetched_when_it_is_first_asked_for(
    client: JwksClient, issuer: Issuer
) -> None:
    key = await client.key("key-1")
    assert key is not None
    assert (key.key_id, key.algorithm) == ("key-1", "RS256")
    assert issuer.requests == 1


async def test_a_known_key_is_never_fetched_again_by_asking(
    warm: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    for _ in range(1000):
        clock.advance(10)
        assert await warm.key("key-1")
    assert issuer.requests == 1


async def test_a_key_that_the_issuer_took_back_is_gone_with_the_next_refresh(
    warm: JwksClient, issuer: Issuer
) -> None:
    issuer.published = [ec_key("key-2")]
    assert await warm.refresh()
    assert await warm.key("key-1") is None


# Many at once


async def test_a_thousand_callers_of_an_empty_client_share_one_fetch(
    client: JwksClient, issuer: Issuer
) -> None:
    keys = await asyncio.gather(*(client.key("key-1") for _ in range(1000)))
    assert all(keys)
    assert issuer.requests == 1


async def test_callers_with_unknown_ids_share_one_fetch(
    warm: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    clock.advance(30)
    unknown = [warm.key(f"unknown-{n}") for n in range(MOST_WAITING)]
    assert await asyncio.gather(*unknown) == [None] * MOST_WAITING
    assert issuer.requests == 2


async def test_of_a_thousand_callers_with_unknown_ids_few_wait_and_the_others_come_again(
    warm: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    clock.advance(30)
    issuer.gate = asyncio.Event()
    callers = [asyncio.create_task(is_unavailable(warm, f"unknown-{n}")) for n in range(1000)]
    refused, waiting = await asyncio.wait(callers, return_when=asyncio.FIRST_COMPLETED)
    assert (len(refused), len(waiting)) == (1000 - MOST_WAITING, MOST_WAITING)
    assert all(one.result() for one in refused)
    assert await warm.key("key-1")
    issuer.gate.set()
    assert not any(await asyncio.gather(*waiting))
    assert issuer.requests == 2
    assert not await is_unavailable(warm, "unknown")  # nobody waits any more


async def test_a_thousand_callers_of_an_issuer_that_is_down_share_one_failure(
    client: JwksClient, issuer: Issuer
) -> None:
    issuer.status = 503
    assert all(await asyncio.gather(*(is_unavailable(client) for _ in range(1000))))
    assert issuer.requests == 1


async def test_cancelling_the_first_caller_does_not_fail_the_others(
    issuer: Issuer, fetch_set: Fetch, clock: ManualClock
) -> None:
    issuer.gate, started = asyncio.Event(), asyncio.Event()

    async def fetch_and_tell() -> Document:
        started.set()
        return await fetch_set()

    client = JwksClient(fetch_and_tell, ttl=TTL, clock=clock)
    first, *others = [asyncio.create_task(client.key("key-1")) for _ in range(10)]
    await started.wait()
    first.cancel()
    issuer.gate.set()
    assert all(await asyncio.gather(*others))
    assert issuer.requests == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_nobody_waits_for_a_refresh_to_use_a_known_key(
    warm: JwksClient, issuer: Issuer
) -> None:
    issuer.gate = asyncio.Event()
    refreshing = asyncio.create_task(warm.refresh())
    assert await warm.key("key-1")
    assert not refreshing.done()
    issuer.gate.set()
    assert await refreshing


# Unknown ids


async def test_a_new_key_is_found_by_its_first_token_after_the_cool_down(
    warm: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.published.append(ec_key("key-2"))
    clock.advance(29.9)
    assert await warm.key("key-2") is None
    clock.advance(0.1)
    assert await warm.key("key-2")


async def test_ten_thousand_unknown_ids_in_a_minute_cause_three_fetches(
    client: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    for number in range(10_000):
        assert await client.key(f"unknown-{number}") is None
        clock.advance(0.006)
    assert issuer.requests <= MOST_FETCHES_A_MINUTE
    assert await client.key("key-1")


async def test_the_cool_down_holds_from_any_fetch_whatever_it_was_for(
    warm: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    clock.advance(60)
    await warm.refresh("ttl")
    clock.advance(29)
    assert await warm.key("unknown") is None
    assert issuer.requests == 2


@pytest.mark.parametrize(
    "key_id",
    ["", "../../dev/null", "' OR 1=1--", "|sleep 10", "a\x00", "a\nb", "é", "x" * 10_000],
)
async def test_an_id_of_another_form_is_unknown_without_a_fetch(
    client: JwksClient, issuer: Issuer, key_id: str
) -> None:
    assert await client.key(key_id) is None
    assert issuer.requests == 0


# The issuer in trouble


async def test_an_issuer_that_was_never_reached_is_unavailable_not_an_unknown_key(
    client: JwksClient, issuer: Issuer
) -> None:
    issuer.status = 503
    with pytest.raises(errors.Unavailable):
        await client.key("key-1")


async def test_an_issuer_that_is_down_is_asked_at_growing_intervals(
    client: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.status = 503
    for attempt, pause in enumerate(PAUSES, start=1):
        assert await is_unavailable(client)
        assert issuer.requests == attempt
        assert 0.5 * pause <= client.delay() <= pause
        clock.advance(client.delay() - 0.001)
        assert await is_unavailable(client)
        assert issuer.requests == attempt
        clock.advance(0.001)


async def test_whoever_asks_and_however_often_a_minute_of_failures_has_eight_attempts(
    clock: ManualClock,
) -> None:
    attempts = 0

    async def fetch_set() -> Document:
        nonlocal attempts
        attempts += 1
        raise errors.Unavailable

    for _ in range(50):
        client, attempts = JwksClient(fetch_set, ttl=TTL, clock=clock), 0
        for _ in range(600):
            await client.tick()
            assert await is_unavailable(client)
            clock.advance(0.1)
        assert 6 <= attempts <= MOST_ATTEMPTS_A_MINUTE


async def test_the_pauses_of_a_fleet_are_not_the_same(clock: ManualClock) -> None:
    async def fetch_set() -> Document:
        raise errors.Unavailable

    fleet = [JwksClient(fetch_set, ttl=TTL, clock=clock) for _ in range(100)]
    for client in fleet:
        assert not await client.refresh()
    pauses = [client.delay() for client in fleet]
    assert min(pauses) < 0.97
    assert max(pauses) > 0.98


async def test_who_is_refused_hears_when_the_issuer_is_asked_again(
    client: JwksClient, issuer: Issuer
) -> None:
    issuer.status = 503
    for pause in PAUSES:
        await client.refresh()
        with pytest.raises(errors.Unavailable) as refused:
            await client.key("key-1")
        assert 0.5 * pause <= refused.value.retry_after <= pause


async def test_a_caller_waits_for_one_fetch_at_most(clock: ManualClock) -> None:
    attempts = 0

    async def fetch_set() -> Document:
        nonlocal attempts
        attempts += 1
        clock.advance(60)  # so slow that the next attempt is due at once
        raise errors.Unavailable

    assert await is_unavailable(JwksClient(fetch_set, ttl=TTL, clock=clock))
    assert attempts == 1


async def test_an_issuer_that_is_down_costs_known_keys_nothing_and_few_attempts(
    warm: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.status = 503
    for number in range(10_000):
        await warm.tick()
        await is_unavailable(warm, f"unknown-{number}")
        assert await warm.key("key-1")
        clock.advance(0.006)
    assert issuer.requests <= 1 + MOST_ATTEMPTS_A_MINUTE


async def test_whether_a_key_exists_cannot_be_known_while_the_issuer_is_down(
    warm: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.status = 503
    assert await warm.key("key-2") is None  # the set has just come without it
    clock.advance(30)
    assert await is_unavailable(warm, "key-2")
    issuer.status = 200
    clock.advance(1)
    assert await warm.key("key-2") is None


async def test_an_issuer_that_comes_back_is_found_at_the_next_attempt(
    client: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.status = 503
    assert await is_unavailable(client)
    issuer.status = 200
    clock.advance(0.4)
    assert await is_unavailable(client)
    clock.advance(0.6)
    assert not await is_unavailable(client)


async def test_a_set_that_comes_again_as_it_was_has_the_same_keys(
    client: JwksClient, issuer: Issuer
) -> None:
    """By which a verifier knows the tokens that it has verified."""
    await client.refresh()
    key = await client.key("key-1")

    assert await client.refresh()
    assert await client.key("key-1") is key

    issuer.published.append(ec_key("key-2"))
    await client.refresh()
    assert await client.key("key-2")


async def test_after_a_success_the_pauses_begin_anew(
    client: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.status = 503
    for _ in range(5):
        assert not await client.refresh()
    issuer.status = 200
    assert await client.refresh()
    issuer.status = 503
    assert not await client.refresh()
    assert client.delay() <= 1
    assert clock.monotonic() == 1000.0


def large() -> bytes:
    return b" " * (LARGEST_DOCUMENT + 1)


@pytest.mark.parametrize("status", [201, 204, 301, 304, 400, 401, 403, 404, 429, 500, 502, 503])
async def test_an_answer_that_is_not_200_does_not_replace_a_good_set(
    warm: JwksClient, issuer: Issuer, status: int
) -> None:
    issuer.published = [ec_key("key-2")]
    issuer.status = status
    assert not await warm.refresh()
    assert await warm.key("key-1")


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"keys": []}', id="no keys"),
        pytest.param(b"{}", id="no list"),
        pytest.param(b"<html>Sign in</html>", id="html"),
        pytest.param(b'{"keys": [', id="broken off"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(large(), id="too large"),
        pytest.param(b'{"keys": [{"kty": "oct", "kid": "a", "k": "AAAA"}]}', id="secret"),
        pytest.param(b'{"keys": [{"kid": "a"}, {"kid": "a"}]}', id="one id twice"),
    ],
)
async def test_a_bad_document_does_not_replace_a_good_set(
    warm: JwksClient, issuer: Issuer, document: bytes
) -> None:
    issuer.document = document
    assert not await warm.refresh()
    assert await warm.key("key-1")


async def test_a_published_private_key_does_not_replace_a_good_set(
    warm: JwksClient, issuer: Issuer, signing_key: RSAKey
) -> None:
    issuer.document = issuer.jwk_set().replace(
        b'"kty"', b'"d": "%b", "kty"' % str(signing_key.as_dict(private=True)["d"]).encode()
    )
    assert not await warm.refresh()
    assert await warm.key("key-1")


async def test_a_redirect_is_not_followed(
    issuer: Issuer, session: aiohttp.ClientSession, clock: ManualClock
) -> None:
    async with issuer.serving() as target:

        async def redirect(_request: web.Request) -> web.Response:
            raise web.HTTPFound(target)

        app = web.Application()
        app.router.add_get("/jwks.json", redirect)
        async with serving(app) as url:
            client = JwksClient(
                lambda: fetch(session, f"{url}/jwks.json", largest=LARGEST_DOCUMENT),
                ttl=TTL,
                clock=clock,
            )
            assert await is_unavailable(client)
    assert issuer.requests == 0


async def test_an_answer_without_an_end_is_read_no_further_than_allowed(
    session: aiohttp.ClientSession,
) -> None:
    async def pour(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b" " * 1000)
        return response

    app = web.Application()
    app.router.add_get("/", pour)
    async with serving(app) as url:
        with pytest.raises(errors.Unavailable, match="more than 2000 bytes"):
            await fetch(session, url, largest=2000)


async def test_an_issuer_that_hangs_is_given_up(issuer: Issuer, clock: ManualClock) -> None:
    issuer.gate = asyncio.Event()
    timeout = aiohttp.ClientTimeout(total=0.05)
    async with issuer.serving() as url, new_session(timeout) as impatient:
        client = JwksClient(
            lambda: fetch(impatient, url, largest=LARGEST_DOCUMENT), ttl=TTL, clock=clock
        )
        async with asyncio.timeout(2):
            assert await is_unavailable(client)
        issuer.gate.set()


def test_no_fetch_takes_longer_than_two_seconds() -> None:
    timeout = asyncio.run(_timeout_of_new_session())
    assert (timeout.total, timeout.connect) == (2, 1)


async def _timeout_of_new_session() -> aiohttp.ClientTimeout:
    async with new_session() as session:
        return session.timeout


async def test_an_issuer_that_nobody_listens_for_is_unavailable(
    issuer: Issuer, session: aiohttp.ClientSession, clock: ManualClock
) -> None:
    async with issuer.serving() as url:
        pass
    client = JwksClient(lambda: fetch(session, url, largest=LARGEST_DOCUMENT), ttl=TTL, clock=clock)
    assert await is_unavailable(client)


async def test_a_bug_in_the_fetch_is_unavailable_and_backs_off_as_well(clock: ManualClock) -> None:
    attempts = 0

    async def fetch_set() -> Document:
        nonlocal attempts
        attempts += 1
        raise LookupError("a bug")

    client = JwksClient(fetch_set, ttl=TTL, clock=clock)
    assert [await is_unavailable(client) for _ in range(10)] == [True] * 10
    assert attempts == 1
    assert client.delay() > 0


# Age


async def test_a_set_is_trusted_for_four_hours_without_the_issuer_and_no_longer(
    warm: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.status = 503
    clock.advance(HARD_LIMIT - 0.1)
    assert await warm.key("key-1")
    clock.advance(0.1)
    assert await is_unavailable(warm)


async def test_a_set_that_became_too_old_is_fetched_by_the_next_request(
    warm: JwksClient, clock: ManualClock
) -> None:
    clock.advance(HARD_LIMIT)
    assert await warm.key("key-1")


async def test_a_failed_refresh_does_not_make_the_set_younger(
    warm: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.status = 503
    clock.advance(HARD_LIMIT - 60)
    assert not await warm.refresh()
    clock.advance(60)
    assert await is_unavailable(warm)


async def test_a_client_is_ready_once_it_has_seen_a_set(client: JwksClient) -> None:
    assert client.not_ready() == "no JWK Set has been fetched yet"
    await client.refresh()
    assert client.not_ready() is None


async def test_a_client_stays_ready_while_the_issuer_is_down(
    warm: JwksClient, issuer: Issuer
) -> None:
    issuer.status = 503
    await warm.refresh()
    assert warm.not_ready() is None


async def test_the_next_refresh_is_due_before_the_set_is_old(
    warm: JwksClient, clock: ManualClock
) -> None:
    delays = []
    for _ in range(100):
        assert await warm.refresh()
        delays.append(warm.delay())
    assert all(0.72 * TTL <= delay <= 0.88 * TTL for delay in delays)
    assert min(delays) < 0.78 * TTL < 0.82 * TTL < max(delays)
    clock.advance(TTL)
    assert warm.delay() == 0


async def test_a_refresh_that_a_request_has_made_is_not_made_again(
    warm: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    clock.advance(TTL)
    assert await warm.key("unknown") is None
    await warm.tick()
    assert issuer.requests == 2


async def test_a_set_is_as_old_as_the_request_for_it(issuer: Issuer, clock: ManualClock) -> None:
    async def fetch_set() -> Document:
        document = Document(issuer.jwk_set(), None)
        clock.advance(2)
        return document

    client = JwksClient(fetch_set, ttl=TTL, clock=clock)
    assert await client.refresh()
    assert client.age() == 2


# In the background


async def test_while_it_runs_the_set_is_fetched_without_being_asked_for(
    issuer: Issuer, fetch_set: Fetch, clock: ManualClock
) -> None:
    fetched = asyncio.Event()

    async def fetch_and_tell() -> Document:
        document = await fetch_set()
        fetched.set()
        return document

    client = JwksClient(fetch_and_tell, ttl=TTL, clock=clock)
    async with client.running():
        await fetched.wait()
        assert await client.key("key-1")
    assert issuer.requests == 1


async def test_while_it_runs_the_set_follows_the_issuer_without_being_asked_for(
    issuer: Issuer, fetch_set: Fetch
) -> None:
    fetched: asyncio.Queue[None] = asyncio.Queue()

    async def fetch_and_tell() -> Document:
        fetched.put_nowait(None)
        return await fetch_set()

    client = JwksClient(fetch_and_tell, ttl=0.01, clock=SystemClock())
    async with client.running():
        assert await client.key("key-1")
        issuer.published = [ec_key("key-2")]
        for _ in range(3):  # the second begins after the change, and has ended at the third
            await fetched.get()
        assert await client.key("key-2")
        assert await client.key("key-1") is None


async def test_it_stops_although_a_fetch_is_under_way(
    issuer: Issuer, fetch_set: Fetch, clock: ManualClock
) -> None:
    started = asyncio.Event()

    async def fetch_and_tell() -> Document:
        started.set()
        return await fetch_set()

    client = JwksClient(fetch_and_tell, ttl=TTL, clock=clock)
    async with asyncio.timeout(1):
        async with client.running():
            issuer.gate = asyncio.Event()
            started.clear()
            refresh = asyncio.create_task(client.refresh())
            await started.wait()
    issuer.gate.set()
    assert not await refresh


@pytest.mark.parametrize(
    ("max_age", "ttl"),
    [(None, TTL), (10 * TTL, TTL), (60.0, 60), (1.0, 1), (0.0, 1)],
    ids=["not said", "longer", "shorter", "a second", "not at all"],
)
async def test_a_set_is_kept_no_longer_than_the_issuer_says(
    issuer: Issuer, clock: ManualClock, max_age: float | None, ttl: float
) -> None:
    async def fetch_set() -> Document:
        return Document(issuer.jwk_set(), max_age)

    client = JwksClient(fetch_set, ttl=TTL, clock=clock)
    await client.refresh()
    assert 0.7 * ttl < client.delay() < 0.9 * ttl


# One reply after the other


class Replies:
    """Fetches that are answered by hand, whatever has become of who made them."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[asyncio.Future[Document]] = asyncio.Queue()

    async def fetch(self) -> Document:
        reply: asyncio.Future[Document] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait(reply)
        return await asyncio.shield(reply)


async def test_there_is_no_second_fetch_that_a_late_reply_could_cross(
    issuer: Issuer, clock: ManualClock
) -> None:
    replies = Replies()
    client = JwksClient(replies.fetch, ttl=TTL, clock=clock)
    first = asyncio.create_task(client.refresh())
    reply = await replies.asked.get()
    second = asyncio.create_task(client.refresh())
    looking_up = asyncio.create_task(client.key("key-1"))
    first.cancel()
    reply.set_result(Document(issuer.jwk_set(), None))
    assert await second
    assert await looking_up
    assert replies.asked.empty()


async def test_a_reply_to_a_cancelled_fetch_does_not_overwrite_a_newer_one(
    issuer: Issuer, clock: ManualClock
) -> None:
    replies = Replies()
    client = JwksClient(replies.fetch, ttl=TTL, clock=clock)
    async with contextlib.AsyncExitStack() as process:
        entering = asyncio.create_task(process.enter_async_context(client.running()))
        older = await replies.asked.get()
        entering.cancel()
        await asyncio.wait((entering,))
    old = Document(issuer.jwk_set(), None)
    issuer.published = [ec_key("key-2")]
    refresh = asyncio.create_task(client.refresh())
    newer = await replies.asked.get()
    newer.set_result(Document(issuer.jwk_set(), None))
    assert await refresh
    older.set_result(old)
    assert await client.key("key-2")
    assert await client.key("key-1") is None


# Behind a cache, for as long as a rotation takes

MAX_AGE = 60.0


class Cache:
    """A CDN: it answers with its copy until that is `MAX_AGE` old."""

    def __init__(self, issuer: Issuer, clock: ManualClock) -> None:
        self._issuer = issuer
        self._clock = clock
        self._copy = b""
        self._copied_at = -MAX_AGE
        self.requests = 0

    async def fetch(self) -> Document:
        self.requests += 1
        if self._clock.monotonic() - self._copied_at >= MAX_AGE:
            self._copy, self._copied_at = self._issuer.jwk_set(), self._clock.monotonic()
        return Document(self._copy, None)


class Fleet:
    """Clients behind one cache, of every phase; nobody asks them for a key."""

    def __init__(self, issuer: Issuer, clock: ManualClock) -> None:
        self.cache = Cache(issuer, clock)
        self._clock = clock
        self.clients = [JwksClient(self.cache.fetch, ttl=TTL, clock=clock) for _ in range(30)]

    async def start(self) -> None:
        """One after the other, and until their refreshes have drifted apart."""
        for number in range(int(3 * TTL)):
            await self._pass(1, self.clients[: 1 + number // 10])

    async def run(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            await self._pass(1, self.clients)

    async def _pass(self, seconds: float, clients: list[JwksClient]) -> None:
        self._clock.advance(seconds)
        for client in clients:
            await client.tick()


@pytest.fixture
async def fleet(issuer: Issuer, clock: ManualClock) -> Fleet:
    issuer.key = ec_key("key-1")  # quick to read: this many clients read it this often
    issuer.published = [issuer.key]
    fleet = Fleet(issuer, clock)
    await fleet.start()
    return fleet


async def test_a_key_that_was_taken_back_is_refused_everywhere_within_both_caches_times(
    fleet: Fleet, issuer: Issuer
) -> None:
    issuer.published = [ec_key("key-2")]
    await fleet.run(MAX_AGE + TTL)
    assert [await client.key("key-1") for client in fleet.clients] == [None] * 30


async def test_a_key_that_was_published_first_is_known_everywhere_before_it_signs(
    fleet: Fleet, issuer: Issuer
) -> None:
    issuer.published.append(ec_key("key-2"))
    await fleet.run(MAX_AGE + TTL)
    requests = fleet.cache.requests
    assert all([await client.key("key-2") for client in fleet.clients])
    assert fleet.cache.requests == requests


async def test_an_old_copy_locks_a_new_key_out_for_no_longer_than_the_cool_down(
    issuer: Issuer, clock: ManualClock
) -> None:
    cache = Cache(issuer, clock)
    client = JwksClient(cache.fetch, ttl=TTL, clock=clock)
    assert await client.refresh()
    issuer.published.append(ec_key("key-2"))
    clock.advance(MAX_AGE - 1)
    assert await client.key("key-2") is None  # the copy is older than the key
    for _ in range(30):
        assert await client.key("key-2") is None
        clock.advance(1)
    assert await client.key("key-2")


# What is measured


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"playmesh_jwks_{name}", labels) or 0.0


async def test_fetches_are_counted_by_reason_and_outcome(
    client: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    def counts() -> list[float]:
        return [
            sample("fetches_total", reason=reason, outcome=outcome)
            for reason in ("initial", "ttl", "unknown_key")
            for outcome in ("ok", "failed")
        ]

    before = counts()
    issuer.status = 503
    await is_unavailable(client)
    issuer.status = 200
    clock.advance(1)
    await client.key("key-1")
    clock.advance(TTL)
    await client.tick()
    clock.advance(30)
    await client.key("unknown")
    issuer.status = 503
    clock.advance(30)
    await is_unavailable(client, "unknown")
    added = [after - earlier for after, earlier in zip(counts(), before, strict=True)]
    assert added == [1, 1, 1, 0, 1, 1]


async def test_lookups_that_cause_no_fetch_are_counted(warm: JwksClient) -> None:
    before = sample("refused_lookups_total")
    for number in range(10):
        assert await warm.key(f"unknown-{number}") is None
    assert await warm.key("key-1")
    assert sample("refused_lookups_total") - before == 10


async def test_the_age_of_the_set_and_its_last_coming_are_shown(
    client: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.status = 503
    async with client.running():
        assert sample("age_seconds") == float("inf")
        issuer.status = 200
        clock.advance(1)
        assert await client.key("key-1")
        came_at = clock.now().timestamp()
        issuer.status = 503
        clock.advance(1000)
        await client.tick()
        assert sample("age_seconds") == 1000
        assert sample("last_success_timestamp_seconds") == came_at


# How it is asked for


async def test_cookies_are_neither_kept_nor_sent(session: aiohttp.ClientSession) -> None:
    cookies: list[str | None] = []

    async def serve_set(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "session=1"})

    app = web.Application()
    app.router.add_get("/", serve_set)
    async with serving(app) as url:
        for _ in range(2):
            await fetch(session, url, largest=1)
    assert cookies == [None, None]


async def test_no_proxy_is_taken_from_the_environment(session: aiohttp.ClientSession) -> None:
    assert not session.trust_env


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example.com/keys",
        "https://169.254.169.254/keys",  # it has no certificate for that name
        "http://127.0.0.1:8080/keys",
        "http://127.255.255.254",
        "http://[::1]:8080/keys",
        "http://localhost:8080/keys",
        "http://LOCALHOST",
    ],
)
def test_https_and_this_machine_cannot_be_tampered_with(url: str) -> None:
    assert is_tamper_proof(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.com/keys",
        "http://identity:8080/keys",
        "http://10.0.0.1/keys",
        "http://169.254.169.254/keys",
        "http://0.0.0.0/keys",
        "http://127.0.0.1.example.com/keys",
        "http://localhost.example.com/keys",
        "http://127.0.0.1@example.com/keys",
        "http://2130706433/keys",
        "https:///keys",
        "file:///keys",
        "",
    ],
)
def test_plain_http_to_another_machine_can_be_tampered_with(url: str) -> None:
    assert not is_tamper_proof(url)


async def test_how_long_and_how_often_may_be_set(
    fetch_set: Fetch, issuer: Issuer, clock: ManualClock
) -> None:
    client = JwksClient(
        fetch_set, ttl=TTL, clock=clock, shortest_ttl=200, cool_down=60, hard_limit=1000
    )
    assert await client.key("key-1")
    clock.advance(59)
    assert await client.key("unknown") is None
    assert issuer.requests == 1
    clock.advance(1)
    assert await client.key("unknown") is None
    assert issuer.requests == 2
    issuer.status = 503
    clock.advance(999)
    assert await client.key("key-1")
    clock.advance(1)
    assert await is_unavailable(client)
