"""The DynamoDB adapters keep the promises of every port, with moto behind them."""

import pytest

from tests.conformance import dynamodb
from tests.conformance.dynamodb_faults import DynamoFaults, DynamoUpgrades


@pytest.fixture
def endpoint(moto: str) -> str:
    return moto


class TestMotoAccountStore(dynamodb.DynamoAccountStoreTests):
    pass


class TestMotoIdentityStore(dynamodb.DynamoIdentityStoreTests):
    pass


class TestMotoIdentityBanStore(dynamodb.DynamoIdentityBanStoreTests):
    pass


class TestMotoGrantStore(dynamodb.DynamoGrantStoreTests):
    pass


class TestMotoIdempotencyStore(dynamodb.DynamoIdempotencyStoreTests):
    pass


class TestMotoSessionStore(dynamodb.DynamoSessionStoreTests):
    pass


class TestMotoRecordStore(dynamodb.DynamoRecordStoreTests):
    pass


class TestMotoFaults(DynamoFaults):
    pass


class TestMotoUpgrades(DynamoUpgrades):
    pass
