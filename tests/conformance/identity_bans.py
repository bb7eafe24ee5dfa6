"""What every store of bans of external identities promises."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.identity.models import Ban, IdentityBan
from services.identity.ports import IdentityBanStore

SINCE = datetime(2026, 3, 29, 1, 30, 59, 999000, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=7, milliseconds=1)
BAN = IdentityBan("steam", "76561197960287930", Ban("Zoë's 🎮", SINCE))
FOR_A_WEEK = replace(BAN, ban=replace(BAN.ban, reason="spam", until=UNTIL))
BANS = {
    "for good": BAN,
    "for a week": FOR_A_WEEK,
    "of a scope": replace(BAN, ban=replace(BAN.ban, scope="chat")),
    "over": replace(BAN, ban=replace(BAN.ban, until=SINCE)),
}


async def find(store: IdentityBanStore, ban: IdentityBan = BAN) -> IdentityBan | None:
    return await store.find(ban.provider, ban.external_id)


class IdentityBanStoreContract:
    """Subclasses provide the fixture `store`, empty."""

    async def test_where_there_is_no_ban_it_is_none(self, store: IdentityBanStore) -> None:
        await store.put(replace(BAN, external_id="another"))
        assert await find(store) is None

    @pytest.mark.parametrize("name", list(BANS))
    async def test_a_ban_comes_back_as_it_was(self, store: IdentityBanStore, name: str) -> None:
        await store.put(BANS[name])
        assert await find(store) == BANS[name]

    async def test_every_moment_comes_back_in_utc(self, store: IdentityBanStore) -> None:
        await store.put(FOR_A_WEEK)
        found = await find(store)
        assert found is not None
        moments = [found.ban.since, found.ban.until]
        assert [moment and moment.tzinfo for moment in moments] == [UTC] * 2

    @pytest.mark.parametrize("after", list(BANS))
    @pytest.mark.parametrize("before", list(BANS))
    async def test_a_ban_takes_the_place_of_the_one_before(
        self, store: IdentityBanStore, before: str, after: str
    ) -> None:
        await store.put(BANS[before])
        await store.put(BANS[after])
        assert await find(store) == BANS[after]

    async def test_a_ban_that_was_deleted_is_gone_and_may_come_again(
        self, store: IdentityBanStore
    ) -> None:
        await store.put(BAN)
        await store.delete(BAN.provider, BAN.external_id)
        assert await find(store) is None
        await store.put(FOR_A_WEEK)
        assert await find(store) == FOR_A_WEEK

    async def test_deleting_what_there_is_not_changes_nothing(
        self, store: IdentityBanStore
    ) -> None:
        other = replace(BAN, external_id="another")
        await store.put(other)
        for _ in range(2):
            await store.delete(BAN.provider, BAN.external_id)
        assert await find(store) is None
        assert await find(store, other) == other

    async def test_bans_do_not_mix(self, store: IdentityBanStore) -> None:
        others = [
            replace(BAN, provider="epic", ban=replace(BAN.ban, reason="epic")),
            replace(BAN, external_id="abc", ban=replace(BAN.ban, reason="lower")),
            replace(BAN, external_id="ABC", ban=replace(BAN.ban, reason="upper")),
        ]
        for one in (BAN, *others):
            await store.put(one)
        await store.delete(BAN.provider, BAN.external_id)
        assert [await find(store, one) for one in others] == others

    @pytest.mark.parametrize("external_id", ["Zoë", "🎮", "a#b", "#", " a ", "'; --", "x" * 255])
    async def test_an_external_id_may_be_any_text(
        self, store: IdentityBanStore, external_id: str
    ) -> None:
        ban = replace(BAN, external_id=external_id)
        await store.put(ban)
        assert await find(store, ban) == ban

    async def test_of_many_at_once_one_is_the_last(self, store: IdentityBanStore) -> None:
        bans = [replace(BAN, ban=replace(BAN.ban, reason=str(number))) for number in range(20)]
        await asyncio.gather(*(store.put(ban) for ban in bans))
        assert await find(store) in bans
