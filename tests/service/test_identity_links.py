"""Which account an external identity belongs to, and what becomes of it with the account."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from services.identity.appkeys import ACCOUNTS, BANS, ERASURES, LINKS
from services.identity.links import Links
from services.identity.models import Account, Erasure, LinkedIdentity
from services.identity.stores import Stores
from shared import errors
from shared.ids import new_id
from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.clock import ManualClock
from tests.support.identity_store import count
from tests.support.interruptions import Crash, Interruption, When

STEAM = ("steam", "76561197960287930")
EPIC = ("epic", "76561197960287930")
OLD = ("google_play", "123456789012:g01234567890123456789")
NEW = ("google_play", "123456789012:a_1234567890123456789")
NOWHERE = {**QUICK_KEYS, "PLAYMESH_PLAYER_DATA_URL": "http://127.0.0.1:9"}
"""player_data is away."""
LIFETIME = 17 * 60
REASON = "aim bot"


@pytest.fixture
async def identity(tmp_path: Path, clock: ManualClock) -> AsyncIterator[RunningIdentity]:
    async with apps.identity(tmp_path, clock, NOWHERE) as running:
        yield running


@pytest.fixture
def links(identity: RunningIdentity) -> Links:
    return identity.app[LINKS]


async def guest(identity: RunningIdentity) -> str:
    return (await identity.app[ACCOUNTS].create_guest()).account.user_id


async def stored(identity: RunningIdentity, user_id: str) -> Account:
    account = await identity.stores.accounts.get(user_id)
    assert account is not None
    return account


async def keys(identity: RunningIdentity, user_id: str) -> list[tuple[str, str]]:
    return [one.key for one in (await stored(identity, user_id)).identities]


async def owner(identity: RunningIdentity, key: tuple[str, str] = STEAM) -> str | None:
    found = await identity.stores.identities.find(*key)
    return found.user_id if found else None


async def ban(
    identity: RunningIdentity, user_id: str, until: datetime | None = None, scope: str = "all"
) -> None:
    await identity.app[BANS].ban(user_id, reason=REASON, until=until, scope=scope)


async def ban_identity(identity: RunningIdentity, until: datetime | None = None) -> None:
    await identity.app[BANS].ban_identity(*STEAM, reason="spam", until=until)


async def make_tombstone(identity: RunningIdentity, user_id: str, clock: ManualClock) -> None:
    """As an installation without player_data would."""
    account = await stored(identity, user_id)
    now = clock.now()
    erasing = await identity.stores.accounts.replace(account.erasing(Erasure(now, now)))
    await identity.stores.accounts.replace(erasing.erased(now))


class TestAccountOf:
    async def test_the_first_login_makes_an_account_whose_only_way_in_is_the_identity(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        account = await links.account_of(*STEAM)
        assert account.scope == "authenticated"
        assert account.guest_secret_digest is None
        linked = LinkedIdentity(*STEAM, account.user_id, clock.now())
        assert account.identities == (linked,)
        assert await stored(identity, account.user_id) == account

    async def test_every_other_login_is_the_same_account(
        self, links: Links, clock: ManualClock
    ) -> None:
        first = await links.account_of(*STEAM)
        clock.advance(3600)
        assert await links.account_of(*STEAM) == first

    async def test_a_linked_identity_is_the_guests(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        player = await guest(identity)
        await links.link(player, *STEAM)
        assert (await links.account_of(*STEAM)).user_id == player

    async def test_50_first_logins_at_once_are_one_account(
        self, links: Links, tmp_path: Path
    ) -> None:
        accounts = await asyncio.gather(*(links.account_of(*STEAM) for _ in range(50)))
        assert len({account.user_id for account in accounts}) == 1
        assert count(tmp_path, "accounts") == 1

    @pytest.mark.parametrize("known", [False, True], ids=["first login", "known"])
    async def test_a_banned_identity_is_refused_until_the_ban_is_over(
        self, identity: RunningIdentity, links: Links, clock: ManualClock, *, known: bool
    ) -> None:
        if known:
            await links.account_of(*STEAM)
        await ban_identity(identity, until=clock.now() + timedelta(seconds=60))
        with pytest.raises(errors.Banned) as banned:
            await links.account_of(*STEAM)
        assert banned.value.detail == "spam"
        assert (await owner(identity) is not None) is known
        clock.advance(60)
        await links.account_of(*STEAM)

    async def test_who_is_erased_begins_anew_also_while_it_is_under_way(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        old = await links.account_of(*STEAM)
        assert not await identity.app[ERASURES].request(old.user_id)
        new = await links.account_of(*STEAM)
        assert new.user_id != old.user_id
        assert await owner(identity) == new.user_id

    async def test_an_identity_of_a_tombstone_is_a_new_beginning(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        """As after a backup of one table was restored."""
        old = await links.account_of(*STEAM)
        await make_tombstone(identity, old.user_id, clock)
        new = await links.account_of(*STEAM)
        assert new.user_id != old.user_id
        assert await owner(identity) == new.user_id

    async def test_where_the_account_is_missing_somebody_begins_anew(
        self, links: Links, tmp_path: Path
    ) -> None:
        lost = await links.account_of(*STEAM)
        with contextlib.closing(sqlite3.connect(tmp_path / "identity.db")) as connection:
            connection.execute("DELETE FROM accounts")
            connection.commit()
        assert (await links.account_of(*STEAM)).user_id != lost.user_id


class TestLink:
    async def test_a_guest_who_links_is_authenticated_and_keeps_the_secret(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        player = await guest(identity)
        before = await stored(identity, player)
        account = await links.link(player, *STEAM)
        assert (before.scope, account.scope) == ("guest", "authenticated")
        assert account.guest_secret_digest == before.guest_secret_digest
        assert await stored(identity, player) == account

    async def test_to_link_it_again_changes_nothing(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        player = await guest(identity)
        account = await links.link(player, *STEAM)
        clock.advance(3600)
        assert await links.link(player, *STEAM) == account

    async def test_an_identity_of_another_is_a_conflict_and_nobody_changes_account(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        other = await links.account_of(*STEAM)
        player = await guest(identity)
        with pytest.raises(errors.AlreadyLinked) as conflict:
            await links.link(player, *STEAM)
        assert conflict.value.owner == other.user_id
        assert await keys(identity, player) == []
        assert await links.account_of(*STEAM) == other

    async def test_whose_it_is_matters_before_what_else_is_linked(self, links: Links) -> None:
        """So that who may decide between two accounts is asked, and not told to unlink first."""
        other = await links.account_of(*STEAM)
        player = await links.account_of("steam", "another")
        with pytest.raises(errors.AlreadyLinked) as conflict:
            await links.link(player.user_id, *STEAM)
        assert conflict.value.owner == other.user_id

    async def test_the_identity_of_a_banned_player_stays_with_the_ban(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        banned = await links.account_of(*STEAM)
        await ban(identity, banned.user_id)
        with pytest.raises(errors.AlreadyLinked):
            await links.link(await guest(identity), *STEAM)

    async def test_a_banned_identity_is_not_linked(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        await ban_identity(identity)
        player = await guest(identity)
        with pytest.raises(errors.Banned):
            await links.link(player, *STEAM)
        assert (await keys(identity, player), await owner(identity)) == ([], None)

    async def test_the_identity_of_an_erased_player_may_be_linked(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        old = await links.account_of(*STEAM)
        await identity.app[ERASURES].request(old.user_id)
        player = await guest(identity)
        await links.link(player, *STEAM)
        assert await owner(identity) == player

    async def test_nothing_is_linked_to_an_account_that_is_gone_or_never_was(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        gone = await guest(identity)
        await identity.app[ERASURES].request(gone)
        for nobody in (gone, new_id()):
            with pytest.raises(errors.NotFound):
                await links.link(nobody, *STEAM)
        assert await owner(identity) is None

    async def test_a_second_identity_of_a_provider_is_a_conflict(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        player = (await links.account_of(*STEAM)).user_id
        with pytest.raises(errors.Conflict):
            await links.link(player, "steam", "another")
        assert await keys(identity, player) == [STEAM]

    async def test_it_happens_also_while_others_change_the_account(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        player = await guest(identity)
        providers = [f"provider-{number}" for number in range(4)]
        await asyncio.gather(*(links.link(player, provider, "1") for provider in providers))
        assert sorted(await keys(identity, player)) == [(provider, "1") for provider in providers]


class TestFormer:
    """A platform says under which id it knew the player before."""

    async def test_who_has_an_account_by_the_former_id_keeps_it_under_the_new_one(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        before = await links.account_of(*OLD)
        clock.advance(3600)
        after = await links.account_of(*NEW, former=OLD[1])
        renamed = replace(before.identities[0], external_id=NEW[1])
        assert after == replace(before, identities=(renamed,), revision=2)
        assert await stored(identity, before.user_id) == after
        assert [await owner(identity, one) for one in (OLD, NEW)] == [None, before.user_id]
        for former in (None, OLD[1]):
            assert await links.account_of(*NEW, former=former) == after

    async def test_where_neither_is_known_it_is_a_first_login_with_the_new_one(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        account = await links.account_of(*NEW, former=OLD[1])
        assert await keys(identity, account.user_id) == [NEW]
        assert await owner(identity, OLD) is None

    async def test_who_has_an_account_by_the_new_id_gets_into_that_and_takes_nobody_s(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        old, new = await links.account_of(*OLD), await links.account_of(*NEW)
        assert await links.account_of(*NEW, former=OLD[1]) == new
        assert [await owner(identity, one) for one in (OLD, NEW)] == [old.user_id, new.user_id]

    async def test_of_50_first_logins_with_the_new_id_at_once_all_are_the_old_player(
        self, links: Links, tmp_path: Path
    ) -> None:
        player = (await links.account_of(*OLD)).user_id
        logins = (links.account_of(*NEW, former=OLD[1]) for _ in range(50))
        assert {account.user_id for account in await asyncio.gather(*logins)} == {player}
        assert count(tmp_path, "accounts") == 1
        assert count(tmp_path, "identities") == 1

    async def test_an_erased_player_s_former_id_is_a_new_beginning(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        player = (await links.account_of(*OLD)).user_id
        await identity.app[ERASURES].request(player)
        assert (await links.account_of(*NEW, former=OLD[1])).user_id != player

    async def test_the_former_id_of_a_tombstone_is_a_new_beginning(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        player = (await links.account_of(*OLD)).user_id
        await make_tombstone(identity, player, clock)
        assert (await links.account_of(*NEW, former=OLD[1])).user_id != player
        assert await owner(identity, OLD) is None

    @pytest.mark.parametrize("known", ["neither", "former", "new"])
    async def test_a_ban_of_the_former_identity_is_one_of_the_new_one(
        self, identity: RunningIdentity, links: Links, clock: ManualClock, known: str
    ) -> None:
        if known != "neither":
            await links.account_of(*(NEW if known == "new" else OLD))
        until = clock.now() + timedelta(seconds=60)
        await identity.app[BANS].ban_identity(*OLD, reason="spam", until=until)
        player = await guest(identity)
        with pytest.raises(errors.Banned) as refused:
            await links.account_of(*NEW, former=OLD[1])
        assert (refused.value.detail, refused.value.until) == ("spam", until)
        for former in (None, OLD[1]):
            with pytest.raises(errors.Banned):
                await links.link(player, *NEW, former=former)
        clock.advance(60)
        await links.account_of(*NEW, former=OLD[1])

    async def test_a_ban_that_is_over_is_not_copied(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        until = clock.now() + timedelta(seconds=60)
        await identity.app[BANS].ban_identity(*OLD, reason="spam", until=until)
        clock.advance(60)
        await links.account_of(*NEW, former=OLD[1])
        assert await identity.app[BANS].find_identity(*NEW) is None

    async def test_a_banned_player_who_was_erased_does_not_begin_anew_by_another_id(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        player = (await links.account_of(*OLD)).user_id
        await ban(identity, player)
        await identity.app[ERASURES].request(player)
        for former in (OLD[1], None):
            with pytest.raises(errors.Banned):
                await links.account_of(*NEW, former=former)

    async def test_an_erasure_that_a_login_finds_first_leaves_its_ban_as_well(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        player = (await links.account_of(*OLD)).user_id
        await ban(identity, player)
        account = await stored(identity, player)
        erasure = Erasure(clock.now(), clock.now())
        await identity.stores.accounts.replace(account.erasing(erasure))
        for _ in range(2):
            with pytest.raises(errors.Banned):
                await links.account_of(*NEW, former=OLD[1])

    async def test_a_banned_player_is_the_same_one_by_the_new_id(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        player = (await links.account_of(*OLD)).user_id
        await ban(identity, player)
        account = await links.account_of(*NEW, former=OLD[1])
        assert account.user_id == player
        assert account.bans

    async def test_to_link_it_is_to_rename_one_s_own(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        player = await guest(identity)
        await links.link(player, *OLD)
        account = await links.link(player, *NEW, former=OLD[1])
        assert [one.key for one in account.identities] == [NEW]
        assert await stored(identity, player) == account

    async def test_of_another_player_it_is_a_conflict_by_either_id(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        """And from then on the new one is known, so that the conflict can be resolved by it."""
        old, player = (await links.account_of(*OLD)).user_id, await guest(identity)
        for _ in range(2):
            with pytest.raises(errors.AlreadyLinked) as refused:
                await links.link(player, *NEW, former=OLD[1])
            assert refused.value.owner == old
        assert await keys(identity, player) == []
        assert await owner(identity, NEW) == old


class TestUnlink:
    async def test_what_is_unlinked_is_a_new_beginning_for_whoever_has_it(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        player = await guest(identity)
        await links.link(player, *STEAM)
        account = await links.unlink(player, "steam")
        assert account.scope == "guest"
        assert (await links.account_of(*STEAM)).user_id != player

    async def test_the_last_way_in_stays(self, identity: RunningIdentity, links: Links) -> None:
        account = await links.account_of(*STEAM)
        with pytest.raises(errors.Conflict):
            await links.unlink(account.user_id, "steam")
        assert await links.account_of(*STEAM) == account
        await links.link(account.user_id, *EPIC)
        await links.unlink(account.user_id, "steam")
        assert await keys(identity, account.user_id) == [EPIC]

    async def test_where_nothing_is_linked_nothing_changes(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        player = await guest(identity)
        assert await links.unlink(player, "steam") == await stored(identity, player)

    async def test_of_nobody_it_is_not_found(self, links: Links) -> None:
        with pytest.raises(errors.NotFound):
            await links.unlink(new_id(), "steam")

    async def test_who_is_banned_cannot_give_an_identity_away(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        player = await guest(identity)
        await links.link(player, *STEAM)
        await ban(identity, player, until=clock.now() + timedelta(seconds=60))
        with pytest.raises(errors.Banned):
            await links.unlink(player, "steam")
        assert await owner(identity) == player
        clock.advance(60)
        await links.unlink(player, "steam")
        assert await owner(identity) is None


class TestMove:
    async def test_it_is_the_targets_then(self, identity: RunningIdentity, links: Links) -> None:
        source, target = await guest(identity), await guest(identity)
        await links.link(source, *STEAM)
        account = await links.move(*STEAM, target)
        assert account == await stored(identity, target)
        assert [await keys(identity, one) for one in (source, target)] == [[], [STEAM]]
        assert await links.account_of(*STEAM) == account
        assert await links.move(*STEAM, target) == account

    async def test_an_account_that_would_have_no_way_in_keeps_it(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        source = await links.account_of(*STEAM)
        with pytest.raises(errors.Conflict):
            await links.move(*STEAM, await guest(identity))
        assert await links.account_of(*STEAM) == source

    async def test_an_account_that_is_given_up_is_erased(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        source, target = await links.account_of(*STEAM), await guest(identity)
        await links.move(*STEAM, target, erasure=Erasure(clock.now(), clock.now()))
        assert (await stored(identity, source.user_id)).is_gone
        assert await owner(identity) == target

    async def test_an_account_that_has_another_way_in_is_not_given_up(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        erasure = Erasure(clock.now(), clock.now())
        source = (await links.account_of(*STEAM)).user_id
        await links.link(source, *EPIC)
        await links.move(*STEAM, await guest(identity), erasure=erasure)
        assert not (await stored(identity, source)).is_gone
        assert await keys(identity, source) == [EPIC]

    @pytest.mark.parametrize("which", [0, 1], ids=["source", "target"])
    async def test_of_a_banned_player_nothing_is_moved(
        self, identity: RunningIdentity, links: Links, which: int
    ) -> None:
        players = [await guest(identity), await guest(identity)]
        await links.link(players[0], *STEAM)
        await ban(identity, players[which])
        with pytest.raises(errors.Banned):
            await links.move(*STEAM, players[1])
        assert await owner(identity) == players[0]

    async def test_what_is_nobodys_is_a_conflict(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        with pytest.raises(errors.Conflict):
            await links.move(*STEAM, await guest(identity))
        assert await owner(identity) is None


class TestErasure:
    async def test_the_identities_are_free_at_once_though_player_data_is_away(
        self, identity: RunningIdentity, links: Links
    ) -> None:
        player = (await links.account_of(*STEAM)).user_id
        await links.link(player, *EPIC)
        await identity.app[ERASURES].request(player)
        assert [await owner(identity, one) for one in (STEAM, EPIC)] == [None, None]

    async def test_the_second_sweep_leaves_who_began_anew_alone(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        old = await links.account_of(*STEAM)
        await identity.app[ERASURES].request(old.user_id)
        new = await links.account_of(*STEAM)
        clock.advance(LIFETIME)
        await identity.app[ERASURES].tick()
        assert await links.account_of(*STEAM) == new

    async def test_who_is_banned_does_not_begin_anew_until_the_ban_is_over(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        until = clock.now() + timedelta(days=7)
        player = (await links.account_of(*STEAM)).user_id
        await links.link(player, *EPIC)
        await ban(identity, player, until=until)
        await identity.app[ERASURES].request(player)
        for one in (STEAM, EPIC):
            with pytest.raises(errors.Banned) as banned:
                await links.account_of(*one)
            assert (banned.value.detail, banned.value.until) == (REASON, until)
        assert await owner(identity) is None
        clock.advance(7 * 24 * 3600)
        await links.account_of(*STEAM)

    async def test_a_login_that_comes_before_the_sweep_finds_the_ban_as_well(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        player = await links.account_of(*STEAM)
        await ban(identity, player.user_id)
        account = await stored(identity, player.user_id)
        erasure = Erasure(clock.now(), clock.now())
        await identity.stores.accounts.replace(account.erasing(erasure))
        with pytest.raises(errors.Banned):
            await links.account_of(*STEAM)

    async def test_a_ban_of_a_part_of_the_game_or_one_that_is_over_does_not_go_over(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        player = (await links.account_of(*STEAM)).user_id
        await ban(identity, player, scope="chat")
        await ban(identity, player, until=clock.now() + timedelta(seconds=60))
        clock.advance(60)
        await identity.app[ERASURES].request(player)
        assert await identity.app[BANS].find_identity(*STEAM) is None

    @pytest.mark.parametrize("longer", [None, timedelta(days=8)], ids=["for good", "longer"])
    async def test_a_longer_ban_of_the_identity_stays(
        self,
        identity: RunningIdentity,
        links: Links,
        clock: ManualClock,
        longer: timedelta | None,
    ) -> None:
        player = (await links.account_of(*STEAM)).user_id
        await ban(identity, player, until=clock.now() + timedelta(days=7))
        await ban_identity(identity, until=clock.now() + longer if longer else None)
        await identity.app[ERASURES].request(player)
        found = await identity.app[BANS].find_identity(*STEAM)
        assert found is not None
        assert found.ban.reason == "spam"

    async def test_a_shorter_ban_of_the_identity_is_made_as_long(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        player = (await links.account_of(*STEAM)).user_id
        await ban(identity, player)
        await ban_identity(identity, until=clock.now() + timedelta(days=7))
        await identity.app[ERASURES].request(player)
        found = await identity.app[BANS].find_identity(*STEAM)
        assert found is not None
        assert (found.ban.reason, found.ban.until) == (REASON, None)

    async def test_a_ban_that_an_operator_lifts_does_not_come_back_with_the_second_sweep(
        self, identity: RunningIdentity, links: Links, clock: ManualClock
    ) -> None:
        player = (await links.account_of(*STEAM)).user_id
        await ban(identity, player)
        await identity.app[ERASURES].request(player)
        await identity.app[BANS].unban_identity(*STEAM)
        clock.advance(LIFETIME)
        await identity.app[ERASURES].tick()
        await links.account_of(*STEAM)

    @pytest.mark.parametrize("when", [When.BEFORE, When.AFTER, When.LOST])
    @pytest.mark.parametrize("at", range(1, 6))
    async def test_wherever_it_is_interrupted_no_banned_player_begins_anew_and_the_next_finishes(
        self, tmp_path: Path, clock: ManualClock, at: int, when: When
    ) -> None:
        interruption = Interruption(
            frozenset(("replace", "put", "release")), at, when, errors.Unavailable
        )

        def around(stores: Stores) -> Stores:
            parts: Mapping[str, object] = {
                name: interruption.around(getattr(stores, name))
                for name in ("accounts", "identities", "identity_bans")
            }
            return replace(stores, **parts)  # type: ignore[arg-type]  # as their stores

        async with apps.identity(tmp_path, clock, NOWHERE) as calm:
            player = (await calm.app[LINKS].account_of(*STEAM)).user_id
            await calm.app[LINKS].link(player, *EPIC)
            await ban(calm, player)
        async with apps.identity(tmp_path, clock, NOWHERE, around=around) as unlucky:
            with contextlib.suppress(Crash, errors.Unavailable):
                await unlucky.app[ERASURES].request(player)
        assert interruption.calls >= at  # one for the mark, and two for each identity
        async with apps.identity(tmp_path, clock, NOWHERE) as after:
            assert not await _begins_anew(after, player)
            with contextlib.suppress(errors.NotFound):  # where it is marked
                await after.app[ERASURES].request(player)
            await after.app[ERASURES].tick()
            assert [await owner(after, one) for one in (STEAM, EPIC)] == [None, None]
            assert not await _begins_anew(after, player)


async def _begins_anew(identity: RunningIdentity, player: str) -> bool:
    """Whether an identity of a player gets into another account."""
    found = []
    for one in (STEAM, EPIC):
        with contextlib.suppress(errors.Banned):
            found.append((await identity.app[LINKS].account_of(*one)).user_id)
    return found not in ([], [player] * len(found))
