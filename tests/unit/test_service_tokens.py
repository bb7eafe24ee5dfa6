"""Service tokens are asked for seldom, and a token endpoint that is away is hardly noticed."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from shared import errors
from shared.http.client import new_session
from shared.http.service_tokens import ClientSecret, ServiceTokens, TokenFile
from tests.support.clock import ManualClock
from tests.support.token_endpoint import TokenEndpoint

AUDIENCE, SCOPE = "playmesh:player_data", "player_data:read"
SECRET = ClientSecret("support desk: tier+1%é", "secret: 100%+é")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with new_session() as session:
        yield session


@pytest.fixture
def endpoint() -> TokenEndpoint:
    return TokenEndpoint()


@pytest.fixture
async def tokens(
    session: aiohttp.ClientSession, endpoint: TokenEndpoint, clock: ManualClock
) -> AsyncIterator[ServiceTokens]:
    async with endpoint.serving() as url:
        tokens = ServiceTokens(session, url, SECRET, clock=clock)
        yield tokens
        await tokens.close()


async def renewed(tokens: ServiceTokens, endpoint: TokenEndpoint) -> str:
    """The token that is at hand once what was begun is done."""
    (slot,) = tokens._slots.values()
    if slot.in_flight:
        await slot.in_flight
    requests = endpoint.requests
    token = await tokens.token(AUDIENCE, SCOPE)
    assert endpoint.requests == requests
    return token


# How it is asked for


async def test_a_token_is_asked_for_by_client_credentials(
    tokens: ServiceTokens, endpoint: TokenEndpoint
) -> None:
    assert await tokens.token(AUDIENCE, SCOPE) == "token-1"
    assert endpoint.forms == [
        {"grant_type": "client_credentials", "resource": AUDIENCE, "scope": SCOPE}
    ]
    basic = endpoint.headers[0]["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(basic) == (
        b"support+desk%3A+tier%2B1%25%C3%A9:secret%3A+100%25%2B%C3%A9"  # RFC 6749 section 2.3.1
    )


async def test_the_token_of_a_service_account_is_read_again_for_each_request(
    session: aiohttp.ClientSession, endpoint: TokenEndpoint, clock: ManualClock, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    async with endpoint.serving() as url:
        tokens = ServiceTokens(session, url, TokenFile(file), clock=clock)
        for content in ("first.assertion\n", "second.assertion\n"):
            file.write_text(content)
            await tokens.token(AUDIENCE, SCOPE)
            clock.advance(900)
    assert [form["assertion"] for form in endpoint.forms] == ["first.assertion", "second.assertion"]
    assert endpoint.forms[0]["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert "Authorization" not in endpoint.headers[0]


@pytest.mark.parametrize("content", [None, "é"])
async def test_a_token_file_that_cannot_be_read_is_unavailable(
    session: aiohttp.ClientSession, endpoint: TokenEndpoint, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "token"
    if content:
        file.write_text(content)
    async with endpoint.serving() as url:
        tokens = ServiceTokens(session, url, TokenFile(file))
        with pytest.raises(errors.Unavailable):
            await tokens.token(AUDIENCE, SCOPE)
    assert endpoint.requests == 0


@pytest.mark.parametrize("url", ["http://identity:8080/oauth2/token", "ftp://id.example.com"])
async def test_a_secret_does_not_cross_a_network_in_plain_http_unless_that_is_wanted(
    session: aiohttp.ClientSession, url: str
) -> None:
    with pytest.raises(ValueError, match="token_url must be https"):
        ServiceTokens(session, url, SECRET)
    ServiceTokens(session, url, SECRET, allow_http=True)


# How seldom


async def test_a_token_is_kept_for_its_audience_and_scope(
    tokens: ServiceTokens, endpoint: TokenEndpoint
) -> None:
    for _ in range(10):
        assert await tokens.token(AUDIENCE, SCOPE) == "token-1"
        assert await tokens.token(AUDIENCE, "other:scope") == "token-2"
        assert await tokens.token("playmesh:other", SCOPE) == "token-3"
    assert endpoint.requests == 3


async def test_a_thousand_callers_cause_one_request(
    tokens: ServiceTokens, endpoint: TokenEndpoint
) -> None:
    found = await asyncio.gather(*(tokens.token(AUDIENCE, SCOPE) for _ in range(1000)))
    assert set(found) == {"token-1"}
    assert endpoint.requests == 1


async def test_a_thousand_callers_of_a_token_that_is_due_cause_one_request_and_do_not_wait(
    tokens: ServiceTokens, endpoint: TokenEndpoint, clock: ManualClock
) -> None:
    await tokens.token(AUDIENCE, SCOPE)
    clock.advance(720)
    endpoint.gate = asyncio.Event()  # it hangs
    found = await asyncio.gather(*(tokens.token(AUDIENCE, SCOPE) for _ in range(1000)))
    assert set(found) == {"token-1"}
    endpoint.gate.set()
    assert await renewed(tokens, endpoint) == "token-2"
    assert endpoint.requests == 2


async def test_a_thousand_callers_share_one_failure(
    tokens: ServiceTokens, endpoint: TokenEndpoint
) -> None:
    endpoint.status = 503
    calls = (tokens.token(AUDIENCE, SCOPE) for _ in range(1000))
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(one, errors.Unavailable) for one in found)
    assert endpoint.requests == 1


async def test_cancelling_the_first_caller_does_not_fail_the_others(
    tokens: ServiceTokens, endpoint: TokenEndpoint
) -> None:
    endpoint.gate = asyncio.Event()
    callers = [asyncio.create_task(tokens.token(AUDIENCE, SCOPE)) for _ in range(10)]
    await endpoint.asked.wait()
    callers[0].cancel()
    endpoint.gate.set()
    assert await asyncio.gather(*callers[1:]) == ["token-1"] * 9
    assert endpoint.requests == 1


@pytest.mark.parametrize(
    ("life", "kept"),
    [(900, 720), (3600, 2880), (300, 240), (200, 140), (100, 50), (60, 30)],
)
async def test_a_token_is_renewed_ahead_of_its_end(
    tokens: ServiceTokens, endpoint: TokenEndpoint, clock: ManualClock, life: int, kept: int
) -> None:
    """After 80 % of its life or a minute before its end, but not in its first half."""
    endpoint.life = life
    await tokens.token(AUDIENCE, SCOPE)
    clock.advance(kept - 1)
    assert await tokens.token(AUDIENCE, SCOPE) == "token-1"
    assert await renewed(tokens, endpoint) == "token-1"
    clock.advance(1)
    assert await tokens.token(AUDIENCE, SCOPE) == "token-1"
    assert await renewed(tokens, endpoint) == "token-2"


async def test_a_token_is_not_used_once_it_has_expired(
    tokens: ServiceTokens, endpoint: TokenEndpoint, clock: ManualClock
) -> None:
    await tokens.token(AUDIENCE, SCOPE)
    clock.advance(900)
    assert await tokens.token(AUDIENCE, SCOPE) == "token-2"
    assert endpoint.requests == 2


async def test_the_life_of_a_token_counts_from_its_request(
    tokens: ServiceTokens, endpoint: TokenEndpoint, clock: ManualClock
) -> None:
    endpoint.gate = asyncio.Event()
    caller = asyncio.create_task(tokens.token(AUDIENCE, SCOPE))
    await endpoint.asked.wait()
    clock.advance(899)
    endpoint.gate.set()
    assert await caller == "token-1"
    clock.advance(1)
    assert await tokens.token(AUDIENCE, SCOPE) == "token-2"


# Trouble


async def test_while_identity_is_away_a_token_is_used_to_its_end(
    tokens: ServiceTokens, endpoint: TokenEndpoint, clock: ManualClock
) -> None:
    await tokens.token(AUDIENCE, SCOPE)
    endpoint.status = 503
    clock.advance(720)
    for _ in range(179):
        assert await tokens.token(AUDIENCE, SCOPE) == "token-1"
        assert await renewed(tokens, endpoint) == "token-1"
        clock.advance(1)
    clock.advance(1)
    with pytest.raises(errors.Unavailable):
        await tokens.token(AUDIENCE, SCOPE)
    assert endpoint.requests <= 181  # one a second
    endpoint.status = 200
    clock.advance(1)
    assert (await tokens.token(AUDIENCE, SCOPE)).startswith("token-")


async def test_what_identity_says_about_when_to_come_again_is_handed_on_and_kept(
    tokens: ServiceTokens, endpoint: TokenEndpoint, clock: ManualClock
) -> None:
    endpoint.status, endpoint.more_headers = 503, {"Retry-After": "7"}
    for remaining in range(7, 0, -1):
        with pytest.raises(errors.Unavailable) as caught:
            await tokens.token(AUDIENCE, SCOPE)
        assert caught.value.retry_after == remaining
        assert endpoint.requests == 1
        clock.advance(1)
    endpoint.status = 200
    assert await tokens.token(AUDIENCE, SCOPE) == "token-2"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 1),
        ("0.5", 1),
        ("7.25", 8),
        ("60", 60),
        ("86400", 60),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 1),
        ("-1", 1),
        (".5", 1),
        ("1e9", 1),
    ],
)
async def test_a_pause_is_a_second_at_least_and_a_minute_at_most(
    tokens: ServiceTokens, endpoint: TokenEndpoint, value: str, seconds: int
) -> None:
    endpoint.status, endpoint.more_headers = 503, {"Retry-After": value}
    with pytest.raises(errors.Unavailable) as caught:
        await tokens.token(AUDIENCE, SCOPE)
    assert caught.value.retry_after == seconds


async def test_a_refusal_is_not_tried_again_at_once_and_is_named_in_the_log(
    tokens: ServiceTokens, endpoint: TokenEndpoint, clock: ManualClock
) -> None:
    endpoint.status, endpoint.answer = 401, {"error": "invalid_client", "error_description": "x"}
    with structlog.testing.capture_logs() as lines, pytest.raises(errors.Unavailable) as caught:
        await tokens.token(AUDIENCE, SCOPE)
    assert caught.value.retry_after == 10
    (line,) = lines
    assert line["reason"] == "the token endpoint answered 401, invalid_client"
    clock.advance(9)
    with pytest.raises(errors.Unavailable):
        await tokens.token(AUDIENCE, SCOPE)
    assert endpoint.requests == 1


GOOD = {"access_token": "token", "token_type": "Bearer", "expires_in": 900}


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        "token",
        {**GOOD, "access_token": ""},
        {**GOOD, "access_token": None},
        {**GOOD, "access_token": "a\r\nX-Injected: 1"},
        {**GOOD, "access_token": "a b"},
        {**GOOD, "access_token": "é"},
        {**GOOD, "access_token": "a" * 8193},
        {**GOOD, "padding": "a" * 70_000},
        {**GOOD, "token_type": "DPoP"},
        {**GOOD, "token_type": None},
        {**GOOD, "expires_in": 0},
        {**GOOD, "expires_in": -1},
        {**GOOD, "expires_in": "900"},
        {**GOOD, "expires_in": True},
        {**GOOD, "expires_in": 1.5},
        {"access_token": "token", "token_type": "Bearer"},
    ],
)
async def test_an_answer_that_is_no_token_is_unavailable(
    tokens: ServiceTokens,
    endpoint: TokenEndpoint,
    answer: Any,  # noqa: ANN401 - wrong on purpose
) -> None:
    endpoint.answer = answer
    with pytest.raises(errors.Unavailable):
        await tokens.token(AUDIENCE, SCOPE)


async def test_the_kind_of_a_token_is_compared_without_case(
    tokens: ServiceTokens, endpoint: TokenEndpoint
) -> None:
    endpoint.answer = {**GOOD, "token_type": "bearer"}
    assert await tokens.token(AUDIENCE, SCOPE) == "token"


async def test_a_redirect_is_not_followed(tokens: ServiceTokens, endpoint: TokenEndpoint) -> None:
    endpoint.status, endpoint.more_headers = 307, {"Location": "/oauth2/token"}
    with pytest.raises(errors.Unavailable):
        await tokens.token(AUDIENCE, SCOPE)
    assert endpoint.requests == 1


async def test_an_endpoint_that_is_not_there_is_unavailable(
    session: aiohttp.ClientSession, endpoint: TokenEndpoint
) -> None:
    async with endpoint.serving() as url:
        pass
    tokens = ServiceTokens(session, url, SECRET)
    with pytest.raises(errors.Unavailable):
        await tokens.token(AUDIENCE, SCOPE)


async def test_what_is_under_way_ends_with_it(
    session: aiohttp.ClientSession, endpoint: TokenEndpoint
) -> None:
    endpoint.gate = asyncio.Event()
    async with endpoint.serving() as url:
        tokens = ServiceTokens(session, url, SECRET)
        caller = asyncio.create_task(tokens.token(AUDIENCE, SCOPE))
        await endpoint.asked.wait()
        with structlog.testing.capture_logs() as lines:
            await tokens.close()
        assert lines == []  # it was not waited for until it failed
        with pytest.raises(errors.Unavailable):
            await caller
        endpoint.gate.set()


# Tokens that were refused


async def test_a_token_that_was_forgotten_is_replaced(tokens: ServiceTokens) -> None:
    tokens.forget(await tokens.token(AUDIENCE, SCOPE))
    assert await tokens.token(AUDIENCE, SCOPE) == "token-2"


async def test_a_thousand_callers_that_were_refused_cause_one_request(
    tokens: ServiceTokens, endpoint: TokenEndpoint
) -> None:
    token = await tokens.token(AUDIENCE, SCOPE)

    async def refused() -> str:
        tokens.forget(token)
        return await tokens.token(AUDIENCE, SCOPE)

    assert set(await asyncio.gather(*(refused() for _ in range(1000)))) == {"token-2"}
    assert endpoint.requests == 2


async def test_a_target_that_refuses_every_token_costs_one_in_half_a_minute(
    tokens: ServiceTokens, endpoint: TokenEndpoint, clock: ManualClock
) -> None:
    for _ in range(60):
        tokens.forget(await tokens.token(AUDIENCE, SCOPE))
        clock.advance(1)
    assert endpoint.requests == 3


async def test_another_token_is_kept(tokens: ServiceTokens, endpoint: TokenEndpoint) -> None:
    first, _ = await tokens.token(AUDIENCE, SCOPE), await tokens.token("playmesh:other", SCOPE)
    tokens.forget(first)
    assert await tokens.token("playmesh:other", SCOPE) == "token-2"
    assert endpoint.requests == 2


# What is told


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_no_secret_and_no_token_is_told(
    tokens: ServiceTokens, endpoint: TokenEndpoint, status: int
) -> None:
    endpoint.status = status
    endpoint.answer = {**GOOD, "error": "secret: 100%+é", "expires_in": 0 if status == 200 else 900}
    with structlog.testing.capture_logs() as lines, pytest.raises(errors.Unavailable) as caught:
        await tokens.token(AUDIENCE, SCOPE)
    assert caught.value.__cause__ is None
    shown = json.dumps([lines, str(caught.value), repr(SECRET), repr(tokens)], ensure_ascii=False)
    assert "secret: 100" not in shown
    assert "Basic" not in shown
    assert lines
