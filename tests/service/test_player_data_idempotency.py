"""Idempotency-Key: a request whose answer was lost is sent again, and done once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import pytest

from services.player_data.models import HISTORY, MOST_REMEMBERED
from tests.support.apps import Running
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.records import BATCH, RECORDS, SLOT, Player, service
from tests.support.servers import Answer

KEY = "1f0c4a52-5bb5-4b4c-9f0a-7d3e5a0c1d11"
OTHER_KEY = "1f0c4a52-5bb5-4b4c-9f0a-7d3e5a0c1d12"
ELEVEN_MINUTES = 11 * 60.0
DAY = 24 * 3600.0


def keyed(key: str = KEY, **more: str) -> dict[str, str]:
    return {"idempotency_key": key, **more}


Ask = Callable[[Player, dict[str, str]], Awaitable[Answer]]
BATCHED = {"writes": [{"collection": "saves", "key": "slot1", "op": "increment", "by": 1}]}
NAME = {"player_name": "Ada"}
ROUTES: Mapping[str, Ask] = {
    "put": lambda player, headers: player.put(7, **headers),
    "delete": lambda player, headers: player.delete(**headers),
    "patch": lambda player, headers: player.patch(9, **headers),
    "increment": lambda player, headers: player.post(f"{SLOT}/increment", {"by": 1}, **headers),
    "max": lambda player, headers: player.post(f"{SLOT}/max", {"value": 9}, **headers),
    "restore": lambda player, headers: player.post(f"{SLOT}/versions/1/restore", **headers),
    "batch": lambda player, headers: player.post(BATCH, BATCHED, **headers),
    "drop-in": lambda player, headers: player.post("/set-player-data", NAME, **headers),
    "drop-in, two slashes": lambda player, headers: player.post(
        "//set-player-data", NAME, **headers
    ),
    "drop-in, by GET": lambda player, headers: player.get(
        "/set-player-data?player_name=Ada", **headers
    ),
}
every_route = pytest.mark.parametrize("ask", ROUTES.values(), ids=ROUTES.keys())


@dataclass(frozen=True)
class State:
    records: object
    versions: object


async def state(player: Player) -> State:
    """Of both records that the routes write."""
    versions = [
        (await player.get(f"{path}/versions")).json()
        for path in (SLOT, f"{RECORDS}/profile/player")
    ]
    return State((await player.get(RECORDS)).json(), versions)


def same(one: Answer, other: Answer) -> bool:
    return (one.status, one.body, one.headers.get("ETag")) == (
        other.status,
        other.body,
        other.headers.get("ETag"),
    )


async def prepare(player: Player) -> None:
    await player.put(1)
    await player.put(2)


@every_route
async def test_a_repetition_is_answered_alike_and_changes_nothing(
    player: Player, clock: ManualClock, ask: Ask
) -> None:
    await prepare(player)
    first = await ask(player, keyed())
    assert first.status in (200, 201, 204)
    after = await state(player)
    clock.advance(1)
    assert same(await ask(player, keyed()), first)
    assert await state(player) == after


@every_route
async def test_it_is_the_answer_of_then_whatever_was_written_since(
    player: Player, ask: Ask
) -> None:
    await prepare(player)
    first = await ask(player, keyed())
    for number in range(HISTORY + 2):
        await player.put(number)
    await player.delete()
    after = await state(player)
    assert same(await ask(player, keyed()), first)
    assert await state(player) == after


@every_route
async def test_without_a_key_it_is_done_again(player: Player, ask: Ask) -> None:
    """Or there would be nothing to see above; but what changes nothing changes nothing twice."""
    await prepare(player)
    await ask(player, keyed())
    await player.put(3)
    await player.post("/set-player-data", {"player_name": "Grace"})
    before = await state(player)
    await ask(player, keyed(OTHER_KEY))
    assert await state(player) != before


@every_route
async def test_of_50_at_once_one_is_done_and_all_are_answered_alike(
    player: Player, ask: Ask
) -> None:
    await prepare(player)
    answers = await asyncio.gather(*(ask(player, keyed()) for _ in range(50)))
    assert all(same(one, answers[0]) for one in answers)
    assert answers[0].status in (200, 201, 204)
    written = (await state(player)).records
    await ask(player, keyed())
    assert (await state(player)).records == written


@every_route
async def test_it_holds_after_eleven_minutes_and_is_forgotten_after_a_day(
    player: Player, issuer: Issuer, clock: ManualClock, ask: Ask
) -> None:
    """Eleven, since what AWS itself remembers of a request it forgets after ten."""
    await prepare(player)
    first = await ask(player, keyed())
    await player.put(3)
    await player.post("/set-player-data", {"player_name": "Grace"})
    for seconds in (ELEVEN_MINUTES, DAY - ELEVEN_MINUTES - 1):
        clock.advance(seconds)
        player = Player(player.data, player.user_id, issuer.token(sub=player.user_id))
        before = await state(player)
        assert same(await ask(player, keyed()), first)
        assert await state(player) == before
    clock.advance(1)
    player = Player(player.data, player.user_id, issuer.token(sub=player.user_id))
    before = await state(player)
    await ask(player, keyed())
    assert await state(player) != before


OTHERS: Mapping[str, tuple[Ask, Ask]] = {
    "another value": (ROUTES["put"], lambda player, headers: player.put(8, **headers)),
    "another kind of number": (ROUTES["put"], lambda player, headers: player.put(7.0, **headers)),
    "a precondition": (
        ROUTES["put"],
        lambda player, headers: player.put(7, if_match='"2"', **headers),
    ),
    "another precondition": (
        lambda player, headers: player.put(7, if_match='"2"', **headers),
        lambda player, headers: player.put(7, if_match='"3"', **headers),
    ),
    "another key": (
        ROUTES["put"],
        lambda player, headers: player.put(7, f"{RECORDS}/saves/slot2", **headers),
    ),
    "another collection": (
        ROUTES["put"],
        lambda player, headers: player.put(7, f"{RECORDS}/arena/slot1", **headers),
    ),
    "another method": (ROUTES["put"], ROUTES["delete"]),
    "another method with the same body": (
        ROUTES["put"],
        lambda player, headers: player.patch(7, **headers),
    ),
    "another route": (ROUTES["increment"], ROUTES["max"]),
    "another amount": (
        ROUTES["increment"],
        lambda player, headers: player.post(f"{SLOT}/increment", {"by": 2}, **headers),
    ),
    "another version": (
        ROUTES["restore"],
        lambda player, headers: player.post(f"{SLOT}/versions/2/restore", **headers),
    ),
    "one of a batch": (ROUTES["increment"], ROUTES["batch"]),
    "another name": (
        ROUTES["drop-in"],
        lambda player, headers: player.post(
            "/set-player-data", {"player_name": "Grace"}, **headers
        ),
    ),
}


@pytest.mark.parametrize(("first", "other"), OTHERS.values(), ids=OTHERS.keys())
async def test_another_request_with_the_same_key_is_refused(
    player: Player, first: Ask, other: Ask
) -> None:
    await prepare(player)
    done = await first(player, keyed())
    assert done.status < 300
    before = await state(player)
    answer = await other(player, keyed())
    assert (answer.status, answer.code) == (422, "idempotency_key_reused")
    assert await state(player) == before
    assert same(await first(player, keyed()), done)


async def test_the_order_of_members_makes_no_other_request(player: Player) -> None:
    first = await player.call("PUT", headers={"Idempotency-Key": KEY}, data=b'{"a":1,"b":2}')
    again = await player.call("PUT", headers={"Idempotency-Key": KEY}, data=b'{ "b": 2, "a": 1 }')
    assert (first.status, first.json()) == (again.status, again.json())


async def test_what_failed_may_be_tried_again_with_the_same_key(player: Player) -> None:
    failed = await player.post(f"{SLOT}/increment", {"by": 1}, **keyed(if_match="*"))
    assert failed.status == 412
    await player.put(1)
    answer = await player.post(f"{SLOT}/increment", {"by": 1}, **keyed(if_match="*"))
    assert (answer.status, answer.json()["value"]) == (200, 2)


async def test_a_write_on_a_condition_is_answered_as_it_was_not_as_a_conflict(
    player: Player,
) -> None:
    await player.put(1)
    first = await player.put(2, **keyed(if_match='"1"'))
    assert same(await player.put(2, **keyed(if_match='"1"')), first)


async def test_the_key_of_another_player_is_another_key(player: Player, stranger: Player) -> None:
    await player.put("mine", **keyed())
    answer = await stranger.put("theirs", **keyed())
    assert (answer.status, answer.json()["value"]) == (201, "theirs")
    assert (await stranger.put("theirs", **keyed())).json()["version"] == 1


async def test_the_key_of_a_service_is_another_key(
    player: Player, data: Running, issuer: Issuer
) -> None:
    shop = service(data, issuer, "player_data:write")
    own = SLOT.replace("/me/", f"/{player.user_id}/")
    await player.put("mine", own, **keyed())
    answer = await shop.put("theirs", own, **keyed())
    assert (answer.status, answer.json()["version"]) == (200, 2)


async def test_a_key_of_one_service_is_of_one_player(data: Running, issuer: Issuer) -> None:
    shop = service(data, issuer, "player_data:write")
    for player in ("a" * 32, "b" * 32):
        answer = await shop.put(1, SLOT.replace("/me/", f"/{player}/"), **keyed())
        assert answer.status == 201


async def test_a_restored_value_that_is_long_is_answered_again(player: Player) -> None:
    await player.put("x" * (MOST_REMEMBERED + 1))
    for number in range(HISTORY):
        await player.put(number)
    first = await player.post(f"{SLOT}/versions/1/restore", **keyed())
    assert first.status == 200
    assert (await player.get(f"{SLOT}/versions/1")).code == "not_found"
    assert same(await player.post(f"{SLOT}/versions/1/restore", **keyed()), first)


async def test_a_long_answer_that_is_not_kept_any_more_is_not_done_again(player: Player) -> None:
    await player.put({"text": "x" * (MOST_REMEMBERED + 1)})
    assert (await player.patch({"gold": 1}, **keyed())).status == 200
    for number in range(HISTORY + 1):
        await player.put(number)
    answer = await player.patch({"gold": 1}, **keyed())
    assert (answer.status, answer.code) == (409, "conflict")
    assert (await player.get()).json()["value"] == HISTORY


@pytest.mark.parametrize("key", ["", "a" * 15, "a" * 129, "with a space in it", "a" * 16 + "é"])
@every_route
async def test_a_key_is_16_to_128_visible_characters(player: Player, ask: Ask, key: str) -> None:
    await prepare(player)
    before = await state(player)
    answer = await ask(player, keyed(key))
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert await state(player) == before


@pytest.mark.parametrize("key", ["a" * 16, "~" * 128, '"1f0c4a52-5bb5-4b4c"'])
async def test_a_key_may_be_any_of_these(player: Player, key: str) -> None:
    assert (await player.put(1, **keyed(key))).status == 201


async def test_two_keys_are_none(player: Player) -> None:
    url = player.data.url + SLOT
    headers = [
        ("Authorization", f"Bearer {player.token}"),
        ("Idempotency-Key", KEY),
        ("Idempotency-Key", OTHER_KEY),
    ]
    async with player.data.http.put(url, headers=headers, json=1) as response:
        assert response.status == 400


async def test_who_may_not_write_gets_no_answer_of_before(player: Player, stranger: Player) -> None:
    own = SLOT.replace("/me/", f"/{player.user_id}/")
    await player.put("mine", own, **keyed())
    answer = await stranger.put("mine", own, **keyed())
    assert (answer.status, answer.code) == (404, "not_found")
