"""Any sequence of calls on a store of records, compared with a dict."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

from hypothesis.stateful import run_state_machine_as_test

from services.player_data.adapters.sqlite import MIGRATIONS, SqliteRecordStore
from shared.sqlite import Database
from tests.conformance.records_model import MODEST, RecordStoreMachine


def test_sqlite_answers_as_a_dict_would(tmp_path: Path) -> None:
    numbers = itertools.count()

    @contextlib.asynccontextmanager
    async def open_store() -> AsyncIterator[SqliteRecordStore]:
        database = Database(tmp_path / f"{next(numbers)}.db", MIGRATIONS)
        await database.open()
        yield SqliteRecordStore(database)
        await database.close()

    class SqliteRecordStoreMachine(RecordStoreMachine):
        def __init__(self) -> None:
            super().__init__(open_store)

    run_state_machine_as_test(SqliteRecordStoreMachine, settings=MODEST)
