"""What players see of their sessions, and how they end them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from shared.ids import new_id
from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call, without_request_id
from tests.support.clock import ManualClock
from tests.support.people import Person, new_person, operate
from tests.support.servers import Answer

DAY = 24 * 3600


def ended(answer: Answer) -> str | None:
    """The reason that a refresh was refused with."""
    if (answer.status, answer.code) != (401, "session_ended"):
        return None
    return str(answer.json()["reason"])


async def listed(person: Person) -> list[str]:
    answer = await person.call("GET", "/v1/sessions")
    assert answer.status == 200, answer
    return [session["session_id"] for session in answer.json()["sessions"]]


@pytest.fixture
async def player(identity: RunningIdentity) -> Person:
    return await new_person(identity)


@pytest.fixture
async def other(player: Person) -> Person:
    return await player.on_another_device("console")


@pytest.fixture
async def single(tmp_path: Path, clock: ManualClock) -> AsyncIterator[RunningIdentity]:
    environ = {**QUICK_KEYS, "PLAYMESH_SINGLE_SESSION": "true"}
    async with apps.identity(tmp_path, clock, environ) as running:
        yield running


class TestList:
    async def test_it_says_which_device_since_when_and_which_is_this_one(
        self, player: Person, clock: ManualClock
    ) -> None:
        clock.advance(60)
        other = await player.on_another_device("console")
        clock.advance(60)
        await player.refresh()
        answer = await player.call("GET", "/v1/sessions")
        assert answer.json() == {
            "sessions": [
                {
                    "session_id": player.session_id,
                    "device": "phone",
                    "created_at": "2026-01-02T03:04:05.000Z",
                    "last_seen_at": "2026-01-02T03:06:05.000Z",
                    "expires_at": "2026-01-09T03:06:05.000Z",
                    "current": True,
                },
                {
                    "session_id": other.session_id,
                    "device": "console",
                    "created_at": "2026-01-02T03:05:05.000Z",
                    "last_seen_at": "2026-01-02T03:05:05.000Z",
                    "expires_at": "2026-01-09T03:05:05.000Z",
                    "current": False,
                },
            ]
        }

    async def test_what_has_ended_or_expired_is_not_in_it(
        self, player: Person, other: Person, clock: ManualClock
    ) -> None:
        await other.call("DELETE", "/v1/sessions/current")
        await player.on_another_device()
        clock.advance(6 * DAY)
        await player.refresh()
        clock.advance(2 * DAY)
        await player.refresh()
        assert await listed(player) == [player.session_id]

    async def test_nobody_elses_sessions_are_in_it(self, identity: RunningIdentity) -> None:
        player, stranger = await new_person(identity), await new_person(identity)
        assert await listed(stranger) == [stranger.session_id]
        assert await listed(player) == [player.session_id]


class TestEnd:
    async def test_who_logs_out_refreshes_no_more_and_is_told_why(self, player: Person) -> None:
        assert (await player.call("DELETE", "/v1/sessions/current")).status == 204
        assert ended(await player.refresh()) == "signed_out"

    async def test_one_session_can_be_ended_from_another(
        self, player: Person, other: Person
    ) -> None:
        answer = await player.call("DELETE", f"/v1/sessions/{other.session_id}")
        assert answer.status == 204
        assert ended(await other.refresh()) == "signed_out"
        assert (await player.refresh()).status == 200

    async def test_all_others_can_be_ended_at_once(self, player: Person) -> None:
        others = [await player.on_another_device() for _ in range(5)]
        assert (await player.call("DELETE", "/v1/sessions")).status == 204
        assert {ended(await one.refresh()) for one in others} == {"signed_out"}
        assert await listed(player) == [player.session_id]

    async def test_its_access_token_is_refused_as_soon_as_the_list_is_read(
        self, identity: RunningIdentity, player: Person, other: Person
    ) -> None:
        assert (await other.call("GET", "/v1/account")).status == 200
        await player.call("DELETE", f"/v1/sessions/{other.session_id}")
        await identity.look()
        answer = await other.call("GET", "/v1/account")
        assert (answer.status, answer.code) == (401, "invalid_token")
        assert (await player.call("GET", "/v1/account")).status == 200

    async def test_ending_it_again_changes_nothing(self, player: Person, other: Person) -> None:
        path = f"/v1/sessions/{other.session_id}"
        answers = [await player.call("DELETE", path) for _ in range(2)]
        assert [answer.status for answer in answers] == [204, 204]
        assert ended(await other.refresh()) == "signed_out"

    @pytest.mark.parametrize("session_id", ["0" * 32, "short", "%00", "A" * 32])
    async def test_a_session_that_there_is_not_is_a_404(
        self, player: Person, session_id: str
    ) -> None:
        answer = await player.call("DELETE", f"/v1/sessions/{session_id}")
        assert (answer.status, answer.code) == (404, "not_found")

    async def test_somebody_elses_session_does_not_exist(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        stranger = await new_person(identity)
        found = await player.call("DELETE", f"/v1/sessions/{stranger.session_id}")
        unknown = await player.call("DELETE", f"/v1/sessions/{new_id()}")
        assert without_request_id(found) == without_request_id(unknown)
        assert (await stranger.refresh()).status == 200

    async def test_after_a_log_out_that_raced_refreshes_none_succeeds(
        self, identity: RunningIdentity
    ) -> None:
        for _ in range(20):
            player = await new_person(identity)
            await asyncio.gather(
                player.call("DELETE", "/v1/sessions/current"),
                *(player.refresh() for _ in range(3)),
            )
            assert ended(await player.refresh()) == "signed_out"


class TestSingleSession:
    async def test_a_login_ends_the_others_and_they_are_told_why(
        self, single: RunningIdentity, clock: ManualClock
    ) -> None:
        first = await new_person(single)
        clock.advance(0.001)
        second = await first.on_another_device()
        assert ended(await first.refresh()) == "signed_in_elsewhere"
        assert (await second.refresh()).status == 200

    async def test_of_logins_at_once_exactly_one_session_stays(
        self, single: RunningIdentity, clock: ManualClock
    ) -> None:
        player = await new_person(single)
        for _ in range(10):
            clock.advance(0.001)
            rivals = await asyncio.gather(*(player.on_another_device() for _ in range(4)))
            answers = [await rival.refresh() for rival in rivals]
            assert sorted(answer.status for answer in answers) == [200, 401, 401, 401]

    async def test_of_logins_in_the_same_millisecond_the_last_one_stays(
        self, single: RunningIdentity
    ) -> None:
        player = await new_person(single)
        for _ in range(5):
            another = await player.on_another_device()
            assert ended(await player.refresh()) == "signed_in_elsewhere"
            player = another
        assert (await player.refresh()).status == 200

    async def test_the_last_login_stays_also_where_its_process_has_a_slow_clock(
        self, single: RunningIdentity, tmp_path: Path, clock: ManualClock
    ) -> None:
        first = await new_person(single)
        slow = ManualClock(clock.now() - timedelta(seconds=60))
        environ = {**QUICK_KEYS, "PLAYMESH_SINGLE_SESSION": "true"}
        async with apps.identity(tmp_path, slow, environ) as beside:
            second = await replace(first, identity=beside).on_another_device()
            assert (await second.refresh()).status == 200
        assert ended(await first.refresh()) == "signed_in_elsewhere"

    async def test_other_players_sessions_stay(self, single: RunningIdentity) -> None:
        stranger, player = await new_person(single), await new_person(single)
        await player.on_another_device()
        assert (await stranger.refresh()).status == 200

    async def test_without_the_setting_the_others_stay(self, player: Person) -> None:
        await player.on_another_device()
        assert (await player.refresh()).status == 200


class TestOperator:
    async def test_ending_all_sessions_lets_the_player_log_in_again(
        self, identity: RunningIdentity, player: Person, other: Person
    ) -> None:
        answer = await operate(identity, "POST", f"/players/{player.user_id}/revoke-sessions")
        assert (answer.status, answer.json()["sessions"]) == (200, [])
        reasons = {ended(await one.refresh()) for one in (player, other)}
        assert reasons == {"ended_by_operator"}
        assert (await player.try_to_log_in()).status == 201

    async def test_one_that_has_just_expired_is_ended_too(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        """It cannot be refreshed any more, and its access token is good all the same."""
        environ = {**QUICK_KEYS, "PLAYMESH_REFRESH_IDLE_TTL": "60"}
        async with apps.identity(tmp_path, clock, environ) as identity:
            player = await new_person(identity)
            clock.advance(60)
            assert (await player.call("GET", "/v1/account")).status == 200
            await operate(identity, "POST", f"/players/{player.user_id}/revoke-sessions")
            await identity.look()
            assert (await player.call("GET", "/v1/account")).status == 401

    async def test_one_that_expired_long_ago_is_left_alone(
        self, identity: RunningIdentity, player: Person, clock: ManualClock
    ) -> None:
        """Or years of logins would be on the list of what is refused."""
        clock.advance(9 * DAY)
        await operate(identity, "POST", f"/players/{player.user_id}/revoke-sessions")
        (session,) = await identity.stores.sessions.list(player.user_id)
        assert session.ended_at is None

    async def test_the_sessions_of_a_player_are_seen(
        self, identity: RunningIdentity, player: Person, other: Person
    ) -> None:
        answer = await operate(identity, "GET", f"/players/{player.user_id}")
        found = {session["session_id"] for session in answer.json()["sessions"]}
        assert found == {player.session_id, other.session_id}


async def test_without_a_token_nobody_sees_anything(identity: RunningIdentity) -> None:
    answer = await call(identity.http, "GET", "/v1/sessions")
    assert (answer.status, answer.code) == (401, "invalid_token")
