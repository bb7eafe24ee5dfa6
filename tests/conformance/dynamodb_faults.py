"""What DynamoDB refuses, and replies that get lost on the wire."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from botocore.exceptions import ClientError

from services.identity.adapters.dynamodb import (
    ACCOUNTS,
    GRANTS,
    IDENTITIES,
    IDENTITY_BANS,
    SESSIONS,
    DynamoAccountStore,
    DynamoGrantStore,
    DynamoIdentityBanStore,
    DynamoIdentityStore,
    DynamoSessionStore,
)
from services.identity.models import Account, SessionKey
from services.player_data.adapters.dynamodb import RECORDS, TABLES, DynamoRecordStore
from services.player_data.models import LARGEST_PAGE, LARGEST_VALUE, Precondition, Record, RecordKey
from shared import errors
from shared.aws import Client
from shared.dynamodb import TableDefinition, create_table
from shared.ids import new_id
from tests.conformance.accounts import BANNED, account
from tests.conformance.dynamodb import OnDynamo
from tests.conformance.grants import GRANT
from tests.conformance.identities import BOB, CAROL, find, guest, identity, log_in
from tests.conformance.identity_bans import BAN
from tests.conformance.records import ALICE, KEY, delete, fill, in_saves, numbers, page, put, walk
from tests.conformance.sessions import LATER, SESSION, create_all, redeem, start
from tests.support.aws import client, new_tables
from tests.support.servers import serving

Lose = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


async def cut_off(request: web.Request, _: bytes) -> web.StreamResponse:
    """The connection is closed before a byte of the reply."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut_short(request: web.Request, body: bytes) -> web.StreamResponse:
    """The connection is closed in the middle of the reply."""
    response = web.StreamResponse(headers={"Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.close()
    return response


async def server_error(_: web.Request, __: bytes) -> web.StreamResponse:
    return web.json_response({"__type": "InternalServerError"}, status=500)


_READS = ("GetItem", "Query", "Scan")
LOSSES = [cut_off, cut_short, server_error]


@contextlib.asynccontextmanager
async def losing(upstream: str, lose: Lose) -> AsyncIterator[tuple[Client, list[str]]]:
    """A client of `upstream` that loses the reply to every write's first attempt.

    And the operations of all attempts.
    """
    attempts: list[str] = []
    seen: set[str] = set()

    async def forward(request: web.Request) -> web.StreamResponse:
        operation = request.headers["X-Amz-Target"].partition(".")[2]
        attempts.append(operation)
        async with http.post(
            upstream, data=await request.read(), headers=request.headers
        ) as response:
            body = await response.read()
        # botocore gives all attempts of a call the same id.
        call = request.headers["amz-sdk-invocation-id"]
        if operation not in _READS and call not in seen:
            seen.add(call)
            return await lose(request, body)
        return web.Response(status=response.status, body=body)

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/", forward)
    async with (
        aiohttp.ClientSession(auto_decompress=False) as http,
        serving(app) as url,
        client("dynamodb", url) as opened,
    ):
        yield opened, attempts


class DynamoFaults(OnDynamo):
    """Subclasses provide the fixture `endpoint`."""

    @pytest.mark.parametrize("lose", LOSSES)
    async def test_botocore_sends_a_write_again_whose_reply_is_lost_and_it_happens_once(
        self, endpoint: str, dynamodb: Client, lose: Lose
    ) -> None:
        definitions = (ACCOUNTS, GRANTS, IDENTITIES, IDENTITY_BANS, SESSIONS, *TABLES)
        prefix = await new_tables(dynamodb, *definitions)
        async with losing(endpoint, lose) as (unlucky, attempts):
            # Side by side: botocore waits a little before it sends again.
            await asyncio.gather(
                _use_identities(
                    DynamoIdentityStore(unlucky, prefix),
                    await guest(DynamoAccountStore(dynamodb, prefix), CAROL),
                ),
                _use_account(DynamoAccountStore(unlucky, prefix)),
                _use_ban(DynamoIdentityBanStore(unlucky, prefix)),
                _use_grant(DynamoGrantStore(unlucky, prefix)),
                _use_session(DynamoSessionStore(unlucky, prefix)),
                _use_record(DynamoRecordStore(unlucky, prefix)),
            )
        # The record: created without a look, then twice read, copied and changed.
        assert Counter(attempts) == {
            "GetItem": 2 + 1 + 1,
            "PutItem": 2 + 2 + 4,
            "UpdateItem": 2 + 2 + 2 + 4 + 6,
            "DeleteItem": 2 + 2 + 2,
            "Query": 1,
            "BatchWriteItem": 2,
            "TransactWriteItems": 2 * 5,
        }
        assert await DynamoSessionStore(dynamodb, prefix).get(SESSION.key) is None
        found = await DynamoAccountStore(dynamodb, prefix).get(BANNED.user_id)
        assert found == replace(BANNED, revision=2)
        assert await numbers(DynamoRecordStore(dynamodb, prefix)) == [2, 1]

    async def test_a_write_that_meets_a_transaction_is_tried_again_and_happens_once(
        self, dynamodb: Client
    ) -> None:
        prefix = await new_tables(dynamodb, ACCOUNTS)
        occupied = Occupied(dynamodb, times=4)
        store = DynamoAccountStore(occupied, prefix)
        await store.create(account())
        assert await store.replace(BANNED) == replace(BANNED, revision=2)
        assert await store.get(BANNED.user_id) == replace(BANNED, revision=2)
        assert occupied.times == 0

    async def test_a_write_that_meets_transactions_for_too_long_is_bad_weather(
        self, dynamodb: Client
    ) -> None:
        prefix = await new_tables(dynamodb, ACCOUNTS)
        await DynamoAccountStore(dynamodb, prefix).create(account())
        store = DynamoAccountStore(Occupied(dynamodb, times=5), prefix)
        with structlog.testing.capture_logs() as logs, pytest.raises(errors.Unavailable):
            await store.replace(BANNED)
        assert [(log["operation"], log["code"]) for log in logs] == [
            ("update_item", "TransactionConflictException")
        ]
        assert await store.get(BANNED.user_id) == account()

    async def test_a_missing_table_is_bad_weather_and_the_log_names_it(
        self, dynamodb: Client
    ) -> None:
        store = DynamoRecordStore(dynamodb, "nowhere-")
        for operation in (
            store.get(KEY),
            put(store),
            put(store, keep=0),
            delete(store),
            page(store),
            store.versions(KEY),
        ):
            with structlog.testing.capture_logs() as logs, pytest.raises(errors.Unavailable):
                await operation
            assert [(log["table"], log["code"]) for log in logs] == [
                ("nowhere-records", "ResourceNotFoundException")
            ]

    async def test_a_missing_table_of_versions_keeps_what_would_be_lost_without_it(
        self, dynamodb: Client
    ) -> None:
        prefix = await new_tables(dynamodb, RECORDS)
        store = DynamoRecordStore(dynamodb, prefix)
        record = await put(store)
        for operation in (put(store), delete(store)):
            with structlog.testing.capture_logs() as logs, pytest.raises(errors.Unavailable):
                await operation
            assert [log["table"] for log in logs] == [f"{prefix}record-versions"]
        assert await store.get(KEY) == record

    async def test_a_record_from_before_there_was_a_history_gets_one(
        self, dynamodb: Client
    ) -> None:
        prefix = await new_tables(dynamodb, *TABLES)
        store = DynamoRecordStore(dynamodb, prefix)
        record = await put(store)
        await dynamodb.update_item(
            TableName=f"{prefix}records",
            Key={"player": {"S": ALICE}, "sort": {"S": "saves#slot1"}},
            UpdateExpression="REMOVE keep",
        )
        assert await store.versions(KEY) == []
        await put(store)
        assert await store.versions(KEY) == [record]

    async def test_a_write_that_can_overwrite_nothing_is_one_call(
        self, endpoint: str, dynamodb: Client
    ) -> None:
        prefix = await new_tables(dynamodb, *TABLES)
        async with losing(endpoint, server_error) as (counted, attempts):
            store = DynamoRecordStore(counted, prefix)
            await put(store, precondition=Precondition.ABSENT)
            with pytest.raises(errors.VersionConflict):
                await put(store, precondition=Precondition.ABSENT)
        assert Counter(attempts) == {"UpdateItem": 4}  # each sent twice

    async def test_of_parallel_writes_of_several_processes_none_is_missing_in_the_history(
        self, endpoint: str, dynamodb: Client
    ) -> None:
        """Some may give up; what was acknowledged is there, once, and nothing besides."""
        prefix = await new_tables(dynamodb, *TABLES)
        async with contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(client("dynamodb", endpoint)) for _ in range(4)
            ]
            stores = [DynamoRecordStore(one, prefix) for one in clients]
            outcomes = await asyncio.gather(
                *(put(stores[n % 4], value=str(n), keep=40) for n in range(32)),
                *(delete(stores[n % 4], keep=40) for n in range(4)),
                return_exceptions=True,
            )
        written = [outcome for outcome in outcomes if isinstance(outcome, Record)]
        failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert all(isinstance(outcome, errors.Unavailable) for outcome in failed)
        assert len(written) > 16
        store = DynamoRecordStore(dynamodb, prefix)
        current = await store.get(KEY)
        newest_first = sorted(written, key=lambda record: record.version, reverse=True)
        assert await store.versions(KEY) == [one for one in newest_first if one != current]

    async def test_what_is_larger_than_an_item_can_be_is_too_large_and_changes_nothing(
        self,
        dynamodb: Client,
    ) -> None:
        store = DynamoRecordStore(dynamodb, await new_tables(dynamodb, *TABLES))
        record = await put(store)
        with pytest.raises(errors.TooLarge):
            await put(store, value="x" * 400 * 1024)
        assert await store.get(KEY) == record

    async def test_a_list_of_versions_may_be_longer_than_a_condition_takes_at_once(
        self,
        dynamodb: Client,
    ) -> None:
        store = DynamoRecordStore(dynamodb, await new_tables(dynamodb, *TABLES))
        await put(store)
        many = Precondition.at(*range(2, 252))
        with pytest.raises(errors.VersionConflict):
            await put(store, precondition=many)
        await put(store)
        assert (await put(store, precondition=many)).version == 3

    async def test_a_page_ends_where_the_values_reach_its_size(self, dynamodb: Client) -> None:
        store = DynamoRecordStore(dynamodb, await new_tables(dynamodb, *TABLES))
        keys = in_saves("a", "b", "c", "d", "e")
        for key in keys:
            await put(store, key, "x" * LARGEST_VALUE)
        assert 2 * LARGEST_VALUE < LARGEST_PAGE < 3 * LARGEST_VALUE
        assert await walk(store) == [keys[:2], keys[2:4], keys[4:]]

    async def test_many_deleted_records_are_crossed_in_few_queries(
        self, endpoint: str, dynamodb: Client
    ) -> None:
        prefix = await new_tables(dynamodb, *TABLES)
        store = DynamoRecordStore(dynamodb, prefix)
        keys = in_saves(*(f"{number:02}" for number in range(60)))
        await fill(store, *keys)
        for key in keys:
            await delete(store, key)
        last = await put(store, RecordKey(ALICE, "saves", "99"))
        async with losing(endpoint, server_error) as (counted, attempts):
            found = await page(DynamoRecordStore(counted, prefix), limit=1)
        assert found.records == [last]
        assert len(attempts) == 5  # 2 + 4 + 8 + 16 + 32 items

    async def test_creating_a_table_again_changes_nothing(self, dynamodb: Client) -> None:
        prefix = await new_tables(dynamodb, SESSIONS)
        store = DynamoSessionStore(dynamodb, prefix)
        await store.create(SESSION)
        await create_table(dynamodb, prefix, SESSIONS)
        assert await store.get(SESSION.key) == SESSION
        answer = await dynamodb.describe_time_to_live(TableName=f"{prefix}sessions")
        assert answer["TimeToLiveDescription"] == {
            "AttributeName": "expires_at",
            "TimeToLiveStatus": "ENABLED",
        }

    # What is done in parts.

    async def test_what_dynamodb_leaves_of_a_batch_is_asked_for_again(
        self, dynamodb: Client
    ) -> None:
        prefix = await new_tables(dynamodb, SESSIONS)
        plenty = [replace(SESSION, key=SessionKey(ALICE, new_id())) for _ in range(30)]
        store = DynamoSessionStore(dynamodb, prefix)
        await create_all(store, plenty)
        busy = Busy(dynamodb, at_once=10)
        await DynamoSessionStore(busy, prefix).delete_all(ALICE)
        assert await store.list(ALICE) == []
        assert busy.asked == [25, 15, 5, 5]

    async def test_a_batch_of_which_nothing_is_done_is_bad_weather(self, dynamodb: Client) -> None:
        prefix = await new_tables(dynamodb, SESSIONS)
        store = DynamoSessionStore(dynamodb, prefix)
        await store.create(SESSION)
        with pytest.raises(errors.Unavailable):
            await DynamoSessionStore(Busy(dynamodb, at_once=0), prefix).delete_all(ALICE)
        assert await store.list(ALICE) == [SESSION]

    async def test_what_was_ended_lately_is_asked_of_all_shards_at_once(
        self, endpoint: str, dynamodb: Client
    ) -> None:
        prefix = await new_tables(dynamodb, SESSIONS)
        async with losing(endpoint, server_error) as (counted, attempts):
            assert await DynamoSessionStore(counted, prefix).ended_since(LATER, limit=9) == []
        assert attempts == ["Query"] * 8


class DynamoUpgrades(OnDynamo):
    """Subclasses provide the fixture `endpoint`."""

    async def test_a_table_from_before_there_was_an_index_gets_it_and_keeps_its_items(
        self, dynamodb: Client
    ) -> None:
        prefix = await new_tables(dynamodb, _without_indexes(SESSIONS))
        store = DynamoSessionStore(dynamodb, prefix)
        await start(store, 2)
        await store.end(SESSION.key, now=LATER, reason="signed_out")
        with pytest.raises(errors.Unavailable):
            await store.ended_since(LATER, limit=1)
        for _ in range(2):
            await create_table(dynamodb, prefix, SESSIONS)
            assert await store.ended_since(LATER, limit=1) == [SESSION.key]

    async def test_a_new_index_is_waited_for(self, dynamodb: Client) -> None:
        prefix = await new_tables(dynamodb, _without_indexes(SESSIONS))
        filling = Backfilling(dynamodb, looks=1)
        await create_table(filling, prefix, SESSIONS)
        assert filling.looks == 0


class Backfilling:
    """Describes a table's indexes as not there yet `looks` times."""

    def __init__(self, client: Client, looks: int) -> None:
        self._client = client
        self._created = False
        self.looks = looks

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        return getattr(self._client, name)

    async def update_table(self, **parameters: object) -> Mapping[str, Any]:
        self._created = True
        answer: Mapping[str, Any] = await self._client.update_table(**parameters)
        return answer

    async def describe_table(self, **parameters: object) -> Mapping[str, Any]:
        answer: dict[str, Any] = await self._client.describe_table(**parameters)
        if self._created and self.looks:
            self.looks -= 1
            for index in answer["Table"]["GlobalSecondaryIndexes"]:
                index["IndexStatus"] = "CREATING"
        return answer


class Occupied:
    """The first `times` updates of an item meet a transaction of another."""

    def __init__(self, client: Client, times: int) -> None:
        self._client = client
        self.times = times

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        return getattr(self._client, name)

    async def update_item(self, **parameters: object) -> Mapping[str, Any]:
        if self.times:
            self.times -= 1
            refusal = {"Error": {"Code": "TransactionConflictException", "Message": "ongoing"}}
            raise ClientError(refusal, "UpdateItem")
        answer: Mapping[str, Any] = await self._client.update_item(**parameters)
        return answer


class Busy:
    """Of a batch only the first `at_once` requests are done; `asked` is how many there were."""

    def __init__(self, client: Client, at_once: int) -> None:
        self._client = client
        self._at_once = at_once
        self.asked: list[int] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        return getattr(self._client, name)

    async def batch_write_item(
        self,
        *,
        RequestItems: Mapping[str, Sequence[Any]],  # noqa: N803 - boto3's
    ) -> Mapping[str, Any]:
        ((table, requests),) = RequestItems.items()
        self.asked.append(len(requests))
        if now := requests[: self._at_once]:
            await self._client.batch_write_item(RequestItems={table: now})
        later = requests[self._at_once :]
        return {"UnprocessedItems": {table: later} if later else {}}


def _without_indexes(definition: TableDefinition) -> TableDefinition:
    keys = {key["AttributeName"] for key in definition.schema["KeySchema"]}
    attributes = definition.schema["AttributeDefinitions"]
    schema = {
        **definition.schema,
        "AttributeDefinitions": [each for each in attributes if each["AttributeName"] in keys],
    }
    del schema["GlobalSecondaryIndexes"]
    return replace(definition, schema=schema)


async def _use_identities(store: DynamoIdentityStore, carol: Account) -> None:
    bob = await log_in(store, identity(BOB))
    carol = await store.link(carol, identity(provider="epic", external_id="former"))
    carol = await store.rename(carol, "former", identity(provider="epic"))
    carol, bob = await store.move(identity(provider="epic"), carol, bob)
    bob = await store.unlink(bob, *identity(provider="epic").key)
    assert (bob.revision, carol.revision) == (3, 4)
    await store.release(identity(BOB))
    assert await find(store, identity()) is None


async def _use_account(store: DynamoAccountStore) -> None:
    await store.create(account())
    assert (await store.replace(BANNED)).revision == 2


async def _use_ban(store: DynamoIdentityBanStore) -> None:
    await store.put(BAN)
    await store.delete(BAN.provider, BAN.external_id)


async def _use_grant(store: DynamoGrantStore) -> None:
    await store.put(GRANT)
    await store.delete(GRANT)


async def _use_session(store: DynamoSessionStore) -> None:
    await store.create(SESSION)
    assert (await redeem(store)).session.counter == 2
    assert await store.end(SESSION.key, now=LATER, reason="signed_out")
    await store.delete_all(ALICE)


async def _use_record(store: DynamoRecordStore) -> None:
    assert (await put(store, precondition=Precondition.ABSENT)).version == 1
    assert (await put(store)).version == 2
    assert await delete(store, precondition=Precondition.at(2)) == 3
