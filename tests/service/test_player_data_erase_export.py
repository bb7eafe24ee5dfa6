"""A service erases a player and exports one: who may, and what is left and what is answered."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.player_data.adapters.sqlite import MIGRATIONS, SqliteRecordStore
from services.player_data.models import Precondition, RecordKey, Write
from shared.clock import Clock
from shared.sqlite import Database
from tests.support.apps import Running
from tests.support.calls import bearer, call
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.records import RECORDS, SLOT, Player
from tests.support.servers import Answer

AUDIENCE = "playmesh:player_data"
NOBODY = "0" * 32
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Identity:
    """The service that erases and exports."""

    data: Running
    issuer: Issuer

    async def call(self, method: str, path: str, *, scope: str, audience: str = AUDIENCE) -> Answer:
        token = self.issuer.service_token("identity", audience=audience, scope=scope)
        return await call(self.data.http, method, self.data.url + path, headers=bearer(token))

    async def erase_step(self, player: str) -> Answer:
        return await self.call("DELETE", f"/v1/players/{player}", scope="player_data:erase")

    async def erase(self, player: str) -> int:
        """How often it had to be asked."""
        steps = 1
        while (answer := await self.erase_step(player)).status == 202:
            assert answer.json() == {"done": False}
            steps += 1
        assert (answer.status, answer.body) == (204, b"")
        return steps

    async def export_page(self, player: str, cursor: str = "") -> Answer:
        query = f"?cursor={cursor}" if cursor else ""
        path = f"/v1/players/{player}/export{query}"
        return await self.call("GET", path, scope="player_data:export")

    async def pages(self, player: str) -> AsyncIterator[Answer]:
        cursor: str | None = ""
        while cursor is not None:
            answer = await self.export_page(player, cursor)
            assert answer.status == 200
            cursor = answer.json()["cursor"]
            yield answer

    async def export(self, player: str) -> dict[str, list[Any]]:
        """All pages as one document, as identity puts them together."""
        document: dict[str, list[Any]] = {"records": [], "versions": []}
        async for answer in self.pages(player):
            page = answer.json()
            assert set(page) == {"records", "versions", "cursor"}
            for name in document:
                document[name] += page[name]
        return document


@pytest.fixture
def identity(data: Running, issuer: Issuer) -> Identity:
    return Identity(data, issuer)


async def written(player: Player, value: object, path: str = SLOT) -> Any:  # noqa: ANN401 - JSON
    return (await player.put(value, path)).json()


async def fill(folder: Path, clock: Clock, player: str, number: int) -> None:
    """Small records straight into the service's database."""
    database = Database(folder / "player_data.db", MIGRATIONS)
    await database.open()
    store = SqliteRecordStore(database)
    await asyncio.gather(
        *(
            store.write(
                [
                    Write(
                        RecordKey(player, "saves", f"slot{each:05}"),
                        str(each),
                        Precondition.ALWAYS,
                        keep=10,
                    )
                ],
                by=player,
                now=clock.now(),
            )
            for each in range(number)
        )
    )
    await database.close()


class TestWhoMay:
    @pytest.mark.parametrize(
        ("method", "path", "scope"),
        [
            ("DELETE", f"/v1/players/{NOBODY}", "player_data:export"),
            ("GET", f"/v1/players/{NOBODY}/export", "player_data:erase"),
            ("DELETE", f"/v1/players/{NOBODY}", "player_data:erase_all player_data"),
            ("GET", f"/v1/players/{NOBODY}/export", "player_data:exports"),
            ("GET", f"/v1/players/{NOBODY}/summary", "player_data:erase player_data:export"),
        ],
    )
    async def test_a_service_without_the_scope_is_forbidden(
        self, identity: Identity, method: str, path: str, scope: str
    ) -> None:
        answer = await identity.call(method, path, scope=scope)
        assert (answer.status, answer.code) == (403, "forbidden")

    @pytest.mark.parametrize(
        "audience", ["playmesh:keyrotator", "playmesh:identity", "gamebackend"]
    )
    @pytest.mark.parametrize(
        ("method", "path"),
        [("DELETE", f"/v1/players/{NOBODY}"), ("GET", f"/v1/players/{NOBODY}/export")],
    )
    async def test_a_token_for_another_audience_does_not_hold(
        self, identity: Identity, method: str, path: str, audience: str
    ) -> None:
        scope = "player_data:erase player_data:export"
        answer = await identity.call(method, path, scope=scope, audience=audience)
        assert (answer.status, answer.code) == (401, "invalid_token")

    @pytest.mark.parametrize("path", ["", "/export"])
    async def test_a_player_is_forbidden_also_with_the_scope(
        self, identity: Identity, player: Player, path: str
    ) -> None:
        await player.put("kept")
        scope = "guest player_data:erase player_data:export"
        token = identity.issuer.token(sub=player.user_id, scope=scope)
        mine = Player(player.data, player.user_id, token)
        method = "GET" if path else "DELETE"
        answer = await mine.call(method, f"/v1/players/{player.user_id}{path}")
        assert (answer.status, answer.code) == (403, "forbidden")
        assert (await player.get()).json()["value"] == "kept"

    @pytest.mark.parametrize(
        "name", ["me", "a" * 31, "A" * 32, "a" * 33, "service:identity", "%00"]
    )
    async def test_who_is_no_user_id_is_a_bad_request(self, identity: Identity, name: str) -> None:
        for answer in (await identity.erase_step(name), await identity.export_page(name)):
            assert (answer.status, answer.code) == (400, "invalid_request")


class TestErasure:
    async def test_nothing_is_left_of_a_player_and_everything_of_another(
        self, identity: Identity, player: Player, stranger: Player
    ) -> None:
        for one in (player, stranger):
            for level in range(3):
                await one.put({"level": level})
            await one.put("gone", f"{RECORDS}/saves/slot2")
            await one.delete(f"{RECORDS}/saves/slot2")
            await one.call("POST", "/set-player-data", json={"player_name": "Ada"})
        before = await identity.export(stranger.user_id)
        assert await identity.erase(player.user_id) == 1
        assert await identity.export(player.user_id) == {"records": [], "versions": []}
        assert (await player.get()).status == 404
        assert (await player.get(f"{SLOT}/versions")).json() == {"versions": []}
        assert (await player.get("/get-player-data")).status == 404
        assert await identity.export(stranger.user_id) == before

    async def test_erasing_again_or_a_player_that_never_was_is_the_same(
        self, identity: Identity, player: Player
    ) -> None:
        await player.put(1)
        for user_id in (player.user_id, player.user_id, NOBODY):
            assert (await identity.erase_step(user_id)).status == 204

    async def test_many_records_are_erased_in_several_steps_and_nothing_of_another(
        self,
        identity: Identity,
        player: Player,
        stranger: Player,
        tmp_path: Path,
        clock: ManualClock,
    ) -> None:
        await stranger.put("kept")
        await fill(tmp_path, clock, player.user_id, 10_000)
        assert 10 <= await identity.erase(player.user_id) <= 25
        assert await identity.export(player.user_id) == {"records": [], "versions": []}
        assert (await stranger.get()).json()["value"] == "kept"

    async def test_what_is_written_after_an_erasure_begins_anew_and_is_erased_by_the_next(
        self, identity: Identity, player: Player
    ) -> None:
        for level in range(3):
            await player.put(level)
        await identity.erase(player.user_id)
        assert (await written(player, "late"))["version"] == 1
        await player.put("later")
        versions = (await player.get(f"{SLOT}/versions")).json()["versions"]
        assert [one["value"] for one in versions] == ["late"]
        await identity.erase(player.user_id)
        assert await identity.export(player.user_id) == {"records": [], "versions": []}

    async def test_a_player_may_write_while_it_is_erased(
        self, identity: Identity, player: Player, tmp_path: Path, clock: ManualClock
    ) -> None:
        await fill(tmp_path, clock, player.user_id, 2000)
        erasing = asyncio.create_task(identity.erase(player.user_id))
        number = 0
        while not erasing.done():
            answer = await player.put(number, f"{RECORDS}/saves/slot{number % 7:05}")
            assert answer.status in (200, 201)
            number += 1
        await erasing
        await identity.erase(player.user_id)
        assert await identity.export(player.user_id) == {"records": [], "versions": []}


class TestExport:
    async def test_a_player_that_was_never_heard_of_is_an_empty_page(
        self, identity: Identity
    ) -> None:
        answer = await identity.export_page(NOBODY)
        assert answer.status == 200
        assert answer.json() == {"records": [], "versions": [], "cursor": None}
        assert answer.headers["Cache-Control"] == "no-store"

    async def test_an_export_is_what_was_written_with_its_history(
        self, identity: Identity, player: Player, stranger: Player, clock: ManualClock
    ) -> None:
        await stranger.put("of another")
        texts = ["Zoë 日本 🎮 \U0010ffff", '</script>"\\', "plain"]
        saves = []
        for text in texts:
            saves.append(await written(player, {"name": text, "n": 1.5}))
            clock.advance(1)
        deleted = await written(player, "gone", f"{RECORDS}/saves/slot2")
        await player.delete(f"{RECORDS}/saves/slot2")
        again = [await written(player, value, f"{RECORDS}/a/again") for value in (0, "new")]
        await player.call("POST", "/set-player-data", json={"player_name": "Ada"})
        profile = (await player.get(f"{RECORDS}/profile/player")).json()
        assert await identity.export(player.user_id) == {
            "records": [again[1], profile, saves[2]],
            "versions": [again[0], saves[1], saves[0], deleted],
        }

    async def test_values_go_out_as_they_were_stored(
        self, identity: Identity, player: Player
    ) -> None:
        await player.put({"b": 18446744073709551615, "a": "🎮"})
        stored = (await player.get()).body
        assert stored in (await identity.export_page(player.user_id)).body

    async def test_a_large_player_comes_in_pages_of_about_a_mebibyte(
        self, identity: Identity, player: Player
    ) -> None:
        expected = []
        for number in range(4):
            for _ in range(3):
                await player.put("x" * 300_000, f"{RECORDS}/saves/slot{number}")
            expected += [(f"slot{number}", version) for version in (3, 2, 1)]
        found = []
        pages = [answer async for answer in identity.pages(player.user_id)]
        for answer in pages:
            assert len(answer.body) < MEBIBYTE * 1.1
            page = answer.json()
            found += [(one["key"], one["version"]) for one in page["records"] + page["versions"]]
        assert sorted(found) == sorted(expected)
        assert len(pages) == 4

    async def test_many_records_are_exported_once_each(
        self, identity: Identity, player: Player, tmp_path: Path, clock: ManualClock
    ) -> None:
        await fill(tmp_path, clock, player.user_id, 1234)
        document = await identity.export(player.user_id)
        assert [one["value"] for one in document["records"]] == list(range(1234))
        assert document["versions"] == []

    async def test_what_is_there_all_the_time_is_exported_once_though_the_player_writes(
        self, identity: Identity, player: Player, tmp_path: Path, clock: ManualClock
    ) -> None:
        """Each record is written five times at most, so that its first version is kept."""
        await fill(tmp_path, clock, player.user_id, 500)

        async def write() -> None:
            for number in range(2500):
                await player.put("new", f"{RECORDS}/saves/slot{number * 7 % 500:05}")

        writing = asyncio.create_task(write())
        for _ in range(3):
            document = await identity.export(player.user_id)
            found = [
                (one["key"], one["version"]) for one in document["records"] + document["versions"]
            ]
            assert len(set(found)) == len(found)
            assert {(f"slot{number:05}", 1) for number in range(500)} <= set(found)
        assert not writing.done()
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing

    async def test_a_cursor_of_another_player_is_a_bad_request(
        self, identity: Identity, player: Player, tmp_path: Path, clock: ManualClock
    ) -> None:
        await fill(tmp_path, clock, player.user_id, 101)
        cursor = (await identity.export_page(player.user_id)).json()["cursor"]
        assert (await identity.export_page(player.user_id, cursor)).status == 200
        answer = await identity.export_page(NOBODY, cursor)
        assert (answer.status, answer.code) == (400, "invalid_request")

    @pytest.mark.parametrize(
        "position",
        [
            None,
            ["a" * 32, "s", "a"],
            ["a" * 32, "s", "a", "1"],
            ["a" * 32, "s", "a", -1],
            ["a" * 32, "s", "a", 1.5],
            ["a" * 32, "s", "a", 2**63],
            ["a" * 32, "s", 1, 1],
            ["a" * 32, "s", "a", 1, 1],
            {"player": "a" * 32},
        ],
    )
    async def test_a_cursor_that_was_never_given_is_a_bad_request(
        self, identity: Identity, position: object
    ) -> None:
        cursor = base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")
        answer = await identity.export_page("a" * 32, cursor)
        assert (answer.status, answer.code) == (400, "invalid_request")

    async def test_a_cursor_of_the_longest_names_holds(
        self, identity: Identity, player: Player, tmp_path: Path, clock: ManualClock
    ) -> None:
        long = "@" * 128
        await fill(tmp_path, clock, player.user_id, 99)
        for _ in range(3):
            await player.put(1, f"{RECORDS}/{'A' * 127}@/{long}")
        pages = [answer.json() async for answer in identity.pages(player.user_id)]
        assert [len(page["records"]) for page in pages] == [98, 2]
