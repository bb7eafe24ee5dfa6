"""Bans: who is kept out of what, until when, and who is told."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.identity.appkeys import BANS, SESSIONS
from shared.auth.revocations import subject_mark
from shared.errors import Banned
from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import bearer, call, claims_of, without_request_id
from tests.support.clock import ManualClock
from tests.support.people import Person, ban, new_person, operate
from tests.support.servers import Answer, send

MINUTE = 60
TOMORROW = "2026-01-03T03:04:05.000Z"
DAY = 24 * 60 * MINUTE


@pytest.fixture
async def player(identity: RunningIdentity) -> Person:
    return await new_person(identity)


def banned(answer: Answer) -> dict[str, Any] | None:
    if (answer.status, answer.code) != (403, "banned"):
        return None
    return {name: answer.json()[name] for name in ("reason", "until")}


async def listed(identity: RunningIdentity, player: Person) -> bool:
    """Whether verifiers are told to refuse the player's tokens."""
    await identity.look()
    answer = await call(identity.http, "GET", "/.well-known/revocations.json")
    return subject_mark(player.user_id) in answer.json()["revoked"]


class TestPlayer:
    async def test_who_is_banned_neither_logs_in_nor_refreshes_and_is_told_why(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        await ban(identity, player.user_id, reason="aim bot", until=TOMORROW)
        told = {"reason": "aim bot", "until": TOMORROW}
        assert banned(await player.try_to_log_in()) == told
        assert banned(await player.refresh()) == told

    async def test_a_ban_ends_no_session_and_consumes_no_token(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        await ban(identity, player.user_id)
        await player.refresh()
        await operate(identity, "POST", f"/players/{player.user_id}/unban")
        assert (await player.refresh()).status == 200

    async def test_the_access_token_is_refused_as_soon_as_the_list_is_read(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        await ban(identity, player.user_id)
        assert await listed(identity, player)
        answer = await player.call("GET", "/v1/account")
        assert (answer.status, answer.code) == (401, "invalid_token")

    async def test_it_is_over_at_its_instant(
        self, identity: RunningIdentity, player: Person, clock: ManualClock
    ) -> None:
        await ban(identity, player.user_id, until=TOMORROW)
        clock.advance(DAY - 0.001)
        assert banned(await player.refresh())
        clock.advance(0.001)
        assert (await player.refresh()).status == 200
        assert (await player.try_to_log_in()).status == 201

    async def test_a_ban_that_is_over_is_taken_off_the_list_while_tokens_live(
        self, identity: RunningIdentity, player: Person, clock: ManualClock
    ) -> None:
        await ban(identity, player.user_id, until="2026-01-02T03:05:05Z")
        assert await listed(identity, player)
        clock.advance(MINUTE)
        assert not await listed(identity, player)
        assert (await player.call("GET", "/v1/account")).status == 200

    async def test_a_ban_that_is_lifted_is_taken_off_the_list(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        await ban(identity, player.user_id)
        await operate(identity, "POST", f"/players/{player.user_id}/unban")
        assert not await listed(identity, player)

    async def test_it_is_on_the_list_as_long_as_a_token_may_be_good(
        self, identity: RunningIdentity, player: Person, clock: ManualClock
    ) -> None:
        await ban(identity, player.user_id)
        clock.advance(19 * MINUTE)
        assert await listed(identity, player)
        clock.advance(1)
        assert not await listed(identity, player)
        assert banned(await player.refresh())

    async def test_it_is_on_the_list_until_the_slowest_clock_refuses_the_token(
        self, identity: RunningIdentity, player: Person, tmp_path: Path, clock: ManualClock
    ) -> None:
        """Through two processes whose clocks are a minute apart: all that a leeway allows."""
        fast = ManualClock(clock.now() + timedelta(seconds=60))
        async with apps.identity(tmp_path, fast, QUICK_KEYS) as beside:
            device = await replace(player, identity=beside).on_another_device()
            await ban(identity, player.user_id)
            refused_at = claims_of(device.tokens["access_token"])["exp"] + 60
            seconds = refused_at - clock.now().timestamp() - 1
            clock.advance(seconds)
            fast.advance(seconds)
            assert await listed(beside, player)

    async def test_a_second_ban_takes_the_place_of_the_first(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        await ban(identity, player.user_id, reason="first")
        answer = await ban(identity, player.user_id, reason="second", until=TOMORROW)
        assert [one["reason"] for one in answer.json()["bans"]] == ["second"]
        assert banned(await player.refresh()) == {"reason": "second", "until": TOMORROW}

    async def test_others_stay(self, identity: RunningIdentity, player: Person) -> None:
        other = await new_person(identity)
        await ban(identity, player.user_id)
        assert (await other.refresh()).status == 200
        assert not await listed(identity, other)

    async def test_who_cannot_prove_to_be_the_player_learns_nothing_of_the_ban(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        wrong = "A" * 43
        before = await player.try_to_log_in(secret=wrong)
        await ban(identity, player.user_id)
        after = await player.try_to_log_in(secret=wrong)
        assert without_request_id(before) == without_request_id(after)

    async def test_of_a_ban_that_races_logins_and_refreshes_nobody_comes_out_with_a_session(
        self, identity: RunningIdentity
    ) -> None:
        for _ in range(10):
            player = await new_person(identity)
            logins = [player.on_another_device() for _ in range(3)]
            answers = await asyncio.gather(
                ban(identity, player.user_id), *logins, player.refresh(), return_exceptions=True
            )
            devices = [one for one in answers if isinstance(one, Person)]
            assert all([banned(await one.refresh()) for one in [*devices, player]])
            assert await listed(identity, player)
            assert {(await one.call("GET", "/v1/account")).status for one in devices} <= {401}

    async def test_who_is_banned_between_two_steps_of_a_login_does_not_get_in(
        self, identity: RunningIdentity, player: Person, clock: ManualClock
    ) -> None:
        """After its secret was checked: the first login of a day looks at the account again."""
        account = await identity.stores.accounts.get(player.user_id)
        assert account is not None
        clock.advance(DAY)
        await ban(identity, player.user_id)
        with pytest.raises(Banned):
            await identity.app[SESSIONS].open(account)
        assert len(await identity.stores.sessions.list(player.user_id)) == 1


class TestParts:
    async def test_a_ban_of_a_part_of_the_game_is_in_the_next_access_token(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        await ban(identity, player.user_id, scope="chat", until=TOMORROW)
        await ban(identity, player.user_id, scope="ranked")
        assert (await player.refresh()).status == 200
        assert claims_of(player.tokens["access_token"])["bans"] == ["chat", "ranked"]
        assert not await listed(identity, player)
        assert (await player.call("GET", "/v1/account")).status == 200

    async def test_it_leaves_the_token_when_it_is_over(
        self, identity: RunningIdentity, player: Person, clock: ManualClock
    ) -> None:
        await ban(identity, player.user_id, scope="chat", until=TOMORROW)
        clock.advance(DAY)
        await player.refresh()
        assert "bans" not in claims_of(player.tokens["access_token"])

    async def test_it_is_lifted_by_its_scope(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        await ban(identity, player.user_id, scope="chat")
        await ban(identity, player.user_id, scope="ranked")
        path = f"/players/{player.user_id}/unban"
        answer = await operate(identity, "POST", path, {"scope": "chat"})
        assert [one["scope"] for one in answer.json()["bans"]] == ["ranked"]

    async def test_there_are_sixteen_at_most(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        for number in range(16):
            assert (await ban(identity, player.user_id, scope=f"part-{number}")).status == 200
        answer = await ban(identity, player.user_id, scope="one-more")
        assert (answer.status, answer.code) == (409, "conflict")
        assert (await ban(identity, player.user_id, scope="part-3", reason="new")).status == 200

    async def test_they_are_no_reason_not_to_keep_a_player_out_altogether(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        for number in range(16):
            await ban(identity, player.user_id, scope=f"part-{number}")
        assert (await ban(identity, player.user_id)).status == 200
        assert banned(await player.refresh())

    async def test_who_is_kept_out_altogether_is_kept_out_of_sixteen_parts_as_well(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        for scope in ("all", *(f"part-{number}" for number in range(16))):
            assert (await ban(identity, player.user_id, scope=scope)).status == 200
        await operate(identity, "POST", f"/players/{player.user_id}/unban")
        assert (await player.refresh()).status == 200
        assert len(claims_of(player.tokens["access_token"])["bans"]) == 16


class TestOperator:
    async def test_the_bans_of_a_player_are_seen(
        self, identity: RunningIdentity, player: Person
    ) -> None:
        await ban(identity, player.user_id, reason="aim bot", until=TOMORROW)
        answer = await operate(identity, "GET", f"/players/{player.user_id}")
        assert answer.json()["bans"] == [
            {
                "scope": "all",
                "reason": "aim bot",
                "since": "2026-01-02T03:04:05.000Z",
                "until": TOMORROW,
            }
        ]

    @pytest.mark.parametrize(
        ("body", "word"),
        [
            ({}, "reason"),
            ({"reason": ""}, "reason"),
            ({"reason": 7}, "reason"),
            ({"reason": "x" * 501}, "reason"),
            ({"reason": "x", "until": "tomorrow"}, "until"),
            ({"reason": "x", "until": "2026-12-24T18:00:00"}, "until"),
            ({"reason": "x", "until": "2026-01-02T03:04:05Z"}, "over already"),
            ({"reason": "x", "until": 7}, "until"),
            ({"reason": "x", "until": "9999-12-31T23:59:59-12:00"}, "until"),
            ({"reason": "x", "until": "0001-01-01T00:00:00+12:00"}, "until"),
            ({"reason": "x", "scope": "Chat"}, "scope"),
            ({"reason": "x", "scope": "a b"}, "scope"),
            ([], "object"),
        ],
    )
    async def test_a_wrong_ban_is_a_precise_400_and_bans_nobody(
        self, identity: RunningIdentity, player: Person, body: object, word: str
    ) -> None:
        answer = await operate(identity, "POST", f"/players/{player.user_id}/ban", body)
        assert (answer.status, answer.code) == (400, "invalid_request")
        assert word in answer.json()["detail"]
        assert (await player.refresh()).status == 200

    @pytest.mark.parametrize(
        ("until", "kept"),
        [
            ("2026-01-02T03:04:05.001Z", "2026-01-02T03:04:05.001Z"),
            ("2026-01-03T03:04:05.678999Z", "2026-01-03T03:04:05.678Z"),
            ("2026-01-03T17:04:05+14:00", TOMORROW),
            ("2026-01-02T15:04:05-12:00", TOMORROW),
            ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ],
    )
    async def test_a_ban_lasts_until_any_moment_to_come(
        self, identity: RunningIdentity, player: Person, until: str, kept: str
    ) -> None:
        answer = await ban(identity, player.user_id, until=until)
        assert answer.json()["bans"][0]["until"] == kept
        assert banned(await player.refresh()) == {"reason": "cheating", "until": kept}
        assert await listed(identity, player)

    @pytest.mark.parametrize("user_id", ["0" * 32, "me", "%00", "x" * 300])
    @pytest.mark.parametrize("action", ["", "/ban", "/unban", "/revoke-sessions"])
    async def test_an_account_that_there_is_not_is_a_404(
        self, identity: RunningIdentity, user_id: str, action: str
    ) -> None:
        method = "POST" if action else "GET"
        body = {"reason": "x"} if action == "/ban" else None
        answer = await operate(identity, method, f"/players/{user_id}{action}", body)
        assert (answer.status, answer.code) == (404, "not_found")

    @pytest.mark.parametrize("action", ["", "/ban", "/unban", "/revoke-sessions"])
    async def test_players_and_services_without_the_scope_may_not(
        self, identity: RunningIdentity, player: Person, action: str
    ) -> None:
        method = "POST" if action else "GET"
        path = f"/v1/admin/players/{player.user_id}{action}"
        tokens = [player.tokens["access_token"], identity.service_token("identity:read")]
        for token in tokens:
            body = {"json": {"reason": "x"}} if action else {}
            answer = await call(identity.http, method, path, headers=bearer(token), **body)
            assert (answer.status, answer.code) == (403, "forbidden")
        assert (await player.refresh()).status == 200


class TestPlatformIdentity:
    PATH = "/identities/steam/76561197960287930"

    async def test_a_ban_is_kept_until_it_is_lifted(self, identity: RunningIdentity) -> None:
        assert (await operate(identity, "GET", self.PATH)).json() == {"ban": None}
        answer = await operate(identity, "POST", f"{self.PATH}/ban", {"reason": "cheating"})
        assert answer.json()["ban"]["reason"] == "cheating"
        assert (await operate(identity, "GET", self.PATH)).json() == answer.json()
        assert (await operate(identity, "POST", f"{self.PATH}/unban")).status == 204
        assert (await operate(identity, "GET", self.PATH)).json() == {"ban": None}

    @pytest.mark.parametrize(
        ("written", "external_id"),
        [
            ("a%2Fb", "a/b"),
            ("%7Ba%7D", "{a}"),
            ("a%23b", "a#b"),
            ("a%3Fb", "a?b"),
            ("a%25b", "a%b"),
            ("a%252Fb", "a%2Fb"),
            ("a+b", "a+b"),
            ("a%20b", "a b"),
            ("..", ".."),
            ("ban", "ban"),
            ("Zo%C3%AB%20%F0%9F%8E%AE", "Zoë 🎮"),
            ("%C3%A9" * 256, "é" * 256),
            ("001234.0123456789abcdef.0123", "001234.0123456789abcdef.0123"),
        ],
    )
    async def test_an_id_is_whatever_the_platform_makes_of_it(
        self, identity: RunningIdentity, written: str, external_id: str
    ) -> None:
        token = identity.service_token("identity:admin")
        head = f"POST /v1/admin/identities/steam/{written}/ban HTTP/1.1\r\n"
        answer = await send(
            identity.url, f"{head}Authorization: Bearer {token}", b'{"reason": "cheating"}'
        )
        assert answer.status == 200
        found = await identity.app[BANS].find_identity("steam", external_id)
        assert found
        assert found.external_id == external_id

    async def test_whoever_has_it_is_let_in_by_no_account(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        await operate(
            identity, "POST", f"{self.PATH}/ban", {"reason": "cheating", "until": TOMORROW}
        )
        bans = identity.app[BANS]
        with pytest.raises(Banned):
            await bans.admit_identity("steam", "76561197960287930")
        await bans.admit_identity("steam", "76561197960287931")
        await bans.admit_identity("apple", "76561197960287930")
        clock.advance(DAY)
        await bans.admit_identity("steam", "76561197960287930")
