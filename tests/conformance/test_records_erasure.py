"""Erasures that meet trouble, with moto behind them."""

import pytest

from tests.conformance.records_erasure import RecordErasureFaults


@pytest.fixture
def endpoint(moto: str) -> str:
    return moto


class TestMotoRecordErasureFaults(RecordErasureFaults):
    pass
