"""The history of a record over HTTP."""

import pytest

from services.player_data.models import HISTORY
from tests.support.clock import ManualClock
from tests.support.records import RECORDS, SLOT, Player

VERSIONS = f"{SLOT}/versions"


async def test_a_record_that_was_never_overwritten_has_no_versions(player: Player) -> None:
    await player.put({"level": 1})
    answer = await player.get(VERSIONS)
    assert (answer.status, answer.json()) == (200, {"versions": []})


async def test_a_key_that_was_never_written_has_no_versions(player: Player) -> None:
    answer = await player.get(VERSIONS)
    assert (answer.status, answer.json()) == (200, {"versions": []})


async def test_versions_are_the_records_that_were_answered_newest_first(
    player: Player, clock: ManualClock
) -> None:
    written = []
    for level in (1, 2, 3):
        written.append((await player.put({"level": level, "name": "Zoë"})).json())
        clock.advance(1)
    answer = await player.get(VERSIONS)
    assert answer.json() == {"versions": [written[1], written[0]]}


async def test_a_deleted_record_is_still_among_its_versions(player: Player) -> None:
    written = (await player.put({"level": 1})).json()
    await player.delete()
    assert (await player.get(VERSIONS)).json() == {"versions": [written]}


async def test_the_last_versions_are_kept(player: Player) -> None:
    for level in range(HISTORY + 5):
        await player.put(level)
    versions = (await player.get(VERSIONS)).json()["versions"]
    assert [one["value"] for one in versions] == list(range(HISTORY + 3, 3, -1))


async def test_the_drop_in_player_data_has_versions_as_well(player: Player) -> None:
    for name in ("Ada", "Grace"):
        await player.call("POST", "/set-player-data", json={"player_name": name})
    versions = (await player.get(f"{RECORDS}/profile/player/versions")).json()["versions"]
    assert [one["value"] for one in versions] == [{"player_name": "Ada"}]


async def test_versions_of_large_values_end_where_a_page_is_full(player: Player) -> None:
    for _ in range(6):
        await player.put("x" * 300_000)
    versions = (await player.get(VERSIONS)).json()["versions"]
    assert [one["version"] for one in versions] == [5, 4, 3]


async def test_a_record_may_be_called_versions(player: Player) -> None:
    await player.put(1, f"{RECORDS}/saves/versions")
    assert (await player.get(f"{RECORDS}/saves/versions")).json()["value"] == 1
    answer = await player.get(f"{RECORDS}/saves/versions/versions")
    assert answer.json() == {"versions": []}


async def test_a_name_that_no_record_can_have_is_a_bad_request(player: Player) -> None:
    answer = await player.get(f"{RECORDS}/saves/a%23b/versions")
    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_versions_may_not_be_stored(player: Player) -> None:
    assert (await player.get(VERSIONS)).headers["Cache-Control"] == "no-store"


async def test_versions_are_only_read(player: Player) -> None:
    for method in ("PUT", "POST", "DELETE"):
        assert (await player.call(method, VERSIONS, json={})).status == 405


class TestOneVersion:
    async def test_it_is_the_record_as_it_was(self, player: Player, clock: ManualClock) -> None:
        written = []
        for level in (1, 2, 3):
            written.append((await player.put({"level": level})).json())
            clock.advance(1)
        for number in (1, 2, 3):
            answer = await player.get(f"{VERSIONS}/{number}")
            assert (answer.status, answer.json()) == (200, written[number - 1])

    async def test_it_may_be_of_a_record_that_was_deleted(self, player: Player) -> None:
        written = (await player.put({"level": 1})).json()
        await player.delete()
        assert (await player.get(f"{VERSIONS}/1")).json() == written
        assert (await player.get(f"{VERSIONS}/2")).code == "not_found"

    async def test_one_that_is_not_kept_any_more_is_not_found(self, player: Player) -> None:
        for level in range(HISTORY + 2):
            await player.put(level)
        assert (await player.get(f"{VERSIONS}/1")).code == "not_found"
        assert (await player.get(f"{VERSIONS}/2")).json()["value"] == 1

    async def test_of_large_values_those_that_no_list_holds_are_there_as_well(
        self, player: Player
    ) -> None:
        for level in range(6):
            await player.put([level, "x" * 300_000])
        assert (await player.get(f"{VERSIONS}/1")).json()["value"][0] == 0

    @pytest.mark.parametrize("number", ["7", "999999999999999999"])
    async def test_one_that_never_was_is_not_found(self, player: Player, number: str) -> None:
        await player.put(1)
        await player.put(1, f"{RECORDS}/saves/slot2")
        assert (await player.get(f"{VERSIONS}/{number}")).code == "not_found"

    @pytest.mark.parametrize(
        "number", ["0", "-1", "+1", "01", "1.0", "x", "1" * 19, "%D9%A1", "1%20", "%00", '"1"']
    )
    @pytest.mark.parametrize("end", ["", "/restore"])
    async def test_a_version_is_a_number(self, player: Player, number: str, end: str) -> None:
        await player.put(1)
        method = "POST" if end else "GET"
        answer = await player.call(method, f"{VERSIONS}/{number}{end}")
        assert (answer.status, answer.code) == (400, "invalid_request")


class TestRestore:
    async def test_it_is_a_new_version_with_the_value_of_before(
        self, player: Player, clock: ManualClock
    ) -> None:
        first = (await player.put({"level": 1})).json()
        clock.advance(1)
        await player.put({"level": 2})
        clock.advance(1)
        answer = await player.post(f"{VERSIONS}/1/restore")
        assert answer.status == 200
        assert answer.headers["ETag"] == '"3"'
        assert answer.json() == {**first, "version": 3, "updated_at": "2026-01-02T03:04:07.000Z"}
        assert (await player.get()).json() == answer.json()
        versions = (await player.get(VERSIONS)).json()["versions"]
        assert [one["version"] for one in versions] == [2, 1]

    async def test_what_was_deleted_comes_back(self, player: Player) -> None:
        await player.put({"level": 1})
        await player.delete()
        answer = await player.post(f"{VERSIONS}/1/restore")
        assert (answer.status, answer.json()["version"]) == (201, 3)
        assert (await player.get()).json()["value"] == {"level": 1}

    async def test_what_is_there_already_makes_no_version(self, player: Player) -> None:
        await player.put(1)
        answer = await player.post(f"{VERSIONS}/1/restore")
        assert (answer.status, answer.json()["version"]) == (200, 1)

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"if_match": '"2"'}, 200),
            ({"if_match": '"1"'}, 412),
            ({"if_none_match": "*"}, 412),
            ({"if_match": "2"}, 400),
        ],
        ids=str,
    )
    async def test_it_takes_preconditions(
        self, player: Player, headers: dict[str, str], status: int
    ) -> None:
        await player.put(1)
        await player.put(2)
        assert (await player.post(f"{VERSIONS}/1/restore", **headers)).status == status
        assert (await player.get()).json()["value"] == (1 if status == 200 else 2)

    async def test_where_it_must_not_be_there_it_comes_back_after_a_deletion_only(
        self, player: Player
    ) -> None:
        await player.put(1)
        await player.delete()
        answer = await player.post(f"{VERSIONS}/1/restore", if_none_match="*")
        assert answer.status == 201

    @pytest.mark.parametrize("number", [2, 7])
    async def test_one_that_is_not_kept_is_not_found(self, player: Player, number: int) -> None:
        await player.put(1)
        await player.delete()
        answer = await player.post(f"{VERSIONS}/{number}/restore")
        assert (answer.status, answer.code) == (404, "not_found")
        assert (await player.get()).status == 404

    async def test_the_oldest_of_ten_large_ones_comes_back(self, player: Player) -> None:
        for level in range(HISTORY + 1):
            await player.put([level, "x" * 300_000])
        assert (await player.post(f"{VERSIONS}/1/restore")).json()["value"][0] == 0
