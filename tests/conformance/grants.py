"""What every store of what platforms want back promises."""

import asyncio
from dataclasses import replace

import pytest

from services.identity.models import Grant
from services.identity.ports import GrantStore

GRANT = Grant("apple", "TEAM123456:001234.0f0e.1234", "gAAAAAB-sealed_1=")
LATER = replace(GRANT, sealed="gAAAAAB-sealed_2=")


async def find(store: GrantStore, grant: Grant = GRANT) -> Grant | None:
    return await store.find(grant.provider, grant.external_id)


class GrantStoreContract:
    """Subclasses provide the fixture `store`, empty."""

    async def test_where_there_is_no_grant_it_is_none(self, store: GrantStore) -> None:
        await store.put(replace(GRANT, external_id="another"))
        assert await find(store) is None

    @pytest.mark.parametrize("length", [1, 76, 8192])
    async def test_a_grant_comes_back_as_it_was(self, store: GrantStore, length: int) -> None:
        grant = replace(GRANT, sealed="x" * length)
        await store.put(grant)
        assert await find(store) == grant

    async def test_a_grant_takes_the_place_of_the_one_before(self, store: GrantStore) -> None:
        await store.put(GRANT)
        await store.put(LATER)
        assert await find(store) == LATER

    async def test_a_grant_that_was_deleted_is_gone_and_may_come_again(
        self, store: GrantStore
    ) -> None:
        await store.put(GRANT)
        await store.delete(GRANT)
        assert await find(store) is None
        await store.put(GRANT)
        assert await find(store) == GRANT

    async def test_deleting_what_there_is_not_changes_nothing(self, store: GrantStore) -> None:
        for _ in range(2):
            await store.delete(GRANT)
        assert await find(store) is None

    async def test_a_later_grant_is_not_deleted_with_the_one_before(
        self, store: GrantStore
    ) -> None:
        await store.put(GRANT)
        await store.put(LATER)
        await store.delete(GRANT)
        assert await find(store) == LATER

    async def test_grants_do_not_mix(self, store: GrantStore) -> None:
        others = [
            replace(GRANT, provider="google"),
            replace(GRANT, external_id="abc", sealed="lower"),
            replace(GRANT, external_id="ABC", sealed="upper"),
        ]
        for one in (GRANT, *others):
            await store.put(one)
        await store.delete(GRANT)
        assert [await find(store, one) for one in others] == others

    @pytest.mark.parametrize("external_id", ["Zoë", "🎮", "a#b", "#", " a ", "'; --", "x" * 255])
    async def test_an_external_id_may_be_any_text(
        self, store: GrantStore, external_id: str
    ) -> None:
        grant = replace(GRANT, external_id=external_id)
        await store.put(grant)
        assert await find(store, grant) == grant

    async def test_of_many_at_once_one_is_the_last(self, store: GrantStore) -> None:
        grants = [replace(GRANT, sealed=str(number)) for number in range(20)]
        await asyncio.gather(*(store.put(grant) for grant in grants))
        assert await find(store) in grants

    def test_what_is_printed_does_not_show_it(self) -> None:
        assert GRANT.sealed not in repr(GRANT)
