"""Races on SQLite and on moto; those on DynamoDB Local are with its other tests."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from services.identity.adapters.sqlite import (
    MIGRATIONS,
    SqliteAccountStore,
    SqliteGrantStore,
    SqliteIdempotencyStore,
    SqliteIdentityBanStore,
    SqliteIdentityStore,
    SqliteSessionStore,
)
from shared.sqlite import Database
from tests.conformance.races import OPENINGS, SEEDS, DynamoRaces, Opening, Races


@pytest.mark.parametrize("seed", SEEDS)
class TestSqliteRaces(Races):
    @pytest.fixture
    async def openings(self, tmp_path: Path) -> AsyncIterator[Sequence[Opening]]:
        databases = [Database(tmp_path / "identity.db", MIGRATIONS) for _ in range(OPENINGS)]
        for database in databases:
            await database.open()
        yield [
            Opening(
                SqliteAccountStore(database),
                SqliteIdempotencyStore(database),
                SqliteIdentityStore(database),
                SqliteIdentityBanStore(database),
                SqliteGrantStore(database),
                SqliteSessionStore(database),
            )
            for database in databases
        ]
        for database in databases:
            await database.close()


class TestMotoRaces(DynamoRaces):
    @pytest.fixture
    def endpoint(self, moto: str) -> str:
        return moto
