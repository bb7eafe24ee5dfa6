"""If-Match and If-None-Match (RFC 9110 section 13) on reads and writes."""

import asyncio

import pytest

from tests.support.apps import Running
from tests.support.records import SLOT, Player
from tests.support.servers import send

FIRST = 1
SECOND = 3  # after a deletion

HOLDS_AT_VERSION_1 = ['"1"', "*", '"7", "1"', '"1","1"', '"x", "1", W/"2"', ' "1" ']
FAILS_AT_VERSION_1 = ['"2"', '"0"', '"7", "8"', 'W/"1"', '"x"', '""', '"01"', '"+1"']
GARBAGE = [
    "1",
    "'1'",
    '"1',
    '1"',
    '"1" "2"',
    '"1"; "2"',
    "w",
    'w/"1"',
    '*, "1"',
    "**",
    '"1",x',
    '"1 "',
]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("tags", HOLDS_AT_VERSION_1)
async def test_a_write_happens_where_if_match_names_the_current_version(
    player: Player, method: str, tags: str
) -> None:
    await player.put("old")
    answer = await player.call(method, headers={"If-Match": tags}, json="new")
    assert answer.status == (200 if method == "PUT" else 204)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("tags", FAILS_AT_VERSION_1)
async def test_a_write_does_not_happen_where_if_match_names_other_versions(
    player: Player, method: str, tags: str
) -> None:
    await player.put("old")
    answer = await player.call(method, headers={"If-Match": tags}, json="new")
    assert (answer.status, answer.code) == (412, "version_conflict")
    assert (await player.get()).json()["value"] == "old"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("tags", ['"1"', '"2"', "*"])
@pytest.mark.parametrize("deleted", [False, True], ids=["absent", "deleted"])
async def test_if_match_never_holds_where_there_is_no_record(
    player: Player,
    method: str,
    tags: str,
    deleted: bool,  # noqa: FBT001 - a parameter
) -> None:
    if deleted:
        await player.put("old")
        await player.delete()
    answer = await player.call(method, headers={"If-Match": tags}, json="new")
    assert (answer.status, answer.code) == (412, "version_conflict")
    assert (await player.get()).status == 404


@pytest.mark.parametrize("deleted", [False, True], ids=["absent", "deleted"])
async def test_if_none_match_any_creates_where_there_is_no_record(
    player: Player,
    deleted: bool,  # noqa: FBT001 - a parameter
) -> None:
    if deleted:
        await player.put("old")
        await player.delete()
    answer = await player.put("new", if_none_match="*")
    assert (answer.status, answer.json()["version"]) == (201, SECOND if deleted else FIRST)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_if_none_match_any_changes_nothing_where_there_is_a_record(
    player: Player, method: str
) -> None:
    await player.put("old")
    answer = await player.call(method, headers={"If-None-Match": "*"}, json="new")
    assert (answer.status, answer.code) == (412, "version_conflict")
    assert (await player.get()).json()["value"] == "old"


async def test_deleting_nothing_on_condition_that_it_is_not_there_is_not_found(
    player: Player,
) -> None:
    answer = await player.delete(if_none_match="*")
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("tags", GARBAGE)
async def test_garbage_is_a_bad_request_and_changes_nothing(
    player: Player, method: str, header: str, tags: str
) -> None:
    await player.put("old")
    answer = await player.call(method, headers={header: tags}, json="new")
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert (await player.get()).json()["value"] == "old"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
async def test_a_header_of_hundreds_of_tags_is_a_bad_request(
    player: Player, method: str, header: str
) -> None:
    await player.put("old")
    answer = await player.call(method, headers={header: ",".join(['"1"'] * 500)}, json="new")
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("tags", ['"1"', 'W/"1"', '"1", "2"'])
async def test_a_write_takes_no_tags_that_must_not_match(
    player: Player, method: str, tags: str
) -> None:
    await player.put("old")
    answer = await player.call(method, headers={"If-None-Match": tags}, json="new")
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("if_match", ['"1"', "*", '"2"'])
async def test_a_write_takes_one_kind_of_precondition(
    player: Player, method: str, if_match: str
) -> None:
    await player.put("old")
    both = {"If-Match": if_match, "If-None-Match": "*"}
    answer = await player.call(method, headers=both, json="new")
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (['If-Match: "7"', 'If-Match: "1"'], 200),
        (['If-Match: "7"', 'If-Match: "8"'], 412),
        (["If-Match: *", 'If-Match: "1"'], 400),
        (["If-None-Match: *", "If-None-Match: *"], 400),
    ],
)
async def test_several_headers_of_one_name_are_one_list(
    data: Running, player: Player, lines: list[str], status: int
) -> None:
    await player.put("old")
    head = [f"PUT {SLOT} HTTP/1.1", *lines, f"Authorization: {player.token}"]
    answer = await send(data.url, "\r\n".join(head), b'"new"')
    assert answer.status == status


class TestConflict:
    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    async def test_it_carries_the_current_record(self, player: Player, method: str) -> None:
        await player.put({"level": 1})
        current = (await player.put({"level": 2, "name": "Zoë 🎮"})).json()
        answer = await player.call(method, headers={"If-Match": '"1"'}, json="new")
        assert answer.json()["current"] == current

    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    async def test_it_carries_null_where_there_is_no_record(
        self, player: Player, method: str
    ) -> None:
        answer = await player.call(method, headers={"If-Match": '"1"'}, json="new")
        assert answer.json()["current"] is None

    async def test_it_is_a_problem_like_any_other(self, player: Player) -> None:
        body = (await player.put("new", if_match='"1"')).json()
        assert body.keys() == {"type", "title", "status", "detail", "request_id", "current"}
        assert (body["type"], body["status"]) == ("urn:playmesh:error:version_conflict", 412)

    async def test_its_record_is_enough_to_write_again(self, player: Player) -> None:
        await player.put(1)
        await player.put(2)
        current = (await player.put(3, if_match='"1"')).json()["current"]
        answer = await player.put(current["value"] + 1, if_match=f'"{current["version"]}"')
        assert answer.json()["value"] == 3

    async def test_it_carries_the_largest_value(self, player: Player) -> None:
        value = "🎮" * 89_000
        await player.call("PUT", data=f'"{value}"'.encode())
        answer = await player.put(0, if_none_match="*")
        assert answer.json()["current"]["value"] == value

    async def test_a_version_from_before_a_deletion_never_holds_again(self, player: Player) -> None:
        await player.put("first")
        await player.delete()
        await player.put("second")
        answer = await player.put("late", if_match='"1"')
        assert answer.json()["current"]["value"] == "second"

    async def test_of_20_devices_that_saw_the_same_version_exactly_one_writes(
        self, player: Player
    ) -> None:
        await player.put("old")
        answers = await asyncio.gather(
            *(player.put(number, if_match='"1"') for number in range(20))
        )
        winners = [answer.json() for answer in answers if answer.status == 200]
        losers = [answer.json() for answer in answers if answer.status == 412]
        assert (len(winners), len(losers)) == (1, 19)
        assert all(loser["current"] == winners[0] for loser in losers)

    async def test_of_20_devices_that_saw_nothing_exactly_one_creates(self, player: Player) -> None:
        answers = await asyncio.gather(
            *(player.put(number, if_none_match="*") for number in range(20))
        )
        assert sorted(answer.status for answer in answers) == [201] + [412] * 19


class TestConditionalRead:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize(
        "tags", ['"1"', 'W/"1"', "*", '"7", "1"', '"7",W/"1"', 'W/"7" , W/"1"', ' "1" ']
    )
    async def test_a_known_version_is_not_sent_again(
        self, player: Player, method: str, tags: str
    ) -> None:
        await player.put("x")
        answer = await player.call(method, headers={"If-None-Match": tags})
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["ETag"] == '"1"'
        assert answer.headers["Cache-Control"] == "private, no-cache"

    @pytest.mark.parametrize("tags", ['"2"', '"x"', '"W/1"', '"01"', '""', 'W/"11", "7"'])
    async def test_another_version_is_sent_whole(self, player: Player, tags: str) -> None:
        await player.put("x")
        answer = await player.get(if_none_match=tags)
        assert (answer.status, answer.json()["value"]) == (200, "x")

    @pytest.mark.parametrize("tags", GARBAGE)
    async def test_garbage_is_a_bad_request(self, player: Player, tags: str) -> None:
        await player.put("x")
        answer = await player.get(if_none_match=tags)
        assert (answer.status, answer.code) == (400, "invalid_request")

    @pytest.mark.parametrize("tags", ['"1"', "*"])
    async def test_what_is_not_there_is_not_found(self, player: Player, tags: str) -> None:
        answer = await player.get(if_none_match=tags)
        assert (answer.status, answer.code) == (404, "not_found")
