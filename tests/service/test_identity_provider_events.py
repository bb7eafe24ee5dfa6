"""What Apple and Facebook tell of their players, and what Apple wants back, over a socket."""

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from joserfc.jwk import RSAKey
from structlog.testing import capture_logs

from services.identity.appkeys import BANS, ERASURES, LINKS, NOTICES, PLATFORM_EVENTS
from services.identity.models import Account, Notice
from services.identity.stores import Stores
from shared import errors
from shared.clock import to_seconds
from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call
from tests.support.clock import ManualClock
from tests.support.fakes import facebook
from tests.support.fakes.apple import EXTERNAL_ID, TEAM, AppleFake, code
from tests.support.fakes.facebook import FacebookFake, signed_request
from tests.support.fakes.oidc import RAW_NONCE, SUBJECT
from tests.support.identity_store import count
from tests.support.interruptions import Crash, Interruption, Late, When
from tests.support.issuer import rsa_key
from tests.support.people import Person, ban, new_person
from tests.support.servers import Answer, serving

APPLE = ("apple", EXTERNAL_ID)
FACEBOOK = ("facebook", f"{facebook.APP_ID}:{facebook.PLAYER}")
CALLS = frozenset(
    ("find", "get", "put", "delete", "replace", "unlink", "release", "list", "end", "delete_all")
)
MANY = 8
SECRET = "0123456789abcdef0123456789abcdef"
LIFETIME = 19 * 60
DAY = 24 * 3600
NOTIFICATIONS = "/v1/providers/apple/notifications"
DELETION = "/v1/providers/facebook/deletion"
DEAUTHORIZE = "/v1/providers/facebook/deauthorize"
PUBLIC = "https://id.acme.example"


@dataclass
class World:
    identity: RunningIdentity
    apple: AppleFake
    clock: ManualClock
    folder: Path
    logins: int = 0

    async def log_in(self, sent: str | None = None, **claims: Any) -> Answer:  # noqa: ANN401 - of a token
        """With Apple, and a code that is good."""
        return await call(
            self.identity.http, "POST", "/v1/sessions", json=self.credential(sent, **claims)
        )

    def credential(self, sent: str | None = None, **claims: Any) -> dict[str, object]:  # noqa: ANN401 - of a token
        self.logins += 1
        number = str(self.logins)
        parts = {
            "id_token": self.apple.id_token(jti=number, **claims),
            "nonce": RAW_NONCE,
            "authorization_code": sent or code(n=number),
        }
        return {"provider": "apple", "credential": parts}

    async def player(self, **claims: Any) -> Person:  # noqa: ANN401 - of a token
        answer = await self.log_in(code(sub=claims.get("sub", SUBJECT), n=self.logins), **claims)
        assert answer.status == 201, answer
        return Person(self.identity, answer.json()["user_id"], "", answer.json())

    async def of_facebook(self) -> Person:
        parts = {"access_token": facebook.token()}
        body = {"provider": "facebook", "credential": parts}
        answer = await call(self.identity.http, "POST", "/v1/sessions", json=body)
        assert answer.status == 201, answer
        return Person(self.identity, answer.json()["user_id"], "", answer.json())

    async def read(self, payload: str) -> Notice:
        return await self.identity.app[NOTICES]["apple"].read(payload)

    async def notify(self, kind: str = "consent-revoked", **changes: Any) -> Answer:  # noqa: ANN401 - of a notice
        return await self.send(self.apple.notification(kind, **changes))

    async def send(self, payload: str) -> Answer:
        return await call(self.identity.http, "POST", NOTIFICATIONS, json={"payload": payload})

    async def signed(self, path: str, user: str = facebook.PLAYER) -> Answer:
        sent = signed_request(SECRET, to_seconds(self.clock.now()), user=user)
        return await call(self.identity.http, "POST", path, data={"signed_request": sent})

    async def owner(self, key: tuple[str, str] = APPLE) -> str | None:
        found = await self.identity.stores.identities.find(*key)
        return found.user_id if found else None

    async def account(self, player: Person) -> Account:
        account = await self.identity.stores.accounts.get(player.user_id)
        assert account is not None
        return account

    @property
    def grants(self) -> int:
        return count(self.folder, "grants")


def player_data() -> web.Application:
    """It keeps nothing of anybody."""

    async def erase(_request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def export(_request: web.Request) -> web.Response:
        return web.json_response({"records": [], "cursor": None})

    app = web.Application()
    app.router.add_delete("/v1/players/{player}", erase)
    app.router.add_get("/v1/players/{player}/export", export)
    return app


@contextlib.asynccontextmanager
async def worlds(
    folder: Path,
    clock: ManualClock,
    apple: AppleFake,
    *,
    around: Callable[[Stores], Stores] = lambda stores: stores,
    **changes: str,
) -> AsyncIterator[World]:
    fake = FacebookFake(clock, SECRET)
    async with (
        apple.serving() as url,
        fake.serving() as facebook_url,
        serving(player_data()) as data_url,
    ):
        settings = {
            **apple.settings(url),
            **fake.settings(facebook_url),
            "PROVIDERS": "apple,facebook",
            "PLAYER_DATA_URL": data_url,
            "PUBLIC_URL": PUBLIC,
            **changes,
        }
        environ = {f"PLAYMESH_{name}": value for name, value in settings.items()}
        environ |= QUICK_KEYS
        async with apps.identity(folder, clock, environ, around=around) as identity:
            yield World(identity, apple, clock, folder)


@pytest.fixture
def apple(clock: ManualClock, signing_key: RSAKey) -> AppleFake:
    return AppleFake(clock, signing_key)


@pytest.fixture
async def world(tmp_path: Path, clock: ManualClock, apple: AppleFake) -> AsyncIterator[World]:
    async with worlds(tmp_path, clock, apple) as world:
        yield world


class TestWhatIsKept:
    async def test_a_login_with_a_code_keeps_what_apple_wants_back_and_shows_it_nowhere(
        self, world: World
    ) -> None:
        with capture_logs() as logs:
            player = await world.player()
        assert world.grants == 1
        held = (await player.call("GET", "/v1/account/export")).body
        stored = b"".join(path.read_bytes() for path in world.folder.glob("identity.db*"))
        assert b"CANARY" not in held + stored + str(logs).encode()
        assert world.apple.living

    async def test_a_link_keeps_it_as_well(self, world: World) -> None:
        guest = await new_person(world.identity)
        await guest.call("POST", "/v1/account/identities", json=world.credential())
        assert world.grants == 1

    async def test_a_login_whose_code_does_not_hold_keeps_nothing(self, world: World) -> None:
        answer = await world.log_in(code("expired"))
        assert (answer.status, answer.code) == (401, "expired_credential")
        assert (world.grants, count(world.folder, "accounts")) == (0, 0)

    async def test_who_logs_in_while_apple_is_down_keeps_what_there_was(self, world: World) -> None:
        await world.player()
        world.apple.scenario = "http500"
        await world.player()
        assert world.grants == 1

    async def test_what_a_banned_player_brings_is_not_kept(self, world: World) -> None:
        await world.identity.app[BANS].ban_identity(*APPLE, reason="spam", until=None)
        assert (await world.log_in()).status == 403
        assert world.grants == 0


class TestErasure:
    async def test_defect_9_what_was_kept_is_revoked_and_gone_when_a_player_is_erased(
        self, world: World
    ) -> None:
        player = await world.player()
        assert (await player.call("DELETE", "/v1/account")).status == 204
        assert (world.grants, world.apple.living) == (0, set())

    async def test_while_apple_is_down_the_data_goes_first_and_the_rest_follows(
        self, world: World
    ) -> None:
        player = await world.player()
        world.apple.scenario = "http500"
        assert (await player.call("DELETE", "/v1/account")).status == 202
        assert count(world.folder, "sessions") == 0
        assert (await world.owner(), world.grants) == (None, 1)
        world.clock.advance(LIFETIME)
        await world.identity.app[ERASURES].tick()
        assert (await world.account(player)).erased_at is None
        world.apple.scenario = None
        world.clock.advance(60)
        await world.identity.app[ERASURES].tick()
        assert (world.grants, world.apple.living) == (0, set())
        assert (await world.account(player)).erased_at is not None

    @pytest.mark.parametrize("scenario", ["badclient", "http500"])
    async def test_what_apple_never_takes_keeps_a_tombstone_waiting_for_a_week(
        self, world: World, scenario: str
    ) -> None:
        player = await world.player()
        world.apple.scenario = scenario
        assert (await player.call("DELETE", "/v1/account")).status == 202
        world.clock.advance(7 * DAY - 1)
        await world.identity.app[ERASURES].tick()
        assert (await world.account(player)).erased_at is None
        world.clock.advance(1)
        with capture_logs() as logs:
            await world.identity.app[ERASURES].tick()
        assert (await world.account(player)).erased_at is not None
        assert world.grants == 0
        assert "grant.abandoned" in [line["event"] for line in logs]

    async def test_where_apple_is_turned_off_the_same_week_is_waited(
        self, tmp_path: Path, clock: ManualClock, apple: AppleFake
    ) -> None:
        async with worlds(tmp_path, clock, apple) as before:
            player = await before.player()
        async with worlds(tmp_path, clock, apple, PROVIDERS="facebook") as world:
            assert not await world.identity.app[ERASURES].request(player.user_id)
            world.clock.advance(7 * DAY)
            await world.identity.app[ERASURES].tick()
            assert (await world.account(player)).erased_at is not None
            assert world.grants == 0

    async def test_what_cannot_be_read_any_more_is_not_waited_for(self, world: World) -> None:
        """As after the key of all refresh tokens was replaced."""
        player = await world.player()
        with contextlib.closing(sqlite3.connect(world.folder / "identity.db")) as connection:
            connection.execute("UPDATE grants SET sealed = 'gAAAA'")
            connection.commit()
        assert (await player.call("DELETE", "/v1/account")).status == 204
        assert world.grants == 0

    async def test_what_is_a_new_beginning_by_now_stays(self, world: World) -> None:
        player = await world.player()
        world.apple.scenario = "http500"
        await player.call("DELETE", "/v1/account")
        world.apple.scenario = None
        world.clock.advance(60)
        again = await world.player()
        assert again.user_id != player.user_id
        world.clock.advance(LIFETIME)
        await world.identity.app[ERASURES].tick()
        assert (world.grants, world.apple.revocations) == (1, world.apple.revocations[:1])
        assert (await world.account(player)).erased_at is not None
        assert world.apple.living

    async def test_what_goes_over_to_another_account_goes_with_that_one(self, world: World) -> None:
        one, other = [await new_person(world.identity) for _ in range(2)]
        await one.call("POST", "/v1/account/identities", json=world.credential())
        await world.identity.app[LINKS].move(*APPLE, other.user_id)
        assert (await one.call("DELETE", "/v1/account")).status == 204
        assert (world.grants, world.apple.revocations) == (1, [])
        assert (await other.call("DELETE", "/v1/account")).status == 204
        assert (world.grants, world.apple.living) == (0, set())


class TestUnlink:
    async def test_it_is_revoked_and_gone(self, world: World) -> None:
        guest = await new_person(world.identity)
        await guest.call("POST", "/v1/account/identities", json=world.credential())
        assert (await guest.call("DELETE", "/v1/account/identities/apple")).status == 200
        assert (world.grants, world.apple.living) == (0, set())

    @pytest.mark.parametrize("scenario", ["badclient", "http500"])
    async def test_where_apple_does_not_take_it_now_it_is_forgotten(
        self, world: World, scenario: str
    ) -> None:
        guest = await new_person(world.identity)
        await guest.call("POST", "/v1/account/identities", json=world.credential())
        world.apple.scenario = scenario
        assert (await guest.call("DELETE", "/v1/account/identities/apple")).status == 200
        assert (world.grants, await world.owner()) == (0, None)

    async def test_the_last_way_in_stays_with_what_was_kept(self, world: World) -> None:
        player = await world.player()
        assert (await player.call("DELETE", "/v1/account/identities/apple")).status == 409
        assert (world.grants, world.apple.revocations) == (1, [])

    async def test_the_other_sessions_that_began_with_it_end_and_no_others(
        self, world: World
    ) -> None:
        guest = await new_person(world.identity)
        await guest.call("POST", "/v1/account/identities", json=world.credential())
        mine, other = await world.player(), await world.player()
        assert mine.user_id == guest.user_id
        await mine.call("DELETE", "/v1/account/identities/apple")
        ended = await other.refresh()
        assert (ended.code, ended.json()["reason"]) == ("session_ended", "identity_removed")
        assert [(await one.refresh()).status for one in (guest, mine)] == [200, 200]

    @pytest.mark.parametrize("before", ["put", "unlink"])
    async def test_what_comes_with_a_login_at_that_moment_is_not_left_behind(
        self, world: World, before: str
    ) -> None:
        """The login has found its account and is about to keep it, or the other way round."""
        guest = await new_person(world.identity)
        await guest.call("POST", "/v1/account/identities", json=world.credential())
        links = world.identity.app[LINKS]

        async def unlink() -> None:
            await links.unlink(guest.user_id, "apple")

        async def log_in() -> None:
            assert (await world.log_in()).status == (401 if before == "put" else 201)

        if before == "put":
            grants = links._grants
            grants._store = Late(grants._store, before, unlink)
            await log_in()
        else:
            links._store = Late(links._store, before, log_in)
            await unlink()
        assert (world.grants, world.apple.living) == (0, set())


class TestAppleRevokes:
    async def test_the_sessions_that_began_with_apple_end_and_the_identity_stays(
        self, world: World
    ) -> None:
        guest = await new_person(world.identity)
        await guest.call("POST", "/v1/account/identities", json=world.credential())
        player = await world.player()
        assert (await world.notify()).status == 200
        assert (await player.refresh()).json()["reason"] == "identity_removed"
        assert (await guest.refresh()).status == 200
        assert (await world.owner(), world.grants) == (guest.user_id, 0)
        assert world.apple.revocations == []  # Apple has done it

    async def test_who_consents_again_is_the_same_player(self, world: World) -> None:
        player = await world.player()
        await world.notify()
        assert (await world.player()).user_id == player.user_id
        assert world.grants == 1

    async def test_what_is_told_again_does_not_end_what_has_begun_since(self, world: World) -> None:
        await world.player()
        sent = world.apple.notification()
        assert (await world.send(sent)).status == 200
        again = await world.player()
        world.clock.advance(DAY - 60)
        assert (await world.send(sent)).status == 200
        assert (await again.refresh()).status == 200
        assert world.grants == 1

    @pytest.mark.parametrize("kind", ["email-enabled", "email-disabled", "something-new"])
    async def test_what_is_of_no_use_is_taken_and_changes_nothing(
        self, world: World, kind: str
    ) -> None:
        player = await world.player()
        assert (await world.notify(kind)).status == 200
        assert (await player.refresh()).status == 200
        assert (world.grants, await world.owner()) == (1, player.user_id)

    async def test_of_somebody_whom_nobody_knows_it_is_taken(self, world: World) -> None:
        for number, kind in enumerate(("consent-revoked", "account-deleted")):
            assert (await world.notify(kind, jti=f"{number}")).status == 200
        assert count(world.folder, "accounts") == 0


class TestAppleDeletes:
    @pytest.mark.parametrize("kind", ["account-delete", "account-deleted"])
    @pytest.mark.parametrize("as_text", [True, False], ids=["text", "object"])
    async def test_whose_last_way_in_it_was_is_erased(
        self, world: World, kind: str, *, as_text: bool
    ) -> None:
        player = await world.player()
        assert (await world.notify(kind, as_text=as_text)).status == 200
        account = await world.account(player)
        assert account.erasure is not None
        assert (await world.owner(), world.grants) == (None, 0)
        world.clock.advance(LIFETIME)
        await world.identity.app[ERASURES].tick()
        assert (await world.account(player)).erased_at is not None
        assert world.apple.revocations == []

    async def test_who_has_another_way_in_keeps_the_account_without_it(self, world: World) -> None:
        guest = await new_person(world.identity)
        await guest.call("POST", "/v1/account/identities", json=world.credential())
        player = await world.player()
        assert (await world.notify("account-deleted")).status == 200
        account = await world.account(guest)
        assert (account.is_gone, account.identities, account.scope) == (False, (), "guest")
        assert (await player.refresh()).json()["reason"] == "identity_removed"
        assert (await guest.refresh()).status == 200

    async def test_a_ban_stays_with_the_identity(self, world: World) -> None:
        guest = await new_person(world.identity)
        await guest.call("POST", "/v1/account/identities", json=world.credential())
        await ban(world.identity, guest.user_id)
        assert (await world.notify("account-deleted")).status == 200
        assert await world.owner() is None
        assert (await world.log_in()).code == "banned"

    async def test_who_gets_another_way_in_at_that_moment_is_not_erased(self, world: World) -> None:
        player = await world.player()
        links = world.identity.app[LINKS]
        withdraw, linked = links.withdraw, asyncio.Event()

        async def late(provider: str, external_id: str) -> Account | None:
            left = await withdraw(provider, external_id)
            if not linked.is_set():
                linked.set()
                await links.link(player.user_id, *FACEBOOK)
            return left

        links.withdraw = late  # type: ignore[method-assign]  # a moment that no test can hit
        assert (await world.notify("account-deleted")).status == 200
        account = await world.account(player)
        assert not account.is_gone
        assert [one.key for one in account.identities] == [FACEBOOK]


class TestToldAgainToWhoRemembersNothing:
    """Another process, or the same one after a restart."""

    @pytest.mark.parametrize("kind", ["consent-revoked", "account-deleted"])
    async def test_apple_s_notice_leaves_a_new_beginning_alone(
        self, tmp_path: Path, clock: ManualClock, apple: AppleFake, kind: str
    ) -> None:
        async with worlds(tmp_path, clock, apple) as world:
            player = await world.player()
            sent = apple.notification(kind)
            assert (await world.send(sent)).status == 200
            await player.call("DELETE", "/v1/account")
            clock.advance(2 * 60)
            again = await world.player()
        async with worlds(tmp_path, clock, apple) as another:
            assert (await another.send(sent)).status == 200
            assert not (await another.account(again)).is_gone
            assert (await another.owner(), another.grants) == (again.user_id, 1)

    async def test_facebook_s_request_leaves_a_new_beginning_alone(self, world: World) -> None:
        await world.of_facebook()
        issued_at = to_seconds(world.clock.now())
        sent = {"signed_request": signed_request(SECRET, issued_at)}
        assert (await call(world.identity.http, "POST", DELETION, data=sent)).status == 200
        world.clock.advance(2 * 60)
        again = await world.of_facebook()
        assert (await call(world.identity.http, "POST", DELETION, data=sent)).status == 200
        assert not (await world.account(again)).is_gone
        assert (await again.refresh()).status == 200


class TestAppleIsNotTaken:
    @pytest.mark.parametrize(
        "changes",
        [
            {"key": rsa_key("key-1")},
            {"aud": "com.other.game"},
            {"iss": "https://attacker.example"},
            {"events": None},
            {"exp": 1},
        ],
        ids=["another's key", "another game", "another issuer", "no events", "over"],
    )
    async def test_what_does_not_verify_is_401_and_changes_nothing(
        self, world: World, changes: dict[str, Any]
    ) -> None:
        player = await world.player()
        answer = await world.notify("account-deleted", **changes)
        assert (answer.status, answer.code) == (401, "invalid_credential")
        assert (await player.refresh()).status == 200
        assert (await world.notify("account-deleted")).status == 200

    async def test_a_player_s_own_token_is_no_notice(self, world: World) -> None:
        assert (await world.send(world.apple.id_token())).status == 401

    async def test_while_apple_s_keys_are_not_known_it_is_to_come_again(
        self, tmp_path: Path, clock: ManualClock, apple: AppleFake
    ) -> None:
        apple.status = 500
        async with worlds(tmp_path, clock, apple) as world:
            answer = await world.notify()
            assert (answer.status, answer.code) == (503, "provider_unavailable")
            assert int(answer.headers["Retry-After"]) >= 1

    async def test_what_is_huge_is_not_read(self, world: World) -> None:
        assert (await world.send("x" * 8193)).status == 400
        assert (await world.send("x" * 2**17)).status == 413

    @pytest.mark.parametrize("path", [NOTIFICATIONS, DELETION, DEAUTHORIZE])
    async def test_of_a_platform_that_is_not_on_nothing_is_there(
        self, tmp_path: Path, clock: ManualClock, apple: AppleFake, path: str
    ) -> None:
        async with worlds(tmp_path, clock, apple, PROVIDERS="") as world:
            if path == NOTIFICATIONS:
                answer = await world.notify()
            else:
                answer = await world.signed(path)
            assert (answer.status, answer.code) == (404, "not_found")


class TestFacebook:
    async def test_who_wants_data_deleted_is_erased_and_told_where_to_look(
        self, world: World
    ) -> None:
        player = await world.of_facebook()
        answer = await world.signed(DELETION)
        assert answer.status == 200
        told = answer.json()
        assert set(told) == {"url", "confirmation_code"}
        assert told["url"] == f"{PUBLIC}/v1/deletions/{told['confirmation_code']}"
        assert told["confirmation_code"].isalnum()
        assert player.user_id not in told["url"]
        assert (await world.account(player)).erasure is not None
        assert await world.owner(FACEBOOK) is None

    async def test_whoever_has_the_code_sees_how_far_it_is_and_no_more(self, world: World) -> None:
        await world.of_facebook()
        told = (await world.signed(DELETION)).json()
        path = told["url"].removeprefix(PUBLIC)
        status = await call(world.identity.http, "GET", path)
        assert (status.status, status.json()) == (200, {"status": "under_way"})
        world.clock.advance(LIFETIME)
        await world.identity.app[ERASURES].tick()
        status = await call(world.identity.http, "GET", path)
        assert status.json() == {"status": "done"}

    async def test_the_code_is_in_no_log(self, world: World) -> None:
        with capture_logs() as logs:
            told = (await world.signed(DELETION)).json()
            await call(world.identity.http, "GET", told["url"].removeprefix(PUBLIC))
        assert told["confirmation_code"] not in str(logs)
        assert logs[-1]["path"] == "/v1/deletions/{code}"

    async def test_asked_again_it_is_no_further_than_it_is(self, world: World) -> None:
        """The first answer was lost."""
        await world.of_facebook()
        for _ in range(2):
            told = (await world.signed(DELETION)).json()
            answer = await call(world.identity.http, "GET", told["url"].removeprefix(PUBLIC))
            assert answer.json() == {"status": "under_way"}

    async def test_somebody_whom_we_do_not_know_gets_an_answer_of_the_same_shape(
        self, world: World
    ) -> None:
        await world.of_facebook()
        known = (await world.signed(DELETION)).json()
        unknown = (await world.signed(DELETION, facebook.FRIEND)).json()
        lengths = [[len(text) for text in told.values()] for told in (known, unknown)]
        assert lengths[0] == lengths[1]
        path = unknown["url"].removeprefix(PUBLIC)
        answer = await call(world.identity.http, "GET", path)
        assert (answer.status, answer.json()) == (200, {"status": "done"})

    @pytest.mark.parametrize("wrong", ["x", "0" * 210, "ab" * 300, "changed"])
    async def test_of_a_code_that_is_none_nothing_is_told(self, world: World, wrong: str) -> None:
        code = (await world.signed(DELETION)).json()["confirmation_code"]
        if wrong == "changed":
            wrong = code[:-1] + ("0" if code[-1] != "0" else "1")
        answer = await call(world.identity.http, "GET", f"/v1/deletions/{wrong}")
        assert (answer.status, answer.code) == (404, "not_found")

    async def test_who_has_another_way_in_keeps_the_account(self, world: World) -> None:
        guest = await new_person(world.identity)
        body = {"provider": "facebook", "credential": {"access_token": facebook.token()}}
        await guest.call("POST", "/v1/account/identities", json=body)
        told = (await world.signed(DELETION)).json()
        assert (await world.account(guest)).identities == ()
        path = told["url"].removeprefix(PUBLIC)
        assert (await call(world.identity.http, "GET", path)).json() == {"status": "done"}
        assert (await guest.refresh()).status == 200

    async def test_who_removes_the_game_there_is_logged_out_here_and_no_more(
        self, world: World
    ) -> None:
        player = await world.of_facebook()
        answer = await world.signed(DEAUTHORIZE)
        assert (answer.status, answer.body) == (200, b"")
        assert (await player.refresh()).json()["reason"] == "identity_removed"
        assert await world.owner(FACEBOOK) == player.user_id
        assert (await world.of_facebook()).user_id == player.user_id

    @pytest.mark.parametrize("path", [DELETION, DEAUTHORIZE])
    async def test_what_was_not_signed_by_facebook_changes_nothing(
        self, world: World, path: str
    ) -> None:
        player = await world.of_facebook()
        sent = signed_request(SECRET[::-1], to_seconds(world.clock.now()))
        answer = await call(world.identity.http, "POST", path, data={"signed_request": sent})
        assert (answer.status, answer.code) == (401, "invalid_credential")
        assert (await player.refresh()).status == 200

    @pytest.mark.parametrize("path", [DELETION, DEAUTHORIZE])
    async def test_what_is_huge_is_not_read(self, world: World, path: str) -> None:
        for size, status in ((8193, 400), (2**17, 413)):
            data = {"signed_request": "x" * size}
            answer = await call(world.identity.http, "POST", path, data=data)
            assert answer.status == status

    async def test_without_an_address_of_its_own_the_issuer_s_is_told(
        self, tmp_path: Path, clock: ManualClock, apple: AppleFake
    ) -> None:
        async with worlds(tmp_path, clock, apple, PUBLIC_URL="") as world:
            told = (await world.signed(DELETION)).json()
            assert told["url"].startswith("https://issuer.test/v1/deletions/")


class TestInterrupted:
    @pytest.mark.parametrize("when", list(When), ids=lambda when: when.value)
    @pytest.mark.parametrize("another", [False, True], ids=["last way in", "another way in"])
    async def test_wherever_it_is_interrupted_it_is_done_when_apple_has_told_it_again(
        self, tmp_path: Path, clock: ManualClock, apple: AppleFake, when: When, *, another: bool
    ) -> None:
        """At every call to a store in turn, each time of another player."""
        interruption = Interruption(CALLS, when=when, loss=errors.Unavailable)

        def around(stores: Stores) -> Stores:
            names = ("accounts", "identities", "identity_bans", "grants", "sessions")
            parts = {name: interruption.around(getattr(stores, name)) for name in names}
            return replace(stores, **parts)

        async with (
            worlds(tmp_path, clock, apple) as world,
            worlds(tmp_path, clock, apple, around=around) as unlucky,
        ):
            for at in itertools.count(1):
                interruption.at = 0
                subject = f"001234.{at}.1234"
                key = ("apple", f"{TEAM}:{subject}")
                player = await world.player(sub=subject)
                if another:
                    await world.identity.app[LINKS].link(player.user_id, "steam", f"{at}")
                about: dict[str, Any] = {"event": {"sub": subject}, "jti": subject}
                interruption.calls, interruption.at = 0, at
                notice = await unlucky.read(apple.notification("account-deleted", **about))
                with contextlib.suppress(Crash, errors.Unavailable):
                    await unlucky.identity.app[PLATFORM_EVENTS].take(notice)
                was_interrupted = interruption.calls >= at
                interruption.at = 0
                living = world if when in (When.BEFORE, When.AFTER) else unlucky
                assert (await living.notify("account-deleted", **about)).status == 200
                assert (await world.owner(key), world.grants) == (None, 0)
                assert ((await world.account(player)).erasure is None) is another
                assert (await player.refresh()).status == 401
                if not was_interrupted:
                    assert at > MANY
                    return
