"""Who reaches the records of a collection: each class, each caller, each route."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from tests.support import apps
from tests.support.apps import Running
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.records import BATCH, Player, collections_file, service
from tests.support.servers import Answer

ALICE = "a" * 32
BOB = "b" * 32
CLASSES = ("private", "public", "protected", "internal")
DOCUMENT = {
    "collections": {name: {"access": name} for name in CLASSES},
    "others": {"access": "internal"},
}

Ask = Callable[[Player, str], Awaitable[Answer]]
"""Of a caller, for the record in this collection."""


def record(collection: str) -> str:
    return f"/v1/players/{ALICE}/records/{collection}/k"


def named(collection: str, **more: object) -> dict[str, object]:
    return {"collection": collection, "key": "k", **more}


READS: Mapping[str, Ask] = {
    "get": lambda one, name: one.get(record(name)),
    "list": lambda one, name: one.get(f"/v1/players/{ALICE}/records?collection={name}"),
}
HISTORY: Mapping[str, Ask] = {
    "versions": lambda one, name: one.get(f"{record(name)}/versions"),
    "version": lambda one, name: one.get(f"{record(name)}/versions/1"),
}
WRITES: Mapping[str, Ask] = {
    "put": lambda one, name: one.put(5, record(name)),
    "patch": lambda one, name: one.patch(6, record(name)),
    "increment": lambda one, name: one.post(f"{record(name)}/increment", {"by": 1}),
    "max": lambda one, name: one.post(f"{record(name)}/max", {"value": 100}),
    "delete": lambda one, name: one.delete(record(name)),
}
RESTORE: Ask = lambda one, name: one.post(f"{record(name)}/versions/1/restore")  # noqa: E731 - as the others
BATCH_READ: Ask = lambda one, name: one.post(  # noqa: E731 - as the others
    BATCH, {"player": ALICE, "reads": [named(name)]}
)
BATCH_WRITE: Ask = lambda one, name: one.post(  # noqa: E731 - as the others
    BATCH, {"player": ALICE, "writes": [named(name, value=7)]}
)

OK, FORBIDDEN, NOT_FOUND = 200, 403, 404

# What reads, the history, writes, and a restore answer.
Expected = tuple[int, int, int, int]
EVERYTHING: Expected = (OK, OK, OK, OK)
NOTHING: Expected = (NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND)
TABLE: Mapping[tuple[str, str], Expected] = {
    ("private", "owner"): EVERYTHING,
    ("public", "owner"): EVERYTHING,
    ("protected", "owner"): (OK, OK, FORBIDDEN, FORBIDDEN),
    ("internal", "owner"): NOTHING,
    ("private", "other"): NOTHING,
    ("public", "other"): (OK, NOT_FOUND, FORBIDDEN, NOT_FOUND),
    ("protected", "other"): NOTHING,
    ("internal", "other"): NOTHING,
    **{(name, "reader"): (OK, OK, FORBIDDEN, FORBIDDEN) for name in CLASSES},
    **{(name, "writer"): (FORBIDDEN, FORBIDDEN, OK, OK) for name in CLASSES},
    **{(name, "stranger"): (FORBIDDEN,) * 4 for name in CLASSES},
}


@pytest.fixture
async def running(tmp_path: Path, issuer: Issuer, clock: ManualClock) -> AsyncIterator[Running]:
    environ = collections_file(tmp_path, DOCUMENT)
    async with apps.player_data(tmp_path, issuer, clock, environ) as data:
        yield data


@pytest.fixture
def callers(running: Running, issuer: Issuer) -> Mapping[str, Player]:
    return {
        "owner": Player(running, ALICE, issuer.token(sub=ALICE)),
        "other": Player(running, BOB, issuer.token(sub=BOB)),
        "reader": service(running, issuer, "player_data:read"),
        "writer": service(running, issuer, "player_data:write"),
        "stranger": service(running, issuer, "player_data:erase player_data:export keys:rotate"),
        "both": service(running, issuer, "player_data:read player_data:write"),
    }


async def prepare(callers: Mapping[str, Player], collection: str) -> None:
    for value in (1, 2):
        assert (await callers["both"].put(value, record(collection))).status < 300


async def content(callers: Mapping[str, Player], collection: str) -> bytes:
    return (await callers["both"].get(f"{record(collection)}/versions")).body + (
        await callers["both"].get(record(collection))
    ).body


@pytest.mark.parametrize(("collection", "caller"), TABLE)
async def test_each_caller_reaches_what_its_class_says(
    callers: Mapping[str, Player], collection: str, caller: str
) -> None:
    reads, history, writes, restore = TABLE[collection, caller]
    one = callers[caller]
    await prepare(callers, collection)
    for asks, expected in ((READS, reads), (HISTORY, history), (WRITES, writes)):
        for name, ask in asks.items():
            before = await content(callers, collection)
            answer = await ask(one, collection)
            assert (OK if answer.status < 300 else answer.status) == expected, name
            if expected != OK:
                assert answer.code == {FORBIDDEN: "forbidden", NOT_FOUND: "not_found"}[expected]
                assert "current" not in answer.json()
                assert await content(callers, collection) == before
    answer = await RESTORE(one, collection)
    assert (OK if answer.status < 300 else answer.status) == restore


@pytest.mark.parametrize(("collection", "caller"), TABLE)
async def test_a_batch_reaches_what_single_requests_reach(
    callers: Mapping[str, Player], collection: str, caller: str
) -> None:
    reads, _, writes, _ = TABLE[collection, caller]
    is_service = caller not in ("owner", "other")
    await prepare(callers, collection)
    before = await content(callers, collection)
    read = await BATCH_READ(callers[caller], collection)
    if reads == FORBIDDEN:
        assert (read.status, read.code) == (403, "forbidden")
    else:
        found = [one and one["value"] for one in read.json()["records"]]
        assert found == [2 if reads == OK else None]
    written = await BATCH_WRITE(callers[caller], collection)
    if writes == OK:
        assert written.status == 200
    elif is_service:
        assert (written.status, written.code) == (403, "forbidden")
    else:
        failed = [(one["index"], one["status"]) for one in written.json()["failures"]]
        assert (written.status, failed) == (409, [(0, writes)])
    assert (await content(callers, collection) == before) == (writes != OK)


@pytest.mark.parametrize(
    ("collection", "caller"), [one for one, expected in TABLE.items() if expected == NOTHING]
)
async def test_what_may_not_be_read_is_answered_as_if_it_were_not_there(
    callers: Mapping[str, Player], collection: str, caller: str
) -> None:
    one = callers[caller]
    asks = [*READS.values(), *HISTORY.values(), *WRITES.values(), RESTORE, BATCH_READ, BATCH_WRITE]
    absent = [await ask(one, collection) for ask in asks]
    await prepare(callers, collection)
    for before, ask in zip(absent, asks, strict=True):
        after = await ask(one, collection)
        assert after.status == before.status
        assert {**after.json(), "request_id": ""} == {**before.json(), "request_id": ""}


async def test_a_batch_with_one_forbidden_write_does_nothing(
    callers: Mapping[str, Player],
) -> None:
    await prepare(callers, "protected")
    body = {
        "writes": [
            named("private", value=1),
            named("protected", value=1),
            named("internal", value=1),
        ]
    }
    answer = await callers["owner"].post(BATCH, body)
    failed = [(one["index"], one["status"], one["code"]) for one in answer.json()["failures"]]
    assert failed == [(1, 403, "forbidden"), (2, 404, "not_found")]
    assert (await callers["owner"].get(record("private"))).status == 404


@pytest.mark.parametrize("limit", range(1, 8))
async def test_a_list_leaves_internal_records_out_and_does_not_say_where_they_are(
    callers: Mapping[str, Player], limit: int
) -> None:
    both, owner = callers["both"], callers["owner"]
    for name in ("private", "public", "protected", "internal", "secret", "aaa", "zzz"):
        for key in ("k", "l"):
            await both.put(1, f"/v1/players/{ALICE}/records/{name}/{key}")
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await owner.get(f"/v1/players/me/records?limit={limit}{cursor}")).json()
        found = [f"{one['collection']}/{one['key']}" for one in page["records"]]
        seen += found
        cursor = f"&cursor={page['cursor']}" if page["cursor"] else None
        if cursor:
            again = await owner.get(f"/v1/players/me/records?limit=1{cursor}")
            assert found
            assert again.status == 200
            assert _ends_at(page["cursor"]) == found[-1]
    assert seen == [f"{name}/{key}" for name in sorted(CLASSES[:3]) for key in ("k", "l")]


async def test_a_list_of_one_goes_on_behind_many_internal_records(
    callers: Mapping[str, Player],
) -> None:
    both, owner = callers["both"], callers["owner"]
    keys = [f"k{number:03}" for number in range(130)]
    for start in range(0, len(keys), 25):
        writes = [
            {"collection": "internal", "key": key, "value": 1} for key in keys[start : start + 25]
        ]
        assert (await both.post(BATCH, {"player": ALICE, "writes": writes})).status == 200
    for key in ("k", "l"):
        await both.put(1, f"/v1/players/{ALICE}/records/private/{key}")
    first = (await owner.get("/v1/players/me/records?limit=1")).json()
    assert [one["key"] for one in first["records"]] == ["k"]
    second = (await owner.get(f"/v1/players/me/records?limit=1&cursor={first['cursor']}")).json()
    assert [one["key"] for one in second["records"]] == ["l"]


async def test_a_service_lists_them_all(callers: Mapping[str, Player]) -> None:
    for name in CLASSES:
        await prepare(callers, name)
    page = (await callers["reader"].get(f"/v1/players/{ALICE}/records")).json()
    assert [one["collection"] for one in page["records"]] == sorted(CLASSES)


@pytest.mark.parametrize("query", ["", "?collection=private", "?collection=internal", "?limit=1"])
async def test_another_player_lists_public_collections_only(
    callers: Mapping[str, Player], query: str
) -> None:
    await prepare(callers, "public")
    await prepare(callers, "private")
    answer = await callers["other"].get(f"/v1/players/{ALICE}/records{query}")
    assert (answer.status, answer.code) == (404, "not_found")
    public = await callers["other"].get(f"/v1/players/{ALICE}/records?collection=public")
    assert [one["value"] for one in public.json()["records"]] == [2]


async def test_a_record_says_who_wrote_it(callers: Mapping[str, Player]) -> None:
    await callers["owner"].put(1, record("private"))
    assert (await callers["owner"].get(record("private"))).json()["written_by"] == ALICE
    await callers["writer"].put(2, record("private"))
    assert (await callers["owner"].get(record("private"))).json()["written_by"] == "service:shop"
    versions = (await callers["owner"].get(f"{record('private')}/versions")).json()["versions"]
    assert [one["written_by"] for one in versions] == [ALICE]


@pytest.mark.parametrize("name", ["me", "ME", "a" * 31, "*"])
async def test_a_service_names_its_player(callers: Mapping[str, Player], name: str) -> None:
    answer = await callers["both"].get(f"/v1/players/{name}/records/private/k")
    assert (answer.status, answer.code) == (404, "not_found")


async def test_the_drop_in_routes_are_bound_by_the_class_of_the_profile(
    tmp_path: Path, issuer: Issuer, clock: ManualClock
) -> None:
    document = {"collections": {"profile": {"access": "protected"}}}
    environ = collections_file(tmp_path, document)
    async with apps.player_data(tmp_path, issuer, clock, environ) as data:
        alice = Player(data, ALICE, issuer.token(sub=ALICE))
        answer = await alice.post("/set-player-data", {"player_name": "Ada"})
        assert (answer.status, answer.code) == (403, "forbidden")
        shop = service(data, issuer, "player_data:write")
        await shop.put({"player_name": "Ada"}, f"/v1/players/{ALICE}/records/profile/player")
        assert (await alice.get("/get-player-data")).json()["PlayerName"] == "Ada"


def _ends_at(cursor: str) -> str:
    padded = cursor + "=" * (-len(cursor) % 4)
    _, collection, key = json.loads(base64.urlsafe_b64decode(padded))
    return f"{collection}/{key}"
