"""Values of a collection with a JSON Schema: what is refused, on every way to write."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from services.player_data.collection_settings import read_collections
from services.player_data.collections import Access, Collection, Collections, Merge
from services.player_data.schemas import schema_check
from shared import errors
from shared.env import Env, SettingsError
from tests.support import apps, figures
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.records import BATCH, RECORDS, Player, collections_file, service
from tests.support.servers import Answer

ALICE = "a" * 32
SCHEMA = {
    "type": "object",
    "properties": {
        "level": {"type": "integer", "minimum": 1, "maximum": 99},
        "name": {"type": "string", "pattern": "^[A-Z][a-z]*$"},
        "a/b": {"type": "array", "items": {"$ref": "#/$defs/item"}},
    },
    "required": ["level"],
    "additionalProperties": False,
    "$defs": {"item": {"type": "string", "maxLength": 3}},
}
DOCUMENT = {"collections": {"heroes": {"schema": SCHEMA}, "profile": {"schema": SCHEMA}}}
HERO = f"{RECORDS}/heroes/h"


@pytest.fixture
async def alice(tmp_path: Path, issuer: Issuer, clock: ManualClock) -> AsyncIterator[Player]:
    environ = collections_file(tmp_path, DOCUMENT)
    async with apps.player_data(tmp_path, issuer, clock, environ) as data:
        yield Player(data, ALICE, issuer.token(sub=ALICE))


def refused(answer: Answer) -> list[tuple[str, str]]:
    """Where, and by which rule."""
    assert (answer.status, answer.code) == (422, "invalid_value")
    found = answer.json()["violations"]
    assert all(set(one) == {"path", "rule", "detail"} and one["detail"] for one in found)
    return [(one["path"], one["rule"]) for one in found]


@pytest.mark.parametrize("value", [{"level": 1}, {"level": 99, "name": "Zoe", "a/b": ["x", "abc"]}])
async def test_a_value_that_is_as_the_schema_says_is_taken(alice: Player, value: object) -> None:
    assert (await alice.put(value, HERO)).status == 201


@pytest.mark.parametrize(
    ("value", "violations"),
    [
        ({}, [("", "required")]),
        ({"level": "1"}, [("/level", "type")]),
        ({"level": 0}, [("/level", "minimum")]),
        ({"level": 1, "cheat": True}, [("", "additionalProperties")]),
        ({"level": 100, "name": "x"}, [("/level", "maximum"), ("/name", "pattern")]),
        ({"level": 1, "a/b": ["x", "long"]}, [("/a~1b/1", "maxLength")]),
        ([], [("", "type")]),
        ("x", [("", "type")]),
    ],
    ids=str,
)
async def test_another_is_refused_with_what_is_wrong(
    alice: Player, value: object, violations: list[tuple[str, str]]
) -> None:
    assert sorted(refused(await alice.put(value, HERO))) == violations
    assert (await alice.get(HERO)).status == 404


async def test_ten_violations_at_most_are_told(alice: Player) -> None:
    assert len(refused(await alice.put({"level": 1, "a/b": [1] * 50}, HERO))) == 10


async def test_of_a_large_value_the_first_violation_is_told(alice: Player) -> None:
    answer = await alice.put({"level": 1, "a/b": [1] * 50_000}, HERO)
    assert refused(answer) == [("/a~1b/0", "type")]
    assert len(answer.body) < 1000


async def test_what_is_told_has_nothing_of_the_value(alice: Player) -> None:
    answer = await alice.put({"level": "geheim", "name": "geheim"}, HERO)
    assert refused(answer)
    assert b"geheim" not in answer.body


WRITES: Mapping[str, Callable[[Player], Awaitable[Answer]]] = {
    "merge patch": lambda one: one.patch({"level": 100}, HERO),
    "increment": lambda one: one.post(f"{HERO}/increment", {"by": 50, "path": "/level"}),
    "max": lambda one: one.post(f"{HERO}/max", {"value": 99.5, "path": "/level"}),
    "max of a new member": lambda one: one.post(f"{HERO}/max", {"value": 1, "path": "/best"}),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
async def test_what_a_change_makes_is_looked_at_as_well(
    alice: Player, write: Callable[[Player], Awaitable[Answer]]
) -> None:
    await alice.put({"level": 50}, HERO)
    assert refused(await write(alice))
    assert (await alice.get(HERO)).json()["version"] == 1


async def test_a_deletion_is_not_looked_at(alice: Player) -> None:
    await alice.put({"level": 50}, HERO)
    assert (await alice.delete(HERO)).status == 204


async def test_in_a_batch_each_is_told_its_own(alice: Player) -> None:
    await alice.put({"level": 50}, HERO)
    hero = {"collection": "heroes", "key": "h"}
    for write in (
        {**hero, "op": "increment", "by": 50, "path": "/level"},
        {**hero, "value": {"level": 100}},
    ):
        body = {"writes": [{"collection": "saves", "key": "k", "value": 1}, write]}
        answer = await alice.post(BATCH, body)
        assert (answer.status, answer.code) == (409, "batch_failed")
        (failure,) = answer.json()["failures"]
        assert (failure["index"], failure["status"], failure["code"]) == (1, 422, "invalid_value")
        assert [(one["path"], one["rule"]) for one in failure["violations"]] == [
            ("/level", "maximum")
        ]
        assert (await alice.get(f"{RECORDS}/saves/k")).status == 404


async def test_services_are_bound_by_it_as_well(alice: Player, issuer: Issuer) -> None:
    shop = service(alice.data, issuer, "player_data:write")
    assert refused(await shop.put({}, HERO.replace("/me/", f"/{ALICE}/")))


async def test_the_drop_in_routes_are_bound_by_that_of_the_profile(alice: Player) -> None:
    assert refused(await alice.post("/set-player-data", {"player_name": "Ada"}))


async def test_what_was_written_before_there_was_a_schema_is_read_and_not_restored(
    tmp_path: Path, issuer: Issuer, clock: ManualClock
) -> None:
    environ: dict[str, str] = {}
    for environ in ({}, collections_file(tmp_path, DOCUMENT)):
        async with apps.player_data(tmp_path, issuer, clock, environ) as data:
            alice = Player(data, ALICE, issuer.token(sub=ALICE))
            if not environ:
                await alice.put("of before", HERO)
                continue
            assert (await alice.get(HERO)).json()["value"] == "of before"
            await alice.put({"level": 1}, HERO)
            assert refused(await alice.post(f"{HERO}/versions/1/restore"))


class TestFile:
    @staticmethod
    def read(folder: Path, document: object) -> Collections:
        env = Env(collections_file(folder, document))
        found = read_collections(env)
        env.check()
        return found

    def test_without_one_all_collections_are_private(self) -> None:
        assert read_collections(Env({})) == Collections()
        assert Collections().of("any") == Collection(Access.PRIVATE, 10, Merge.NEWER, None)

    def test_it_describes_collections_and_all_others(self, tmp_path: Path) -> None:
        described = {"access": "public", "history": 0, "merge": "max"}
        found = self.read(
            tmp_path, {"collections": {"scores": described}, "others": {"history": 100}}
        )
        assert found.of("scores") == Collection(Access.PUBLIC, 0, Merge.MAX)
        assert found.of("saves") == Collection(Access.PRIVATE, 100, Merge.NEWER)

    @pytest.mark.parametrize("document", [{}, {"collections": {}}, {"others": {}}])
    def test_it_may_say_nothing(self, tmp_path: Path, document: object) -> None:
        assert self.read(tmp_path, document) == Collections()

    @pytest.mark.parametrize(
        ("document", "fault"),
        [
            ("", "Expecting value"),
            ("{", "Expecting property name"),
            ('{"others":{},"others":{}}', "two members of the same name"),
            ("[" * 100_000, "nested too deeply"),
            ("[]", "the file must be a JSON object"),
            ({"colections": {}}, "the file has the unknown member `colections`"),
            ({"collections": []}, "`collections` must be a JSON object"),
            ({"collections": {"a/b": {}}}, "a collection is 1 to 128"),
            ({"collections": {"": {}}}, "a collection is 1 to 128"),
            ({"collections": {"s": None}}, "`s` must be a JSON object"),
            ({"collections": {"s": {"acces": "public"}}}, "`s` has the unknown member `acces`"),
            ({"collections": {"s": {"access": "open"}}}, "`s`: access must be one of private"),
            ({"collections": {"s": {"access": ["public"]}}}, "`s`: access must be one of"),
            ({"collections": {"s": {"merge": "avg"}}}, "`s`: merge must be one of newer"),
            ({"collections": {"s": {"history": -1}}}, "`s`: history must be a whole number"),
            ({"collections": {"s": {"history": 101}}}, "`s`: history must be a whole number"),
            ({"collections": {"s": {"history": 5.0}}}, "`s`: history must be a whole number"),
            ({"collections": {"s": {"history": True}}}, "`s`: history must be a whole number"),
            ({"collections": {"s": {"history": "5"}}}, "`s`: history must be a whole number"),
            ({"others": {"history": None}}, "`others`: history must be a whole number"),
            ({"collections": {"s": {"schema": 5}}}, "`s`: the schema is none"),
            ({"collections": {"s": {"schema": {"type": "strin"}}}}, "`s`: the schema is none"),
            ({"others": {"schema": {"pattern": "("}}}, "`others`: the schema is none"),
            ({"collections": {"s": {"schema": {"pattern": "(?=a)b"}}}}, "`s`: the schema is none"),
            (
                {"collections": {"s": {"schema": {"$ref": "#/$defs/no"}}}},
                "`s`: the schema is none",
            ),
        ],
        ids=lambda one: json.dumps(one)[:50],
    )
    def test_a_fault_is_named(self, tmp_path: Path, document: object, fault: str) -> None:
        with pytest.raises(SettingsError, match="PLAYMESH_COLLECTIONS_FILE") as raised:
            self.read(tmp_path, document)
        assert fault in str(raised.value)

    @pytest.mark.parametrize("name", ["none.json", "."])
    def test_one_that_cannot_be_read_is_a_fault(self, tmp_path: Path, name: str) -> None:
        env = Env({"PLAYMESH_COLLECTIONS_FILE": str(tmp_path / name)})
        read_collections(env)
        with pytest.raises(SettingsError, match="cannot be read"):
            env.check()

    def test_one_that_is_too_large_is_a_fault(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="more than 1048576 bytes"):
            self.read(tmp_path, " " * 2**20 + "{}")

    def test_the_service_does_not_start_with_it(self, tmp_path: Path) -> None:
        document = {"collections": {"heroes": {"schema": {"type": "strin"}}}}
        environ = {
            "PLAYMESH_ISSUER": "https://issuer.test",
            "PLAYMESH_DATA_DIR": str(tmp_path),
            **collections_file(tmp_path, document),
        }
        done = subprocess.run(
            [sys.executable, "-m", "services.player_data"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 64
        assert "PLAYMESH_COLLECTIONS_FILE: `heroes`: the schema is none" in done.stderr


class TestReferences:
    async def test_nothing_is_fetched(self, issuer: Issuer) -> None:
        async with issuer.serving() as url:
            for reference in (url, "file:///etc/hostname"):
                with pytest.raises(ValueError, match="`s`: the schema is none"):
                    await asyncio.to_thread(schema_check, "s", {"$ref": reference})
        assert issuer.requests == 0

    @pytest.mark.parametrize("reference", ["other.json", "#/$defs/none", "#anchor"])
    def test_what_leads_nowhere_is_refused(self, reference: str) -> None:
        with pytest.raises(ValueError, match="`s`: the schema is none"):
            schema_check("s", {"$ref": reference})

    def test_a_reference_may_lead_back_to_itself(self) -> None:
        schema_check("s", {"$ref": "#"})(1)
        tree = {"type": "object", "additionalProperties": {"$ref": "#"}}
        schema_check("s", tree)({"a": {"b": {}}})
        with pytest.raises(errors.InvalidValue):
            schema_check("s", tree)({"a": {"b": 1}})


def slowest(check: Callable[[Any], None], value: object) -> float:
    """Milliseconds of CPU, the best of three."""
    taken = []
    for _ in range(3):
        before = time.process_time()
        with contextlib.suppress(errors.InvalidValue):
            check(value)
        taken.append(time.process_time() - before)
    return min(taken) * 1000


@pytest.mark.parametrize(
    ("what", "schema", "value"),
    [
        ("good strings", {"items": {"type": "string"}}, ["abc"] * 58_000),
        ("every item wrong", {"items": {"type": "string"}}, [1] * 175_000),
        ("unique items", {"uniqueItems": True}, [[number] for number in range(40_000)]),
        ("a nested pattern", {"pattern": "^(a+)+$"}, "a" * 350_000 + "b"),
        (
            "many alternatives",
            {"items": {"anyOf": [{"const": n} for n in range(20)]}},
            [99] * 100_000,
        ),
        ("a wide object", {"additionalProperties": False}, {f"m{n}": 1 for n in range(30_000)}),
    ],
)
def test_the_largest_value_does_not_hold_the_others_up(
    what: str, schema: object, value: object
) -> None:
    taken = slowest(schema_check("s", schema), value)
    figures.note(f"schema of a 350 KB value, {what}", CPU_ms=round(taken))
    assert taken < 500
