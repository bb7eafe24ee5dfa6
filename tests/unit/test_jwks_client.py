"""The issuer's keys are fetched seldom, and trouble at the issuer is not ours."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from joserfc.jwk import RSAKey

from shared import errors
from shared.auth.jwk_set import LARGEST_DOCUMENT
from shared.auth.jwks_client import Fetch, JwksClient
from shared.http.client import Document, fetch, new_session
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer, ec_key
from tests.support.servers import serving

TTL = 300.0
HARD_LIMIT = 4 * 3600.0
ATTEMPTS_AT = [0, 1, 3, 7, 15, 31, 61, 91]  # seconds: the pause doubles up to half a minute
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


async def test_a_thousand_callers_with_unknown_ids_share_one_fetch(
    warm: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    clock.advance(30)
    await asyncio.gather(*(warm.key(f"unknown-{n}") for n in range(1000)))
    assert issuer.requests == 2


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
    asked_at = []
    for second in range(100):
        before = issuer.requests
        assert await is_unavailable(client)
        if issuer.requests > before:
            asked_at.append(second)
        clock.advance(1)
    assert asked_at == ATTEMPTS_AT


async def test_an_issuer_that_is_down_costs_known_keys_nothing_and_few_attempts(
    warm: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.status = 503
    for number in range(10_000):
        assert await warm.key(f"unknown-{number}") is None
        assert await warm.key("key-1")
        clock.advance(0.006)
    assert issuer.requests <= MOST_ATTEMPTS_A_MINUTE


async def test_an_issuer_that_comes_back_is_found_at_the_next_attempt(
    client: JwksClient, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.status = 503
    assert await is_unavailable(client)
    issuer.status = 200
    clock.advance(0.9)
    assert await is_unavailable(client)
    clock.advance(0.1)
    assert not await is_unavailable(client)


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
    assert client.delay() <= 1.1
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


async def test_an_issuer_that_hangs_is_given_up(issuer: Issuer, clock: ManualClock) -> None:
    issuer.gate = asyncio.Event()
    timeout = aiohttp.ClientTimeout(total=0.05)
    async with issuer.serving() as url, aiohttp.ClientSession(timeout=timeout) as impatient:
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
    delays = [warm.delay() for _ in range(100)]
    assert all(0.72 * TTL <= delay <= 0.88 * TTL for delay in delays)
    assert len(set(delays)) > 1
    clock.advance(TTL)
    assert warm.delay() == 0


async def test_after_failures_the_next_refresh_is_due_when_the_pause_is_over(
    warm: JwksClient, issuer: Issuer
) -> None:
    issuer.status = 503
    for pause in (1, 2, 4, 8, 16, 30, 30):
        await warm.refresh()
        assert 0.9 * pause <= warm.delay() <= 1.1 * pause


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
    with pytest.raises(asyncio.CancelledError):
        await refresh


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
