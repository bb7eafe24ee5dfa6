"""Support looks at a whole player as of a moment."""

from urllib.parse import quote, urlencode

import pytest

from services.player_data.models import HISTORY
from tests.support.apps import Running
from tests.support.calls import bearer, call
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.records import RECORDS, Player
from tests.support.servers import Answer

BEGINNING = "2026-01-02T03:04:05.000Z"
"""ManualClock's."""
OTHER = f"{RECORDS}/saves/slot2"


async def as_of(data: Running, issuer: Issuer, player: str, moment: str, **query: str) -> Answer:
    token = issuer.service_token(
        "support", audience="playmesh:player_data", scope="player_data:read"
    )
    asked = urlencode({"as_of": moment, **query})
    url = f"{data.url}/v1/players/{player}/records?{asked}"
    return await call(data.http, "GET", url, headers=bearer(token))


async def test_it_shows_what_there_was_and_what_was_deleted_since(
    data: Running, issuer: Issuer, player: Player, clock: ManualClock
) -> None:
    first = (await player.put({"gold": 1})).json()
    gone = (await player.put("gone", OTHER)).json()
    clock.advance(60)
    await player.put({"gold": 2})
    await player.delete(OTHER)
    await player.put("new", f"{RECORDS}/saves/slot3")
    answer = await as_of(data, issuer, player.user_id, "2026-01-02T03:05:04.999Z")
    assert (answer.status, answer.json()) == (
        200,
        {
            "as_of": "2026-01-02T03:05:04.999Z",
            "complete": True,
            "cursor": None,
            "records": [{**first, "complete": True}, {**gone, "complete": True}],
        },
    )
    now = await as_of(data, issuer, player.user_id, "2026-01-02T03:05:05Z")
    assert [(one["key"], one["version"]) for one in now.json()["records"]] == [
        ("slot1", 2),
        ("slot3", 1),
    ]


async def test_where_history_reaches_back_no_further_it_says_so(
    data: Running, issuer: Issuer, player: Player, clock: ManualClock
) -> None:
    await player.put("whole", OTHER)
    for number in range(HISTORY + 2):
        await player.put(number)
        clock.advance(1)
    answer = await as_of(data, issuer, player.user_id, BEGINNING)
    lost, whole = answer.json()["records"]
    expected = {"collection": "saves", "key": "slot1", "version": None, "complete": False}
    assert lost == expected
    assert (whole["value"], whole["complete"]) == ("whole", True)
    assert answer.json()["complete"] is False


async def test_it_goes_page_by_page_and_by_collection(
    data: Running, issuer: Issuer, player: Player
) -> None:
    for name in ("a/1", "b/1", "b/2", "c/1"):
        await player.put(name, f"{RECORDS}/{name}")
    keys: list[str] = []
    query: dict[str, str] = {"limit": "1"}
    while True:
        page = (await as_of(data, issuer, player.user_id, BEGINNING, **query)).json()
        keys += [one["value"] for one in page["records"]]
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]
    assert keys == ["a/1", "b/1", "b/2", "c/1"]
    of_b = await as_of(data, issuer, player.user_id, BEGINNING, collection="b")
    assert [one["value"] for one in of_b.json()["records"]] == ["b/1", "b/2"]


async def test_players_are_forbidden_it_also_of_themselves(player: Player) -> None:
    answer = await player.get(f"{RECORDS}?as_of={BEGINNING}")
    assert (answer.status, answer.code) == (403, "forbidden")


@pytest.mark.parametrize(
    "moment",
    ["", "yesterday", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z", "x" * 65, "1767323045"],
)
async def test_what_is_no_moment_is_a_bad_request(
    data: Running, issuer: Issuer, player: Player, moment: str
) -> None:
    answer = await as_of(data, issuer, player.user_id, moment)
    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_a_prefix_is_not_for_a_moment(data: Running, issuer: Issuer, player: Player) -> None:
    query = {"collection": "saves", "prefix": "slot"}
    answer = await as_of(data, issuer, player.user_id, BEGINNING, **query)
    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_a_cursor_of_another_player_is_a_bad_request(
    data: Running, issuer: Issuer, player: Player, stranger: Player
) -> None:
    for key in ("a", "b"):
        await stranger.put(1, f"{RECORDS}/saves/{key}")
    page = (await as_of(data, issuer, stranger.user_id, BEGINNING, limit="1")).json()
    cursor = quote(page["cursor"])
    answer = await as_of(data, issuer, player.user_id, BEGINNING, cursor=cursor)
    assert (answer.status, answer.code) == (400, "invalid_request")
