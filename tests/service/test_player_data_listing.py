"""Listing: what is in a page, and how the next one is found."""

import base64
import itertools
import json
from collections.abc import Mapping
from urllib.parse import urlencode

import pytest

from tests.support.records import RECORDS, Player
from tests.support.servers import Answer


async def fill(player: Player, *names: str) -> None:
    for name in names:
        assert (await player.put(name, f"{RECORDS}/{name}")).status in (200, 201)


async def page(player: Player, **query: str) -> Answer:
    return await player.get(f"{RECORDS}?{urlencode(query)}")


def names_of(answer: Answer) -> list[str]:
    return [f"{record['collection']}/{record['key']}" for record in answer.json()["records"]]


async def walk(player: Player, **query: str) -> list[list[str]]:
    pages: list[list[str]] = []
    while True:
        answer = await page(player, **query)
        pages.append(names_of(answer))
        cursor = answer.json()["cursor"]
        if cursor is None:
            return pages
        query["cursor"] = cursor


async def cursor_of(player: Player, **query: str) -> str:
    """After the first of at least two records."""
    cursor = (await page(player, limit="1", **query)).json()["cursor"]
    assert isinstance(cursor, str)
    return cursor


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def is_bad(answer: Answer) -> bool:
    return (answer.status, answer.code) == (400, "invalid_request")


async def test_a_player_without_records_has_an_empty_list(player: Player) -> None:
    assert (await page(player)).json() == {"records": [], "cursor": None}


async def test_a_list_holds_records_as_get_answers_them(player: Player) -> None:
    await player.put({"level": 1, "name": "Zoë 🎮"})
    assert (await page(player)).json() == {"records": [(await player.get()).json()], "cursor": None}


async def test_a_list_is_in_the_order_of_collection_and_key(player: Player) -> None:
    names = ["A/x", "a/1", "a/10", "a/9", "a/B", "a/_", "a/b", "a/~", "a-b/a", "b/-"]
    await fill(player, *reversed(names))
    assert names_of(await page(player)) == sorted(names, key=lambda name: name.split("/"))


async def test_a_list_may_be_of_one_collection(player: Player) -> None:
    await fill(player, "save/1", "saves/1", "saves/2", "saves-/1")
    assert names_of(await page(player, collection="saves")) == ["saves/1", "saves/2"]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("a", ["a", "a.b", "a_b", "ab"]),
        ("a_", ["a_b"]),
        ("a.", ["a.b"]),
        (".", [".x", "..y"]),
        ("..", ["..y"]),
        ("c", []),
        ("", ["..y", ".x", "a", "a.b", "a_b", "ab", "b"]),
    ],
)
async def test_a_list_may_be_of_the_keys_with_a_prefix(
    player: Player, prefix: str, expected: list[str]
) -> None:
    await fill(player, *(f"s/{key}" for key in ("a", "a.b", "a_b", "ab", "b", ".x", "..y")))
    found = names_of(await page(player, collection="s", prefix=prefix))
    assert found == sorted(f"s/{key}" for key in expected)


async def test_a_prefix_without_a_collection_is_a_bad_request(player: Player) -> None:
    assert is_bad(await page(player, prefix="a"))


async def test_a_deleted_record_is_not_listed(player: Player) -> None:
    await fill(player, "s/a", "s/b", "s/c")
    await player.delete(f"{RECORDS}/s/b")
    assert await walk(player, limit="1") == [["s/a"], ["s/c"]]


async def test_a_player_sees_no_records_of_another(player: Player, stranger: Player) -> None:
    await fill(player, "s/mine")
    await fill(stranger, "s/theirs", "t/theirs")
    assert names_of(await page(player)) == ["s/mine"]
    assert await walk(player, collection="s", prefix="", limit="1") == [["s/mine"]]


@pytest.mark.parametrize(
    ("limit", "sizes"), [("1", [1] * 6), ("2", [2] * 3), ("4", [4, 2]), ("6", [6]), ("100", [6])]
)
@pytest.mark.parametrize(
    "query", [{}, {"collection": "s"}, {"collection": "s", "prefix": "k"}], ids=str
)
async def test_a_walk_over_pages_sees_every_record_once(
    player: Player, query: Mapping[str, str], limit: str, sizes: list[int]
) -> None:
    names = [f"s/k{number}" for number in range(6)]
    await fill(player, *names)
    pages = await walk(player, limit=limit, **query)
    assert [len(one) for one in pages] == sizes
    assert list(itertools.chain.from_iterable(pages)) == names


@pytest.mark.parametrize("query", [{}, {"limit": ""}, {"limit": "100"}], ids=str)
async def test_a_page_holds_at_most_100_records(player: Player, query: Mapping[str, str]) -> None:
    await fill(player, *(f"s/{number:03}" for number in range(101)))
    assert [len(one) for one in await walk(player, **query)] == [100, 1]


@pytest.mark.parametrize(
    "limit",
    ["0", "101", "-1", "+1", "1.0", "1e1", "0x1", "ten", "\u0661", "\u00b9", "1 ", "1_0", "9" * 9],
)
async def test_a_limit_is_a_number_from_1_to_100(player: Player, limit: str) -> None:
    assert is_bad(await page(player, limit=limit))


async def test_a_cursor_holds_after_its_record_was_deleted(player: Player) -> None:
    await fill(player, "s/a", "s/b", "s/c")
    cursor = await cursor_of(player)
    await player.delete(f"{RECORDS}/s/a")
    assert names_of(await page(player, cursor=cursor)) == ["s/b", "s/c"]


async def test_a_walk_sees_what_is_written_behind_the_cursor_and_nothing_twice(
    player: Player,
) -> None:
    await fill(player, "s/b", "s/d")
    cursor = await cursor_of(player)
    await fill(player, "s/a", "s/b", "s/c", "s/e")
    assert names_of(await page(player, cursor=cursor)) == ["s/c", "s/d", "s/e"]


async def test_a_cursor_needs_no_escaping(player: Player) -> None:
    for key in ("~" * 128, "-_." * 40, "z:@"):
        await fill(player, f"{'c' * 128}/{key}")
    assert all(
        part.isascii() and part.isalnum()
        for part in (await cursor_of(player)).replace("-", "").split("_")
    )


async def test_a_cursor_of_the_longest_names_holds(player: Player) -> None:
    long = "@" * 128
    await fill(player, f"{long}/{'@' * 127}", f"{long}/{long}")
    assert await walk(player, limit="1") == [[f"{long}/{'@' * 127}"], [f"{long}/{long}"]]


async def test_a_cursor_of_another_collection_is_a_bad_request(player: Player) -> None:
    await fill(player, "s/a", "s/b", "t/a", "t/b")
    cursor = await cursor_of(player, collection="s")
    assert is_bad(await page(player, collection="t", cursor=cursor))


async def test_a_cursor_of_another_player_is_a_bad_request(
    player: Player, stranger: Player
) -> None:
    await fill(player, "s/a", "s/b")
    await fill(stranger, "s/a", "s/b")
    assert is_bad(await page(player, cursor=await cursor_of(stranger)))


OWN = "a" * 32
GARBAGE = {
    "no base64": "%%%",
    "one letter": "A",
    "a word": "garbage",
    "non-ASCII": "é",
    "NUL": "\x00",
    "not JSON": base64.urlsafe_b64encode(b"[").decode(),
    "not UTF-8": base64.urlsafe_b64encode(b"\xff\xff\xff").decode(),
    "null": encoded(None),
    "a string": encoded(OWN),
    "an object": encoded({"player": OWN}),
    "two parts": encoded([OWN, "s"]),
    "four parts": encoded([OWN, "s", "a", "b"]),
    "a number": encoded([OWN, "s", 1]),
    "a list": encoded([OWN, ["s"], "a"]),
    "a lone surrogate": encoded([OWN, "s", "\ud800"]),
    "deep": base64.urlsafe_b64encode(b"[" * 380).decode(),
    "too long": "A" * 513,
}


@pytest.mark.parametrize("cursor", GARBAGE.values(), ids=GARBAGE.keys())
async def test_a_cursor_that_was_never_given_is_a_bad_request(player: Player, cursor: str) -> None:
    await fill(player, "s/a", "s/b")
    assert is_bad(await page(player, cursor=cursor))


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 10])
async def test_a_truncated_cursor_is_a_bad_request(player: Player, cut: int) -> None:
    await fill(player, "s/a", "s/b")
    assert is_bad(await page(player, cursor=(await cursor_of(player))[:-cut]))


async def test_a_list_may_not_be_stored(player: Player) -> None:
    assert (await page(player)).headers["Cache-Control"] == "no-store"


async def test_a_page_of_large_values_ends_early_and_the_walk_still_sees_them_all(
    player: Player,
) -> None:
    for number in range(8):
        await player.put("x" * 300_000, f"{RECORDS}/saves/slot{number}")
    keys: list[str] = []
    cursor: str | None = ""
    pages = 0
    while cursor is not None:
        body = (await player.get(f"{RECORDS}?cursor={cursor}")).json()
        keys += [record["key"] for record in body["records"]]
        cursor = body["cursor"]
        pages += 1
    assert keys == [f"slot{number}" for number in range(8)]
    assert pages == 3
