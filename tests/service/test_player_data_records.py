"""Records over HTTP: written, read, replaced, deleted."""

import asyncio
import json
from pathlib import Path

import pytest

from services.player_data.models import LARGEST_VALUE
from tests.support import apps
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.records import RECORDS, SLOT, Player

CREATED = "2026-01-02T03:04:05.000Z"  # the manual clock's start


async def test_a_first_put_makes_version_1(player: Player) -> None:
    answer = await player.put({"level": 1})
    assert answer.status == 201
    assert answer.json() == {
        "collection": "saves",
        "key": "slot1",
        "version": 1,
        "created_at": CREATED,
        "updated_at": CREATED,
        "written_by": player.user_id,
        "value": {"level": 1},
    }


async def test_get_answers_what_put_answered(player: Player) -> None:
    put = await player.put({"level": 1})
    get = await player.get()
    assert (get.status, get.json()) == (200, put.json())
    assert get.headers["ETag"] == put.headers["ETag"] == '"1"'


async def test_head_answers_the_headers_of_get(player: Player) -> None:
    await player.put({"level": 1})
    get, head = await player.get(), await player.call("HEAD")
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Type", "Content-Length", "Cache-Control", "ETag"):
        assert head.headers[name] == get.headers[name]


async def test_a_record_may_be_kept_by_its_player_only_and_is_asked_for_again(
    player: Player,
) -> None:
    await player.put(1)
    assert (await player.get()).headers["Cache-Control"] == "private, no-cache"


async def test_a_second_put_replaces_the_value_and_keeps_the_creation(
    player: Player, clock: ManualClock
) -> None:
    await player.put({"level": 1, "gold": 5})
    clock.advance(61.25)
    answer = await player.put({"level": 2})
    assert answer.headers["ETag"] == '"2"'
    assert answer.json() | {"collection": "", "key": ""} == {
        "collection": "",
        "key": "",
        "version": 2,
        "created_at": CREATED,
        "updated_at": "2026-01-02T03:05:06.250Z",
        "written_by": player.user_id,
        "value": {"level": 2},
    }


@pytest.mark.parametrize(
    "value",
    [
        "null",
        "true",
        "0",
        '""',
        "[]",
        "{}",
        '{"":{"":[]}}',
        "18446744073709551615",
        "-9223372036854775808",
        "0.1",
        "1e+300",
        '{"z":1,"a":2,"m":3}',
        '"Zoë 日本 🎮 \U0010ffff"',
        '"\\u0000\\u001f\\"\\\\"',
        "[" * 64 + "]" * 64,
    ],
)
async def test_a_value_comes_back_as_it_was(player: Player, value: str) -> None:
    await player.call("PUT", data=value.encode())
    assert json.dumps((await player.get()).json()["value"]) == json.dumps(json.loads(value))


async def test_members_stay_in_their_order(player: Player) -> None:
    await player.call("PUT", data=b'{"z":1,"a":2,"m":3}')
    assert b'"value":{"z":1,"a":2,"m":3}' in (await player.get()).body


async def test_a_value_may_look_like_the_record_around_it(player: Player) -> None:
    value = {"collection": "x", "key": "y", "version": 99, "value": '"}', "cursor": None}
    await player.put(value)
    body = (await player.get()).json()
    assert (body["version"], body["value"]) == (1, value)


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
async def test_a_value_may_say_that_it_is_json(player: Player, content_type: str) -> None:
    answer = await player.call("PUT", data=b"1", headers={"Content-Type": content_type})
    assert answer.status == 201


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_a_record_that_was_never_written_is_not_found(player: Player, method: str) -> None:
    await player.put(1, f"{RECORDS}/saves/slot2")
    answer = await player.call(method)
    assert answer.status == 404
    assert method == "HEAD" or answer.code == "not_found"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_deleted_record_is_not_found(player: Player, method: str) -> None:
    await player.put(1)
    await player.delete()
    answer = await player.call(method)
    assert (answer.status, answer.code) == (404, "not_found")


async def test_a_deletion_answers_nothing(player: Player) -> None:
    await player.put(1)
    answer = await player.delete()
    assert (answer.status, answer.body) == (204, b"")


async def test_a_record_that_is_written_again_is_a_new_one_with_a_later_version(
    player: Player, clock: ManualClock
) -> None:
    await player.put(1)
    await player.delete()
    clock.advance(1)
    body = (await player.put(2)).json()
    assert (body["version"], body["created_at"]) == (3, "2026-01-02T03:04:06.000Z")


async def test_me_and_ones_own_id_are_the_same(player: Player) -> None:
    await player.put(1)
    own = SLOT.replace("/me/", f"/{player.user_id}/")
    assert (await player.get(own)).body == (await player.get()).body


async def test_players_do_not_share_records(player: Player, stranger: Player) -> None:
    await player.put("mine")
    await stranger.put("theirs")
    await stranger.delete()
    assert (await player.get()).json()["value"] == "mine"


@pytest.mark.parametrize("character", ["x", "é", "🎮"])
async def test_the_largest_value_is_measured_in_bytes_of_utf_8(
    player: Player, character: str
) -> None:
    text = character * ((LARGEST_VALUE - 2) // len(character.encode()))
    assert (await player.call("PUT", data=f'"{text}"'.encode())).status == 201
    assert (await player.get()).json()["value"] == text


@pytest.mark.parametrize("character", ["x", "é", "🎮"])
async def test_a_larger_value_is_refused_and_the_old_one_stays(
    player: Player, character: str
) -> None:
    await player.put("old")
    text = character * ((LARGEST_VALUE - 2) // len(character.encode()) + 1)
    answer = await player.call("PUT", data=f'"{text}"'.encode())
    assert (answer.status, answer.code) == (413, "too_large")
    assert (await player.get()).json()["value"] == "old"


async def test_white_space_around_a_value_does_not_count(player: Player) -> None:
    text = "x" * (LARGEST_VALUE - 2)
    answer = await player.call("PUT", data=b" " * 100_000 + f'"{text}"'.encode())
    assert answer.status == 201


async def test_a_record_is_known_after_a_restart(
    tmp_path: Path, issuer: Issuer, clock: ManualClock
) -> None:
    bodies = []
    for method in ("PUT", "GET"):
        async with apps.player_data(tmp_path, issuer, clock) as data:
            player = Player(data, "a" * 32, issuer.token(sub="a" * 32))
            bodies.append((await player.call(method, data=b"[1]")).json())
    assert bodies[0] == bodies[1]


async def test_100_increments_by_5_devices_at_once_lose_none(player: Player) -> None:
    await player.put(0)

    async def device() -> None:
        done = 0
        while done < 20:
            seen = await player.get()
            answer = await player.put(seen.json()["value"] + 1, if_match=seen.headers["ETag"])
            done += answer.status == 200

    await asyncio.gather(*(device() for _ in range(5)))
    body = (await player.get()).json()
    assert (body["value"], body["version"]) == (100, 101)


class TestDeepestValue:
    """The deepest nesting that is taken must be fit for every answer that carries it."""

    @staticmethod
    async def put_deepest(player: Player, path: str) -> object:
        """Each level is an object; the depth is found by halving."""
        taken, refused = 1, 2000
        while refused - taken > 1:
            depth = (taken + refused) // 2
            answer = await player.call("PUT", path, data=_nested(depth))
            assert answer.status in (200, 201, 400)
            taken, refused = (taken, depth) if answer.status == 400 else (depth, refused)
        await player.call("PUT", path, data=_nested(taken))
        return json.loads(_nested(taken))

    async def test_it_is_read(self, player: Player) -> None:
        value = await self.put_deepest(player, SLOT)
        assert (await player.get()).json()["value"] == value

    async def test_it_is_listed(self, player: Player) -> None:
        value = await self.put_deepest(player, SLOT)
        assert (await player.get(RECORDS)).json()["records"][0]["value"] == value

    async def test_it_is_the_current_record_of_a_conflict(self, player: Player) -> None:
        value = await self.put_deepest(player, SLOT)
        answer = await player.put(0, if_none_match="*")
        assert (answer.status, answer.json()["current"]["value"]) == (412, value)

    async def test_it_stands_in_no_way_of_the_drop_in_routes(self, player: Player) -> None:
        await self.put_deepest(player, f"{RECORDS}/profile/player")
        answer = await player.call("POST", "/set-player-data", json={"player_name": "Alice"})
        assert answer.status == 200
        assert (await player.get("/get-player-data")).json()["PlayerName"] == "Alice"


def _nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"0" + b"}" * depth
