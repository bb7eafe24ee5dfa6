"""The DynamoDB adapters keep the promises of every port, with DynamoDB Local behind them."""

import pytest

from tests.conformance import dynamodb
from tests.conformance.ambiguous_writes import AmbiguousWrites


@pytest.fixture
def endpoint(dynamodb_local: str) -> str:
    return dynamodb_local


class TestDynamoDBLocalAccountStore(dynamodb.DynamoAccountStoreTests):
    pass


class TestDynamoDBLocalSessionStore(dynamodb.DynamoSessionStoreTests):
    pass


class TestDynamoDBLocalRecordStore(dynamodb.DynamoRecordStoreTests):
    pass


class TestDynamoDBLocalAmbiguousWrites(AmbiguousWrites):
    pass
