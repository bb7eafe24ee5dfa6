"""Lost replies, with moto behind them."""

import pytest

from tests.conformance.ambiguous_writes import AmbiguousWrites, IdentitiesSentTwice


@pytest.fixture
def endpoint(moto: str) -> str:
    return moto


class TestAmbiguousWrites(AmbiguousWrites):
    pass


class TestIdentitiesSentTwice(IdentitiesSentTwice):
    pass
