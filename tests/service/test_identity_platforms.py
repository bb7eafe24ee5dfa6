"""Ways in through a platform: log in, link, unlink, over a socket and with Steam's stand-in."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.identity.stores import Stores
from shared import errors
from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call, claims_of
from tests.support.clock import ManualClock
from tests.support.fakes import google_play, steam
from tests.support.fakes.google_play import GooglePlayFake
from tests.support.fakes.steam import LENDER, PLAYER, SteamFake, ticket
from tests.support.interruptions import Interruption, When
from tests.support.people import Person, ban, new_person, operate
from tests.support.servers import Answer

KEY = "0123456789ABCDEF0123456789ABCDEF"


@pytest.fixture
async def fake() -> AsyncIterator[tuple[SteamFake, str]]:
    made = SteamFake(KEY)
    async with made.serving() as url:
        yield made, url


@pytest.fixture
def environ(fake: tuple[SteamFake, str]) -> dict[str, str]:
    made, url = fake
    return {**QUICK_KEYS, **made.environ(url)}


@pytest.fixture
async def identity(
    tmp_path: Path, clock: ManualClock, environ: dict[str, str]
) -> AsyncIterator[RunningIdentity]:
    async with apps.identity(tmp_path, clock, environ) as running:
        yield running


def of_steam(scenario: str = "ok", **fields: str | int) -> str:
    """A ticket; each is of its own, since one is good once."""
    of_steam.count += 1  # type: ignore[attr-defined]  # a counter that belongs to nothing else
    known = {"id": PLAYER, "identity": steam.IDENTITY, "app": steam.APP_ID}
    return ticket(scenario, **{**known, "n": of_steam.count, **fields})  # type: ignore[attr-defined]


of_steam.count = 0  # type: ignore[attr-defined]


async def log_in(identity: RunningIdentity, sent: str | None = None) -> Answer:
    body = {"provider": "steam", "credential": {"ticket": sent or of_steam()}}
    return await call(identity.http, "POST", "/v1/sessions", json=body)


async def link(player: Person, sent: str | None = None) -> Answer:
    body = {"provider": "steam", "credential": {"ticket": sent or of_steam()}}
    return await player.call("POST", "/v1/account/identities", json=body)


def person(identity: RunningIdentity, answer: Answer) -> Person:
    assert answer.status in (200, 201), answer
    return Person(identity, answer.json()["user_id"], "", answer.json())


class TestLogin:
    async def test_the_first_one_makes_an_account_and_the_next_finds_it(
        self, identity: RunningIdentity
    ) -> None:
        first, second = [person(identity, await log_in(identity)) for _ in range(2)]
        assert first.user_id == second.user_id
        assert claims_of(first.tokens["access_token"])["scope"] == "authenticated"
        account = (await first.call("GET", "/v1/account")).json()
        assert [(one["provider"], one["external_id"]) for one in account["identities"]] == [
            ("steam", PLAYER)
        ]

    async def test_of_50_first_logins_at_once_all_are_the_same_player(
        self, identity: RunningIdentity
    ) -> None:
        answers = await asyncio.gather(*(log_in(identity) for _ in range(50)))
        assert {answer.status for answer in answers} == {201}
        assert len({answer.json()["user_id"] for answer in answers}) == 1

    async def test_the_drop_in_route_answers_what_the_sdks_read(
        self, identity: RunningIdentity
    ) -> None:
        query = {"steam_auth_token": of_steam()}
        answer = await call(identity.http, "GET", "/login-with-steam", params=query)
        assert set(answer.json()) == {
            "user_id",
            "steam_id",
            "auth_token",
            "refresh_token",
            "auth_token_expires_in",
            "refresh_token_expires_in",
        }
        assert answer.json()["steam_id"] == PLAYER

    @pytest.mark.parametrize(
        ("scenario", "status", "code"),
        [
            ("e101", 401, "invalid_credential"),
            ("http503", 503, "provider_unavailable"),
            ("html200", 503, "provider_unavailable"),
        ],
    )
    async def test_what_steam_says_is_answered_in_our_words(
        self, identity: RunningIdentity, scenario: str, status: int, code: str
    ) -> None:
        answer = await log_in(identity, of_steam(scenario))
        assert (answer.status, answer.code) == (status, code)
        assert KEY not in str(answer)

    async def test_a_provider_that_is_not_on_is_a_bad_request(
        self, identity: RunningIdentity
    ) -> None:
        body = {"provider": "gog", "credential": {"ticket": "x"}}
        answer = await call(identity.http, "POST", "/v1/sessions", json=body)
        assert (answer.status, answer.code) == (400, "invalid_request")
        assert "guest, steam" in answer.json()["detail"]

    async def test_while_steam_is_away_guests_and_refreshes_go_on(
        self, identity: RunningIdentity, fake: tuple[SteamFake, str]
    ) -> None:
        player = person(identity, await log_in(identity))
        fake[0].scenario = "http503"
        assert (await log_in(identity)).status == 503
        assert (await player.refresh()).status == 200
        assert (await new_person(identity)).user_id

    async def test_a_store_that_cannot_say_what_was_used_lets_nobody_in(
        self, tmp_path: Path, clock: ManualClock, environ: dict[str, str]
    ) -> None:
        broken = Interruption(
            frozenset(("claim",)), at=1, when=When.DROPPED, loss=errors.Unavailable
        )

        def around(stores: Stores) -> Stores:
            return replace(stores, idempotency=broken.around(stores.idempotency))

        async with apps.identity(tmp_path, clock, environ, around=around) as identity:
            sent = of_steam()
            answer = await log_in(identity, sent)
            assert (answer.status, answer.code) == (503, "provider_unavailable")
            assert int(answer.headers["Retry-After"]) >= 1
            assert (await log_in(identity, sent)).status == 201

    async def test_a_ticket_lets_in_once_also_after_a_restart(
        self, tmp_path: Path, clock: ManualClock, environ: dict[str, str]
    ) -> None:
        sent = of_steam()
        outcomes = []
        for _ in range(2):
            async with apps.identity(tmp_path, clock, environ) as identity:
                outcomes.append((await log_in(identity, sent)).status)
        assert outcomes == [201, 401]

    async def test_who_is_banned_here_is_told_so(self, identity: RunningIdentity) -> None:
        player = person(identity, await log_in(identity))
        await ban(identity, player.user_id, reason="aim bot")
        answer = await log_in(identity)
        assert (answer.status, answer.code, answer.json()["reason"]) == (403, "banned", "aim bot")

    async def test_a_banned_identity_neither_gets_in_nor_is_linked(
        self, identity: RunningIdentity
    ) -> None:
        await operate(identity, "POST", f"/identities/steam/{PLAYER}/ban", {"reason": "cheating"})
        guest = await new_person(identity)
        assert (await log_in(identity)).code == "banned"
        assert (await link(guest)).code == "banned"
        assert (await log_in(identity, of_steam(id=LENDER))).status == 201


class TestGooglePlay:
    """The one way in that is its own: the route and its two names."""

    @pytest.fixture
    async def identity(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[RunningIdentity]:
        fake = GooglePlayFake(KEY)
        async with fake.serving() as url:
            environ = {**QUICK_KEYS, **fake.environ(url)}
            async with apps.identity(tmp_path, clock, environ) as running:
                yield running

    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_the_drop_in_route_answers_what_the_sdks_read(
        self, identity: RunningIdentity, method: str
    ) -> None:
        sent = {"google_play_auth_token": google_play.code()}
        more = {"params": sent} if method == "GET" else {"json": sent}
        answer = await call(identity.http, method, "/login-with-google-play", **more)
        assert set(answer.json()) == {
            "user_id",
            "google_play_id",
            "auth_token",
            "refresh_token",
            "auth_token_expires_in",
            "refresh_token_expires_in",
        }
        assert answer.json()["google_play_id"] == google_play.PLAYER

    async def test_defect_12_who_has_got_another_id_keeps_the_account(
        self, identity: RunningIdentity
    ) -> None:
        async def log_in(**fields: str | int) -> Person:
            credential = {"server_auth_code": google_play.code("ok", **fields)}
            body = {"provider": "google_play", "credential": credential}
            return person(identity, await call(identity.http, "POST", "/v1/sessions", json=body))

        before = await log_in(id="g0123", n=1)
        after = [await log_in(id="a_9", original="g0123", n=number) for number in (2, 3)]
        assert {one.user_id for one in after} == {before.user_id}
        account = (await before.call("GET", "/v1/account")).json()
        assert [one["external_id"] for one in account["identities"]] == [
            f"{google_play.APPLICATION}:a_9"
        ]
        assert (await log_in(id="a_8", n=4)).user_id != before.user_id

    async def test_defect_12_the_drop_in_route_finds_the_account_and_answers_the_new_id(
        self, identity: RunningIdentity
    ) -> None:
        async def log_in(sent: str, **more: str) -> dict[str, object]:
            query = {"google_play_auth_token": sent, **more}
            answer = await call(identity.http, "GET", "/login-with-google-play", params=query)
            return dict(answer.json())

        before = await log_in(google_play.code(id="g0123", n=1))
        after = await log_in(google_play.code(id="a_9", original="g0123", n=2))
        assert (after["user_id"], after["google_play_id"]) == (before["user_id"], "a_9")
        guest = await new_person(identity)
        mine = {"auth_token": guest.tokens["access_token"], "link_to_existing_user": "Yes"}
        linked = await log_in(google_play.code(id="a_9", original="g0123", n=3), **mine)
        assert (linked["user_id"], linked["link_conflict"]) == (before["user_id"], True)

    async def test_a_used_code_does_not_let_in(self, identity: RunningIdentity) -> None:
        body = {"provider": "google_play", "credential": {"server_auth_code": google_play.code()}}
        answers = [await call(identity.http, "POST", "/v1/sessions", json=body) for _ in range(2)]
        assert [answer.status for answer in answers] == [201, 401]
        assert answers[1].code == "expired_credential"


class TestLink:
    async def test_a_guest_who_links_is_the_same_player_on_the_next_device(
        self, identity: RunningIdentity
    ) -> None:
        guest = await new_person(identity)
        assert (await link(guest)).status == 200
        other = person(identity, await log_in(identity))
        assert other.user_id == guest.user_id

    async def test_the_next_access_token_says_authenticated(
        self, identity: RunningIdentity
    ) -> None:
        guest = await new_person(identity)
        await link(guest)
        assert claims_of(guest.tokens["access_token"])["scope"] == "guest"
        await guest.refresh()
        assert claims_of(guest.tokens["access_token"])["scope"] == "authenticated"

    async def test_linking_again_changes_nothing(self, identity: RunningIdentity) -> None:
        guest = await new_person(identity)
        first, second = [await link(guest) for _ in range(2)]
        assert first.json() == second.json()

    async def test_what_is_another_accounts_is_a_conflict(self, identity: RunningIdentity) -> None:
        await log_in(identity)
        guest = await new_person(identity)
        answer = await link(guest)
        assert (answer.status, answer.code) == (409, "already_linked")
        assert (await guest.call("GET", "/v1/account")).json()["identities"] == []

    async def test_of_50_that_link_one_identity_at_once_one_succeeds(
        self, identity: RunningIdentity
    ) -> None:
        guests = [await new_person(identity) for _ in range(50)]
        answers = await asyncio.gather(*(link(guest) for guest in guests))
        assert sorted(answer.status for answer in answers) == [200] + [409] * 49


class TestDropInLink:
    """As the SDKs of the reference link: with the login itself."""

    async def link(self, player: Person, sent: str | None = None, **more: str) -> Answer:
        query = {
            "steam_auth_token": sent or of_steam(),
            "auth_token": player.tokens["access_token"],
            "link_to_existing_user": "Yes",
            **more,
        }
        return await call(player.identity.http, "GET", "/login-with-steam", params=query)

    async def test_a_guest_stays_who_it_is(self, identity: RunningIdentity) -> None:
        guest = await new_person(identity)
        answer = await self.link(guest)
        assert (answer.status, answer.json()["user_id"]) == (200, guest.user_id)
        assert "link_conflict" not in answer.json()
        assert person(identity, await log_in(identity)).user_id == guest.user_id

    async def test_what_is_another_accounts_signs_in_there_and_says_so(
        self, identity: RunningIdentity
    ) -> None:
        owner, guest = person(identity, await log_in(identity)), await new_person(identity)
        answer = await self.link(guest)
        assert (answer.json()["user_id"], answer.json()["link_conflict"]) == (owner.user_id, True)
        assert (await guest.call("GET", "/v1/account")).json()["identities"] == []

    async def test_without_the_word_nothing_is_linked(self, identity: RunningIdentity) -> None:
        guest = await new_person(identity)
        answer = await self.link(guest, link_to_existing_user="No")
        assert answer.json()["user_id"] != guest.user_id

    @pytest.mark.parametrize("token", ["x", "", None])
    async def test_a_token_that_does_not_hold_links_nothing_and_logs_nobody_in(
        self, identity: RunningIdentity, token: str | None
    ) -> None:
        guest = await new_person(identity)
        service = identity.service_token("identity:admin")
        answer = await self.link(guest, auth_token=service if token is None else token)
        assert answer.status in (400, 401)
        assert (await guest.call("GET", "/v1/account")).json()["identities"] == []


class TestUnlink:
    async def test_what_is_unlinked_is_a_way_in_no_more(self, identity: RunningIdentity) -> None:
        guest = await new_person(identity)
        await link(guest)
        answer = await guest.call("DELETE", "/v1/account/identities/steam")
        assert (answer.status, answer.json()["identities"]) == (200, [])
        assert person(identity, await log_in(identity)).user_id != guest.user_id

    async def test_the_last_way_in_stays(self, identity: RunningIdentity) -> None:
        player = person(identity, await log_in(identity))
        answer = await player.call("DELETE", "/v1/account/identities/steam")
        assert (answer.status, answer.code) == (409, "conflict")
        assert person(identity, await log_in(identity)).user_id == player.user_id


async def test_after_an_erasure_the_person_may_begin_anew(identity: RunningIdentity) -> None:
    player = person(identity, await log_in(identity))
    assert (await player.call("DELETE", "/v1/account")).status == 202  # there is no player_data
    again = person(identity, await log_in(identity))
    assert again.user_id != player.user_id
