"""What a player has and may have: who is told, and what is refused."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.support import apps
from tests.support.apps import Running
from tests.support.calls import bearer, call
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.records import RECORDS, SLOT, Player
from tests.support.servers import Answer

USAGE = "/v1/players/me/usage"
OTHER = f"{RECORDS}/saves/slot2"
OPEN = {"PLAYMESH_QUOTA_RECORDS": "2", "PLAYMESH_QUOTA_BYTES": "20"}


@pytest.fixture
def environ() -> Mapping[str, str]:
    return OPEN


@pytest.fixture
async def data(
    tmp_path: Path, issuer: Issuer, clock: ManualClock, environ: Mapping[str, str]
) -> AsyncIterator[Running]:
    async with apps.player_data(tmp_path, issuer, clock, environ) as running:
        yield running


async def as_service(
    data: Running, issuer: Issuer, method: str, path: str, scope: str, **options: object
) -> Answer:
    token = issuer.service_token("support", audience="playmesh:player_data", scope=scope)
    return await call(data.http, method, data.url + path, headers=bearer(token), **options)


def used(records: int, size: int) -> dict[str, object]:
    return {"records": records, "bytes": size, "quota": {"records": 2, "bytes": 20}}


async def test_a_player_is_told_what_they_have_and_may_have(
    player: Player, stranger: Player
) -> None:
    assert (await player.get(USAGE)).json() == used(0, 0)
    await player.put("é")
    await player.put("x" * 10)
    await stranger.put("yy")
    answer = await player.get(USAGE)
    assert (answer.status, answer.json()) == (200, used(1, 12))


async def test_another_player_is_not_told(player: Player, stranger: Player) -> None:
    answer = await stranger.get(f"/v1/players/{player.user_id}/usage")
    assert (answer.status, answer.code) == (404, "not_found")


async def test_a_service_with_the_scope_is_told_of_anybody(
    data: Running, issuer: Issuer, player: Player
) -> None:
    await player.put(1)
    path = f"/v1/players/{player.user_id}/usage"
    answer = await as_service(data, issuer, "GET", path, "player_data:read")
    assert answer.json() == used(1, 1)
    refused = await as_service(data, issuer, "GET", path, "player_data:write player_data:summary")
    assert (refused.status, refused.code) == (403, "forbidden")


async def test_what_would_be_too_much_is_refused_with_what_is_used_and_allowed(
    player: Player,
) -> None:
    await player.put("x" * 10)
    answer = await player.put("x" * 10, OTHER)
    assert (answer.status, answer.code) == (409, "quota_exceeded")
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json()
    assert (problem["used"], problem["allowed"]) == (
        {"records": 1, "bytes": 12},
        {"records": 2, "bytes": 20},
    )
    assert (await player.get(OTHER)).status == 404


async def test_that_holds_for_every_way_to_write(player: Player) -> None:
    await player.put({"n": 1})
    await player.put(1, OTHER)
    third = f"{RECORDS}/saves/slot3"
    batch = {"writes": [{"collection": "saves", "key": "slot3", "value": 1}]}
    merge_patch = {"Content-Type": "application/merge-patch+json"}
    answers = [
        await player.put(1, third),
        await player.call("PATCH", json={"long": "x" * 20}, headers=merge_patch),
        await player.call("POST", f"{third}/increment", json={"by": 1}),
        await player.call("POST", f"{third}/max", json={"value": 1}),
        await player.call("POST", "/v1/records/batch", json={"player": "me", **batch}),
        await player.call("POST", "/set-player-data", json={"player_name": "Ada"}),
    ]
    assert [(one.status, one.code) for one in answers] == [(409, "quota_exceeded")] * 6
    assert (await player.get(USAGE)).json() == used(2, 8)


async def test_room_is_made_by_deleting(player: Player) -> None:
    await player.put("x" * 18)
    assert (await player.put(1, OTHER)).status == 409
    assert (await player.put("x" * 18)).status == 200
    await player.delete()
    assert (await player.put("x" * 18, OTHER)).status == 201


async def test_services_are_not_refused_and_what_they_write_counts(
    data: Running, issuer: Issuer, player: Player
) -> None:
    path = SLOT.replace("/me/", f"/{player.user_id}/")
    given = await as_service(data, issuer, "PUT", path, "player_data:write", json="x" * 100)
    assert given.status == 201
    assert (await player.get(USAGE)).json() == used(1, 102)
    assert (await player.put(1, OTHER)).status == 409
    assert (await player.put("x" * 99)).status == 200


class TestWithoutQuotas:
    @pytest.fixture
    def environ(self) -> Mapping[str, str]:
        return {"PLAYMESH_QUOTA_RECORDS": "0", "PLAYMESH_QUOTA_BYTES": "0"}

    async def test_nothing_is_refused_and_all_is_counted(self, player: Player) -> None:
        for number in range(3):
            assert (await player.put("x" * 100, f"{RECORDS}/saves/{number}")).status == 201
        none = {"records": None, "bytes": None}
        assert (await player.get(USAGE)).json() == {"records": 3, "bytes": 306, "quota": none}


class TestWithTheQuotasOfEverybody:
    @pytest.fixture
    def environ(self) -> Mapping[str, str]:
        return {}

    async def test_they_are_ten_thousand_records_and_64_mebibytes(self, player: Player) -> None:
        quota = {"records": 10_000, "bytes": 64 * 1024 * 1024}
        assert (await player.get(USAGE)).json() == {"records": 0, "bytes": 0, "quota": quota}
