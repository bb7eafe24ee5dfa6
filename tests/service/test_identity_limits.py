"""How often one may: limits by address and by account, over a socket and under a manual clock."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import pytest
from multidict import CIMultiDict
from prometheus_client import REGISTRY

from shared.ids import new_id, new_secret
from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call
from tests.support.clock import ManualClock
from tests.support.counted import counted
from tests.support.identity_store import contents
from tests.support.long import LONG
from tests.support.people import Person, new_person
from tests.support.servers import Answer, send

LIMITS = {"PLAYMESH_LOGINS_PER_SECOND": "10", "PLAYMESH_GUESTS_PER_HOUR": "20"}
"""The defaults, which other tests do without."""
BEHIND_A_PROXY = {"PLAYMESH_TRUSTED_PROXY_HOPS": "1"}
BEHIND_TWO = {"PLAYMESH_TRUSTED_PROXY_HOPS": "2"}
CLIENT, OTHER_CLIENT, PROXY = "203.0.113.7", "203.0.113.8", "192.0.2.1"
KEY = "1b8e5d5a-6f0e-4b7e-9a44-0c1d6f0f7a11"
BURST = 100
GUESTS = 20
GUEST_ROUTES = [
    ("POST", "/v1/guests"),
    ("POST", "/login-as-guest"),
    ("GET", "/login-as-guest"),
]
LOGIN_ROUTES = ["/v1/sessions", "/login-as-guest", "/oauth2/token"]
WRONG = 10_000 if LONG else 1_000


@pytest.fixture
def calls() -> Counter[str]:
    """Of the stores, since the last `clear()`."""
    return Counter()


@pytest.fixture
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    """For `identity`; a test adds to it by parametrizing it indirectly."""
    return {**QUICK_KEYS, **LIMITS, **getattr(request, "param", {})}


@pytest.fixture
async def identity(
    tmp_path: Path, clock: ManualClock, environ: dict[str, str], calls: Counter[str]
) -> AsyncIterator[RunningIdentity]:
    async with apps.identity(
        tmp_path, clock, environ, around=lambda stores: counted(stores, calls)
    ) as running:
        yield running


def behind(hops: dict[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("environ", [hops], indirect=True, ids=[""])


def forwarded(lists: Iterable[str]) -> CIMultiDict[str]:
    return CIMultiDict(("X-Forwarded-For", one) for one in lists)


async def new_guest(
    identity: RunningIdentity,
    *lists: str,
    route: tuple[str, str] = GUEST_ROUTES[0],
    key: str | None = None,
) -> Answer:
    """`lists` are the values of X-Forwarded-For headers."""
    headers = forwarded(lists)
    if key:
        headers["Idempotency-Key"] = key
    return await call(identity.http, *route, headers=headers)


async def attempt(
    identity: RunningIdentity, *lists: str, path: str = "/v1/sessions", user_id: str | None = None
) -> Answer:
    """A login that fails, of an account that there is not, or of `user_id`."""
    credential = {"user_id": user_id or new_id(), "guest_secret": new_secret()}
    headers = forwarded(lists)
    match path:
        case "/oauth2/token":
            client = {"client_id": "operator", "client_secret": new_secret()}
            form = {"grant_type": "client_credentials", "resource": "playmesh:identity", **client}
            return await call(identity.http, "POST", path, data=form, headers=headers)
        case "/login-as-guest":
            return await call(identity.http, "GET", path, params=credential, headers=headers)
    body = {"provider": "guest", "credential": credential}
    return await call(identity.http, "POST", path, json=body, headers=headers)


async def use_up_logins(identity: RunningIdentity, *lists: str) -> None:
    statuses = [(await attempt(identity, *lists)).status for _ in range(BURST)]
    assert statuses == [401] * BURST


async def use_up_guests(identity: RunningIdentity, *lists: str) -> None:
    statuses = [(await new_guest(identity, *lists)).status for _ in range(GUESTS)]
    assert statuses == [201] * GUESTS


def limited(answer: Answer) -> int | None:
    """The seconds of a refusal."""
    if answer.status != 429:
        return None
    assert answer.code == "too_many_requests"
    return int(answer.headers["Retry-After"])


def counted_refusals() -> dict[str, float]:
    return {
        limit: REGISTRY.get_sample_value("playmesh_limited_total", {"limit": limit}) or 0.0
        for limit in ("logins", "guests", "failures")
    }


class TestLogins:
    @pytest.mark.parametrize("path", LOGIN_ROUTES)
    async def test_after_a_burst_an_address_has_to_wait_as_long_as_it_is_told(
        self, identity: RunningIdentity, clock: ManualClock, path: str
    ) -> None:
        await use_up_logins(identity)
        wait = limited(await attempt(identity, path=path))
        assert wait == 1
        clock.advance(wait)
        statuses = [(await attempt(identity, path=path)).status for _ in range(11)]
        assert statuses == [401] * 10 + [429]

    @pytest.mark.parametrize("path", LOGIN_ROUTES)
    async def test_all_ways_in_share_the_limit(self, identity: RunningIdentity, path: str) -> None:
        statuses = [(await attempt(identity, path=path)).status for _ in range(BURST)]
        assert statuses == [401] * BURST
        refused = [limited(await attempt(identity, path=other)) for other in LOGIN_ROUTES]
        assert refused == [1, 1, 1]

    async def test_a_nonce_counts_as_a_login(self, identity: RunningIdentity) -> None:
        answers = [await call(identity.http, "POST", "/v1/nonces") for _ in range(BURST + 1)]
        assert [answer.status for answer in answers] == [201] * BURST + [429]
        assert limited(await attempt(identity)) == 1

    async def test_a_right_secret_counts_as_well(self, identity: RunningIdentity) -> None:
        players = [await new_person(identity) for _ in range(20)]
        answers = [await one.try_to_log_in() for one in players for _ in range(5)]
        assert [answer.status for answer in answers] == [201] * BURST
        assert (await players[0].try_to_log_in()).status == 429

    async def test_an_account_has_ten_at_once_and_then_one_every_six_seconds(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        player, other = await new_person(identity), await new_person(identity)
        answers = [await player.try_to_log_in() for _ in range(11)]
        assert [answer.status for answer in answers] == [201] * 10 + [429]
        assert limited(answers[-1]) == 6
        assert (await other.try_to_log_in()).status == 201
        clock.advance(6)
        assert (await player.try_to_log_in()).status == 201

    async def test_what_others_try_with_wrong_secrets_uses_up_no_login_of_the_account(
        self, identity: RunningIdentity
    ) -> None:
        player = await new_person(identity)
        for _ in range(20):
            await player.try_to_log_in(secret=new_secret())
        answers = [await player.try_to_log_in() for _ in range(10)]
        assert [answer.status for answer in answers] == [201] * 10

    async def test_who_is_refused_for_logins_may_refresh_and_be_a_new_guest(
        self, identity: RunningIdentity
    ) -> None:
        player = await new_person(identity)
        await use_up_logins(identity)
        assert {(await player.refresh()).status for _ in range(3 * BURST)} == {200}
        assert (await new_guest(identity)).status == 201

    @pytest.mark.parametrize("path", LOGIN_ROUTES)
    async def test_no_store_is_asked_for_who_is_refused(
        self, identity: RunningIdentity, calls: Counter[str], path: str
    ) -> None:
        await use_up_logins(identity)
        calls.clear()
        assert limited(await attempt(identity, path=path))
        assert not calls

    @pytest.mark.parametrize("environ", [{"PLAYMESH_LOGINS_PER_SECOND": "0"}], indirect=True)
    async def test_without_a_rate_there_is_no_limit(self, identity: RunningIdentity) -> None:
        answers = [await attempt(identity) for _ in range(3 * BURST)]
        assert {answer.status for answer in answers} == {401}


class TestGuests:
    @pytest.mark.parametrize("route", GUEST_ROUTES)
    async def test_an_address_has_twenty_in_an_hour_and_is_told_when_there_is_one_more(
        self, identity: RunningIdentity, clock: ManualClock, route: tuple[str, str]
    ) -> None:
        await use_up_guests(identity)
        wait = limited(await new_guest(identity, route=route))
        assert wait == 180
        clock.advance(wait - 1)
        assert limited(await new_guest(identity, route=route)) == 1
        clock.advance(1)
        assert (await new_guest(identity, route=route)).status in (200, 201)
        assert limited(await new_guest(identity, route=route)) == 180

    async def test_all_routes_share_the_limit(self, identity: RunningIdentity) -> None:
        routes = (GUEST_ROUTES * GUESTS)[: GUESTS + 3]
        answers = [await new_guest(identity, route=route) for route in routes]
        assert [limited(answer) for answer in answers] == [None] * GUESTS + [180] * 3

    @pytest.mark.parametrize("route", GUEST_ROUTES)
    @pytest.mark.parametrize("key", [None, KEY], ids=["no key", "a key"])
    async def test_for_who_is_refused_no_store_is_asked_and_nothing_is_made(
        self,
        identity: RunningIdentity,
        tmp_path: Path,
        calls: Counter[str],
        route: tuple[str, str],
        key: str | None,
    ) -> None:
        await use_up_guests(identity)
        calls.clear()
        assert limited(await new_guest(identity, route=route, key=key))
        assert not calls
        assert contents(tmp_path) == (GUESTS, GUESTS)

    async def test_who_is_refused_may_log_in(self, identity: RunningIdentity) -> None:
        player = await new_person(identity)
        while limited(await new_guest(identity)) is None:
            pass
        assert (await player.try_to_log_in()).status == 201
        credential = {"user_id": player.user_id, "guest_secret": player.guest_secret}
        answer = await call(identity.http, "GET", "/login-as-guest", params=credential)
        assert answer.status == 200

    async def test_a_request_that_is_wrong_does_not_count(self, identity: RunningIdentity) -> None:
        for _ in range(2 * GUESTS):
            assert (await new_guest(identity, key="short")).status == 400
        await use_up_guests(identity)


class TestLostAnswer:
    async def test_a_repetition_is_answered_though_there_are_no_guests_left(
        self, identity: RunningIdentity, tmp_path: Path
    ) -> None:
        first = await new_guest(identity, key=KEY)
        while limited(await new_guest(identity)) is None:
            pass
        again = [await new_guest(identity, route=route, key=KEY) for route in GUEST_ROUTES]
        assert {answer.status for answer in again} == {200, 201}
        secrets = {answer.json()["guest_secret"] for answer in [first, *again]}
        assert len(secrets) == 1
        assert contents(tmp_path) == (GUESTS, GUESTS + 3)

    async def test_repetitions_leave_an_address_its_guests(self, identity: RunningIdentity) -> None:
        answers = [await new_guest(identity, key=KEY) for _ in range(2 * GUESTS)]
        assert {answer.status for answer in answers} == {201}
        others = [await new_guest(identity) for _ in range(GUESTS)]
        assert [limited(answer) for answer in others] == [None] * (GUESTS - 1) + [180]

    async def test_repetitions_count_as_logins(self, identity: RunningIdentity) -> None:
        answers = [await new_guest(identity, key=KEY) for _ in range(BURST + 2)]
        assert [limited(answer) for answer in answers] == [None] * (BURST + 1) + [1]

    @behind(BEHIND_A_PROXY)
    async def test_it_may_come_from_another_address(self, identity: RunningIdentity) -> None:
        first = await new_guest(identity, CLIENT, key=KEY)
        await use_up_guests(identity, OTHER_CLIENT)
        again = await new_guest(identity, OTHER_CLIENT, key=KEY)
        assert again.json()["user_id"] == first.json()["user_id"]

    async def test_a_new_key_is_a_new_guest(self, identity: RunningIdentity) -> None:
        answers = [await new_guest(identity, key=f"{KEY}{n}") for n in range(GUESTS + 1)]
        assert [limited(answer) for answer in answers] == [None] * GUESTS + [180]


class TestFailures:
    @pytest.mark.parametrize("path", ["/v1/sessions", "/login-as-guest"])
    async def test_after_ten_wrong_secrets_there_is_one_every_six_seconds(
        self, identity: RunningIdentity, clock: ManualClock, path: str
    ) -> None:
        player = await new_person(identity)

        async def guess() -> Answer:
            return await attempt(identity, path=path, user_id=player.user_id)

        answers = [await guess() for _ in range(11)]
        assert [limited(answer) for answer in answers] == [None] * 10 + [6]
        assert {answer.code for answer in answers[:10]} == {"invalid_credential"}
        clock.advance(6)
        assert [limited(await guess()) for _ in range(2)] == [None, 6]

    async def test_the_right_secret_passes_at_once(self, identity: RunningIdentity) -> None:
        player = await new_person(identity)
        while limited(await attempt(identity, user_id=player.user_id)) is None:
            pass
        assert (await player.try_to_log_in()).status == 201
        assert limited(await attempt(identity, user_id=player.user_id)) == 6

    async def test_other_accounts_have_their_own(self, identity: RunningIdentity) -> None:
        player, other = await new_person(identity), await new_person(identity)
        while limited(await attempt(identity, user_id=player.user_id)) is None:
            pass
        assert limited(await attempt(identity, user_id=other.user_id)) is None

    @behind(BEHIND_A_PROXY)
    async def test_whoever_guesses_from_wherever_locks_nobody_out(
        self, identity: RunningIdentity
    ) -> None:
        player = await new_person(identity)
        guesses = [f"10.0.{number >> 8}.{number & 255}" for number in range(WRONG)]
        answers = await all_at_once(identity, player, guesses)
        assert Counter(answer.status for answer in answers) == {401: 10, 429: WRONG - 10}
        assert (await player.try_to_log_in()).status == 201
        assert (await player.refresh()).status == 200


async def all_at_once(
    identity: RunningIdentity, player: Person, addresses: Sequence[str]
) -> list[Answer]:
    """Wrong secrets, fifty under way at a time."""
    gate = asyncio.Semaphore(50)

    async def guess(address: str) -> Answer:
        async with gate:
            return await attempt(identity, address, user_id=player.user_id)

    return await asyncio.gather(*(guess(address) for address in addresses))


class TestAddresses:
    async def test_without_a_proxy_nobody_chooses_an_address(
        self, identity: RunningIdentity
    ) -> None:
        for number in range(GUESTS):
            assert (await new_guest(identity, f"10.0.0.{number}")).status == 201
        assert limited(await new_guest(identity, CLIENT))
        assert limited(await new_guest(identity))

    @behind(BEHIND_A_PROXY)
    async def test_behind_a_proxy_each_client_has_its_own(self, identity: RunningIdentity) -> None:
        await use_up_guests(identity, CLIENT)
        assert limited(await new_guest(identity, CLIENT))
        assert (await new_guest(identity, OTHER_CLIENT)).status == 201

    @behind(BEHIND_A_PROXY)
    @pytest.mark.parametrize("path", LOGIN_ROUTES)
    async def test_behind_a_proxy_each_client_has_its_own_logins(
        self, identity: RunningIdentity, path: str
    ) -> None:
        await use_up_logins(identity, CLIENT)
        assert limited(await attempt(identity, CLIENT, path=path))
        assert (await attempt(identity, OTHER_CLIENT, path=path)).status == 401

    @behind(BEHIND_A_PROXY)
    async def test_what_a_client_puts_in_front_changes_nothing(
        self, identity: RunningIdentity
    ) -> None:
        await use_up_guests(identity, CLIENT)
        for made_up in (
            [f"{OTHER_CLIENT}, {CLIENT}"],
            [f"10.0.0.1,10.0.0.2,{CLIENT}"],
            [OTHER_CLIENT, CLIENT],
            ["10.0.0.1", OTHER_CLIENT, CLIENT],
            ["", CLIENT],
            [f"x{CLIENT}, unknown, {CLIENT}"],
            [f"{OTHER_CLIENT},\t {CLIENT}:4711"],
            [f"::ffff:{CLIENT}"],
        ):
            assert limited(await new_guest(identity, *made_up)), made_up

    @behind(BEHIND_TWO)
    async def test_each_proxy_is_one_entry_from_the_right(self, identity: RunningIdentity) -> None:
        await use_up_guests(identity, f"{CLIENT}, {PROXY}")
        assert limited(await new_guest(identity, OTHER_CLIENT, f"{CLIENT},{PROXY}"))
        assert limited(await new_guest(identity, OTHER_CLIENT, CLIENT, PROXY))
        assert (await new_guest(identity, f"{OTHER_CLIENT}, {PROXY}")).status == 201

    @behind(BEHIND_A_PROXY)
    async def test_what_is_no_address_counts_for_the_proxy(self, identity: RunningIdentity) -> None:
        for number in range(GUESTS):
            assert (await new_guest(identity, f"nobody-{number}")).status == 201
        assert limited(await new_guest(identity, "somebody"))
        assert limited(await new_guest(identity))
        assert (await new_guest(identity, CLIENT)).status == 201

    @behind(BEHIND_A_PROXY)
    async def test_a_network_of_ipv6_is_one_address(self, identity: RunningIdentity) -> None:
        for number in range(GUESTS):
            assert (await new_guest(identity, f"2001:db8:1:2::{number:x}")).status == 201
        assert limited(await new_guest(identity, "2001:db8:1:2:ffff:ffff:ffff:ffff"))
        assert limited(await new_guest(identity, "[2001:db8:1:2::5]:443"))
        assert (await new_guest(identity, "2001:db8:1:3::1")).status == 201


class TestBrowser:
    @pytest.mark.parametrize("path", ["/v1/guests", *LOGIN_ROUTES])
    async def test_a_refusal_can_be_read_by_a_web_build(
        self, identity: RunningIdentity, path: str
    ) -> None:
        await use_up_logins(identity)
        await use_up_guests(identity)
        answer = await (new_guest(identity) if "guests" in path else attempt(identity, path=path))
        assert limited(answer)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"].startswith("application/problem+json")

    @pytest.mark.parametrize("path", ["/v1/guests", *LOGIN_ROUTES])
    async def test_a_preflight_neither_counts_nor_is_refused(
        self, identity: RunningIdentity, path: str
    ) -> None:
        preflight = (
            f"OPTIONS {path} HTTP/1.1\r\nOrigin: https://game.example\r\n"
            "Access-Control-Request-Method: POST"
        )
        for _ in range(BURST + 10):
            assert (await send(identity.url, preflight)).status == 204
        await use_up_logins(identity)
        await use_up_guests(identity)
        assert (await send(identity.url, preflight)).status == 204


async def test_every_refusal_is_counted_by_its_limit(identity: RunningIdentity) -> None:
    player = await new_person(identity)
    before = counted_refusals()
    for _ in range(10 + 2):
        await attempt(identity, user_id=player.user_id)
    for _ in range(GUESTS - 1 + 3):
        await new_guest(identity)
    for number in range(BURST - 12 + 4):
        await attempt(identity, path=LOGIN_ROUTES[number % 3])
    after = counted_refusals()
    refusals = {limit: after[limit] - before[limit] for limit in after}
    assert refusals == {"failures": 2, "guests": 3, "logins": 4}
