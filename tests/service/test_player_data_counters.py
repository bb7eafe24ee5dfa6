"""Numbers that many change at once: /increment and /max."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.records import SLOT, Player
from tests.support.servers import Answer

INCREMENT = f"{SLOT}/increment"
MAX = f"{SLOT}/max"
LARGEST = 2**53 - 1


def is_bad(answer: Answer) -> bool:
    return (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize(("path", "body"), [(INCREMENT, {"by": 5}), (MAX, {"value": 5})])
async def test_where_there_is_no_record_it_is_made(
    player: Player, path: str, body: dict[str, int]
) -> None:
    answer = await player.post(path, body)
    assert (answer.status, answer.json()["value"], answer.headers["ETag"]) == (201, 5, '"1"')


@pytest.mark.parametrize(("path", "body"), [(INCREMENT, {"by": 5}), (MAX, {"value": 5})])
async def test_a_deleted_record_counts_from_nothing(
    player: Player, path: str, body: dict[str, int]
) -> None:
    await player.put(100)
    await player.delete()
    answer = await player.post(path, body)
    assert (answer.status, answer.json()["value"], answer.headers["ETag"]) == (201, 5, '"3"')


@pytest.mark.parametrize(
    ("value", "by", "result"),
    [
        (1, 5, 6),
        (1, -5, -4),
        (7, 0, 7),
        (None, 3, 3),
        (LARGEST - 1, 1, LARGEST),
        (0, -LARGEST, -LARGEST),
    ],
)
async def test_an_increment_adds(player: Player, value: object, by: int, result: int) -> None:
    await player.call("PUT", data=json.dumps(value).encode())
    answer = await player.post(INCREMENT, {"by": by})
    assert (answer.status, answer.json()["value"]) == (200, result)


@pytest.mark.parametrize(
    ("value", "asked", "result"),
    [
        (1, 5, 5),
        (5, 1, 5),
        (-3, -7, -3),
        (1, 1.5, 1.5),
        (2.5, 2, 2.5),
        (None, -1, -1),
        (2**60, 1, 2**60),
    ],
)
async def test_a_maximum_is_the_higher_number(
    player: Player, value: object, asked: float, result: float
) -> None:
    await player.call("PUT", data=json.dumps(value).encode())
    answer = await player.post(MAX, {"value": asked})
    assert (answer.status, answer.json()["value"]) == (200, result)


@pytest.mark.parametrize(
    ("path", "body"), [(MAX, {"value": 5}), (MAX, {"value": 5.0}), (INCREMENT, {"by": 0})]
)
async def test_what_changes_nothing_makes_no_version(
    player: Player, path: str, body: dict[str, float]
) -> None:
    written = (await player.put(5)).json()
    answer = await player.post(path, body)
    assert (answer.status, answer.json(), answer.headers["ETag"]) == (200, written, '"1"')
    assert (await player.get(f"{SLOT}/versions")).json() == {"versions": []}


@pytest.mark.parametrize(
    ("value", "path", "result"),
    [
        ({"gold": 1, "name": "Zoë"}, "/gold", {"gold": 6, "name": "Zoë"}),
        ({"wallet": {"gold": 1}}, "/wallet/gold", {"wallet": {"gold": 6}}),
        ({}, "/wallet/gold", {"wallet": {"gold": 5}}),
        ({"wallet": None}, "/wallet/gold", {"wallet": {"gold": 5}}),
        ({"a/b": {"c~d": 1}}, "/a~1b/c~0d", {"a/b": {"c~d": 6}}),
        ({"~1": 1}, "/~01", {"~1": 6}),
        ({"": 1}, "/", {"": 6}),
        (1, "", 6),
    ],
)
async def test_a_path_leads_through_members(
    player: Player, value: object, path: str, result: object
) -> None:
    await player.put(value)
    answer = await player.post(INCREMENT, {"by": 5, "path": path})
    assert (answer.status, answer.json()["value"]) == (200, result)


async def test_a_path_makes_a_record_that_is_missing(player: Player) -> None:
    answer = await player.post(MAX, {"value": 9, "path": "/arena/best"})
    assert (answer.status, answer.json()["value"]) == (201, {"arena": {"best": 9}})


@pytest.mark.parametrize("found", ["1", True, [], {}, 1.5, 1.0])
async def test_what_is_no_whole_number_is_not_added_to(player: Player, found: object) -> None:
    await player.put({"gold": found})
    answer = await player.post(INCREMENT, {"by": 1, "path": "/gold"})
    assert (answer.status, answer.code) == (409, "conflict")
    assert (await player.get()).json()["value"] == {"gold": found}


@pytest.mark.parametrize("found", ["1", True, [], {}])
async def test_what_is_no_number_has_no_maximum(player: Player, found: object) -> None:
    await player.put({"gold": found})
    answer = await player.post(MAX, {"value": 1, "path": "/gold"})
    assert (answer.status, answer.code) == (409, "conflict")


@pytest.mark.parametrize("value", [[1], "gold", 1, {"wallet": [1]}, {"wallet": "x"}])
async def test_a_path_does_not_lead_through_what_is_no_object(
    player: Player, value: object
) -> None:
    await player.put(value)
    answer = await player.post(INCREMENT, {"by": 1, "path": "/wallet/0"})
    assert (answer.status, answer.code) == (409, "conflict")


@pytest.mark.parametrize(
    ("value", "by"), [(LARGEST, 1), (-LARGEST, -1), (1, LARGEST), (2**60, 0), (2**60, -1)]
)
async def test_a_number_stays_one_that_every_client_reads_alike(
    player: Player, value: int, by: int
) -> None:
    await player.put(value)
    answer = await player.post(INCREMENT, {"by": by})
    assert (answer.status, answer.code) == (409, "conflict")
    assert (await player.get()).json()["value"] == value


BAD_NUMBERS: list[object] = ["1", None, True, [], {}, LARGEST + 1, -LARGEST - 1]
BAD_PATHS: list[object] = [
    None,
    1,
    [],
    "gold",
    "gold/",
    "#/gold",
    "/a~",
    "/a~2",
    "/a~b",
    "/" + "a" * 256,
    "/a" * 17,
]


@pytest.mark.parametrize(
    "body",
    [
        *({"by": number} for number in [*BAD_NUMBERS, 1.0, 0.5]),
        *({"by": 1, "path": path} for path in BAD_PATHS),
        {},
        {"value": 1},
        {"by": 1, "pth": "/gold"},
        [],
        1,
    ],
    ids=lambda body: json.dumps(body)[:40],
)
async def test_an_increment_is_a_whole_number_and_a_path(player: Player, body: Any) -> None:  # noqa: ANN401 - also wrong types
    await player.put(1)
    assert is_bad(await player.call("POST", INCREMENT, data=json.dumps(body).encode()))
    assert (await player.get()).json()["version"] == 1


@pytest.mark.parametrize(
    "body",
    [
        *({"value": number} for number in [*BAD_NUMBERS, 1e300]),
        *({"value": 1, "path": path} for path in BAD_PATHS),
        {"by": 1},
        {"value": 1, "by": 1},
    ],
    ids=lambda body: json.dumps(body)[:40],
)
async def test_a_maximum_is_a_number_and_a_path(player: Player, body: Any) -> None:  # noqa: ANN401 - also wrong types
    await player.put(1)
    assert is_bad(await player.call("POST", MAX, data=json.dumps(body).encode()))


async def test_a_path_of_16_members_is_not_too_deep(player: Player) -> None:
    assert (await player.post(INCREMENT, {"by": 1, "path": "/a" * 16})).status == 201


async def test_of_100_parallel_increments_none_is_lost(player: Player) -> None:
    answers = await asyncio.gather(*(player.post(INCREMENT, {"by": 1}) for _ in range(100)))
    assert sorted(answer.json()["value"] for answer in answers) == list(range(1, 101))
    assert (await player.get()).json()["value"] == 100


async def test_of_parallel_maxima_the_highest_stays(player: Player) -> None:
    await asyncio.gather(*(player.post(MAX, {"value": number}) for number in range(50)))
    assert (await player.get()).json()["value"] == 49


@pytest.mark.parametrize(("path", "body"), [(INCREMENT, {"by": 5}), (MAX, {"value": 5})])
async def test_it_takes_preconditions(player: Player, path: str, body: dict[str, int]) -> None:
    assert (await player.post(path, body, if_match="*")).code == "version_conflict"
    assert (await player.post(path, body, if_none_match="*")).status == 201
    conflict = await player.post(path, body, if_none_match="*")
    assert (conflict.status, conflict.json()["current"]["value"]) == (412, 5)
    assert (await player.post(path, body, if_match='"1"')).status == 200
