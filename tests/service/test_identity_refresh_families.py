"""A lost reply costs no session, and a copied token does: what a client and an operator see."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import structlog
from prometheus_client import REGISTRY
from yarl import URL

from services.identity.settings import Settings
from shared.env import SettingsError
from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call, claims_of
from tests.support.clock import ManualClock
from tests.support.guests import (
    credential_of,
    is_ended,
    is_refused,
    log_in,
    new_guest,
    refresh,
    refreshed,
)
from tests.support.identity_store import session_ends
from tests.support.servers import Answer

ROUTES = ["/v1/sessions/refresh", "/refresh-access-token"]


def is_reused(answer: Answer) -> bool:
    return (answer.status, answer.code) == (401, "refresh_reused")


async def is_over(identity: RunningIdentity, *tokens: str) -> bool:
    """Whether every one of the tokens is refused."""
    answers = [await refresh(identity.http, token) for token in tokens]
    return all(is_ended(answer) for answer in answers)


@contextlib.asynccontextmanager
async def dropping_answers(url: str) -> AsyncIterator[str]:
    """A proxy before `url` that passes requests on and hangs up where the answer would come."""
    target = URL(url)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.read(65536)
        inner_reader, inner_writer = await asyncio.open_connection(target.host, target.port)
        inner_writer.write(request)
        assert (await inner_reader.read(65536)).startswith(b"HTTP/1.1 200")
        inner_writer.close()
        writer.close()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


async def lose_answer(identity: RunningIdentity, route: str, token: str) -> None:
    """A refresh that happens, and of which the client hears nothing."""
    async with dropping_answers(identity.url) as url, aiohttp.ClientSession(url) as http:
        with pytest.raises(aiohttp.ClientConnectionError):
            await call(http, "POST", route, json={"refresh_token": token})


class TestLostReply:
    @pytest.mark.parametrize("route", ROUTES)
    @pytest.mark.parametrize("seconds", [0, 1, 30, 60])
    async def test_who_asks_again_within_a_minute_is_answered_the_token_that_was_lost(
        self, identity: RunningIdentity, clock: ManualClock, route: str, seconds: int
    ) -> None:
        token = (await new_guest(identity.http))["refresh_token"]
        await lose_answer(identity, route, token)
        clock.advance(seconds)
        answers = [
            await call(identity.http, "POST", route, json={"refresh_token": token})
            for _ in range(2)
        ]
        assert [answer.status for answer in answers] == [200, 200]
        (successor,) = {answer.json()["refresh_token"] for answer in answers}
        assert successor != token
        await refreshed(identity.http, successor)

    @pytest.mark.parametrize("route", ROUTES)
    async def test_who_asks_again_after_more_than_a_minute_has_no_session_any_more(
        self, identity: RunningIdentity, clock: ManualClock, route: str
    ) -> None:
        token = (await new_guest(identity.http))["refresh_token"]
        lost = (await refreshed(identity.http, token))["refresh_token"]
        clock.advance(60.001)
        assert is_reused(await call(identity.http, "POST", route, json={"refresh_token": token}))
        assert await is_over(identity, token, lost)

    async def test_a_crash_after_the_write_is_a_lost_reply(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        async with apps.identity(tmp_path, clock, QUICK_KEYS) as identity:
            token = (await new_guest(identity.http))["refresh_token"]
            await lose_answer(identity, ROUTES[0], token)
        async with apps.identity(tmp_path, clock, QUICK_KEYS) as identity:
            clock.advance(60)
            lost = (await refreshed(identity.http, token))["refresh_token"]
            await refreshed(identity.http, lost)

    async def test_the_access_token_is_a_new_one_of_the_same_session(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        guest = await new_guest(identity.http)
        first = await refreshed(identity.http, guest["refresh_token"])
        clock.advance(30)
        again = await refreshed(identity.http, guest["refresh_token"])
        claims = [claims_of(answer["access_token"]) for answer in (first, again)]
        assert claims[0]["sid"] == claims[1]["sid"]
        assert claims[0]["jti"] != claims[1]["jti"]
        assert claims[1]["exp"] - claims[0]["exp"] == 30

    async def test_asking_again_moves_no_limit(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        guest = await new_guest(identity.http)
        first = await refreshed(identity.http, guest["refresh_token"])
        clock.advance(45)
        again = await refreshed(identity.http, guest["refresh_token"])
        assert first["refresh_expires_in"] - again["refresh_expires_in"] == 45
        clock.advance(7 * 86400 - 45)
        assert is_refused(await refresh(identity.http, again["refresh_token"]))

    async def test_of_100_at_once_all_that_are_answered_are_answered_the_same_token(
        self, identity: RunningIdentity
    ) -> None:
        token = (await new_guest(identity.http))["refresh_token"]
        answers = await asyncio.gather(*(refresh(identity.http, token) for _ in range(100)))
        assert Counter(answer.status for answer in answers) == {200: 11, 429: 89}
        answered = [answer for answer in answers if answer.status == 200]
        (successor,) = {answer.json()["refresh_token"] for answer in answered}
        await refreshed(identity.http, successor)

    async def test_who_asks_too_often_is_told_to_wait(self, identity: RunningIdentity) -> None:
        token = (await new_guest(identity.http))["refresh_token"]
        for _ in range(11):
            await refreshed(identity.http, token)
        answer = await refresh(identity.http, token)
        assert (answer.status, answer.code) == (429, "too_many_requests")
        assert answer.headers["Retry-After"] == "1"

    async def test_the_grace_is_a_setting(self, tmp_path: Path, clock: ManualClock) -> None:
        environ = {**QUICK_KEYS, "PLAYMESH_REFRESH_GRACE": "5m"}
        async with apps.identity(tmp_path, clock, environ) as identity:
            token = (await new_guest(identity.http))["refresh_token"]
            await refreshed(identity.http, token)
            clock.advance(300)
            await refreshed(identity.http, token)
            clock.advance(1)
            assert is_reused(await refresh(identity.http, token))

    @pytest.mark.parametrize("grace", ["0", "300"])
    def test_the_grace_may_be_nothing_or_five_minutes(self, grace: str) -> None:
        settings = Settings.from_env({"PLAYMESH_REFRESH_GRACE": grace})
        assert settings.refresh_grace.total_seconds() == int(grace)

    @pytest.mark.parametrize("grace", ["301", "6m", "-1"])
    def test_a_longer_grace_is_a_fault(self, grace: str) -> None:
        with pytest.raises(SettingsError) as error:
            Settings.from_env({"PLAYMESH_REFRESH_GRACE": grace})
        assert [fault.split(":")[0] for fault in error.value.faults] == ["PLAYMESH_REFRESH_GRACE"]

    async def test_without_a_grace_asking_again_ends_the_session(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        environ = {**QUICK_KEYS, "PLAYMESH_REFRESH_GRACE": "0"}
        async with apps.identity(tmp_path, clock, environ) as identity:
            token = (await new_guest(identity.http))["refresh_token"]
            await refreshed(identity.http, token)
            assert is_reused(await refresh(identity.http, token))


class TestReuse:
    async def test_a_token_older_than_the_predecessor_ends_the_session_at_once(
        self, identity: RunningIdentity
    ) -> None:
        first = (await new_guest(identity.http))["refresh_token"]
        second = (await refreshed(identity.http, first))["refresh_token"]
        third = (await refreshed(identity.http, second))["refresh_token"]
        assert is_reused(await refresh(identity.http, first))
        assert await is_over(identity, first, second, third)

    async def test_of_50_refreshes_after_that_none_succeeds(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        first = (await new_guest(identity.http))["refresh_token"]
        second = (await refreshed(identity.http, first))["refresh_token"]
        clock.advance(61)
        await refresh(identity.http, first)
        answers = await asyncio.gather(
            *(refresh(identity.http, token) for token in [first, second] * 25)
        )
        assert all(is_ended(answer) for answer in answers)

    async def test_a_thief_and_the_player_do_not_take_turns(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        """Each presents what it was given last; within one round both are out."""
        player = thief = (await new_guest(identity.http))["refresh_token"]
        player = (await refreshed(identity.http, player))["refresh_token"]
        clock.advance(60)
        thief = (await refreshed(identity.http, thief))["refresh_token"]
        assert thief == player  # not told apart so far
        clock.advance(840)
        player = (await refreshed(identity.http, player))["refresh_token"]
        clock.advance(61)
        assert is_reused(await refresh(identity.http, thief))
        assert await is_over(identity, player, thief)

    async def test_it_costs_access_tokens_as_well_within_a_quarter_of_an_hour(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        """No token of the family gets a new one, and the last one expires by itself."""
        guest = await new_guest(identity.http)
        tokens = await refreshed(identity.http, guest["refresh_token"])
        clock.advance(61)
        answers = [
            await refresh(identity.http, one["refresh_token"]) for one in (guest, tokens, guest)
        ]
        assert not any("access_token" in answer.json() for answer in answers)
        assert claims_of(tokens["access_token"])["exp"] <= clock.now().timestamp() + 900

    async def test_other_sessions_of_the_player_go_on(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        guest = await new_guest(identity.http)
        other = (await log_in(identity.http, credential_of(guest))).json()
        await refreshed(identity.http, guest["refresh_token"])
        clock.advance(61)
        assert is_reused(await refresh(identity.http, guest["refresh_token"]))
        await refreshed(identity.http, other["refresh_token"])

    async def test_the_player_comes_back_with_the_stored_secret(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        guest = await new_guest(identity.http)
        await refreshed(identity.http, guest["refresh_token"])
        clock.advance(61)
        await refresh(identity.http, guest["refresh_token"])
        login = (await log_in(identity.http, credential_of(guest))).json()
        await refreshed(identity.http, login["refresh_token"])

    async def test_a_session_that_has_expired_is_refused_within_the_grace(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        environ = {
            **QUICK_KEYS,
            "PLAYMESH_REFRESH_IDLE_TTL": "30",
            "PLAYMESH_REFRESH_ABSOLUTE_TTL": "30",
        }
        async with apps.identity(tmp_path, clock, environ) as identity:
            token = (await new_guest(identity.http))["refresh_token"]
            await refreshed(identity.http, token)
            clock.advance(29.999)
            await refreshed(identity.http, token)
            clock.advance(0.001)
            assert is_refused(await refresh(identity.http, token))
        assert session_ends(tmp_path) == [None]

    async def test_the_record_says_why_the_session_is_over(
        self, identity: RunningIdentity, clock: ManualClock, tmp_path: Path
    ) -> None:
        token = (await new_guest(identity.http))["refresh_token"]
        await refreshed(identity.http, token)
        clock.advance(61)
        await refresh(identity.http, token)
        assert session_ends(tmp_path) == ["refresh_reused"]


class TestOperator:
    async def test_reuse_is_a_warning_with_the_session_and_without_a_token(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        guest = await new_guest(identity.http)
        successor = (await refreshed(identity.http, guest["refresh_token"]))["refresh_token"]
        clock.advance(61)
        with structlog.testing.capture_logs() as lines:
            await refresh(identity.http, guest["refresh_token"])
            await refresh(identity.http, successor)
        (line,) = [line for line in lines if line["event"] == "session.refresh_reused"]
        assert line["log_level"] == "warning"
        assert line["user_id"] == guest["user_id"]
        assert line["session_id"] == claims_of(guest["access_token"])["sid"]
        for token in (guest["refresh_token"], successor):
            assert token.rpartition(".")[2] not in str(lines)

    async def test_outcomes_are_counted(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        before = counts()
        token = (await new_guest(identity.http))["refresh_token"]
        for _ in range(12):  # one advances, ten are replays, one is too often
            await refresh(identity.http, token)
        clock.advance(61)
        for _ in range(2):  # reused; refused
            await refresh(identity.http, token)
        await refresh(identity.http, "garbage")
        rise = {outcome: count - before[outcome] for outcome, count in counts().items()}
        assert rise == {"advanced": 1, "replayed": 10, "reused": 1, "refused": 3}


def counts() -> dict[str, float]:
    return {
        outcome: REGISTRY.get_sample_value("playmesh_refreshes_total", {"outcome": outcome}) or 0.0
        for outcome in ("advanced", "replayed", "reused", "refused")
    }
