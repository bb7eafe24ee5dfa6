"""The history of a record over HTTP."""

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
