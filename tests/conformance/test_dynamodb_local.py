"""The DynamoDB adapters keep the promises of every port, with DynamoDB Local behind them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.player_data.adapters.dynamodb import DynamoRecordStore
from services.player_data.models import LARGEST_VALUE, RecordKey
from tests.conformance import dynamodb
from tests.conformance.ambiguous_writes import AmbiguousWrites, IdentitiesSentTwice
from tests.conformance.dynamodb_faults import DynamoFaults, DynamoUpgrades
from tests.conformance.ledgers import DynamoUsageTests, LedgerTests
from tests.conformance.races import DynamoRaces
from tests.conformance.records import ALICE, put
from tests.conformance.records_erasure import RecordErasureFaults
from tests.conformance.records_transactions import RecordTransactions
from tests.support import aws


@pytest.fixture
def endpoint(dynamodb_local: str) -> str:
    return dynamodb_local


class TestDynamoDBLocalAccountStore(dynamodb.DynamoAccountStoreTests):
    pass


class TestDynamoDBLocalIdentityStore(dynamodb.DynamoIdentityStoreTests):
    pass


class TestDynamoDBLocalIdentityBanStore(dynamodb.DynamoIdentityBanStoreTests):
    pass


class TestDynamoDBLocalGrantStore(dynamodb.DynamoGrantStoreTests):
    pass


class TestDynamoDBLocalIdempotencyStore(dynamodb.DynamoIdempotencyStoreTests):
    pass


class TestDynamoDBLocalSessionStore(dynamodb.DynamoSessionStoreTests):
    pass


class TestDynamoDBLocalRecordStore(dynamodb.DynamoRecordStoreTests):
    async def test_a_record_of_the_largest_value_and_names_can_be_replaced(
        self, store: DynamoRecordStore
    ) -> None:
        """Not for moto, which adds the size of the old value to that of the new one."""
        key = RecordKey(ALICE, "c" * 128, "k" * 128)
        for version in range(1, 7):
            assert (await put(store, key, "x" * LARGEST_VALUE)).version == version


class TestDynamoDBLocalUsage(DynamoUsageTests):
    pass


class TestDynamoDBLocalLedger(LedgerTests):
    pass


class TestDynamoDBLocalAmbiguousWrites(AmbiguousWrites):
    pass


class TestDynamoDBLocalIdentitiesSentTwice(IdentitiesSentTwice):
    pass


class TestDynamoDBLocalRaces(DynamoRaces):
    pass


class TestDynamoDBLocalFaults(DynamoFaults):
    pass


class TestDynamoDBLocalRecordTransactions(RecordTransactions):
    pass


class TestDynamoDBLocalRecordErasureFaults(RecordErasureFaults):
    pass


class TestDynamoDBLocalUpgrades(DynamoUpgrades):
    @pytest.fixture
    def endpoint(self) -> Iterator[str]:
        """Another one: where there are thousands of tables, a new index never becomes active."""
        assert aws.DYNAMODB_LOCAL
        with aws.dynamodb_local(Path(aws.DYNAMODB_LOCAL)) as url:
            yield url
