"""Erasing a player everywhere, also where a service is away; and exporting one."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from services.identity.app import maintain
from services.identity.appkeys import ERASURES, EXPORTS
from services.identity.models import Account, Erasure
from services.identity.settings import Settings
from shared import errors
from shared.ids import new_id
from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call, claims_of
from tests.support.clock import ManualClock
from tests.support.people import Person, ban, new_person, operate
from tests.support.servers import Answer, serving

MINUTE = 60
DAY = 24 * 60 * MINUTE
LIFETIME = 19 * MINUTE
"""Of a token, the leeway and the clocks' differences included."""


@dataclass
class Holder:
    """player_data as identity sees it."""

    erased: list[str] = field(default_factory=list)
    scopes: set[str] = field(default_factory=set)
    status: int = 204
    more: int = 0
    pages: list[object] = field(default_factory=list)
    breaks_at: int | None = None

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_delete("/v1/players/{player}", self._erase)
        app.router.add_get("/v1/players/{player}/export", self._export)
        return app

    async def _erase(self, request: web.Request) -> web.Response:
        self._note(request)
        if self.more:
            self.more -= 1
            return web.json_response({"done": False}, status=202)
        if self.status == 204:
            self.erased.append(request.match_info["player"])
        return web.Response(status=self.status)

    async def _export(self, request: web.Request) -> web.Response:
        self._note(request)
        number = int(request.query.get("cursor", "0"))
        if number == self.breaks_at:
            return web.Response(status=503)
        after = str(number + 1) if number + 1 < len(self.pages) else None
        return web.json_response({"records": self.pages[number], "cursor": after})

    def _note(self, request: web.Request) -> None:
        claims = claims_of(request.headers["Authorization"].removeprefix("Bearer "))
        assert (claims["sub"], claims["aud"]) == ("service:identity", "playmesh:player_data")
        self.scopes.add(claims["scope"])


@pytest.fixture
def holder() -> Holder:
    return Holder(pages=[["a", "b"], ["c"]])


@contextlib.asynccontextmanager
async def opened(
    data_dir: Path, clock: ManualClock, url: str, **environ: str
) -> AsyncIterator[RunningIdentity]:
    settings = {**QUICK_KEYS, "PLAYMESH_PLAYER_DATA_URL": url, **environ}
    async with apps.identity(data_dir, clock, settings) as running:
        yield running


@pytest.fixture
async def url(holder: Holder) -> AsyncIterator[str]:
    async with serving(holder.app()) as served:
        yield served


@pytest.fixture
async def identity(tmp_path: Path, clock: ManualClock, url: str) -> AsyncIterator[RunningIdentity]:
    async with opened(tmp_path, clock, url) as running:
        yield running


@pytest.fixture
async def player(identity: RunningIdentity) -> Person:
    return await new_person(identity)


async def erase(player: Person) -> int:
    return (await player.call("DELETE", "/v1/account")).status


async def state(identity: RunningIdentity, player: Person) -> str:
    answer = await operate(identity, "GET", f"/players/{player.user_id}")
    return str(answer.json()["state"])


def refused(answer: Answer) -> str | None:
    return answer.code if answer.status == 401 else None


class TestErase:
    async def test_everything_is_removed_here_and_at_player_data(
        self, identity: RunningIdentity, player: Person, holder: Holder
    ) -> None:
        await player.on_another_device()
        assert await erase(player) == 204
        assert (holder.erased, holder.scopes) == ([player.user_id], {"player_data:erase"})
        assert await identity.stores.sessions.list(player.user_id) == []

    async def test_from_then_on_nobody_gets_in(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        await erase(player)
        assert refused(await player.try_to_log_in()) == "invalid_credential"
        assert refused(await player.refresh()) == "invalid_refresh_token"
        await identity.look()
        assert refused(await player.call("GET", "/v1/account")) == "invalid_token"

    async def test_until_the_list_is_read_the_account_is_not_found(self, player: Person) -> None:
        await erase(player)
        for method, path in [
            ("GET", "/v1/account"),
            ("GET", "/v1/account/export"),
            ("POST", "/v1/account/guest-secret"),
        ]:
            assert (await player.call(method, path)).status == 404

    async def test_who_asks_again_after_a_lost_answer_is_answered_the_same(
        self, identity: RunningIdentity, player: Person, clock: ManualClock
    ) -> None:
        assert [await erase(player) for _ in range(2)] == [204, 204]
        clock.advance(LIFETIME)
        await identity.app[ERASURES].tick()
        assert await identity.app[ERASURES].request(player.user_id)

    async def test_a_request_that_is_sent_again_goes_on_with_what_was_left(
        self, player: Person, holder: Holder
    ) -> None:
        holder.status = 503
        assert await erase(player) == 202
        holder.status = 204
        assert await erase(player) == 204

    async def test_what_takes_many_calls_is_called_until_it_is_done(
        self, player: Person, holder: Holder
    ) -> None:
        holder.more = 7
        assert await erase(player) == 204
        assert holder.erased == [player.user_id]

    async def test_others_stay(self, identity: RunningIdentity, player: Person) -> None:
        other = await new_person(identity)
        await erase(player)
        assert (await other.refresh()).status == 200
        assert await state(identity, other) == "active"

    @pytest.mark.parametrize("status", [500, 503, 403, 404, 200])
    async def test_while_player_data_does_not_confirm_it_is_under_way(
        self, identity: RunningIdentity, player: Person, holder: Holder, status: int
    ) -> None:
        holder.status = status
        assert await erase(player) == 202
        assert refused(await player.try_to_log_in()) == "invalid_credential"
        assert await state(identity, player) == "erasing"
        holder.status = 204
        await identity.app[ERASURES].tick()
        assert holder.erased == [player.user_id]

    async def test_one_that_fails_does_not_hold_up_the_others(
        self, identity: RunningIdentity, holder: Holder
    ) -> None:
        players = [await new_person(identity) for _ in range(3)]
        holder.status = 503
        assert [await erase(player) for player in players] == [202] * 3
        holder.status, holder.more = 204, 0
        await identity.app[ERASURES].tick()
        assert sorted(holder.erased) == sorted(player.user_id for player in players)

    async def test_one_that_has_no_end_does_not_hold_up_the_others(
        self, identity: RunningIdentity, player: Person, holder: Holder
    ) -> None:
        holder.status = 503
        assert await erase(player) == 202
        holder.status, holder.more = 204, 1000
        await identity.app[ERASURES].tick()
        assert (holder.erased, holder.more) == ([], 900)
        holder.more = 0
        await identity.app[ERASURES].tick()
        assert holder.erased == [player.user_id]

    async def test_many_later_ones_do_not_hold_up_the_one_that_is_due(
        self, identity: RunningIdentity, player: Person, clock: ManualClock
    ) -> None:
        await erase(player)
        clock.advance(1)
        now = clock.now()
        for _ in range(1001):
            later = Erasure(requested_at=now, tokens_expire_at=now + timedelta(seconds=LIFETIME))
            account = Account(new_id(), now, None, seen_at=now, erasure=later)
            await identity.stores.accounts.create(account)
        clock.advance(LIFETIME - 1)
        await identity.app[ERASURES].tick()
        assert await state(identity, player) == "erased"

    async def test_when_the_last_token_has_expired_all_is_removed_once_more(
        self, identity: RunningIdentity, player: Person, holder: Holder, clock: ManualClock
    ) -> None:
        """Who had one may have written since."""
        await erase(player)
        clock.advance(LIFETIME - 0.001)
        await identity.app[ERASURES].tick()
        assert (len(holder.erased), await state(identity, player)) == (1, "erasing")
        clock.advance(0.001)
        await identity.app[ERASURES].tick()
        assert (len(holder.erased), await state(identity, player)) == (2, "erased")
        await identity.app[ERASURES].tick()
        assert len(holder.erased) == 2

    async def test_there_is_no_tombstone_before_all_is_removed_once_more(
        self, identity: RunningIdentity, player: Person, holder: Holder, clock: ManualClock
    ) -> None:
        await erase(player)
        holder.status = 503
        clock.advance(LIFETIME)
        await identity.app[ERASURES].tick()
        assert await state(identity, player) == "erasing"

    async def test_a_tombstone_says_nothing_of_the_player(
        self, identity: RunningIdentity, player: Person, clock: ManualClock
    ) -> None:
        await ban(identity, player.user_id, scope="chat")
        await erase(player)
        clock.advance(LIFETIME)
        await identity.app[ERASURES].tick()
        stored = await identity.stores.accounts.get(player.user_id)
        assert stored is not None
        assert (stored.guest_secret_digest, stored.bans, stored.erasure) == (None, (), None)

    async def test_its_id_is_never_given_again(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        """Not even to who asks once more for the guest whom an Idempotency-Key has made."""
        headers = {"Idempotency-Key": "0123456789abcdef"}
        guest = (await call(identity.http, "POST", "/v1/guests", headers=headers)).json()
        player = Person(identity, guest["user_id"], guest["guest_secret"], guest)
        await erase(player)
        answers = [await call(identity.http, "POST", "/v1/guests", headers=headers)]
        clock.advance(LIFETIME)
        await identity.app[ERASURES].tick()
        answers.append(await call(identity.http, "POST", "/v1/guests", headers=headers))
        codes = [(answer.status, answer.code) for answer in answers]
        assert codes == [(422, "idempotency_key_reused")] * 2

    async def test_an_erased_player_cannot_be_banned(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        await erase(player)
        assert (await ban(identity, player.user_id)).status == 404

    async def test_what_a_process_left_half_done_the_next_one_finishes(
        self, tmp_path: Path, clock: ManualClock, url: str, holder: Holder
    ) -> None:
        async with opened(tmp_path, clock, url) as before:
            player = await new_person(before)
            holder.status = 503
            await erase(player)
        holder.status = 204
        async with opened(tmp_path, clock, url) as after:
            await after.app[ERASURES].tick()
            assert holder.erased == [player.user_id]


class TestRestoredBackup:
    async def test_who_was_erased_is_erased_again(
        self, identity: RunningIdentity, holder: Holder, clock: ManualClock
    ) -> None:
        erased = [await new_person(identity) for _ in range(3)]
        stays = await new_person(identity)
        for player in erased:
            await erase(player)
        clock.advance(LIFETIME)
        await identity.app[ERASURES].tick()
        holder.erased.clear()
        assert await identity.app[ERASURES].erase_again() == 3
        assert sorted(holder.erased) == sorted(player.user_id for player in erased)
        assert (await stays.try_to_log_in()).status == 201


class TestInactiveGuests:
    @pytest.fixture
    def settings(self, url: str, tmp_path: Path) -> Settings:
        return Settings.from_env(
            {
                "PLAYMESH_GUEST_INACTIVE_AFTER": "90d",
                "PLAYMESH_PLAYER_DATA_URL": url,
                "PLAYMESH_DATA_DIR": str(tmp_path),
            }
        )

    async def maintain(
        self, identity: RunningIdentity, settings: Settings, clock: ManualClock
    ) -> None:
        erasures = identity.app[ERASURES]
        await maintain(settings, identity.stores, erasures, clock, erase_again=False)

    async def test_who_has_not_been_here_for_so_long_is_erased_everywhere(
        self,
        identity: RunningIdentity,
        player: Person,
        holder: Holder,
        settings: Settings,
        clock: ManualClock,
    ) -> None:
        clock.advance(90 * DAY + 1)
        await self.maintain(identity, settings, clock)
        assert holder.erased == [player.user_id]
        assert await state(identity, player) == "erased"

    async def test_while_player_data_is_away_no_more_than_one_is_marked(
        self,
        identity: RunningIdentity,
        holder: Holder,
        settings: Settings,
        clock: ManualClock,
    ) -> None:
        """Or a day on which it is away would leave a crowd of them behind."""
        guests = [await new_person(identity) for _ in range(3)]
        clock.advance(90 * DAY + 1)
        holder.status = 503
        with pytest.raises(errors.Unavailable):
            await self.maintain(identity, settings, clock)
        states = [await state(identity, guest) for guest in guests]
        assert sorted(states) == ["active", "active", "erasing"]
        holder.status = 204
        await self.maintain(identity, settings, clock)
        assert {await state(identity, guest) for guest in guests} == {"erased"}

    async def test_they_take_no_room_on_the_list_of_what_is_refused(
        self,
        identity: RunningIdentity,
        player: Person,
        holder: Holder,
        settings: Settings,
        clock: ManualClock,
    ) -> None:
        """Nobody has a token of theirs."""
        clock.advance(90 * DAY + 1)
        holder.status = 503
        with pytest.raises(errors.Unavailable):
            await self.maintain(identity, settings, clock)
        assert await state(identity, player) == "erasing"
        await identity.look()
        answer = await call(identity.http, "GET", "/.well-known/revocations.json")
        assert answer.json() == {"revoked": []}

    async def test_who_was_here_in_time_stays_however_old_the_account_is(
        self,
        identity: RunningIdentity,
        player: Person,
        settings: Settings,
        clock: ManualClock,
    ) -> None:
        for _ in range(5):
            clock.advance(80 * DAY)
            assert (await player.try_to_log_in()).status == 201
            await self.maintain(identity, settings, clock)
        assert await state(identity, player) == "active"

    async def test_a_refresh_is_being_here_as_well(
        self,
        identity: RunningIdentity,
        player: Person,
        settings: Settings,
        clock: ManualClock,
    ) -> None:
        for _ in range(4):
            clock.advance(6 * DAY)
            assert (await player.refresh()).status == 200
        clock.advance(70 * DAY)
        await self.maintain(identity, settings, clock)
        assert await state(identity, player) == "active"

    async def test_who_comes_back_while_guests_are_removed_stays(
        self,
        identity: RunningIdentity,
        player: Person,
        settings: Settings,
        clock: ManualClock,
    ) -> None:
        clock.advance(100 * DAY)
        seen = [guest async for guest in identity.stores.accounts.inactive_guests(clock.now())]
        await player.try_to_log_in()
        assert [guest.user_id for guest in seen] == [player.user_id]
        with pytest.raises(errors.VersionConflict):
            await identity.stores.accounts.replace(seen[0].seen(clock.now()))
        await self.maintain(identity, settings, clock)
        assert await state(identity, player) == "active"

    async def test_without_the_setting_nobody_is_removed(
        self,
        identity: RunningIdentity,
        player: Person,
        clock: ManualClock,
    ) -> None:
        clock.advance(3000 * DAY)
        await self.maintain(identity, Settings.from_env({}), clock)
        assert await state(identity, player) == "active"

    async def test_sessions_that_have_expired_are_removed_and_no_others(
        self,
        identity: RunningIdentity,
        player: Person,
        settings: Settings,
        clock: ManualClock,
    ) -> None:
        clock.advance(9 * DAY)
        await player.on_another_device()
        await self.maintain(identity, settings, clock)
        left = await identity.stores.sessions.list(player.user_id)
        assert [session.device for session in left] == ["other"]


class TestExport:
    async def test_it_holds_what_every_service_has(self, player: Person, holder: Holder) -> None:
        answer = await player.call("GET", "/v1/account/export")
        document = answer.json()
        assert document["identity"]["user_id"] == player.user_id
        assert [one["device"] for one in document["identity"]["sessions"]] == ["phone"]
        held = [(one["service"], one["held"]["records"]) for one in document["services"]]
        assert held == [("player_data", ["a", "b"]), ("player_data", ["c"])]
        assert holder.scopes == {"player_data:export"}

    async def test_it_has_the_headers_of_every_answer(self, player: Person) -> None:
        answer = await player.call("GET", "/v1/account/export")
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["X-Request-Id"]
        assert answer.headers["Server"] == "playmesh"

    async def test_no_secret_and_no_digest_of_one_is_in_it(self, player: Person) -> None:
        body = (await player.call("GET", "/v1/account/export")).body.decode()
        assert player.guest_secret not in body
        assert player.tokens["refresh_token"] not in body
        assert "digest" not in body

    async def test_bad_weather_before_it_begins_is_a_503(
        self, player: Person, holder: Holder
    ) -> None:
        holder.breaks_at = 0
        answer = await player.call("GET", "/v1/account/export")
        assert (answer.status, answer.code) == (503, "unavailable")

    async def test_bad_weather_on_the_way_breaks_it_off(
        self, player: Person, holder: Holder
    ) -> None:
        """Half of it must not pass for the whole."""
        holder.breaks_at = 1
        with pytest.raises((aiohttp.ClientError, json.JSONDecodeError)):
            (await player.call("GET", "/v1/account/export")).json()

    async def test_of_one_player_there_is_one_at_a_time(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        with identity.app[EXPORTS].turn(player.user_id):
            answer = await player.call("GET", "/v1/account/export")
        assert (answer.status, answer.headers["Retry-After"]) == (429, "30")
        assert (await player.call("GET", "/v1/account/export")).status == 200

    async def test_those_of_many_players_leave_room_for_everything_else(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        """One lasts as long as its client likes."""
        with contextlib.ExitStack() as others:
            for number in range(32):
                others.enter_context(identity.app[EXPORTS].turn(f"{number:032x}"))
            answer = await player.call("GET", "/v1/account/export")
            assert (answer.status, answer.code) == (503, "unavailable")
            assert (await player.refresh()).status == 200


class TestGuestSecret:
    async def test_the_new_one_is_good_and_the_old_one_dead(self, player: Person) -> None:
        answer = await player.call("POST", "/v1/account/guest-secret")
        new = answer.json()["guest_secret"]
        assert (await player.try_to_log_in()).status == 401
        assert (await player.try_to_log_in(secret=new)).status == 201

    async def test_sessions_go_on(self, player: Person) -> None:
        await player.call("POST", "/v1/account/guest-secret")
        assert (await player.refresh()).status == 200

    async def test_who_asks_again_after_a_lost_answer_gets_one_that_is_good(
        self, player: Person
    ) -> None:
        answers = [await player.call("POST", "/v1/account/guest-secret") for _ in range(2)]
        first, second = (answer.json()["guest_secret"] for answer in answers)
        assert (await player.try_to_log_in(secret=first)).status == 401
        assert (await player.try_to_log_in(secret=second)).status == 201

    async def test_of_requests_at_once_every_secret_but_one_was_never_told(
        self, player: Person
    ) -> None:
        answers = await asyncio.gather(
            *(player.call("POST", "/v1/account/guest-secret") for _ in range(10))
        )
        told = [answer.json()["guest_secret"] for answer in answers if answer.status == 200]
        assert {answer.status for answer in answers} <= {200, 409}
        good = [(await player.try_to_log_in(secret=one)).status for one in told]
        assert good.count(201) == 1
