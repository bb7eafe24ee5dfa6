"""A service asks how much is kept of a player: what it is answered, and who may ask."""

from datetime import timedelta

import pytest

from services.identity.access_tokens import AccessTokens
from services.identity.adapters.player_data import HttpPlayerData
from services.identity.models import CollectionSummary
from tests.service.test_identity_erasure_crashes import IssuersKey
from tests.support.apps import Running
from tests.support.calls import bearer, call
from tests.support.clock import ManualClock
from tests.support.issuer import AUDIENCE, ISSUER, Issuer
from tests.support.records import RECORDS, Player
from tests.support.servers import Answer

NOBODY = "0" * 32


async def summary(data: Running, issuer: Issuer, player: str) -> Answer:
    token = issuer.service_token(
        "identity", audience="playmesh:player_data", scope="player_data:summary"
    )
    return await call(data.http, "GET", f"/v1/players/{player}/summary", headers=bearer(token))


async def test_it_is_the_current_records_by_collection_and_in_all(
    data: Running, issuer: Issuer, player: Player, stranger: Player, clock: ManualClock
) -> None:
    for slot in ("slot1", "slot2", "slot2"):
        await player.put({"gold": 1}, f"{RECORDS}/saves/{slot}")
    clock.advance(1)
    await player.call("POST", "/set-player-data", json={"player_name": "Zoë"})
    await stranger.put({"gold": 1000})
    answer = await summary(data, issuer, player.user_id)
    assert answer.json() == {
        "collections": [
            {
                "name": "profile",
                "records": 1,
                "bytes": 22,
                "updated_at": "2026-01-02T03:04:06.000Z",
            },
            {"name": "saves", "records": 2, "bytes": 20, "updated_at": "2026-01-02T03:04:05.000Z"},
        ],
        "records": 3,
        "bytes": 42,
        "updated_at": "2026-01-02T03:04:06.000Z",
    }


async def test_of_a_player_of_whom_there_is_nothing_it_is_empty(
    data: Running, issuer: Issuer
) -> None:
    answer = await summary(data, issuer, NOBODY)
    empty = {"collections": [], "records": 0, "bytes": 0, "updated_at": None}
    assert (answer.status, answer.json()) == (200, empty)


async def test_identity_reads_it(
    data: Running, issuer: Issuer, player: Player, clock: ManualClock
) -> None:
    await player.put({"gold": 1})
    tokens = AccessTokens(IssuersKey(issuer), ISSUER, AUDIENCE, timedelta(minutes=15), clock)
    player_data = HttpPlayerData(data.http, data.url, tokens)
    assert list(await player_data.summary(player.user_id)) == [
        CollectionSummary("saves", 1, 10, clock.now())
    ]
    assert list(await player_data.summary(NOBODY)) == []


@pytest.mark.parametrize("name", ["me", "a" * 31, "A" * 32, "service:identity", "%00"])
async def test_who_is_no_user_id_is_a_bad_request(data: Running, issuer: Issuer, name: str) -> None:
    answer = await summary(data, issuer, name)
    assert (answer.status, answer.code) == (400, "invalid_request")
