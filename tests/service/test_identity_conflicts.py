"""An identity that is another account's: the player sees both accounts, and decides."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from services.identity.app import maintain
from services.identity.appkeys import ERASURES, LINKS
from services.identity.models import RECOVERABLE_FOR, Erasure, Undo
from services.identity.sealing import Content, Seals
from services.identity.settings import Settings
from shared.clock import to_iso
from tests.service.conftest import QUICK_KEYS
from tests.service.test_identity_platforms import KEY, link, log_in, of_steam, person
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call, claims_of
from tests.support.clock import ManualClock
from tests.support.fakes.steam import LENDER, PLAYER, SteamFake
from tests.support.people import Person, ban, new_person, operate
from tests.support.servers import Answer, serving

RESOLVE = "/v1/account/identities/resolve"
STEAM = ("steam", PLAYER)
TIME_TO_DECIDE = 600
NOTHING = {"collections": [], "records": 0, "bytes": 0, "updated_at": None}
SAVES = {"name": "saves", "records": 2, "bytes": 20, "updated_at": "2026-01-01T00:00:00.000Z"}
PROFILE = {"name": "profile", "records": 1, "bytes": 7, "updated_at": "2026-01-01T00:00:01.000Z"}


@dataclass
class Holder:
    """player_data as identity sees it: `held` by player; `status` and `text` are bad weather."""

    held: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    status: int = 200
    text: str | None = None
    gate: asyncio.Barrier | None = None
    scopes: set[str] = field(default_factory=set)
    erased: list[str] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/players/{player}/summary", self._summary)
        app.router.add_delete("/v1/players/{player}", self._erase)
        return app

    async def _erase(self, request: web.Request) -> web.Response:
        self.erased.append(request.match_info["player"])
        return web.Response(status=204)

    async def _summary(self, request: web.Request) -> web.Response:
        claims = claims_of(request.headers["Authorization"].removeprefix("Bearer "))
        assert (claims["sub"], claims["aud"]) == ("service:identity", "playmesh:player_data")
        self.scopes.add(claims["scope"])
        if self.gate:
            await self.gate.wait()
        if self.text is not None:
            return web.Response(text=self.text)
        collections = self.held.get(request.match_info["player"], [])
        return web.json_response({"collections": collections}, status=self.status)


@pytest.fixture
def holder() -> Holder:
    return Holder()


@contextlib.asynccontextmanager
async def opened(
    data_dir: Path, clock: ManualClock, holder: Holder, **more: str
) -> AsyncIterator[RunningIdentity]:
    fake = SteamFake(KEY)
    async with fake.serving() as steam_url, serving(holder.app()) as data_url:
        environ = {
            **QUICK_KEYS,
            "PLAYMESH_PLAYER_DATA_URL": data_url,
            **fake.environ(steam_url),
            **more,
        }
        async with apps.identity(data_dir, clock, environ) as running:
            yield running


@pytest.fixture
async def identity(
    tmp_path: Path, clock: ManualClock, holder: Holder
) -> AsyncIterator[RunningIdentity]:
    async with opened(tmp_path, clock, holder) as running:
        yield running


@pytest.fixture
async def owner(identity: RunningIdentity) -> Person:
    """Has the identity, and no other way in."""
    return person(identity, await log_in(identity))


@pytest.fixture
async def guest(identity: RunningIdentity, owner: Person) -> Person:
    """Wants it."""
    assert owner.user_id
    return await new_person(identity)


async def conflict(player: Person) -> dict[str, Any]:
    answer = await link(player)
    assert (answer.status, answer.code) == (409, "already_linked")
    found: dict[str, Any] = answer.json()
    return found


async def token_of(player: Person) -> str:
    return str((await conflict(player))["conflict_token"])


async def resolve(player: Person, token: str, keep: str, **more: object) -> Answer:
    body = {"conflict_token": token, "keep": keep, **more}
    return await player.call("POST", RESOLVE, json=body)


async def owned_by(identity: RunningIdentity) -> str | None:
    found = await identity.stores.identities.find(*STEAM)
    return found.user_id if found else None


async def player_of(identity: RunningIdentity, user_id: str) -> dict[str, Any]:
    answer = await operate(identity, "GET", f"/players/{user_id}")
    found: dict[str, Any] = answer.json()
    return found


async def state(identity: RunningIdentity, user_id: str) -> str:
    return str((await player_of(identity, user_id))["state"])


async def recover(identity: RunningIdentity, user_id: str) -> Answer:
    return await operate(identity, "POST", f"/players/{user_id}/recover")


def outcome(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.code if answer.status >= 400 else None


class TestConflict:
    async def test_it_shows_both_accounts(
        self,
        identity: RunningIdentity,
        owner: Person,
        guest: Person,
        holder: Holder,
        clock: ManualClock,
    ) -> None:
        holder.held = {owner.user_id: [PROFILE, SAVES]}
        now = to_iso(clock.now())
        answer = await conflict(guest)
        assert (answer["expires_in"], holder.scopes) == (600, {"player_data:summary"})
        assert answer["current"] == {
            "user_id": guest.user_id,
            "created_at": now,
            "seen_at": now,
            "providers": [],
            "guest": True,
            "player_data": NOTHING,
        }
        assert answer["existing"] == {
            "user_id": owner.user_id,
            "created_at": now,
            "seen_at": now,
            "providers": ["steam"],
            "guest": False,
            "player_data": {
                "collections": [PROFILE, SAVES],
                "records": 3,
                "bytes": 27,
                "updated_at": "2026-01-01T00:00:01.000Z",
            },
        }
        assert await owned_by(identity) == owner.user_id

    @pytest.mark.parametrize("status", [403, 404, 500, 503])
    async def test_while_player_data_is_away_it_is_answered_all_the_same(
        self, guest: Person, holder: Holder, status: int
    ) -> None:
        holder.status = status
        answer = await conflict(guest)
        assert [answer[side]["player_data"] for side in ("current", "existing")] == [None, None]
        assert (await resolve(guest, answer["conflict_token"], "current")).status == 200

    @pytest.mark.parametrize(
        "text",
        [
            "x",
            "[]",
            '{"collections": {}}',
            '{"collections": [1]}',
            '{"collections": [{"name": "a", "records": 1, "bytes": "1", "updated_at": ""}]}',
            '{"collections": [{"name": "a", "records": 1, "bytes": 1, "updated_at": "now"}]}',
        ],
    )
    async def test_what_is_no_summary_is_none(
        self, guest: Person, holder: Holder, text: str
    ) -> None:
        holder.text = text
        assert (await conflict(guest))["existing"]["player_data"] is None

    async def test_of_both_is_asked_at_once(self, guest: Person, holder: Holder) -> None:
        holder.gate = asyncio.Barrier(2)
        assert (await conflict(guest))["current"]["player_data"] == NOTHING

    async def test_it_waits_two_seconds_for_both_and_no_longer(
        self, guest: Person, holder: Holder
    ) -> None:
        holder.gate = asyncio.Barrier(3)
        async with asyncio.timeout(3.5):
            answer = await conflict(guest)
        assert [answer[side]["player_data"] for side in ("current", "existing")] == [None, None]

    async def test_what_is_in_the_token_is_for_nobody_to_read(
        self, guest: Person, owner: Person
    ) -> None:
        token = await token_of(guest)
        assert not [one for one in (guest.user_id, owner.user_id, PLAYER) if one in token]

    async def test_a_banned_owner_or_identity_is_a_403_that_shows_nothing(
        self, identity: RunningIdentity, guest: Person, owner: Person
    ) -> None:
        await ban(identity, owner.user_id, reason="aim bot")
        answer = await link(guest)
        assert (answer.status, answer.code, answer.json()["reason"]) == (403, "banned", "aim bot")
        await operate(identity, "POST", f"/players/{owner.user_id}/unban")
        await operate(identity, "POST", f"/identities/steam/{PLAYER}/ban", {"reason": "spam"})
        assert outcome(await link(guest)) == (403, "banned")
        assert owner.user_id not in str(answer)

    async def test_at_the_drop_in_route_there_is_nothing_to_decide(
        self, identity: RunningIdentity, guest: Person, owner: Person
    ) -> None:
        query = {
            "steam_auth_token": of_steam(),
            "auth_token": guest.tokens["access_token"],
            "link_to_existing_user": "Yes",
        }
        answer = await call(identity.http, "GET", "/login-with-steam", params=query)
        assert (answer.json()["user_id"], answer.json()["link_conflict"]) == (owner.user_id, True)
        assert "conflict_token" not in answer.json()

    async def test_who_has_another_identity_of_the_platform_may_decide_as_well(
        self, identity: RunningIdentity, owner: Person
    ) -> None:
        other = person(identity, await log_in(identity, of_steam(id=LENDER)))
        token = await token_of(other)
        assert outcome(await resolve(other, token, "current")) == (409, "conflict")
        assert await owned_by(identity) == owner.user_id
        token = await token_of(other)
        assert (await resolve(other, token, "existing")).json()["user_id"] == owner.user_id


class TestKeepCurrent:
    async def test_the_identity_is_this_players_from_then_on(
        self, identity: RunningIdentity, guest: Person
    ) -> None:
        answer = await resolve(guest, await token_of(guest), "current")
        assert answer.status == 200
        assert answer.json() == (await guest.call("GET", "/v1/account")).json()
        assert [one["provider"] for one in answer.json()["identities"]] == ["steam"]
        assert person(identity, await log_in(identity)).user_id == guest.user_id

    async def test_who_has_no_other_way_in_is_given_up_and_can_be_recovered_for_30_days(
        self, identity: RunningIdentity, owner: Person, guest: Person, clock: ManualClock
    ) -> None:
        await resolve(guest, await token_of(guest), "current")
        found = await player_of(identity, owner.user_id)
        until = to_iso(clock.now() + timedelta(days=30))
        assert (found["state"], found["recoverable_until"]) == ("recoverable", until)
        assert found["sessions"] == []
        assert outcome(await owner.refresh()) == (401, "invalid_refresh_token")
        await identity.look()
        assert outcome(await owner.call("GET", "/v1/account")) == (401, "invalid_token")
        assert (await guest.call("GET", "/v1/account")).status == 200

    async def test_its_tokens_are_refused_also_where_nobody_came_to_end_its_sessions(
        self, identity: RunningIdentity, owner: Person, guest: Person, clock: ManualClock
    ) -> None:
        now = clock.now()
        undo = Undo(now + RECOVERABLE_FOR, *STEAM, taken_by=guest.user_id)
        erasure = Erasure(now, now + timedelta(minutes=19), undo)
        await identity.app[LINKS].move(*STEAM, guest.user_id, erasure=erasure)
        await identity.look()
        assert outcome(await owner.call("GET", "/v1/account")) == (401, "invalid_token")

    async def test_who_has_another_way_in_stays_and_sessions_of_the_identity_end(
        self, identity: RunningIdentity
    ) -> None:
        owner = await new_person(identity)
        await link(owner)
        by_steam = person(identity, await log_in(identity))
        guest = await new_person(identity)
        await resolve(guest, await token_of(guest), "current")
        assert await state(identity, owner.user_id) == "active"
        refused = await by_steam.refresh()
        assert outcome(refused) == (401, "session_ended")
        assert refused.json()["reason"] == "identity_moved"
        await identity.look()
        assert outcome(await by_steam.call("GET", "/v1/account")) == (401, "invalid_token")
        account = (await owner.call("GET", "/v1/account")).json()
        assert (account["identities"], account["scope"]) == ([], "guest")
        assert (await owner.refresh()).status == 200

    async def test_asked_again_after_a_lost_answer_it_is_answered_again(
        self, guest: Person
    ) -> None:
        token = await token_of(guest)
        answers = [await resolve(guest, token, "current") for _ in range(3)]
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1

    async def test_a_repetition_takes_nothing_that_was_given_back(
        self, identity: RunningIdentity, owner: Person, guest: Person, clock: ManualClock
    ) -> None:
        token = await token_of(guest)
        await resolve(guest, token, "current")
        clock.advance(1)
        assert (await recover(identity, owner.user_id)).status == 200
        assert outcome(await resolve(guest, token, "current")) == (409, "conflict")
        assert await owned_by(identity) == owner.user_id
        assert await state(identity, owner.user_id) == "active"

    async def test_the_log_tells_operators_which_account_was_given_up(
        self, owner: Person, guest: Person
    ) -> None:
        token = await token_of(guest)
        with capture_logs() as logs:
            await resolve(guest, token, "current")
        (moved,) = [line for line in logs if line["event"] == "identity.moved"]
        assert (moved["user_id"], moved["from_user_id"]) == (guest.user_id, owner.user_id)
        assert moved["given_up"]
        assert PLAYER not in str(logs)


class TestKeepExisting:
    async def test_the_player_is_signed_in_there(
        self, identity: RunningIdentity, owner: Person, guest: Person
    ) -> None:
        device = {"name": "tablet"}
        answer = await resolve(guest, await token_of(guest), "existing", device=device)
        assert answer.status == 201
        assert set(answer.json()) == set(owner.tokens)
        there = person(identity, answer)
        assert there.user_id == owner.user_id
        sessions = await identity.stores.sessions.list(owner.user_id)
        assert [(one.device, one.provider) for one in sessions if one.device] == [
            ("tablet", "steam")
        ]
        assert (await there.refresh()).status == 200

    async def test_this_players_account_stays_as_it_is(
        self, identity: RunningIdentity, owner: Person, guest: Person
    ) -> None:
        before = await player_of(identity, guest.user_id)
        await resolve(guest, await token_of(guest), "existing")
        assert await player_of(identity, guest.user_id) == before
        assert (await guest.try_to_log_in()).status == 201
        assert await owned_by(identity) == owner.user_id

    async def test_asked_again_after_a_lost_answer_it_opens_a_session_of_its_own(
        self, identity: RunningIdentity, guest: Person
    ) -> None:
        token = await token_of(guest)
        first, second = [
            person(identity, await resolve(guest, token, "existing")) for _ in range(2)
        ]
        assert first.session_id != second.session_id
        assert [(await one.refresh()).status for one in (first, second)] == [200, 200]

    async def test_it_counts_as_a_login_of_that_account(
        self, tmp_path: Path, clock: ManualClock, holder: Holder
    ) -> None:
        async with opened(tmp_path, clock, holder, PLAYMESH_LOGINS_PER_SECOND="10") as identity:
            await log_in(identity)
            guest = await new_person(identity)
            token = await token_of(guest)
            answers = [await resolve(guest, token, "existing") for _ in range(10)]
        assert [answer.status for answer in answers] == [201] * 9 + [429]


class TestToken:
    @pytest.mark.parametrize("keep", ["current", "existing"])
    async def test_it_is_good_for_ten_minutes(
        self, guest: Person, clock: ManualClock, keep: str
    ) -> None:
        token = await token_of(guest)
        clock.advance(TIME_TO_DECIDE)
        assert (await resolve(guest, token, keep)).status in (200, 201)

    @pytest.mark.parametrize("keep", ["current", "existing"])
    async def test_after_that_it_is_for_nothing(
        self,
        identity: RunningIdentity,
        owner: Person,
        guest: Person,
        clock: ManualClock,
        keep: str,
    ) -> None:
        token = await token_of(guest)
        clock.advance(TIME_TO_DECIDE + 2)
        assert outcome(await resolve(guest, token, keep)) == (400, "invalid_conflict_token")
        assert await owned_by(identity) == owner.user_id

    async def test_a_forged_one_decides_nothing(
        self, identity: RunningIdentity, owner: Person, guest: Person, clock: ManualClock
    ) -> None:
        token = await token_of(guest)
        content: Content = {"id": "1", "current": guest.user_id, "existing": owner.user_id}
        whole: Content = {**content, "provider": "steam", "external_id": PLAYER, "linked_at": 1}
        seals = Seals(identity.stores.refresh_key, clock)
        others = Seals(lambda: b"another key of 32 bytes, or more", clock)
        middle = len(token) // 2
        forged = [
            "x",
            "é" * 100,
            token[:-4],
            token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :],
            seals.seal("another purpose", whole),
            others.seal("conflict", whole),
            seals.seal("conflict", content),
            guest.tokens["refresh_token"],
            guest.tokens["access_token"],
        ]
        for one in forged:
            answer = await resolve(guest, one, "current")
            assert outcome(answer) == (400, "invalid_conflict_token"), one
        assert await owned_by(identity) == owner.user_id

    async def test_another_players_is_forbidden_and_stays_good_for_that_one(
        self, identity: RunningIdentity, owner: Person, guest: Person
    ) -> None:
        token, mallory = await token_of(guest), await new_person(identity)
        for other in (mallory, owner):
            for keep in ("current", "existing"):
                assert outcome(await resolve(other, token, keep)) == (403, "forbidden")
        assert await owned_by(identity) == owner.user_id
        assert (await resolve(guest, token, "current")).status == 200

    @pytest.mark.parametrize(
        ("first", "second"), [("current", "existing"), ("existing", "current")]
    )
    async def test_the_other_decision_comes_too_late(
        self, identity: RunningIdentity, guest: Person, first: str, second: str
    ) -> None:
        token = await token_of(guest)
        assert (await resolve(guest, token, first)).status in (200, 201)
        before = await owned_by(identity)
        assert outcome(await resolve(guest, token, second)) == (409, "already_decided")
        assert await owned_by(identity) == before
        assert (await resolve(guest, token, first)).status in (200, 201)

    async def test_written_in_another_way_it_is_the_same_token(self, guest: Person) -> None:
        """Base64 is read leniently."""
        token = await token_of(guest)
        assert (await resolve(guest, token, "existing")).status == 201
        for other in (f"{token}=", f"{token[:20]}!{token[20:]}", f"{token}===="):
            answer = await resolve(guest, other, "current")
            assert answer.code in ("already_decided", "invalid_conflict_token")

    async def test_of_50_decisions_at_once_one_holds(
        self, identity: RunningIdentity, owner: Person, guest: Person
    ) -> None:
        token = await token_of(guest)
        wanted = ["current", "existing"] * 25
        answers = await asyncio.gather(*(resolve(guest, token, keep) for keep in wanted))
        done = {keep for keep, one in zip(wanted, answers, strict=True) if one.status < 300}
        others = [one for one in answers if one.status >= 300]
        assert len(done) == 1
        assert [outcome(one) for one in others] == [(409, "already_decided")] * 25
        expected = guest if done == {"current"} else owner
        assert await owned_by(identity) == expected.user_id

    @pytest.mark.parametrize("keep", ["current", "existing"])
    async def test_where_the_identity_has_changed_hands_there_is_nothing_to_decide(
        self, identity: RunningIdentity, keep: str
    ) -> None:
        owner, guest = await new_person(identity), await new_person(identity)
        await link(owner)
        token = await token_of(guest)
        await owner.call("DELETE", "/v1/account/identities/steam")
        assert outcome(await resolve(guest, token, keep)) == (409, "conflict")
        third = person(identity, await log_in(identity))
        assert outcome(await resolve(guest, token, keep)) == (409, "conflict")
        assert await owned_by(identity) == third.user_id

    @pytest.mark.parametrize("keep", ["current", "existing"])
    async def test_nor_where_it_has_come_back(
        self, identity: RunningIdentity, clock: ManualClock, keep: str
    ) -> None:
        owner, guest = await new_person(identity), await new_person(identity)
        await link(owner)
        token = await token_of(guest)
        clock.advance(1)
        await owner.call("DELETE", "/v1/account/identities/steam")
        await link(owner)
        assert outcome(await resolve(guest, token, keep)) == (409, "conflict")
        assert await owned_by(identity) == owner.user_id

    async def test_nor_where_its_account_is_being_erased(
        self, identity: RunningIdentity, owner: Person, guest: Person
    ) -> None:
        tokens = [await token_of(guest) for _ in range(2)]
        await identity.app[ERASURES].request(owner.user_id)
        for token, keep in zip(tokens, ("current", "existing"), strict=True):
            assert outcome(await resolve(guest, token, keep)) == (409, "conflict")
        assert await state(identity, owner.user_id) == "erasing"

    @pytest.mark.parametrize("keep", ["current", "existing"])
    @pytest.mark.parametrize("banned", ["current", "existing", "identity"])
    async def test_a_ban_that_came_meanwhile_keeps_everything_where_it_is(
        self, identity: RunningIdentity, owner: Person, guest: Person, banned: str, keep: str
    ) -> None:
        token = await token_of(guest)
        if banned == "identity":
            await operate(identity, "POST", f"/identities/steam/{PLAYER}/ban", {"reason": "spam"})
        else:
            await ban(identity, (guest if banned == "current" else owner).user_id)
        assert outcome(await resolve(guest, token, keep)) == (403, "banned")
        assert await owned_by(identity) == owner.user_id
        assert await state(identity, owner.user_id) == "active"

    @pytest.mark.parametrize("keep", ["current", "existing"])
    async def test_who_has_been_erased_meanwhile_decides_nothing(
        self, identity: RunningIdentity, owner: Person, guest: Person, keep: str
    ) -> None:
        token = await token_of(guest)
        await identity.app[ERASURES].request(guest.user_id)
        assert outcome(await resolve(guest, token, keep)) == (404, "not_found")
        assert await owned_by(identity) == owner.user_id

    async def test_it_is_in_no_log(self, guest: Person) -> None:
        with capture_logs() as logs:
            token = await token_of(guest)
            for keep in ("current", "existing", "neither"):
                await resolve(guest, token, keep)
            await resolve(guest, token + "x", "current")
        assert logs
        assert token not in str(logs)
        assert PLAYER not in str(logs)


class TestRecovery:
    @pytest.fixture
    async def given_up(self, owner: Person, guest: Person) -> Person:
        """Whose identity `guest` has now."""
        assert (await resolve(guest, await token_of(guest), "current")).status == 200
        return owner

    async def test_the_account_lives_again_and_has_its_identity_back(
        self, identity: RunningIdentity, given_up: Person, guest: Person
    ) -> None:
        answer = await recover(identity, given_up.user_id)
        assert (answer.status, answer.json()["state"]) == (200, "active")
        assert answer.json()["recoverable_until"] is None
        assert person(identity, await log_in(identity)).user_id == given_up.user_id
        assert (await guest.call("GET", "/v1/account")).json()["identities"] == []

    async def test_the_sessions_of_before_stay_over(
        self, identity: RunningIdentity, given_up: Person
    ) -> None:
        await recover(identity, given_up.user_id)
        assert outcome(await given_up.refresh()) == (401, "session_ended")
        await identity.look()
        assert outcome(await given_up.call("GET", "/v1/account")) == (401, "invalid_token")

    async def test_whoever_came_with_the_identity_meanwhile_has_to_leave(
        self, identity: RunningIdentity, given_up: Person, guest: Person
    ) -> None:
        by_steam = person(identity, await log_in(identity))
        await recover(identity, given_up.user_id)
        assert outcome(await by_steam.refresh()) == (401, "session_ended")
        assert (await guest.refresh()).status == 200

    async def test_repeating_it_changes_nothing(
        self, identity: RunningIdentity, given_up: Person, guest: Person
    ) -> None:
        first, second = [await recover(identity, given_up.user_id) for _ in range(2)]
        assert first.json() == second.json()
        before = await player_of(identity, guest.user_id)
        assert (await recover(identity, guest.user_id)).json() == before

    async def test_of_20_at_once_all_are_answered(
        self, identity: RunningIdentity, given_up: Person
    ) -> None:
        answers = await asyncio.gather(*(recover(identity, given_up.user_id) for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert await owned_by(identity) == given_up.user_id

    async def test_the_last_way_in_of_who_has_the_identity_stays(
        self, identity: RunningIdentity, owner: Person
    ) -> None:
        other = person(identity, await log_in(identity, of_steam(id=LENDER)))
        await identity.app[LINKS].link(other.user_id, "epic", "1")
        await other.call("DELETE", "/v1/account/identities/steam")
        await resolve(other, await token_of(other), "current")
        await identity.app[LINKS].unlink(other.user_id, "epic")
        by_steam = person(identity, await log_in(identity))
        assert outcome(await recover(identity, owner.user_id)) == (409, "conflict")
        assert await state(identity, owner.user_id) == "recoverable"
        assert (await by_steam.refresh()).status == 200

    async def test_what_is_somebody_elses_by_now_stays_theirs(
        self, identity: RunningIdentity, given_up: Person, guest: Person
    ) -> None:
        await guest.call("DELETE", "/v1/account/identities/steam")
        third = await new_person(identity)
        await link(third)
        assert outcome(await recover(identity, given_up.user_id)) == (409, "conflict")
        assert await owned_by(identity) == third.user_id

    async def test_what_is_free_by_now_is_given_back(
        self, identity: RunningIdentity, given_up: Person, guest: Person
    ) -> None:
        await identity.app[ERASURES].request(guest.user_id)
        assert (await recover(identity, given_up.user_id)).status == 200
        assert await owned_by(identity) == given_up.user_id

    async def test_under_another_id_by_now_it_is_given_back_when_it_is_free(
        self, identity: RunningIdentity, given_up: Person, guest: Person
    ) -> None:
        """Who has the new id from the platform never comes by the former one alone."""
        links = identity.app[LINKS]
        assert (await links.account_of("steam", "new", former=PLAYER)).user_id == guest.user_id
        assert outcome(await recover(identity, given_up.user_id)) == (409, "conflict")
        assert await state(identity, given_up.user_id) == "recoverable"
        await links.unlink(guest.user_id, "steam")
        assert (await recover(identity, given_up.user_id)).status == 200
        assert (await links.account_of("steam", "new", former=PLAYER)).user_id == given_up.user_id

    @pytest.mark.parametrize("banned", ["identity", "holder"])
    async def test_a_ban_stays_where_it_is(
        self, identity: RunningIdentity, given_up: Person, guest: Person, banned: str
    ) -> None:
        if banned == "identity":
            await operate(identity, "POST", f"/identities/steam/{PLAYER}/ban", {"reason": "spam"})
        else:
            await ban(identity, guest.user_id)
        assert outcome(await recover(identity, given_up.user_id)) == (409, "conflict")
        assert await owned_by(identity) == guest.user_id

    async def test_until_the_last_moment_nothing_is_erased_and_from_then_on_it_is(
        self,
        identity: RunningIdentity,
        given_up: Person,
        clock: ManualClock,
    ) -> None:
        clock.advance(timedelta(days=30).total_seconds() - 0.001)
        await identity.app[ERASURES].end_recoveries()
        await identity.app[ERASURES].tick()
        assert await state(identity, given_up.user_id) == "recoverable"
        clock.advance(0.001)
        assert outcome(await recover(identity, given_up.user_id)) == (409, "conflict")
        await identity.app[ERASURES].end_recoveries()
        assert await state(identity, given_up.user_id) == "erasing"
        assert outcome(await recover(identity, given_up.user_id)) == (409, "conflict")

    async def test_who_was_promised_more_time_has_it(
        self, identity: RunningIdentity, given_up: Person, clock: ManualClock
    ) -> None:
        account = await identity.stores.accounts.get(given_up.user_id)
        assert account is not None
        assert account.erasure is not None
        assert account.undo is not None
        undo = replace(account.undo, until=account.undo.until + timedelta(days=30))
        longer = replace(account, erasure=replace(account.erasure, undo=undo))
        await identity.stores.accounts.replace(longer)
        clock.advance(timedelta(days=31).total_seconds())
        await identity.app[ERASURES].end_recoveries()
        assert await state(identity, given_up.user_id) == "recoverable"

    async def test_maintenance_erases_it_in_all_services(
        self, identity: RunningIdentity, given_up: Person, holder: Holder, clock: ManualClock
    ) -> None:
        settings = Settings.from_env({})
        for days, expected in ((29, "recoverable"), (1, "erased")):
            clock.advance(timedelta(days=days).total_seconds())
            erasures = identity.app[ERASURES]
            await maintain(settings, identity.stores, erasures, clock, erase_again=False)
            assert await state(identity, given_up.user_id) == expected
        assert holder.erased == [given_up.user_id]

    async def test_asked_to_be_erased_it_is_erased_now(
        self, identity: RunningIdentity, given_up: Person, holder: Holder
    ) -> None:
        """By its own token, for the seconds in which that is still taken."""
        assert (await given_up.call("DELETE", "/v1/account")).status == 204
        assert holder.erased == [given_up.user_id]
        assert await state(identity, given_up.user_id) == "erasing"
        await identity.look()
        assert outcome(await given_up.call("GET", "/v1/account")) == (401, "invalid_token")
        assert outcome(await recover(identity, given_up.user_id)) == (409, "conflict")

    async def test_the_loop_of_erasures_leaves_it_alone(
        self, identity: RunningIdentity, given_up: Person, holder: Holder, clock: ManualClock
    ) -> None:
        clock.advance(timedelta(days=1).total_seconds())
        await identity.app[ERASURES].tick()
        assert (holder.erased, await state(identity, given_up.user_id)) == ([], "recoverable")
