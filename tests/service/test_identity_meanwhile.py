"""Who comes with an identity in the moment in which it is taken from the account is out as well.

A session of theirs would be good for weeks, and nothing that the player still has would end it.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from joserfc.jwk import RSAKey

from services.identity.appkeys import LINKS, RECOVERIES, SESSIONS
from tests.service.test_identity_provider_events import DELETION, FACEBOOK, World, worlds
from tests.support.calls import call
from tests.support.clock import ManualClock
from tests.support.fakes import facebook
from tests.support.fakes.apple import AppleFake
from tests.support.interruptions import Late
from tests.support.people import Person, new_person, operate
from tests.support.servers import Answer

CREDENTIAL = {"provider": "facebook", "credential": {"access_token": facebook.token()}}
RESOLVE = "/v1/account/identities/resolve"


@pytest.fixture
async def world(tmp_path: Path, clock: ManualClock, signing_key: RSAKey) -> AsyncIterator[World]:
    async with worlds(tmp_path, clock, AppleFake(clock, signing_key)) as world:
        yield world


@pytest.fixture
async def player(world: World) -> Person:
    """Has a guest secret, and the identity."""
    guest = await new_person(world.identity)
    assert (await guest.call("POST", "/v1/account/identities", json=CREDENTIAL)).status == 200
    return guest


async def log_in(world: World) -> Answer:
    return await call(world.identity.http, "POST", "/v1/sessions", json=CREDENTIAL)


async def token_of(guest: Person) -> str:
    answer = await guest.call("POST", "/v1/account/identities", json=CREDENTIAL)
    assert answer.code == "already_linked"
    token: str = answer.json()["conflict_token"]
    return token


async def test_a_login_that_had_found_the_account_before_it_was_unlinked(
    world: World, player: Person
) -> None:
    async def unlink() -> None:
        assert (await player.call("DELETE", "/v1/account/identities/facebook")).status == 200

    sessions = world.identity.app[SESSIONS]
    sessions._store = Late(sessions._store, "create", unlink)
    answer = await log_in(world)
    assert (answer.status, answer.code) == (401, "invalid_credential")
    living = (await player.call("GET", "/v1/sessions")).json()["sessions"]
    assert [one["session_id"] for one in living] == [player.session_id]


async def test_a_decision_for_the_account_that_has_it(world: World, player: Person) -> None:
    async def unlink() -> None:
        assert (await player.call("DELETE", "/v1/account/identities/facebook")).status == 200

    other = await new_person(world.identity)
    token = await token_of(other)
    sessions = world.identity.app[SESSIONS]
    sessions._store = Late(sessions._store, "create", unlink)
    body = {"conflict_token": token, "keep": "existing"}
    answer = await other.call("POST", RESOLVE, json=body)
    assert (answer.status, answer.code) == (409, "conflict")
    living = (await player.call("GET", "/v1/sessions")).json()["sessions"]
    assert [one["session_id"] for one in living] == [player.session_id]


async def test_a_login_just_before_its_platform_has_it_unlinked(
    world: World, player: Person
) -> None:
    logins: list[Answer] = []

    async def come() -> None:
        logins.append(await log_in(world))

    links = world.identity.app[LINKS]
    links._store = Late(links._store, "unlink", come)
    assert (await world.signed(DELETION)).status == 200
    thief = Person(world.identity, player.user_id, "", logins[0].json())
    assert await world.owner(FACEBOOK) is None
    assert (await thief.refresh()).status == 401
    assert (await player.refresh()).status == 200


async def test_a_login_just_before_it_goes_back_to_an_account_that_is_recovered(
    world: World,
) -> None:
    given_up = await world.of_facebook()
    holder = await new_person(world.identity)
    body = {"conflict_token": await token_of(holder), "keep": "current"}
    assert (await holder.call("POST", RESOLVE, json=body)).status == 200
    logins: list[Answer] = []

    async def come() -> None:
        logins.append(await log_in(world))

    recoveries = world.identity.app[RECOVERIES]
    recoveries._store = Late(recoveries._store, "move", come)
    answer = await operate(world.identity, "POST", f"/players/{given_up.user_id}/recover")
    assert answer.status == 200
    thief = Person(world.identity, holder.user_id, "", logins[0].json())
    assert (await thief.refresh()).status == 401
    assert (await holder.refresh()).status == 200
