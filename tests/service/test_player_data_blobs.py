"""Saves that are no JSON: sent and answered as bytes, and otherwise records like all others."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.player_data.models import CHUNK
from shared.clock import from_iso
from tests.support import apps
from tests.support.apps import Running
from tests.support.blobs import MEBIBYTE, OCTETS, SAVE, announce, described, files, upload
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.records import RECORDS, SLOT, Player
from tests.support.servers import send

CREATED = "2026-01-02T03:04:05.000Z"  # the manual clock's start
KEY = "0123456789abcdef"


@pytest.fixture
async def described_data(
    tmp_path: Path, issuer: Issuer, clock: ManualClock
) -> AsyncIterator[Running]:
    """With collections of several kinds."""
    collections = {
        "shown": {"access": "public"},
        "awards": {"access": "protected"},
        "scores": {"schema": {"type": "object"}},
        "alone": {"history": 0},
    }
    (tmp_path / "collections.json").write_text(json.dumps({"collections": collections}))
    environ = {"PLAYMESH_COLLECTIONS_FILE": str(tmp_path / "collections.json")}
    async with apps.player_data(tmp_path, issuer, clock, environ) as running:
        yield running


@pytest.fixture
def alice(described_data: Running, issuer: Issuer) -> Player:
    return Player(described_data, "a" * 32, issuer.token(sub="a" * 32))


@pytest.fixture
def bob(described_data: Running, issuer: Issuer) -> Player:
    return Player(described_data, "b" * 32, issuer.token(sub="b" * 32))


class TestOneBlob:
    async def test_a_first_put_answers_the_record_without_the_content(self, player: Player) -> None:
        answer = await upload(player)
        assert (answer.status, answer.headers["ETag"]) == (201, '"1"')
        assert answer.json() == {
            "collection": "saves",
            "key": "slot1",
            "version": 1,
            "created_at": CREATED,
            "updated_at": CREATED,
            "written_by": player.user_id,
            "blob": described(SAVE),
        }

    @pytest.mark.parametrize(
        "content",
        [b"", b"\0", b"x" * CHUNK, b"x" * (CHUNK + 1), b"0123456789abcdef" * (5 * 65536)],
        ids=["nothing", "a byte", "a chunk", "a byte more", "5 MiB"],
    )
    async def test_get_answers_the_bytes(self, player: Player, content: bytes) -> None:
        put = await upload(player, content)
        get = await player.get()
        assert (put.status, get.status) == (201, 200)
        assert get.body == content
        assert get.headers["Content-Length"] == str(len(content))

    async def test_one_without_a_length_is_taken(self, player: Player) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(SAVE), 1000):
                yield SAVE[start : start + 1000]

        assert (await upload(player, pieces())).json()["blob"] == described(SAVE)
        assert (await player.get()).body == SAVE

    async def test_the_headers_tell_what_it_is(self, player: Player, clock: ManualClock) -> None:
        await upload(player, b"hello", media_type="image/png")
        clock.advance(60)
        headers = (await player.get()).headers
        told = {
            "Content-Type": "image/png",
            "Content-Length": "5",
            "ETag": '"1"',
            "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT",
            "Repr-Digest": "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:",
            "Cache-Control": "private, no-cache",
            "Accept-Ranges": "none",
            "Content-Disposition": "attachment",
            "X-Content-Type-Options": "nosniff",
            "Access-Control-Allow-Origin": "*",
            "Server": "playmesh",
        }
        assert {name: headers[name] for name in told} == told

    async def test_head_answers_the_headers_of_get(self, player: Player) -> None:
        await upload(player)
        get, head = await player.get(), await player.call("HEAD")
        assert (head.status, head.body) == (200, b"")
        for name in ("Content-Type", "Content-Length", "Cache-Control", "ETag", "Repr-Digest"):
            assert head.headers[name] == get.headers[name]

    async def test_who_has_it_is_told_so(self, player: Player) -> None:
        await upload(player)
        answer = await player.get(if_none_match='"1"')
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", '"1"')

    @pytest.mark.parametrize("asked", ["bytes=0-9", "bytes=-1", "bytes=999999999-", "lines=1-2"])
    async def test_a_range_is_not_looked_at(self, player: Player, asked: str) -> None:
        await upload(player)
        answer = await player.get(range=asked)
        assert (answer.status, answer.body) == (200, SAVE)

    async def test_it_is_known_after_a_restart(
        self, tmp_path: Path, issuer: Issuer, clock: ManualClock
    ) -> None:
        for put in (True, False):
            async with apps.player_data(tmp_path, issuer, clock) as data:
                player = Player(data, "a" * 32, issuer.token(sub="a" * 32))
                if put:
                    await upload(player)
                else:
                    assert (await player.get()).body == SAVE


class TestMediaTypes:
    @pytest.mark.parametrize(
        "media_type",
        [
            OCTETS,
            "text/plain",
            "text/plain; charset=utf-8",
            'application/x-save;v="1; 2"',
            "application/vnd.game+json",
            "x/y",
        ],
    )
    async def test_it_comes_back_as_it_was_sent(self, player: Player, media_type: str) -> None:
        put = await upload(player, b'{"level": 1', media_type=media_type)
        assert put.json()["blob"]["media_type"] == media_type
        get = await player.get()
        assert (get.headers["Content-Type"], get.body) == (media_type, b'{"level": 1')

    @pytest.mark.parametrize(
        "media_type",
        ["text", "text/", "/plain", "text/plain, text/html", "a/b; c", "a/" + "b" * 300],
    )
    async def test_what_is_none_is_a_bad_request(self, player: Player, media_type: str) -> None:
        answer = await upload(player, media_type=media_type)
        assert (answer.status, answer.code) == (400, "invalid_request")

    @pytest.mark.parametrize(
        "media_type",
        [
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/merge-patch+json",
        ],
    )
    async def test_what_nobody_means_by_a_save_is_not_taken(
        self, player: Player, media_type: str
    ) -> None:
        """A form is what tools send where nobody has said anything."""
        answer = await upload(player, b"{}", media_type=media_type)
        assert (answer.status, answer.code) == (415, "unsupported_media_type")

    async def test_one_that_is_encoded_is_not_taken(self, player: Player) -> None:
        answer = await upload(player, b"", content_encoding="gzip")
        assert (answer.status, answer.code) == (415, "unsupported_media_type")

    async def test_without_one_it_is_json(self, player: Player) -> None:
        put = await send(
            player.data.url,
            f"PUT {SLOT} HTTP/1.1\r\nAuthorization: Bearer {player.token}",
            b'{"level":1}',
        )
        assert put.json()["value"] == {"level": 1}


class TestConditions:
    async def test_of_two_uploads_over_the_same_version_one_wins(
        self, player: Player, tmp_path: Path
    ) -> None:
        await upload(player, b"seen by both")
        contents = [bytes([number]) * MEBIBYTE for number in (1, 2)]
        answers = await asyncio.gather(
            *(upload(player, content, if_match='"1"') for content in contents)
        )
        assert sorted(one.status for one in answers) == [200, 412]
        winner = contents[0] if answers[0].status == 200 else contents[1]
        assert (await player.get()).body == winner
        loser = next(one for one in answers if one.status == 412)
        assert loser.json()["current"]["blob"] == described(winner)
        assert len(files(tmp_path)) == 2

    async def test_what_is_refused_anyway_is_refused_before_it_is_sent(
        self, player: Player
    ) -> None:
        await upload(player, b"stored")
        answer = await announce(player, 5_000_000, "If-None-Match: *")
        assert (answer.status, answer.code) == (412, "version_conflict")
        assert answer.json()["current"]["version"] == 1
        assert answer.json()["current"]["blob"] == described(b"stored")

    async def test_a_deletion_is_conditional_as_well(self, player: Player) -> None:
        await upload(player)
        refused = await player.delete(if_match='"7"')
        assert (refused.status, refused.json()["current"]["blob"]) == (412, described(SAVE))
        assert (await player.delete(if_match='"1"')).status == 204
        assert (await player.get()).status == 404

    async def test_a_repetition_is_answered_as_the_first_was(
        self, player: Player, tmp_path: Path
    ) -> None:
        first = await upload(player, idempotency_key=KEY, if_none_match="*")
        again = await upload(player, idempotency_key=KEY, if_none_match="*")
        assert (first.status, first.body) == (again.status, again.body)
        assert (await player.get()).headers["ETag"] == '"1"'
        assert len(files(tmp_path)) == 1

    async def test_a_repetition_long_after_is_answered_so_too(self, player: Player) -> None:
        first = await upload(player, b"first", idempotency_key=KEY)
        await upload(player, b"second")
        again = await upload(player, b"first", idempotency_key=KEY)
        assert first.body == again.body
        assert (await player.get()).body == b"second"

    @pytest.mark.parametrize(("content", "media_type"), [(b"other", OCTETS), (SAVE, "text/plain")])
    async def test_a_key_belongs_to_what_was_sent_with_it(
        self, player: Player, tmp_path: Path, content: bytes, media_type: str
    ) -> None:
        await upload(player, idempotency_key=KEY)
        answer = await upload(player, content, media_type=media_type, idempotency_key=KEY)
        assert (answer.status, answer.code) == (422, "idempotency_key_reused")
        assert len(files(tmp_path)) == 1


class TestAmongRecords:
    async def test_it_is_in_lists_and_batches_without_its_content(self, player: Player) -> None:
        record = (await upload(player)).json()
        await player.put(1, f"{RECORDS}/saves/slot2")
        listed = (await player.get(RECORDS)).json()["records"]
        assert (listed[0], listed[1]["value"]) == (record, 1)
        reads = [{"collection": "saves", "key": "slot1"}]
        batch = await player.call("POST", "/v1/records/batch", json={"reads": reads})
        assert batch.json()["records"] == [record]

    async def test_json_and_blobs_take_turns_under_one_key(self, player: Player) -> None:
        await player.put({"level": 1})
        assert (await upload(player, b"bytes")).status == 200
        await player.put({"level": 3})
        assert (await player.get()).json()["value"] == {"level": 3}
        versions = (await player.get(f"{SLOT}/versions")).json()["versions"]
        assert [one.get("blob") or one["value"] for one in versions] == [
            described(b"bytes"),
            {"level": 1},
        ]
        assert (await player.get(f"{SLOT}/versions/2")).body == b"bytes"
        assert (await player.get(f"{SLOT}/versions/1")).json()["value"] == {"level": 1}

    async def test_a_version_is_answered_as_it_was(
        self, player: Player, clock: ManualClock
    ) -> None:
        await upload(player, b"old", media_type="text/plain")
        clock.advance(60)
        await upload(player, b"new")
        answer = await player.get(f"{SLOT}/versions/1")
        assert (answer.body, answer.headers["ETag"]) == (b"old", '"1"')
        assert answer.headers["Content-Type"] == "text/plain"
        assert answer.headers["Last-Modified"] == "Fri, 02 Jan 2026 03:04:05 GMT"

    async def test_an_old_one_is_restored(self, player: Player, tmp_path: Path) -> None:
        await upload(player, b"old", media_type="text/plain")
        await upload(player, b"new")
        restored = await player.call("POST", f"{SLOT}/versions/1/restore")
        assert restored.json()["blob"] == described(b"old", "text/plain")
        assert (await player.get()).body == b"old"
        assert (await player.get(f"{SLOT}/versions/2")).body == b"new"
        assert len(files(tmp_path)) == 3

    async def test_to_restore_what_is_there_changes_nothing(
        self, player: Player, tmp_path: Path
    ) -> None:
        await upload(player)
        restored = await player.call("POST", f"{SLOT}/versions/1/restore")
        assert (restored.status, restored.json()["version"]) == (200, 1)
        assert len(files(tmp_path)) == 1

    async def test_a_restoration_is_repeated_though_its_version_is_not_kept_any_more(
        self, player: Player
    ) -> None:
        await upload(player, b"first")
        await upload(player, b"second")
        path, headers = f"{SLOT}/versions/1/restore", {"Idempotency-Key": KEY}
        restored = await player.call("POST", path, headers=headers)
        for number in range(11):
            await upload(player, b"%d" % number)
        again = await player.call("POST", path, headers=headers)
        assert (again.status, again.body) == (200, restored.body)

    async def test_what_was_deleted_is_restored(self, player: Player) -> None:
        await upload(player)
        await player.delete()
        await player.call("POST", f"{SLOT}/versions/1/restore")
        assert (await player.get()).body == SAVE

    async def test_a_restoration_that_is_repeated_is_done_once(
        self, player: Player, tmp_path: Path
    ) -> None:
        await upload(player, b"old")
        await upload(player, b"new")
        headers = {"Idempotency-Key": KEY}
        answers = [
            await player.call("POST", f"{SLOT}/versions/1/restore", headers=headers)
            for _ in range(2)
        ]
        assert answers[0].body == answers[1].body
        assert (await player.get()).headers["ETag"] == '"3"'
        assert len(files(tmp_path)) == 3

    async def test_a_restoration_over_another_version_is_refused_and_leaves_nothing(
        self, player: Player, tmp_path: Path
    ) -> None:
        await upload(player, b"old")
        await upload(player, b"new")
        headers = {"If-Match": '"1"'}
        answer = await player.call("POST", f"{SLOT}/versions/1/restore", headers=headers)
        assert (answer.status, answer.json()["current"]["blob"]) == (412, described(b"new"))
        assert len(files(tmp_path)) == 2

    @pytest.mark.parametrize(
        ("method", "path", "media_type", "body"),
        [
            ("PATCH", SLOT, "application/merge-patch+json", {"level": 2}),
            ("POST", f"{SLOT}/increment", "application/json", {"by": 1}),
            ("POST", f"{SLOT}/max", "application/json", {"value": 1}),
        ],
    )
    async def test_it_is_not_changed_in_part(
        self, player: Player, method: str, path: str, media_type: str, body: object
    ) -> None:
        await upload(player)
        answer = await player.call(
            method, path, data=json.dumps(body), headers={"Content-Type": media_type}
        )
        assert (answer.status, answer.code) == (409, "conflict")
        assert (await player.get()).body == SAVE

    async def test_it_is_summed_up_by_the_bytes_of_its_content(
        self, player: Player, issuer: Issuer
    ) -> None:
        await upload(player)
        await player.put("four", f"{RECORDS}/saves/slot2")
        token = issuer.service_token(
            "identity", audience="playmesh:player_data", scope="player_data:summary"
        )
        service = Player(player.data, "", token)
        summary = (await service.get(f"/v1/players/{player.user_id}/summary")).json()
        assert (summary["records"], summary["bytes"]) == (2, len(SAVE) + 6)

    async def test_the_drop_in_routes_take_it_for_nothing(self, player: Player) -> None:
        await upload(player, path=f"{RECORDS}/profile/player")
        assert (await player.get("/get-player-data")).json()["PlayerName"] == ""
        await player.call("POST", "/set-player-data", json={"player_name": "Ada"})
        assert (await player.get("/get-player-data")).json()["PlayerName"] == "Ada"

    async def test_json_that_looks_like_one_is_json(self, player: Player) -> None:
        value = f"@5 {'0' * 32} {'0' * 64} text/html"
        await player.put(value)
        assert (await player.get()).json()["value"] == value


class TestAccess:
    async def test_a_stranger_neither_reads_nor_writes_it(
        self, player: Player, stranger: Player, tmp_path: Path
    ) -> None:
        await upload(player)
        theirs = SLOT.replace("/me/", f"/{player.user_id}/")
        assert (await stranger.get(theirs)).status == 404
        assert (await upload(stranger, b"theirs", theirs)).status == 404
        assert (await player.get()).body == SAVE
        assert len(files(tmp_path)) == 1

    async def test_who_may_not_write_is_told_before_anything_is_sent(self, alice: Player) -> None:
        answer = await announce(alice, 5_000_000, path=f"{RECORDS}/awards/first")
        assert (answer.status, answer.code) == (403, "forbidden")

    async def test_everybody_reads_what_is_public(self, alice: Player, bob: Player) -> None:
        path = f"{RECORDS}/shown/ghost"
        await upload(alice, path=path)
        answer = await bob.get(path.replace("/me/", f"/{alice.user_id}/"))
        assert (answer.status, answer.body) == (200, SAVE)

    async def test_a_collection_with_a_schema_takes_none(
        self, alice: Player, tmp_path: Path
    ) -> None:
        answer = await upload(alice, path=f"{RECORDS}/scores/best")
        assert (answer.status, answer.code) == (422, "invalid_value")
        assert files(tmp_path) == []

    async def test_where_no_version_is_kept_the_content_goes_with_the_next_write(
        self, alice: Player, tmp_path: Path
    ) -> None:
        for content in (b"1", b"2", b"3"):
            await upload(alice, content, f"{RECORDS}/alone/slot1")
        assert [path.read_bytes() for path in files(tmp_path)] == [b"3"]


def test_the_manual_clock_is_where_these_tests_take_it_to_be(clock: ManualClock) -> None:
    assert from_iso(CREATED) == clock.now()
