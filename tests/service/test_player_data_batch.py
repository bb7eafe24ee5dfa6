"""Many records with one request: reads, and writes of which all are done or none."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from services.player_data.batch_wire import MOST_READS
from services.player_data.models import (
    LARGEST_WRITES,
    MOST_WRITES,
    Change,
    Precondition,
    Record,
    RecordKey,
    Write,
    outcomes,
)
from shared import errors
from tests.support.clock import ManualClock
from tests.support.records import BATCH, RECORDS, SLOT, Player
from tests.support.servers import Answer

NOBODY = "0" * 32


def entry(key: str = "slot1", collection: str = "saves", **more: object) -> dict[str, Any]:
    return {"collection": collection, "key": key, **more}


async def read(player: Player, *entries: Mapping[str, object], of: str = "me") -> Answer:
    return await player.post(BATCH, {"reads": entries, "player": of})


async def write(player: Player, *entries: Mapping[str, object], **headers: str) -> Answer:
    return await player.post(BATCH, {"writes": entries}, **headers)


async def everything(player: Player) -> Any:  # noqa: ANN401 - whatever is there
    return (await player.get(RECORDS)).json()["records"]


class TestReads:
    async def test_they_are_answered_in_their_order_null_for_what_there_is_not(
        self, player: Player
    ) -> None:
        one = (await player.put(1, f"{RECORDS}/saves/a")).json()
        two = (await player.put(2, f"{RECORDS}/arena/b")).json()
        answer = await read(
            player, entry("b", "arena"), entry("c"), entry("a"), entry("b", "arena")
        )
        assert (answer.status, answer.json()) == (200, {"records": [two, None, one, two]})

    async def test_a_hundred_are_read(self, player: Player) -> None:
        entries = [entry(f"k{number:03}") for number in range(MOST_READS)]
        for start in range(0, MOST_READS, MOST_WRITES):
            some = entries[start : start + MOST_WRITES]
            assert (
                await write(player, *({**one, "value": one["key"]} for one in some))
            ).status == 200
        answer = await read(player, *entries)
        found = [one["value"] for one in answer.json()["records"]]
        assert found == [one["key"] for one in entries]

    @pytest.mark.parametrize("number", [0, 101])
    async def test_no_more_and_no_fewer(self, player: Player, number: int) -> None:
        answer = await read(player, *(entry(f"k{one}") for one in range(number)))
        assert (answer.status, answer.code) == (400, "invalid_request")

    async def test_more_than_an_answer_holds_are_refused(self, player: Player) -> None:
        entries = [entry(f"k{number:02}") for number in range(14)]
        for one in entries:
            await player.put("x" * 340_000, f"{RECORDS}/saves/{one['key']}")
        assert (await read(player, *entries[:12])).status == 200
        answer = await read(player, *entries)
        assert (answer.status, answer.code) == (413, "too_large")

    @pytest.mark.parametrize("asked", [NOBODY, "other"])
    async def test_of_another_player_there_is_nothing(
        self, player: Player, stranger: Player, asked: str
    ) -> None:
        await player.put(1)
        whose = player.user_id if asked == "other" else asked
        answer = await read(stranger, entry(), of=whose)
        assert (answer.status, answer.json()) == (200, {"records": [None]})

    async def test_ones_own_id_is_the_same_as_me(self, player: Player) -> None:
        record = (await player.put(1)).json()
        for name in ("me", player.user_id):
            assert (await read(player, entry(), of=name)).json() == {"records": [record]}


class TestWrites:
    async def test_they_are_answered_in_their_order_as_they_would_be_alone(
        self, player: Player, clock: ManualClock
    ) -> None:
        for key, value in (("b", {"x": 1, "y": 2}), ("c", 1), ("d", 1), ("e", 5)):
            await player.put(value, f"{RECORDS}/saves/{key}")
        clock.advance(1)
        answer = await write(
            player,
            entry("a", value=[1]),
            entry("b", op="merge", value={"x": None}),
            entry("c", op="delete"),
            entry("d", op="increment", by=4),
            entry("e", op="max", value=3),
            entry("f", op="increment", by=1, path="/n"),
        )
        assert answer.status == 200
        results = answer.json()["results"]
        assert [one.get("value") for one in results] == [[1], {"y": 2}, None, 5, 5, {"n": 1}]
        assert [one["version"] for one in results] == [1, 2, 2, 2, 1, 1]
        assert results[2] == entry("c", version=2, deleted=True)
        assert [one for one in results if "deleted" not in one] == await everything(player)

    @pytest.mark.parametrize("number", [0, 26])
    async def test_no_more_and_no_fewer(self, player: Player, number: int) -> None:
        answer = await write(player, *(entry(f"k{one}", value=1) for one in range(number)))
        assert (answer.status, answer.code) == (400, "invalid_request")
        assert await everything(player) == []

    async def test_where_some_cannot_be_done_each_is_named_and_none_is(
        self, player: Player
    ) -> None:
        await player.put("there", f"{RECORDS}/saves/b")
        before = await everything(player)
        answer = await write(
            player,
            entry("a", value=1),
            entry("b", value=1, if_match=7),
            entry("c", op="delete"),
            entry("d", value=1, if_none_match="*"),
            entry("e", op="merge", value={}),
            entry("f", value=1, if_match="*"),
            entry("b2", value="x" * 10),
        )
        assert (answer.status, answer.code) == (409, "batch_failed")
        failures = answer.json()["failures"]
        assert [(one["index"], one["status"], one["code"]) for one in failures] == [
            (1, 412, "version_conflict"),
            (2, 404, "not_found"),
            (4, 404, "not_found"),
            (5, 412, "version_conflict"),
        ]
        assert all(one["detail"] for one in failures)
        assert [(one["collection"], one["key"]) for one in failures] == [
            ("saves", name) for name in "bcef"
        ]
        assert failures[0]["current"] == before[0]
        assert failures[3]["current"] is None
        assert await everything(player) == before

    async def test_each_has_its_own_precondition(self, player: Player) -> None:
        await player.put(1)
        answer = await write(
            player,
            entry(value=2, if_match=1),
            entry("slot2", value=1, if_none_match="*"),
            entry("slot3", value=1),
        )
        assert (answer.status, [one["version"] for one in answer.json()["results"]]) == (
            200,
            [2, 1, 1],
        )

    async def test_a_record_is_named_once(self, player: Player) -> None:
        answer = await write(player, entry(value=1), entry("slot2", value=1), entry(op="delete"))
        assert (answer.status, answer.code) == (400, "invalid_request")
        assert await everything(player) == []

    async def test_one_whose_value_is_too_large_is_named(self, player: Player) -> None:
        await player.put({"a": "x" * 300_000})
        answer = await write(
            player, entry("slot2", value=1), entry(op="merge", value={"b": "x" * 100_000})
        )
        failures = answer.json()["failures"]
        assert [(one["index"], one["status"], one["code"]) for one in failures] == [
            (1, 413, "too_large")
        ]

    async def test_of_many_large_conflicts_the_first_are_told_with_their_values(
        self, player: Player
    ) -> None:
        for number in range(6):
            await player.put("x" * 300_000, f"{RECORDS}/saves/k{number}")
        answer = await write(player, *(entry(f"k{one}", value=1, if_match=7) for one in range(6)))
        told = [one["current"] for one in answer.json()["failures"]]
        assert ["value" in one for one in told] == [True] * 3 + [False] * 3
        assert [one["version"] for one in told] == [1] * 6

    async def test_values_that_are_too_large_together_are_refused(self, player: Player) -> None:
        for number in range(12):
            await player.put({"text": "x" * 300_000}, f"{RECORDS}/saves/k{number:02}")
        patches = (entry(f"k{one:02}", op="merge", value={"gold": 1}) for one in range(12))
        answer = await write(player, *patches)
        failed = [(one["index"], one["status"]) for one in answer.json()["failures"]]
        assert (answer.status, failed) == (409, [(10, 413), (11, 413)])

    def test_what_comes_after_too_much_is_not_worked_out(self) -> None:
        asked: list[int] = []

        def change(number: int) -> Change:
            def large(_: Record | None) -> str:
                asked.append(number)
                return '"' + "x" * (LARGEST_WRITES // 2) + '"'

            return large

        writes = [
            Write(RecordKey(NOBODY, "saves", f"k{one}"), change(one), Precondition.ALWAYS, 0)
            for one in range(5)
        ]
        with pytest.raises(errors.BatchFailed) as failed:
            outcomes(writes, [None] * 5)
        assert sorted(failed.value.failures) == [1, 2, 3, 4]
        assert asked == [0, 1]

    async def test_a_value_that_is_too_large_alone_is_too_large(self, player: Player) -> None:
        answer = await write(player, entry(value="x" * 360_000))
        assert (answer.status, answer.code) == (413, "too_large")

    async def test_of_another_player_nothing_is_written(
        self, player: Player, stranger: Player
    ) -> None:
        await player.put(1)
        body = {"player": player.user_id, "writes": [entry(value=2), entry("new", value=2)]}
        answer = await stranger.post(BATCH, body)
        assert (answer.status, answer.code) == (409, "batch_failed")
        found = [(one["status"], one["code"]) for one in answer.json()["failures"]]
        assert found == [(404, "not_found")] * 2
        assert "current" not in answer.body.decode()
        assert (await player.get()).json()["version"] == 1


class TestBadInput:
    @pytest.mark.parametrize(
        "body",
        [
            1,
            [],
            {},
            {"reads": [entry()], "writes": [entry(value=1)]},
            {"reads": {}},
            {"reads": None},
            {"reads": [1]},
            {"reads": [{}]},
            {"reads": [{"collection": "saves"}]},
            {"reads": [entry(value=1)]},
            {"reads": [entry("..")]},
            {"reads": [entry("a/b")]},
            {"reads": [{"collection": "saves", "key": 1}]},
            {"reads": [entry("a" * 129)]},
            {"reads": [entry("é")]},
            {"reads": [entry()], "player": 1},
            {"reads": [entry()], "player": None},
            {"reads": [entry()], "other": 1},
            {"writes": [entry()]},
            {"writes": [entry(op="put")]},
            {"writes": [entry(op="merge")]},
            {"writes": [entry(op="increment")]},
            {"writes": [entry(op="increment", by=1.5)]},
            {"writes": [entry(op="increment", by=2**53)]},
            {"writes": [entry(op="max", value="1")]},
            {"writes": [entry(op="max", value=1, path="gold")]},
            {"writes": [entry(op="append", value=1)]},
            {"writes": [entry(op=None, value=1)]},
            {"writes": [entry(op=[], value=1)]},
            {"writes": [entry(value=1, if_match=0)]},
            {"writes": [entry(value=1, if_match=-1)]},
            {"writes": [entry(value=1, if_match=2**63)]},
            {"writes": [entry(value=1, if_match=1.0)]},
            {"writes": [entry(value=1, if_match=True)]},
            {"writes": [entry(value=1, if_match='"1"')]},
            {"writes": [entry(value=1, if_match=None)]},
            {"writes": [entry(value=1, if_match=[1])]},
            {"writes": [entry(value=1, if_none_match=1)]},
            {"writes": [entry(value=1, if_none_match=None)]},
            {"writes": [entry(value=1, if_match=1, if_none_match="*")]},
            {"writes": [entry(value=1, ifmatch=1)]},
        ],
        ids=lambda body: json.dumps(body)[:60],
    )
    async def test_it_is_a_bad_request_and_changes_nothing(
        self, player: Player, body: object
    ) -> None:
        await player.put("kept")
        answer = await player.call("POST", BATCH, data=json.dumps(body).encode())
        assert (answer.status, answer.code) == (400, "invalid_request")
        assert (await player.get()).json()["version"] == 1

    @pytest.mark.parametrize("name", ["a" * 31, "ME", "*", "", f"{'a' * 32}0"])
    async def test_what_is_no_player_is_not_found(self, player: Player, name: str) -> None:
        answer = await read(player, entry(), of=name)
        assert (answer.status, answer.code) == (404, "not_found")

    async def test_it_may_not_be_stored(self, player: Player) -> None:
        await player.put(1)
        assert (await read(player, entry())).headers["Cache-Control"] == "no-store"
        assert (await player.get(SLOT)).headers["Cache-Control"] == "private, no-cache"
