"""The DynamoDB adapters before every contract, whatever stands in for DynamoDB."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis.stateful import run_state_machine_as_test

from services.identity.adapters.dynamodb import (
    ACCOUNTS,
    GRANTS,
    IDEMPOTENCY,
    IDENTITIES,
    IDENTITY_BANS,
    SESSIONS,
    DynamoAccountStore,
    DynamoGrantStore,
    DynamoIdempotencyStore,
    DynamoIdentityBanStore,
    DynamoIdentityStore,
    DynamoSessionStore,
)
from services.identity.models import Ban, Mark, SessionKey
from services.player_data.adapters.dynamodb import TABLES, DynamoRecordStore
from shared import errors
from shared.aws import Client
from shared.clock import from_millis, to_seconds
from shared.dynamodb import binary, number, string
from shared.ids import new_id
from tests.conformance import accounts, sessions
from tests.conformance.accounts import CREATED, DAY, AccountStoreContract, account
from tests.conformance.grants import GrantStoreContract
from tests.conformance.idempotency import FIRST, NOW, IdempotencyStoreContract
from tests.conformance.identities import IdentityStoreContract
from tests.conformance.identity_bans import BAN, FOR_A_WEEK, UNTIL, IdentityBanStoreContract
from tests.conformance.records import RecordStoreContract
from tests.conformance.records_as_of import AsOfContract
from tests.conformance.records_model import FEW, RecordStoreMachine
from tests.conformance.records_together import WritesContract
from tests.conformance.sessions import ALICE, SESSION, SessionStoreContract, redeem, start
from tests.support.aws import EventuallyConsistent, client, new_tables


class OnDynamo:
    """Subclasses provide the fixture `endpoint`."""

    @pytest.fixture
    async def dynamodb(self, endpoint: str) -> AsyncIterator[Client]:
        async with client("dynamodb", endpoint) as opened:
            yield EventuallyConsistent(opened)


class DynamoAccountStoreTests(OnDynamo, AccountStoreContract):
    @pytest.fixture
    async def prefix(self, dynamodb: Client) -> str:
        return await new_tables(dynamodb, ACCOUNTS)

    @pytest.fixture
    def store(self, dynamodb: Client, prefix: str) -> DynamoAccountStore:
        return DynamoAccountStore(dynamodb, prefix)

    async def test_an_account_from_before_there_were_revisions_has_the_first(
        self, dynamodb: Client, prefix: str, store: DynamoAccountStore
    ) -> None:
        await dynamodb.put_item(
            TableName=f"{prefix}accounts",
            Item={"user_id": string(accounts.ALICE), "created_at": number(1000)},
        )
        created_at = from_millis(1000)
        expected = account(created_at=created_at, seen_at=created_at, digest=None)
        assert await store.get(accounts.ALICE) == expected
        assert [one async for one in store.inactive_guests(CREATED)] == [expected]
        assert [one async for one in store.inactive_guests(created_at)] == []
        with pytest.raises(errors.VersionConflict):
            await store.replace(replace(expected, revision=2))
        assert await store.replace(expected) == replace(expected, revision=2)
        assert await store.get(accounts.ALICE) == replace(expected, revision=2)

    async def test_a_walk_over_many_pages_meets_each_account_once(
        self, store: DynamoAccountStore
    ) -> None:
        """Of what DynamoDB has read, it answers at most 1 MB at a time."""
        ban = Ban("x" * 300_000, CREATED)
        wanted = [replace(account(new_id()), bans=(ban,)) for _ in range(8)]
        for one in wanted:
            await store.create(one)
        found = [one async for one in store.inactive_guests(CREATED + 2 * DAY)]
        assert sorted(one.user_id for one in found) == sorted(one.user_id for one in wanted)
        since = await store.marked_since(Mark.BANNED, CREATED, limit=7)
        assert len({one.user_id for one in since}) == 7


class DynamoIdentityBanStoreTests(OnDynamo, IdentityBanStoreContract):
    @pytest.fixture
    async def prefix(self, dynamodb: Client) -> str:
        return await new_tables(dynamodb, IDENTITY_BANS)

    @pytest.fixture
    def store(self, dynamodb: Client, prefix: str) -> DynamoIdentityBanStore:
        return DynamoIdentityBanStore(dynamodb, prefix)

    async def test_a_ban_tells_dynamodb_when_to_delete_it(
        self, dynamodb: Client, prefix: str, store: DynamoIdentityBanStore
    ) -> None:
        name = f"{prefix}identity-bans"
        for ban, expires_at in ((FOR_A_WEEK, number(to_seconds(UNTIL))), (BAN, None)):
            await store.put(ban)
            key = {"identity": string(f"{ban.provider}#{ban.external_id}")}
            answer = await dynamodb.get_item(TableName=name, Key=key, ConsistentRead=True)
            assert answer["Item"].get("expires_at") == expires_at
        ttl = (await dynamodb.describe_time_to_live(TableName=name))["TimeToLiveDescription"]
        assert ttl == {"AttributeName": "expires_at", "TimeToLiveStatus": "ENABLED"}


class DynamoGrantStoreTests(OnDynamo, GrantStoreContract):
    @pytest.fixture
    async def store(self, dynamodb: Client) -> DynamoGrantStore:
        return DynamoGrantStore(dynamodb, await new_tables(dynamodb, GRANTS))


class DynamoIdentityStoreTests(OnDynamo, IdentityStoreContract):
    @pytest.fixture
    async def prefix(self, dynamodb: Client) -> str:
        return await new_tables(dynamodb, ACCOUNTS, IDENTITIES)

    @pytest.fixture
    def store(self, dynamodb: Client, prefix: str) -> DynamoIdentityStore:
        return DynamoIdentityStore(dynamodb, prefix)

    @pytest.fixture
    def accounts(self, dynamodb: Client, prefix: str) -> DynamoAccountStore:
        return DynamoAccountStore(dynamodb, prefix)


class DynamoIdempotencyStoreTests(OnDynamo, IdempotencyStoreContract):
    @pytest.fixture
    async def prefix(self, dynamodb: Client) -> str:
        return await new_tables(dynamodb, IDEMPOTENCY)

    @pytest.fixture
    def store(self, dynamodb: Client, prefix: str) -> DynamoIdempotencyStore:
        return DynamoIdempotencyStore(dynamodb, prefix)

    async def test_a_record_tells_dynamodb_when_to_delete_it(
        self, dynamodb: Client, prefix: str, store: DynamoIdempotencyStore
    ) -> None:
        await store.claim(FIRST, now=NOW)
        name = f"{prefix}idempotency"
        answer = await dynamodb.get_item(
            TableName=name, Key={"key": binary(FIRST.key)}, ConsistentRead=True
        )
        assert answer["Item"]["expires_at"] == number(to_seconds(FIRST.expires_at))
        ttl = (await dynamodb.describe_time_to_live(TableName=name))["TimeToLiveDescription"]
        assert ttl == {"AttributeName": "expires_at", "TimeToLiveStatus": "ENABLED"}


class DynamoSessionStoreTests(OnDynamo, SessionStoreContract):
    @pytest.fixture
    async def prefix(self, dynamodb: Client) -> str:
        return await new_tables(dynamodb, SESSIONS)

    @pytest.fixture
    def store(self, dynamodb: Client, prefix: str) -> DynamoSessionStore:
        return DynamoSessionStore(dynamodb, prefix)

    async def test_a_session_from_before_replays_were_counted_has_none(
        self, dynamodb: Client, prefix: str, store: DynamoSessionStore
    ) -> None:
        session = await start(store, 2)
        key = {"user_id": string(ALICE), "session_id": string(session.key.session_id)}
        await dynamodb.update_item(
            TableName=f"{prefix}sessions", Key=key, UpdateExpression="REMOVE replays"
        )
        assert await store.get(session.key) == session
        assert [(await redeem(store)).session.replays for _ in range(2)] == [1, 2]

    async def test_what_has_expired_is_left_to_dynamodb(self, store: DynamoSessionStore) -> None:
        await store.create(SESSION)
        assert await store.delete_expired(SESSION.absolute_expires_at + DAY, limit=10) == 0
        assert await store.get(SESSION.key) == SESSION

    async def test_dynamodb_keeps_one_that_has_ended_as_long_as_its_tokens_may_live(
        self, dynamodb: Client, prefix: str, store: DynamoSessionStore
    ) -> None:
        """And longer: of one that is gone nobody would be told that it has ended."""
        await store.create(SESSION)
        item = (await dynamodb.scan(TableName=f"{prefix}sessions", ConsistentRead=True))["Items"][0]
        assert item["expires_at"] == number(to_seconds(SESSION.absolute_expires_at + DAY))

    async def test_all_sessions_of_many_pages_are_listed_and_removed(
        self, store: DynamoSessionStore
    ) -> None:
        """Of what DynamoDB has read, it answers at most 1 MB at a time."""
        many = [
            replace(SESSION, key=SessionKey(ALICE, new_id()), device="x" * 100_000)
            for _ in range(30)
        ]
        for one in many:
            await store.create(one)
        assert {one.key for one in await store.list(ALICE)} == {one.key for one in many}
        await store.delete_all(ALICE)
        assert await store.list(ALICE) == []

    async def test_the_ends_of_many_sessions_are_spread_over_the_index(
        self, dynamodb: Client, prefix: str, store: DynamoSessionStore
    ) -> None:
        for _ in range(64):
            one = replace(SESSION, key=SessionKey(ALICE, new_id()))
            await store.create(one)
            await store.end(one.key, now=sessions.LATER, reason="signed_out")
        items = await dynamodb.scan(TableName=f"{prefix}sessions", ConsistentRead=True)
        shards = {item["ended_shard"]["N"] for item in items["Items"]}
        assert shards == {str(number) for number in range(8)}


class DynamoRecordStoreTests(OnDynamo, RecordStoreContract, WritesContract, AsOfContract):
    @pytest.fixture
    async def store(self, dynamodb: Client) -> DynamoRecordStore:
        return DynamoRecordStore(dynamodb, await new_tables(dynamodb, *TABLES))

    def test_it_answers_as_a_dict_would(self, endpoint: str) -> None:
        @contextlib.asynccontextmanager
        async def open_store() -> AsyncIterator[DynamoRecordStore]:
            async with client("dynamodb", endpoint) as opened:
                yield DynamoRecordStore(opened, await new_tables(opened, *TABLES))

        class Machine(RecordStoreMachine):
            def __init__(self) -> None:
                super().__init__(open_store)

        run_state_machine_as_test(Machine, settings=FEW)
