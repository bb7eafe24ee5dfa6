"""The DynamoDB adapters keep the promises of every port, with moto behind them."""

import pytest

from tests.conformance import dynamodb


@pytest.fixture
def endpoint(moto: str) -> str:
    return moto


class TestMotoAccountStore(dynamodb.DynamoAccountStoreTests):
    pass


class TestMotoSessionStore(dynamodb.DynamoSessionStoreTests):
    pass


class TestMotoRecordStore(dynamodb.DynamoRecordStoreTests):
    pass
