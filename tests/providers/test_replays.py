"""A credential that was used is remembered by all processes, for longer than it holds."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial

import pytest

from services.identity.idempotency import Idempotency
from services.identity.models import IdempotencyRecord
from services.identity.ports import IdempotencyStore
from services.identity.providers.replays import Replays
from services.identity.providers.shape import Refused
from shared import errors
from tests.support.clock import ManualClock
from tests.support.interruptions import Interruption, When
from tests.support.platforms import refresh_key, remembering

DAY = 86_400


@pytest.fixture
async def store() -> AsyncIterator[IdempotencyStore]:
    async with remembering() as store:
        yield store


def process(store: IdempotencyStore, clock: ManualClock, scope: str = "steam") -> Replays:
    return Replays(Idempotency(store, refresh_key, clock), scope)


async def refusal(replays: Replays, credential: str) -> Refused:
    with pytest.raises(Refused) as caught:
        await replays.claim(credential)
    return caught.value


async def test_what_one_process_has_let_in_no_other_one_does(
    store: IdempotencyStore, clock: ManualClock
) -> None:
    await process(store, clock).claim("one")
    refused = await refusal(process(store, clock), "one")
    assert (type(refused.error), refused.reason) == (errors.ExpiredCredential, "replayed")


async def test_of_50_at_once_in_several_processes_one_is_let_in(
    store: IdempotencyStore, clock: ManualClock
) -> None:
    processes = [process(store, clock) for _ in range(3)]
    outcomes = await asyncio.gather(
        *(processes[number % 3].claim("one") for number in range(50)), return_exceptions=True
    )
    assert [one for one in outcomes if not isinstance(one, Refused)] == [None]


async def test_another_one_is_another_and_so_is_the_same_of_another_platform(
    store: IdempotencyStore, clock: ManualClock
) -> None:
    await process(store, clock).claim("one")
    await process(store, clock).claim("another")
    await process(store, clock, "epic").claim("one")


async def test_it_is_remembered_for_longer_than_a_day(
    store: IdempotencyStore, clock: ManualClock
) -> None:
    """What holds for a day may hold for two minutes more: clocks differ, the issuer's and ours."""
    replays = process(store, clock)
    await replays.claim("one")
    clock.advance(DAY + 120)
    await refusal(replays, "one")
    clock.advance(3600)
    await replays.claim("one")


class Recorded:
    """What is to be stored, in place of which nothing is."""

    def __init__(self) -> None:
        self.keys: set[bytes] = set()

    async def claim(self, record: IdempotencyRecord, *, now: datetime) -> IdempotencyRecord:
        assert now < record.expires_at
        self.keys.add(record.key)
        return record


class Broken:
    async def claim(self, record: IdempotencyRecord, *, now: datetime) -> IdempotencyRecord:
        del record, now
        raise errors.Unavailable(retry_after=7)


async def test_a_store_that_cannot_say_lets_nobody_in_and_is_no_401(clock: ManualClock) -> None:
    refused = await refusal(process(Broken(), clock), "one")
    assert isinstance(refused.error, errors.ProviderUnavailable)
    assert (refused.error.retry_after, refused.reason) == (7, "store")


async def test_a_first_use_that_is_sent_twice_is_the_first(
    store: IdempotencyStore, clock: ManualClock
) -> None:
    unlucky = Interruption(frozenset(("claim",)), at=1, when=When.TWICE)
    await process(unlucky.around(store), clock).claim("one")
    await refusal(process(store, clock), "one")


async def test_a_use_of_which_nobody_hears_lets_nobody_in_then_or_later(
    store: IdempotencyStore, clock: ManualClock
) -> None:
    unlucky = Interruption(frozenset(("claim",)), at=1, when=When.LOST, loss=errors.Unavailable)
    replays = process(unlucky.around(store), clock)
    assert (await refusal(replays, "one")).reason == "store"
    assert (await refusal(replays, "one")).reason == "replayed"


async def test_who_has_the_store_and_not_our_key_does_not_learn_what_was_used(
    clock: ManualClock,
) -> None:
    store = Recorded()
    for key in (b"k", b"l"):
        idempotency = Idempotency(store, partial(bytes, key * 32), clock)
        await Replays(idempotency, "steam").claim("one")
    assert len(store.keys) == 2
