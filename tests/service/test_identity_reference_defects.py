"""What is wrong with the reference in general, by the numbers of the list that we keep of it.

Those of one platform, 1 to 24, are beside the platform's other tests.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.identity.settings import Settings
from services.identity.stores import Stores
from shared import errors
from shared.env import Env
from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call
from tests.support.clock import ManualClock
from tests.support.fakes import facebook, google_play, steam
from tests.support.fakes.server import serving_all
from tests.support.identity_store import count
from tests.support.interruptions import Interruption, When
from tests.support.people import Person, new_person
from tests.support.servers import Answer
from tests.support.tokens import encode

ROOT = Path(__file__).parents[2]
# Of a key that has to be fetched, so that the issuer is asked.
ID_TOKEN = encode(b'{"alg": "RS256", "kid": "unknown", "typ": "JWT"}') + ".e30.e30"
CREDENTIALS = {
    "apple": {"id_token": ID_TOKEN, "nonce": "x"},
    "facebook": {"access_token": facebook.token()},
    "google": {"id_token": ID_TOKEN},
    "google_play": {"server_auth_code": google_play.code()},
    "steam": {"ticket": steam.ticket()},
}


@pytest.fixture
async def identity(tmp_path: Path, clock: ManualClock) -> AsyncIterator[RunningIdentity]:
    """With all platforms that there are fakes of."""
    async with (
        serving_all(clock) as fakes,
        apps.identity(tmp_path, clock, {**QUICK_KEYS, **fakes.environ}) as running,
    ):
        yield running


async def log_in(identity: RunningIdentity, number: int) -> Answer:
    return await call(identity.http, "POST", "/v1/sessions", json=of_steam(number))


async def link(player: Person, number: int) -> Answer:
    return await player.call("POST", "/v1/account/identities", json=of_steam(number))


def of_steam(number: int) -> dict[str, object]:
    """Steam's player, by a ticket of this number: each is good once."""
    return {"provider": "steam", "credential": {"ticket": steam.ticket(n=number)}}


async def test_defect_25_who_links_what_is_another_accounts_is_told_and_stays_who_they_are(
    identity: RunningIdentity,
) -> None:
    owner, guest = (await log_in(identity, 1)).json()["user_id"], await new_person(identity)
    answer = await link(guest, 2)
    assert (answer.status, answer.code) == (409, "already_linked")
    assert "access_token" not in answer.json()
    account = (await guest.call("GET", "/v1/account")).json()
    assert (account["user_id"], account["identities"]) == (guest.user_id, [])
    assert (await log_in(identity, 3)).json()["user_id"] == owner


async def test_defect_25_where_the_sdks_know_no_conflict_they_are_told_of_the_switch(
    identity: RunningIdentity,
) -> None:
    owner, guest = (await log_in(identity, 1)).json()["user_id"], await new_person(identity)
    query = {
        "steam_auth_token": steam.ticket(n=2),
        "auth_token": guest.tokens["access_token"],
        "link_to_existing_user": "Yes",
    }
    answer = await call(identity.http, "GET", "/login-with-steam", params=query)
    assert (answer.json()["user_id"], answer.json()["link_conflict"]) == (owner, True)


async def test_defect_26_of_many_that_link_one_identity_at_once_one_has_it_and_all_are_told(
    identity: RunningIdentity,
) -> None:
    guests = [await new_person(identity) for _ in range(10)]
    answers = await asyncio.gather(*(link(guest, n) for n, guest in enumerate(guests)))
    told = {guest.user_id for guest, one in zip(guests, answers, strict=True) if one.status == 200}
    assert sorted(answer.status for answer in answers) == [200] + [409] * 9
    assert {(await log_in(identity, 100)).json()["user_id"]} == told


@pytest.mark.parametrize("loss", [errors.Unavailable, OSError], ids=["outage", "bug"])
@pytest.mark.parametrize(
    ("operation", "tried"),
    [
        ("create", lambda identity: call(identity.http, "POST", "/v1/guests")),
        ("create_account", lambda identity: log_in(identity, 1)),
    ],
    ids=["guest", "platform"],
)
async def test_defect_27_an_account_that_cannot_be_made_is_an_error_and_not_tried_ten_times(
    tmp_path: Path,
    clock: ManualClock,
    operation: str,
    tried: Callable[[RunningIdentity], Awaitable[Answer]],
    loss: Callable[[], Exception],
) -> None:
    creating = Interruption(frozenset({operation}), at=1, when=When.DROPPED, loss=loss)

    def around(stores: Stores) -> Stores:
        return replace(
            stores,
            accounts=creating.around(stores.accounts),
            identities=creating.around(stores.identities),
        )

    async with serving_all(clock) as fakes:
        environ = {**QUICK_KEYS, **fakes.environ}
        async with apps.identity(tmp_path, clock, environ, around=around) as identity:
            answer = await tried(identity)
    assert answer.status == (503 if loss is errors.Unavailable else 500)
    assert creating.calls == 1
    assert count(tmp_path, "accounts") == 0


@pytest.fixture
async def cut_off(tmp_path: Path, clock: ManualClock) -> AsyncIterator[RunningIdentity]:
    """All platforms are on, and none of them can be reached."""
    async with serving_all(clock) as fakes:
        away = {
            name: re.sub(r"^http://[^/]+", "http://127.0.0.1:9", value)
            for name, value in fakes.environ.items()
        }
    async with apps.identity(tmp_path, clock, {**QUICK_KEYS, **away}) as running:
        yield running


@pytest.mark.parametrize("provider", CREDENTIALS)
async def test_defect_28_an_outage_is_not_answered_with_401(
    cut_off: RunningIdentity, provider: str
) -> None:
    """Nor is one while linking: a client would throw away a session that is good."""
    guest = await new_person(cut_off)
    body = {"provider": provider, "credential": CREDENTIALS[provider]}
    login = await call(cut_off.http, "POST", "/v1/sessions", json=body)
    linked = await guest.call("POST", "/v1/account/identities", json=body)
    for answer in (login, linked):
        assert (answer.status, answer.code) == (503, "provider_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    assert (await guest.refresh()).status == 200


async def test_defect_29_a_refresh_leaves_the_old_token_good_for_a_lost_answer_alone(
    identity: RunningIdentity, clock: ManualClock
) -> None:
    """Within the grace it brings the same successor and no second one; then it ends the session."""
    guest = await new_person(identity)
    body = {"refresh_token": guest.tokens["refresh_token"]}
    await guest.refresh()
    again = await call(identity.http, "POST", "/v1/sessions/refresh", json=body)
    assert again.json()["refresh_token"] == guest.tokens["refresh_token"]
    clock.advance(61)
    late = await call(identity.http, "POST", "/v1/sessions/refresh", json=body)
    assert (late.status, late.code) == (401, "refresh_reused")
    assert (await guest.refresh()).status == 401


async def test_defect_29_a_refresh_token_can_be_revoked(identity: RunningIdentity) -> None:
    guest = await new_person(identity)
    await guest.call("DELETE", "/v1/sessions/current")
    assert (await guest.refresh()).status == 401


LIFETIMES = {
    "ACCESS_TOKEN_TTL": lambda settings: settings.trust.access_token_ttl,
    "REFRESH_IDLE_TTL": lambda settings: settings.refresh_idle_ttl,
    "REFRESH_ABSOLUTE_TTL": lambda settings: settings.refresh_absolute_ttl,
    "REFRESH_GRACE": lambda settings: settings.refresh_grace,
}


@pytest.mark.parametrize("name", LIFETIMES)
def test_defect_30_the_lifetimes_in_the_table_of_settings_are_those_of_the_code(name: str) -> None:
    assert documented(name) == LIFETIMES[name](Settings.from_env({}))


async def test_defect_30_the_lifetimes_in_the_readme_are_those_that_are_answered(
    identity: RunningIdentity,
) -> None:
    guest = await call(identity.http, "POST", "/v1/guests")
    readme = (ROOT / "README.md").read_text()
    for name in ("expires_in", "refresh_expires_in"):
        assert set(re.findall(rf'"{name}":(\d+)', readme)) == {str(guest.json()[name])}


def documented(name: str) -> timedelta:
    """The default of a setting, as its row in docs/architecture.md has it."""
    for line in (ROOT / "docs" / "architecture.md").read_text().splitlines():
        cells = [cell.strip().replace("`", "").split(", ") for cell in line.split("|")]
        if line.startswith("| `") and name in cells[1]:
            value = cells[2][cells[1].index(name)]
            env = Env({"PLAYMESH_X": value})
            read = env.duration(
                "X", timedelta(0), minimum=timedelta(0), maximum=timedelta(days=3660)
            )
            env.check()
            return read
    raise AssertionError(f"{name} has no row")
