"""A service merges one player's records into another's over HTTP."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import apps
from tests.support.apps import Running
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.records import RECORDS, Player, collections_file, service
from tests.support.servers import Answer

ALICE = "a" * 32
GUEST = "b" * 32
OTHER = "c" * 32
MERGE = f"/v1/players/{ALICE}/merge"
DOCUMENT = {"collections": {"wallet": {"merge": "sum", "access": "internal"}}}


@pytest.fixture
async def running(tmp_path: Path, issuer: Issuer, clock: ManualClock) -> AsyncIterator[Running]:
    environ = collections_file(tmp_path, DOCUMENT)
    async with apps.player_data(tmp_path, issuer, clock, environ) as data:
        yield data


@pytest.fixture
def identity(running: Running, issuer: Issuer) -> Player:
    scopes = "player_data:merge player_data:read player_data:write"
    return service(running, issuer, scopes)


async def give(identity: Player, player: str, place: str, value: object) -> None:
    answer = await identity.put(value, f"/v1/players/{player}/records/{place}")
    assert answer.status in (200, 201)


async def value(identity: Player, player: str, place: str) -> object:
    answer = await identity.get(f"/v1/players/{player}/records/{place}")
    return answer.json().get("value")


def is_bad(answer: Answer) -> bool:
    return (answer.status, answer.code) == (400, "invalid_request")


async def test_it_answers_what_has_become_of_each_record(
    identity: Player, clock: ManualClock
) -> None:
    await give(identity, ALICE, "wallet/gold", 7)
    await give(identity, ALICE, "saves/slot1", "old")
    clock.advance(1)
    await give(identity, GUEST, "wallet/gold", 5)
    await give(identity, GUEST, "saves/slot1", "new")
    await give(identity, GUEST, "saves/slot2", 1)
    answer = await identity.post(MERGE, {"from": GUEST})
    assert answer.status == 200
    rows = [
        ("saves", "slot1", "newer", "replaced", 2),
        ("saves", "slot2", "newer", "added", 1),
        ("wallet", "gold", "sum", "combined", 2),
    ]
    names = ("collection", "key", "policy", "action", "version")
    assert answer.json() == {
        "results": [dict(zip(names, row, strict=True)) for row in rows],
        "cursor": None,
    }
    assert await value(identity, ALICE, "wallet/gold") == 12
    assert await value(identity, GUEST, "wallet/gold") == 5


async def test_the_player_sees_who_wrote_it_and_what_was_there(
    identity: Player, running: Running, issuer: Issuer, clock: ManualClock
) -> None:
    alice = Player(running, ALICE, issuer.token(sub=ALICE))
    await alice.put("mine")
    clock.advance(1)
    await give(identity, GUEST, "saves/slot1", "theirs")
    await identity.post(MERGE, {"from": GUEST})
    record = (await alice.get()).json()
    assert (record["value"], record["written_by"]) == ("theirs", "service:shop")
    versions = (await alice.get(f"{RECORDS}/saves/slot1/versions")).json()["versions"]
    assert [one["value"] for one in versions] == ["mine"]


async def test_a_dry_run_says_so_and_does_nothing(identity: Player) -> None:
    await give(identity, ALICE, "wallet/gold", 7)
    await give(identity, GUEST, "wallet/gold", 5)
    answer = await identity.post(MERGE, {"from": GUEST, "dry_run": True})
    (result,) = answer.json()["results"]
    assert (result["action"], result["version"]) == ("combined", None)
    assert await value(identity, ALICE, "wallet/gold") == 7


async def test_repeated_it_adds_nothing_twice(identity: Player) -> None:
    await give(identity, GUEST, "wallet/gold", 5)
    for action in ("added", "done", "done"):
        answer = await identity.post(MERGE, {"from": GUEST})
        assert [one["action"] for one in answer.json()["results"]] == [action]
    assert await value(identity, ALICE, "wallet/gold") == 5


async def test_page_by_page_each_record_is_told_once(identity: Player) -> None:
    for number in range(60):
        await give(identity, GUEST, f"saves/k{number:02}", number)
    body: dict[str, object] = {"from": GUEST}
    told = []
    while body:
        page = (await identity.post(MERGE, body)).json()
        told += [one["key"] for one in page["results"]]
        body = {"from": GUEST, "cursor": page["cursor"]} if page["cursor"] else {}
    assert told == [f"k{number:02}" for number in range(60)]


async def test_of_a_player_without_records_there_is_nothing_to_merge(identity: Player) -> None:
    answer = await identity.post(MERGE, {"from": "0" * 32})
    assert (answer.status, answer.json()) == (200, {"results": [], "cursor": None})


@pytest.mark.parametrize("player", ["me", "ME", "a" * 31, "%00", "*"])
async def test_it_names_a_player(identity: Player, player: str) -> None:
    assert is_bad(await identity.post(f"/v1/players/{player}/merge", {"from": GUEST}))


@pytest.mark.parametrize(
    "body",
    [
        1,
        [],
        {},
        {"from": ALICE},
        {"from": None},
        {"from": 1},
        {"from": "me"},
        {"from": GUEST.upper()},
        {"from": GUEST + "\n"},
        {"from": [GUEST]},
        {"from": GUEST, "dry_run": "true"},
        {"from": GUEST, "dry_run": 1},
        {"from": GUEST, "dry_run": None},
        {"from": GUEST, "dryrun": True},
        {"from": GUEST, "cursor": ""},
        {"from": GUEST, "cursor": 1},
        {"from": GUEST, "cursor": "x"},
        {"from": GUEST, "cursor": "A" * 513},
        {"from": GUEST, "cursor": "W10"},
    ],
    ids=lambda body: json.dumps(body)[:60],
)
async def test_a_wrong_body_is_a_bad_request(identity: Player, body: object) -> None:
    await give(identity, ALICE, "wallet/gold", 7)
    await give(identity, GUEST, "wallet/gold", 5)
    assert is_bad(await identity.call("POST", MERGE, data=json.dumps(body).encode()))
    assert await value(identity, ALICE, "wallet/gold") == 7


async def test_a_cursor_is_of_two_players(identity: Player) -> None:
    for number in range(51):
        await give(identity, GUEST, f"saves/k{number:02}", number)
    body = {"from": GUEST, "dry_run": True}
    cursor = (await identity.post(MERGE, body)).json()["cursor"]
    assert cursor
    assert (await identity.post(MERGE, {"from": GUEST, "cursor": cursor})).status == 200
    assert is_bad(await identity.post(MERGE, {"from": OTHER, "cursor": cursor}))
    to_another = f"/v1/players/{OTHER}/merge"
    assert is_bad(await identity.post(to_another, {"from": GUEST, "cursor": cursor}))


@pytest.mark.parametrize("scope", ["player_data:read player_data:write", "player_data:erase"])
async def test_it_has_a_scope_of_its_own(running: Running, issuer: Issuer, scope: str) -> None:
    answer = await service(running, issuer, scope).post(MERGE, {"from": GUEST})
    assert (answer.status, answer.code) == (403, "forbidden")


async def test_a_player_merges_nothing_not_even_into_its_own(
    running: Running, issuer: Issuer
) -> None:
    alice = Player(running, ALICE, issuer.token(sub=ALICE, scope="player_data:merge"))
    answer = await alice.post(MERGE, {"from": GUEST})
    assert (answer.status, answer.code) == (403, "forbidden")
