"""Throttled, slow and broken AWS: requests succeed, or fail fast, and happen once."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from services.identity.adapters.dynamodb import (
    ACCOUNTS,
    SESSIONS,
    DynamoAccountStore,
    DynamoSessionStore,
)
from services.identity.models import SessionKey
from services.player_data.adapters.dynamodb import TABLES, DynamoRecordStore
from services.player_data.models import Precondition, RecordKey
from shared import errors
from tests.conformance import records
from tests.conformance.accounts import account
from tests.conformance.sessions import LATER, SESSION
from tests.support import aws, figures
from tests.support.faulty_aws import Fault, FaultyAws
from tests.support.long import LONG

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OPERATIONS, LEAST = (1500, 0.99) if LONG else (200, 0.96)


@pytest.fixture
def faulty(moto: str) -> FaultyAws:
    return FaultyAws(moto)


@pytest.fixture
async def store(faulty: FaultyAws, moto: str) -> AsyncIterator[DynamoRecordStore]:
    async with aws.client("dynamodb", moto) as direct:
        prefix = await aws.new_tables(direct, *TABLES)
    async with faulty.serving() as url, aws.client("dynamodb", url) as client:
        yield DynamoRecordStore(client, prefix)


def key(number: int) -> RecordKey:
    return RecordKey("a" * 32, "saves", f"slot{number}")


async def put(store: DynamoRecordStore, number: int, value: str) -> int:
    return (await records.put(store, key(number), value, now=NOW)).version


async def test_with_a_fifth_of_all_calls_throttled_nearly_all_requests_succeed(
    store: DynamoRecordStore, faulty: FaultyAws
) -> None:
    """Over thousands it is more than 99 of 100; so few may have bad luck.

    Without a repetition it would be 51, since each request makes three calls.
    """
    # A hash, not every fifth: a call and its repetition must be able to meet the same fate.
    faulty.plan = lambda number: Fault.THROTTLE if sha256(b"%d" % number).digest()[0] < 51 else None

    few = asyncio.Semaphore(16)  # so that none waits for the stand-in longer than for AWS

    async def request(number: int) -> bool:
        async with few:
            try:
                await put(store, number, "1")
                found = await store.get(key(number))
            except errors.Unavailable:
                return False
            return found is not None

    total = sum(await asyncio.gather(*map(request, range(OPERATIONS))))
    assert faulty.faults[Fault.THROTTLE] > OPERATIONS / 4
    figures.note("a fifth of all calls throttled", requests=OPERATIONS, succeeded=total)
    assert total >= OPERATIONS * LEAST


async def test_writes_whose_replies_are_dropped_happen_exactly_once(
    store: DynamoRecordStore, faulty: FaultyAws
) -> None:
    """Blind, conditional and deleting writes, every seventh reply lost; a model keeps count."""
    faulty.plan = lambda number: Fault.DROP_REPLY if number % 7 == 0 else None
    versions: dict[int, int] = {}
    values: dict[int, str | None] = {}
    for step in range(45):
        number = step % 5
        current = versions.get(number, 0)
        if step % 7 == 6 and values.get(number) is not None:
            await records.delete(store, key(number), now=NOW)
            values[number] = None
        elif step % 2 and values.get(number) is not None:
            at = Precondition.at(current)
            await records.put(store, key(number), str(step), precondition=at, now=NOW)
            values[number] = str(step)
        else:
            await put(store, number, str(step))
            values[number] = str(step)
        versions[number] = current + 1
    assert faulty.faults[Fault.DROP_REPLY] > 10

    faulty.plan = lambda _number: None
    for number, value in values.items():
        record = await store.get(key(number))
        assert (record.value if record else None) == value
        assert await put(store, number, "last") == versions[number] + 1


async def test_accounts_change_and_sessions_end_exactly_once_in_bad_weather(
    faulty: FaultyAws, moto: str
) -> None:
    """Of seven replies one is lost, and of seven calls one is refused."""
    faults = {0: Fault.DROP_REPLY, 5: Fault.THROTTLE}
    async with aws.client("dynamodb", moto) as direct:
        prefix = await aws.new_tables(direct, ACCOUNTS, SESSIONS)
    async with faulty.serving() as url, aws.client("dynamodb", url) as client:
        accounts, sessions = DynamoAccountStore(client, prefix), DynamoSessionStore(client, prefix)
        faulty.plan = lambda number: faults.get(number % 7)
        await accounts.create(account())
        current = account()
        for day in range(20):
            wanted = current.seen(NOW + timedelta(days=day))
            current = await accounts.replace(wanted)
            assert current == replace(wanted, revision=day + 2)
        assert await accounts.get(current.user_id) == current
        for number in range(10):
            one = replace(SESSION, key=SessionKey(current.user_id, str(number) * 32))
            await sessions.create(one)
            await sessions.redeem(
                one.key, counter=1, now=LATER, idle_expires_at=LATER, grace=timedelta(0)
            )
            ended = await sessions.end(one.key, now=LATER, reason="signed_out")
            assert ended is not None
            assert (ended.counter, ended.ended_at) == (2, LATER)
        assert len(await sessions.list(current.user_id)) == 10
        await sessions.delete_all(current.user_id)
        assert await sessions.list(current.user_id) == []
    assert min(faulty.faults[Fault.DROP_REPLY], faulty.faults[Fault.THROTTLE]) > 5


async def test_who_does_not_answer_is_given_up_within_the_deadline(
    store: DynamoRecordStore, faulty: FaultyAws
) -> None:
    faulty.plan = lambda _number: Fault.HANG
    started = time.perf_counter()
    with pytest.raises(errors.Unavailable) as caught:
        await store.get(key(1))
    assert time.perf_counter() - started < 5.5
    assert caught.value.retry_after > 0


async def test_an_outage_is_unavailable_and_its_end_is_noticed_at_once(
    store: DynamoRecordStore, faulty: FaultyAws
) -> None:
    await put(store, 1, "before")
    faulty.plan = lambda _number: Fault.FAIL
    with pytest.raises(errors.Unavailable):
        await store.get(key(1))
    faulty.plan = lambda _number: None
    record = await store.get(key(1))
    assert record
    assert record.value == "before"
