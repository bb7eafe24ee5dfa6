"""What every store of idempotency records promises."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.identity.models import IdempotencyRecord
from services.identity.ports import IdempotencyStore

NOW = datetime(2026, 3, 29, 0, 59, 59, 999000, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
DAY = timedelta(hours=24)
FIRST = IdempotencyRecord(
    key=b"\x00\xff" * 16, request=b"\xff\x00" * 16, result="a" * 32, expires_at=NOW + DAY
)
SECOND = replace(FIRST, request=b"other" * 8, result="b" * 32, expires_at=NOW + 2 * DAY)


async def race(stores: Sequence[IdempotencyStore], *, now: datetime = NOW) -> IdempotencyRecord:
    """Claims of the first record's key, one at each of `stores`: the one that all are answered."""
    rivals = [
        replace(FIRST, result=f"{number:032x}", expires_at=now + DAY)
        for number in range(len(stores))
    ]
    answers = await asyncio.gather(
        *(store.claim(rival, now=now) for store, rival in zip(stores, rivals, strict=True))
    )
    assert answers[0] in rivals
    assert answers == [answers[0]] * len(stores)
    assert await stores[0].claim(SECOND, now=now) == answers[0]
    return answers[0]


class IdempotencyStoreContract:
    """Subclasses provide the fixture `store`, empty."""

    async def test_the_first_claim_is_answered_its_own_record(
        self, store: IdempotencyStore
    ) -> None:
        assert await store.claim(FIRST, now=NOW) == FIRST

    async def test_a_later_claim_is_answered_the_first_record_and_changes_nothing(
        self, store: IdempotencyStore
    ) -> None:
        await store.claim(FIRST, now=NOW)
        assert [await store.claim(SECOND, now=NOW) for _ in range(3)] == [FIRST] * 3

    async def test_the_same_claim_again_is_answered_the_same(self, store: IdempotencyStore) -> None:
        assert [await store.claim(FIRST, now=NOW) for _ in range(3)] == [FIRST] * 3

    async def test_its_moment_comes_back_in_utc(self, store: IdempotencyStore) -> None:
        await store.claim(FIRST, now=NOW)
        assert (await store.claim(SECOND, now=NOW)).expires_at.tzinfo is UTC

    async def test_a_record_holds_until_a_millisecond_before_it_expires(
        self, store: IdempotencyStore
    ) -> None:
        await store.claim(FIRST, now=NOW)
        assert await store.claim(SECOND, now=FIRST.expires_at - MILLISECOND) == FIRST

    @pytest.mark.parametrize("late", [timedelta(0), MILLISECOND, DAY], ids=["at", "after", "long"])
    async def test_from_the_instant_of_its_expiry_on_another_takes_its_place(
        self, store: IdempotencyStore, late: timedelta
    ) -> None:
        await store.claim(FIRST, now=NOW)
        now = FIRST.expires_at + late
        renewed = replace(SECOND, expires_at=now + DAY)
        assert await store.claim(renewed, now=now) == renewed
        assert await store.claim(replace(FIRST, expires_at=now + DAY), now=now) == renewed

    async def test_keys_do_not_mix(self, store: IdempotencyStore) -> None:
        other = replace(SECOND, key=b"\x00\xff" * 15 + b"\x00\xfe")
        await store.claim(FIRST, now=NOW)
        assert await store.claim(other, now=NOW) == other
        assert await store.claim(SECOND, now=NOW) == FIRST

    async def test_an_expired_record_of_another_key_is_not_in_the_way(
        self, store: IdempotencyStore
    ) -> None:
        for number in range(10):
            await store.claim(replace(FIRST, key=bytes([number]) * 32), now=NOW)
        now = FIRST.expires_at
        renewed = [
            replace(SECOND, key=bytes([number]) * 32, expires_at=now + DAY)
            for number in reversed(range(10))
        ]
        assert [await store.claim(record, now=now) for record in renewed] == renewed

    async def test_of_50_parallel_claims_one_stores_and_all_are_answered_its_record(
        self, store: IdempotencyStore
    ) -> None:
        await race([store] * 50)

    async def test_of_50_parallel_claims_of_an_expired_record_one_takes_its_place(
        self, store: IdempotencyStore
    ) -> None:
        await store.claim(FIRST, now=NOW)
        stored = await race([store] * 50, now=FIRST.expires_at)
        assert stored.expires_at == FIRST.expires_at + DAY
