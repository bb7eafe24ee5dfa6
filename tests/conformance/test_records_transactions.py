"""Records that are written together, with moto behind them."""

import pytest

from tests.conformance.records_transactions import RecordTransactions


@pytest.fixture
def endpoint(moto: str) -> str:
    return moto


class TestRecordTransactions(RecordTransactions):
    pass
