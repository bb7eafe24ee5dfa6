"""PATCH: a part of a record is changed (JSON Merge Patch, RFC 7396)."""

import asyncio

import pytest

from services.player_data.models import LARGEST_VALUE
from tests.support.records import MERGE_PATCH, SLOT, Player

# The table of RFC 7396, appendix A: what is there, the patch, what becomes of it.
EXAMPLES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("value", "patch", "result"), EXAMPLES)
async def test_it_does_what_the_examples_of_the_standard_say(
    player: Player, value: object, patch: object, result: object
) -> None:
    await player.put(value)
    answer = await player.patch(patch)
    assert (answer.status, answer.json()["value"]) == (200, result)
    assert (await player.get()).json() == answer.json()


async def test_it_makes_a_version_and_answers_its_tag(player: Player) -> None:
    first = (await player.put({"gold": 1, "level": 2})).json()
    answer = await player.patch({"gold": 5})
    assert answer.headers["ETag"] == '"2"'
    assert (await player.get(f"{SLOT}/versions")).json() == {"versions": [first]}


async def test_what_changes_nothing_makes_no_version(player: Player) -> None:
    await player.put({"gold": 1, "level": 2})
    answer = await player.patch({"level": 2, "xp": None})
    assert (answer.status, answer.headers["ETag"]) == (200, '"1"')


@pytest.mark.parametrize("deleted", [False, True], ids=["absent", "deleted"])
async def test_where_there_is_no_record_there_is_nothing_to_change(
    player: Player,
    deleted: bool,  # noqa: FBT001 - a parameter
) -> None:
    if deleted:
        await player.put({})
        await player.delete()
    answer = await player.patch({"gold": 5})
    assert (answer.status, answer.code) == (404, "not_found")
    assert (await player.get()).status == 404


@pytest.mark.parametrize(
    ("tag", "status"), [('"1"', 200), ("*", 200), ('"2"', 412), ('W/"1"', 412)]
)
async def test_it_takes_if_match(player: Player, tag: str, status: int) -> None:
    await player.put({"gold": 1})
    assert (await player.patch({"gold": 5}, if_match=tag)).status == status
    assert (await player.get()).json()["value"]["gold"] == (5 if status == 200 else 1)


async def test_a_conflict_answers_the_record_as_it_is(player: Player) -> None:
    current = (await player.put({"gold": 1})).json()
    answer = await player.patch({"gold": 5}, if_match='"7"')
    assert (answer.code, answer.json()["current"]) == ("version_conflict", current)


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/json-patch+json", "text/plain"]
)
async def test_another_media_type_is_not_taken(player: Player, media_type: str) -> None:
    await player.put({"gold": 1})
    answer = await player.call("PATCH", headers={"Content-Type": media_type}, data=b"{}")
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize("media_type", [MERGE_PATCH, f"{MERGE_PATCH}; charset=utf-8"])
async def test_its_own_media_type_is_taken(player: Player, media_type: str) -> None:
    await player.put({"gold": 1})
    answer = await player.call("PATCH", headers={"Content-Type": media_type}, data=b"{}")
    assert answer.status == 200


async def test_a_record_may_grow_to_the_largest_value_and_no_further(player: Player) -> None:
    half = "x" * (LARGEST_VALUE // 2)
    await player.put({"a": half})
    frame = len('{"a":"","b":""}')
    rest = LARGEST_VALUE - len(half) - frame
    too_large = await player.patch({"b": "x" * (rest + 1)})
    assert (too_large.status, too_large.code) == (413, "too_large")
    assert (await player.get()).json()["version"] == 1
    assert (await player.patch({"b": "x" * rest})).status == 200


async def test_it_is_as_deep_as_a_value_may_be(player: Player) -> None:
    deepest = b'{"a":' * 100 + b"0" + b"}" * 100
    await player.put({})
    headers = {"Content-Type": MERGE_PATCH}
    assert (await player.call("PATCH", headers=headers, data=deepest)).status == 200
    assert (await player.call("PATCH", headers=headers, data=deepest)).headers["ETag"] == '"2"'
    deeper = await player.call("PATCH", headers=headers, data=b'{"a":' + deepest + b"}")
    assert (deeper.status, deeper.code) == (400, "invalid_request")


async def test_of_parallel_patches_of_different_members_none_is_lost(player: Player) -> None:
    await player.put({})
    await asyncio.gather(*(player.patch({f"m{number}": number}) for number in range(30)))
    assert (await player.get()).json()["value"] == {f"m{number}": number for number in range(30)}
