"""The public list of what was taken back: how it is served, how old it may be, what it tells."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from services.identity.models import SessionKey
from services.identity.ports import SessionStore
from services.identity.stores import Stores
from shared import errors
from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call, claims_of
from tests.support.clock import ManualClock
from tests.support.people import Person, ban, new_person
from tests.support.servers import Answer

LIST = "/.well-known/revocations.json"
OLDEST = 4.0
"""Seconds since the stores were read, after which the list is not given any more."""


class Weather:
    """`bad`: the sessions that have ended cannot be read."""

    bad = False

    def around(self, stores: Stores) -> Stores:
        return replace(stores, sessions=_Sessions(stores.sessions, self))


class _Sessions:
    def __init__(self, store: SessionStore, weather: Weather) -> None:
        self._store = store
        self._weather = weather
        self.create, self.get, self.redeem = store.create, store.get, store.redeem
        self.end, self.list = store.end, store.list
        self.delete_all, self.delete_expired = store.delete_all, store.delete_expired

    async def ended_since(self, moment: datetime, *, limit: int) -> Sequence[SessionKey]:
        if self._weather.bad:
            raise errors.Unavailable
        return await self._store.ended_since(moment, limit=limit)


@pytest.fixture
def weather() -> Weather:
    return Weather()


@pytest.fixture
async def identity(
    tmp_path: Path, clock: ManualClock, weather: Weather
) -> AsyncIterator[RunningIdentity]:
    async with apps.identity(tmp_path, clock, QUICK_KEYS, around=weather.around) as running:
        yield running


@pytest.fixture
async def players(identity: RunningIdentity) -> tuple[Person, Person, Person]:
    """One who is banned, one who has signed out, one of whom nothing is to be told; read by now."""
    banned, gone, other = [await new_person(identity) for _ in range(3)]
    await ban(identity, banned.user_id)
    await gone.call("DELETE", "/v1/sessions/current")
    await identity.look()
    return banned, gone, other


async def ask(identity: RunningIdentity, method: str = "GET", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await call(identity.http, method, LIST, headers=named)


@pytest.mark.usefixtures("players")
async def test_it_is_json_for_anybody_that_nobody_keeps_without_asking(
    identity: RunningIdentity,
) -> None:
    answer = await ask(identity, Authorization="Bearer garbage", Origin="https://game.example")
    assert (answer.status, len(answer.json()["revoked"])) == (200, 2)
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert re.fullmatch('"[0-9a-f]{32}"', answer.headers["ETag"])


async def test_head_answers_the_headers_of_get(identity: RunningIdentity) -> None:
    get, head = [await ask(identity, method) for method in ("GET", "HEAD")]
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Type", "Content-Length", "Cache-Control", "ETag"):
        assert head.headers.get(name) == get.headers.get(name)


@pytest.mark.usefixtures("players")
@pytest.mark.parametrize("shape", ["{}", "W/{}", '"a", {}', '{}, "b"', "*"])
async def test_a_known_list_is_not_sent_again(identity: RunningIdentity, shape: str) -> None:
    first = await ask(identity)
    await identity.look()
    answer = await ask(identity, If_None_Match=shape.format(first.headers["ETag"]))
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["ETag"] == first.headers["ETag"]
    assert answer.headers["Cache-Control"] == "no-cache"


async def test_a_list_that_has_changed_has_another_tag(
    identity: RunningIdentity, players: tuple[Person, Person, Person]
) -> None:
    first = await ask(identity)
    await players[2].call("DELETE", "/v1/sessions/current")
    await identity.look()
    answer = await ask(identity, If_None_Match=first.headers["ETag"])
    assert (answer.status, len(answer.json()["revoked"])) == (200, 3)
    assert answer.headers["ETag"] != first.headers["ETag"]


@pytest.mark.usefixtures("players")
async def test_the_same_list_is_the_same_bytes_from_any_process(
    identity: RunningIdentity,
    tmp_path: Path,
    clock: ManualClock,
) -> None:
    first = await ask(identity)
    clock.advance(2)
    await identity.look()
    again = await ask(identity)
    async with apps.identity(tmp_path, clock, QUICK_KEYS) as other:
        elsewhere = await ask(other)
    assert first.body == again.body == elsewhere.body
    assert first.headers["ETag"] == again.headers["ETag"] == elsewhere.headers["ETag"]


@pytest.mark.usefixtures("players")
async def test_who_cannot_have_a_good_token_any_more_is_not_on_it(
    identity: RunningIdentity, clock: ManualClock
) -> None:
    clock.advance(3600)
    await identity.look()
    assert (await ask(identity)).body == b'{"revoked":[]}'


async def test_nobody_can_be_told_from_it(
    identity: RunningIdentity, players: tuple[Person, Person, Person]
) -> None:
    answer = await ask(identity)
    told = answer.body.decode() + str(answer.headers)
    for player in players:
        jti = claims_of(player.tokens["access_token"])["jti"]
        for known in (player.user_id, player.session_id, jti, player.guest_secret, "cheating"):
            assert known not in told
            assert known[:12] not in told
    marks = answer.json()["revoked"]
    assert all(re.fullmatch("[A-Za-z0-9_-]{16}", mark) for mark in marks)
    assert answer.json().keys() == {"revoked"}


async def test_a_list_that_is_too_old_is_not_given(
    identity: RunningIdentity, clock: ManualClock
) -> None:
    clock.advance(OLDEST)
    known = await ask(identity)
    assert known.status == 200
    clock.advance(0.001)
    for headers in ({}, {"If_None_Match": known.headers["ETag"]}):
        answer = await ask(identity, **headers)
        assert (answer.status, answer.code) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "ETag" not in answer.headers
    await identity.look()
    assert (await ask(identity)).body == known.body


@pytest.mark.usefixtures("players")
async def test_while_the_store_is_away_the_list_is_given_until_it_is_too_old(
    identity: RunningIdentity,
    clock: ManualClock,
    weather: Weather,
) -> None:
    known = await ask(identity)
    weather.bad = True
    for _ in range(2):
        clock.advance(2)
        with pytest.raises(errors.Unavailable):
            await identity.look()
        assert (await ask(identity)).body == known.body
    clock.advance(0.001)
    assert (await ask(identity)).status == 503
    weather.bad = False
    await identity.look()
    assert (await ask(identity)).body == known.body


async def test_what_is_on_a_list_that_is_too_old_is_refused_all_the_same(
    players: tuple[Person, Person, Person], clock: ManualClock
) -> None:
    clock.advance(60)
    banned, gone, other = [await player.call("GET", "/v1/account") for player in players]
    assert (banned.status, gone.status, other.status) == (401, 401, 200)
