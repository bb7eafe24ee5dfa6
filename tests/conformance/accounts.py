"""What every store of accounts promises."""

import asyncio
from datetime import UTC, datetime

import pytest

from services.identity.models import Account
from services.identity.ports import AccountStore
from shared import errors

ALICE = "a" * 32
BOB = "b" * 32
CREATED = datetime(2026, 3, 29, 1, 30, 59, 999000, tzinfo=UTC)


def account(
    user_id: str = ALICE, created_at: datetime = CREATED, digest: bytes | None = b"\x00\xff" * 16
) -> Account:
    return Account(user_id=user_id, created_at=created_at, guest_secret_digest=digest)


class AccountStoreContract:
    """Subclasses provide the fixture `store`, empty."""

    async def test_an_unknown_account_is_none(self, store: AccountStore) -> None:
        await store.create(account(BOB))
        assert await store.get(ALICE) is None

    async def test_an_account_comes_back_as_it_was(self, store: AccountStore) -> None:
        await store.create(account())
        assert await store.get(ALICE) == account()

    async def test_an_account_without_a_guest_secret_comes_back_without(
        self, store: AccountStore
    ) -> None:
        await store.create(account(digest=None))
        assert await store.get(ALICE) == account(digest=None)

    async def test_a_moment_comes_back_in_utc(self, store: AccountStore) -> None:
        await store.create(account())
        found = await store.get(ALICE)
        assert found is not None
        assert found.created_at.tzinfo is UTC

    async def test_a_taken_id_changes_nothing(self, store: AccountStore) -> None:
        await store.create(account())
        with pytest.raises(errors.AlreadyExists):
            await store.create(account(created_at=CREATED.replace(year=2030), digest=b"other" * 8))
        assert await store.get(ALICE) == account()

    async def test_of_many_accounts_with_one_id_exactly_one_is_created(
        self, store: AccountStore
    ) -> None:
        rivals = [account(digest=bytes([number]) * 32) for number in range(20)]
        outcomes = await asyncio.gather(
            *(store.create(rival) for rival in rivals), return_exceptions=True
        )
        winners = [
            rival for rival, outcome in zip(rivals, outcomes, strict=True) if outcome is None
        ]
        losers = [outcome for outcome in outcomes if isinstance(outcome, errors.AlreadyExists)]
        assert (len(winners), len(losers)) == (1, 19)
        assert await store.get(ALICE) == winners[0]

    async def test_accounts_do_not_mix(self, store: AccountStore) -> None:
        await store.create(account(ALICE, digest=b"a" * 32))
        await store.create(account(BOB, digest=b"b" * 32))
        assert await store.get(ALICE) == account(ALICE, digest=b"a" * 32)
