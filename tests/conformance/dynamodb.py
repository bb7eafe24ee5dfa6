"""The DynamoDB adapters before every contract, whatever stands in for DynamoDB."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from services.identity.adapters.dynamodb import (
    ACCOUNTS,
    IDEMPOTENCY,
    IDENTITIES,
    SESSIONS,
    DynamoAccountStore,
    DynamoIdempotencyStore,
    DynamoIdentityStore,
    DynamoSessionStore,
)
from services.player_data.adapters.dynamodb import RECORD_VERSIONS, RECORDS, DynamoRecordStore
from shared.aws import Client
from shared.clock import to_seconds
from shared.dynamodb import binary, number, string
from tests.conformance.accounts import AccountStoreContract
from tests.conformance.idempotency import FIRST, NOW, IdempotencyStoreContract
from tests.conformance.identities import IdentityStoreContract
from tests.conformance.records import RecordStoreContract
from tests.conformance.records_model import RecordStoreMachine
from tests.conformance.sessions import ALICE, SessionStoreContract, redeem, start
from tests.support.aws import EventuallyConsistent, client, new_tables

TABLES = (RECORDS, RECORD_VERSIONS)
FEW = settings(max_examples=8, stateful_step_count=40, deadline=None)


class OnDynamo:
    """Subclasses provide the fixture `endpoint`."""

    @pytest.fixture
    async def dynamodb(self, endpoint: str) -> AsyncIterator[Client]:
        async with client("dynamodb", endpoint) as opened:
            yield EventuallyConsistent(opened)


class DynamoAccountStoreTests(OnDynamo, AccountStoreContract):
    @pytest.fixture
    async def store(self, dynamodb: Client) -> DynamoAccountStore:
        return DynamoAccountStore(dynamodb, await new_tables(dynamodb, ACCOUNTS))


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


class DynamoRecordStoreTests(OnDynamo, RecordStoreContract):
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
