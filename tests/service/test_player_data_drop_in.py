"""Player data as the game engines' SDKs call it, byte for byte."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from services.player_data.models import LARGEST_VALUE
from tests.support.apps import Running
from tests.support.records import RECORDS, Player
from tests.support.servers import Answer, send

SET = "/set-player-data"
GET = "/get-player-data"
PROFILE = f"{RECORDS}/profile/player"

Send = Callable[[str, str, str, Mapping[str, str]], Any]


def _authorized(head: str, token: str) -> str:
    """The bare token, as the SDKs send it."""
    return f"{head}\r\nAuthorization: {token}"


async def get(url: str, token: str, path: str, values: Mapping[str, str]) -> Answer:
    query = f"?{urlencode(values)}" if values else ""
    return await send(url, _authorized(f"GET {path}{query} HTTP/1.1", token))


async def get_godot(url: str, token: str, path: str, values: Mapping[str, str]) -> Answer:
    """The query as it is put together there: begun with `?`, each pair with `&`, none escaped."""
    query = "".join(f"&{name}={value}" for name, value in values.items())
    return await send(url, _authorized(f"GET /{path}?{query} HTTP/1.1", token))


async def post_json(url: str, token: str, path: str, values: Mapping[str, str]) -> Answer:
    head = _authorized(f"POST {path} HTTP/1.1", token)
    return await send(url, f"{head}\r\nContent-Type: application/json", json.dumps(values).encode())


async def post_form(url: str, token: str, path: str, values: Mapping[str, str]) -> Answer:
    head = _authorized(f"POST /{path} HTTP/1.1", token)
    head = f"{head}\r\nContent-Type: application/x-www-form-urlencoded"
    return await send(url, head, urlencode(values).encode())


WAYS = [get, get_godot, post_json, post_form]


def names(way: object) -> str:
    return str(getattr(way, "__name__", way))


async def set_fields(player: Player, **fields: str) -> Answer:
    return await player.call("POST", SET, json=fields)


async def get_fields(player: Player) -> dict[str, str]:
    return dict((await player.get(GET)).json())


@pytest.mark.parametrize("way", WAYS, ids=names)
async def test_what_was_set_is_answered(data: Running, player: Player, way: Send) -> None:
    answer = await way(data.url, player.token, SET, {"player_name": "Alice"})
    assert answer.status == 200
    assert await get_fields(player) == {"UserID": player.user_id, "PlayerName": "Alice"}


@pytest.mark.parametrize("way", WAYS, ids=names)
async def test_every_way_of_asking_gets_the_same(data: Running, player: Player, way: Send) -> None:
    await set_fields(player, player_name="Alice")
    answer = await way(data.url, player.token, GET, {})
    assert answer.status == 200
    assert answer.json() == {"UserID": player.user_id, "PlayerName": "Alice"}


async def test_a_set_answers_json(player: Player) -> None:
    answer = await set_fields(player, player_name="Alice")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert isinstance(answer.json(), str)


@pytest.mark.parametrize("value", ['a|<>"{}^`\\b', "a=b==", "=", "a;b", "a/b?c:d@e", "%zz"])
async def test_an_unescaped_value_arrives_as_it_was_sent(
    data: Running, player: Player, value: str
) -> None:
    await get_godot(data.url, player.token, SET, {"player_name": value})
    assert (await get_fields(player))["PlayerName"] == value


@pytest.mark.parametrize("way", [get, post_json, post_form], ids=names)
@pytest.mark.parametrize("value", ["Zoë", "日本 🎮", "a&b=c+d%20e", " ", "😀" * 1024, "\u2028"])
async def test_an_escaped_value_arrives_as_it_was_meant(
    data: Running, player: Player, way: Send, value: str
) -> None:
    if way is get and len(value) == 1024:
        value = value[:128]  # a request line has its limit
    assert (await way(data.url, player.token, SET, {"player_name": value})).status == 200
    assert (await get_fields(player))["PlayerName"] == value


async def test_get_before_set_is_not_found(player: Player) -> None:
    answer = await player.get(GET)
    assert (answer.status, answer.code) == (404, "not_found")


async def test_further_fields_come_back_under_their_names(player: Player) -> None:
    await set_fields(player, player_name="Alice", favourite_map="forest", **{"a.b-c~d:e@f": "1"})
    assert await get_fields(player) == {
        "UserID": player.user_id,
        "PlayerName": "Alice",
        "favourite_map": "forest",
        "a.b-c~d:e@f": "1",
    }


@pytest.mark.parametrize("name", ["UserID", "PlayerName"])
async def test_a_field_cannot_pose_as_an_answered_one(player: Player, name: str) -> None:
    answer = await player.call(
        "POST", "/set-player-data", json={"player_name": "Alice", name: "b" * 32}
    )
    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_a_set_leaves_other_fields_as_they_are(player: Player) -> None:
    await set_fields(player, player_name="Alice", one="1")
    await set_fields(player, player_name="Alicia", two="2")
    assert await get_fields(player) == {
        "UserID": player.user_id,
        "PlayerName": "Alicia",
        "one": "1",
        "two": "2",
    }


async def test_two_devices_that_set_different_fields_at_once_lose_none(player: Player) -> None:
    for number in range(20):
        answers = await asyncio.gather(
            set_fields(player, player_name="Alice", **{f"one{number}": "1"}),
            set_fields(player, player_name="Alice", **{f"two{number}": "2"}),
        )
        assert [answer.status for answer in answers] == [200, 200]
    assert len(await get_fields(player)) == 2 + 40


async def test_what_is_acknowledged_is_kept_however_many_devices_write_at_once(
    player: Player,
) -> None:
    fields = [f"field{number}" for number in range(40)]
    answers = await asyncio.gather(
        *(set_fields(player, player_name="Alice", **{field: "1"}) for field in fields)
    )
    kept = await get_fields(player)
    assert {answer.status for answer in answers} <= {200, 503}
    assert [
        field
        for field, answer in zip(fields, answers, strict=True)
        if answer.status == 200 and field not in kept
    ] == []


async def test_players_do_not_share_fields(player: Player, stranger: Player) -> None:
    await set_fields(player, player_name="Alice")
    await set_fields(stranger, player_name="Bob")
    assert (await get_fields(player))["PlayerName"] == "Alice"


async def test_the_fields_are_one_ordinary_record(player: Player) -> None:
    await set_fields(player, player_name="Alice", map="forest")
    record = (await player.get(PROFILE)).json()
    assert (record["version"], record["value"]) == (1, {"player_name": "Alice", "map": "forest"})


async def test_a_set_keeps_what_else_somebody_put_into_the_record(player: Player) -> None:
    await player.put({"player_name": "Alice", "level": 5, "items": [1, {"a": None}]}, PROFILE)
    await set_fields(player, player_name="Alicia")
    assert (await player.get(PROFILE)).json()["value"] == {
        "player_name": "Alicia",
        "level": 5,
        "items": [1, {"a": None}],
    }


@pytest.mark.parametrize("value", [{"player_name": 5, "level": 1}, {}, [], None, "text"])
async def test_only_strings_are_answered_whatever_the_record_holds(
    player: Player, value: object
) -> None:
    await player.call("PUT", PROFILE, data=json.dumps(value).encode())
    assert await get_fields(player) == {"UserID": player.user_id, "PlayerName": ""}


async def test_fields_that_are_too_large_together_are_refused_and_nothing_is_lost(
    player: Player,
) -> None:
    wide = {f"field{number}": "🎮" * 1024 for number in range(60)}
    assert (await _post(player, {"player_name": "Alice", **wide})).status == 200
    more = {f"more{number}": "🎮" * 1024 for number in range(60)}
    answer = await _post(player, {"player_name": "Alicia", **more})
    assert (answer.status, answer.code) == (413, "too_large")
    assert len((await player.get(PROFILE)).body) < LARGEST_VALUE
    assert (await get_fields(player))["PlayerName"] == "Alice"


async def _post(player: Player, fields: Mapping[str, str]) -> Answer:
    body = json.dumps(fields, ensure_ascii=False).encode()
    return await player.call("POST", SET, data=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("path", [SET, f"/{SET}"])
async def test_head_sets_nothing(data: Running, player: Player, path: str) -> None:
    head = f"HEAD {path}?player_name=Alice HTTP/1.1"
    answer = await send(data.url, _authorized(head, player.token))
    assert (answer.status, answer.headers["Allow"]) == (405, "GET,POST")
    assert (await player.get(GET)).status == 404


@pytest.mark.parametrize("path", [SET, f"/{SET}", f"{GET}?", f"/{GET}?&", f"{GET}/"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "OPTIONS"])
async def test_no_request_is_answered_with_a_redirect(
    data: Running, player: Player, method: str, path: str
) -> None:
    answer = await send(data.url, _authorized(f"{method} {path} HTTP/1.1", player.token))
    assert not 300 <= answer.status < 400
    assert "Location" not in answer.headers


@pytest.mark.parametrize("path", [f"{SET}?player_name=Alice", GET, f"{SET}", "/nowhere"])
async def test_every_answer_may_be_read_by_a_web_build_and_none_may_be_stored(
    data: Running, player: Player, path: str
) -> None:
    answer = await send(data.url, _authorized(f"GET {path} HTTP/1.1", player.token))
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cache-Control"] == "no-store"
