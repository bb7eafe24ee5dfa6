"""Clients that repeat what was not answered, with its Idempotency-Key, end where the model does."""

import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from services.player_data.adapters.dynamodb import TABLES, DynamoRecordStore
from services.player_data.models import HISTORY, Receipt, Write, Written
from services.player_data.ports import RecordStore
from shared import errors
from shared.ids import new_id
from tests.support import apps, aws
from tests.support.apps import Running
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.lost_replies import LosesReplies, SentTwice
from tests.support.one_record import NOTHING, Ask, State, apply, text
from tests.support.record_clients import Client, opened
from tests.support.records import RECORDS
from tests.support.servers import Answer as Reply

ALICE = "a" * 32
KEYS = ["a", "b", "c"]
ASKS = [
    Ask("put", {"n": 1}),
    Ask("add", 5),
    Ask("merge", {"by": "me", "n": None}),
    Ask("add", 2),
    Ask("put", {"n": 40}, "any"),
    Ask("max", 9),
    Ask("add", -3),
    Ask("delete"),
    Ask("put", {"n": 6}, "none"),
    Ask("max", 3),
    Ask("merge", {"top": 1}),
]
"""Eleven for three keys: each key comes to each of them."""
TOGETHER = [Ask("put", {"n": 7}), Ask("add", 1), Ask("max", 50), Ask("add", 3), Ask("delete")]
_OPS = {"put": "put", "delete": "delete", "merge": "merge", "add": "increment", "max": "max"}


class Losing:
    """The answer to the first attempt of every `every`-th request is lost; it was done."""

    def __init__(self, store: RecordStore, every: int) -> None:
        self._store = store
        self._every = every
        self._asked: set[bytes] = set()
        self.lost = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the store's
        return getattr(self._store, name)

    async def write(
        self,
        writes: Sequence[Write],
        *,
        by: str,
        now: datetime,
        receipt: Receipt | None = None,
        within_quota: bool = False,
    ) -> Sequence[Written]:
        done = await self._store.write(
            writes, by=by, now=now, receipt=receipt, within_quota=within_quota
        )
        if receipt and receipt.key not in self._asked:
            self._asked.add(receipt.key)
            if len(self._asked) % self._every == 0:
                self.lost += 1
                raise errors.Unavailable("nobody heard of it")
        return done


class Story:
    """Does everything on the service and on the model, each until it is answered."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._states: dict[str, list[State]] = {key: [NOTHING] for key in KEYS}
        """Of every key all that it ever was."""

    async def tell(self) -> None:
        """Long enough for versions to be pushed out."""
        asks, together = itertools.cycle(ASKS), itertools.cycle(TOGETHER)
        for turn in range(4 * len(ASKS)):
            key = KEYS[turn % 3]
            await self._one(key, next(asks))
            if turn % 4 == 3:
                await self._batch({each: next(together) for each in KEYS})
            if turn % 7 == 6:
                await self._restore(key)
        assert min(len(states) for states in self._states.values()) > HISTORY + 2
        await self._look()

    async def _one(self, key: str, ask: Ask) -> None:
        one = await self._client.do(key, ask, keyed=True)
        state, expected = apply(self._states[key][-1], ask)
        assert one.answer == expected, ask
        self._become(key, state)

    async def _batch(self, asks: Mapping[str, Ask]) -> None:
        after = {key: apply(self._states[key][-1], ask) for key, ask in asks.items()}
        writes = [_entry(key, ask) for key, ask in asks.items()]
        reply = await self._send("POST", "/v1/records/batch", {"writes": writes})
        failed = [key for key, (_, answer) in after.items() if answer.status >= 400]
        if failed:
            assert reply.status == 409, reply
            assert [KEYS[one["index"]] for one in reply.json()["failures"]] == failed
            return
        for one, (state, _) in zip(reply.json()["results"], after.values(), strict=True):
            assert one["version"] == state[0]
            assert (text(one["value"]) if "value" in one else None) == state[1]
        for key, (state, _) in after.items():
            self._become(key, state)

    async def _restore(self, key: str) -> None:
        """The oldest that is kept: it is not any more when it is asked for again."""
        current = self._states[key][-1][1]
        oldest, value = next(one for one in self._kept(key) if one[1] not in (None, current))
        reply = await self._send("POST", f"{RECORDS}/shared/{key}/versions/{oldest}/restore")
        version = self._states[key][-1][0] + 1
        assert (reply.status, reply.json()["version"]) in ((200, version), (201, version)), reply
        self._become(key, (version, value))

    async def _look(self) -> None:
        for key, states in self._states.items():
            read = await self._client.do(key, Ask("get"), keyed=False)
            assert read.answer == apply(states[-1], Ask("get"))[1]
            reply = await self._send("GET", f"{RECORDS}/shared/{key}/versions")
            found = [(one["version"], text(one["value"])) for one in reply.json()["versions"]]
            assert found == [one for one in reversed(self._kept(key)) if one[1]]

    def _kept(self, key: str) -> list[State]:
        """The versions before the last, oldest first."""
        return [one for one in self._states[key][:-1] if one[0]][-HISTORY:]

    def _become(self, key: str, state: State) -> None:
        if state != self._states[key][-1]:
            self._states[key].append(state)

    async def _send(self, method: str, path: str, body: object = None) -> Reply:
        reply = await self._client.request(
            method, path, json.dumps(body) if body else None, idempotency_key=new_id()
        )
        assert reply
        return reply


def _entry(key: str, ask: Ask) -> Mapping[str, object]:
    entry: dict[str, object] = {"op": _OPS[ask.kind], "collection": "shared", "key": key}
    match ask.kind:
        case "add":
            entry |= {"by": ask.argument, "path": "/n"}
        case "max":
            entry |= {"value": ask.argument, "path": "/top"}
        case "put" | "merge":
            entry |= {"value": ask.argument}
    if ask.only_if:
        entry |= {"if_none_match": "*"} if ask.only_if == "none" else {"if_match": "*"}
    return entry


@contextlib.asynccontextmanager
async def a_client(
    folder: Path, issuer: Issuer, clock: ManualClock, around: Callable[[RecordStore], RecordStore]
) -> AsyncIterator[tuple[Client, Running]]:
    async with apps.player_data(folder, issuer, clock, around=around) as data, opened() as http:
        yield Client(http, data.url, issuer.token(sub=ALICE)), data


@pytest.mark.parametrize("every", range(1, 8))
async def test_on_sqlite_every_request_whose_answer_is_lost_is_done_once(
    tmp_path: Path, issuer: Issuer, clock: ManualClock, every: int
) -> None:
    losing: list[Losing] = []

    def around(store: RecordStore) -> RecordStore:
        losing.append(Losing(store, every))
        return losing[0]

    async with a_client(tmp_path, issuer, clock, around) as (client, _):
        await Story(client).tell()
    assert client.statuses[503] == losing[0].lost > 45 // every


@pytest.mark.parametrize("every", range(1, 8))
async def test_on_dynamodb_every_request_whose_reply_is_lost_is_done_once(
    tmp_path: Path, issuer: Issuer, clock: ManualClock, moto: str, every: int
) -> None:
    """Of each write's first reply the client hears nothing, or of every other one and so on."""
    async with aws.client("dynamodb", moto) as direct:
        prefix = await aws.new_tables(direct, *TABLES)
        unlucky = SentTwice(direct) if every == 1 else LosesReplies(direct, every)
        store = DynamoRecordStore(unlucky, prefix)
        async with a_client(tmp_path, issuer, clock, lambda _: store) as (client, _):
            await Story(client).tell()
    if isinstance(unlucky, LosesReplies):
        assert client.statuses[503] == unlucky.lost > 60 // every - 3
