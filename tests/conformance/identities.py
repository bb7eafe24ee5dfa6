"""What every store of linked identities promises."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.identity.models import MOST_IDENTITIES, Account, Erasure, LinkedIdentity, Undo
from services.identity.ports import AccountStore, IdentityStore
from shared import errors
from shared.ids import new_id

ALICE = "a" * 32
BOB = "b" * 32
CAROL = "c" * 32
LINKED = datetime(2026, 3, 29, 1, 30, 59, 999000, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ERASURE = Erasure(requested_at=LINKED + SECOND, tokens_expire_at=LINKED + 2 * SECOND)
GIVEN_UP = replace(ERASURE, undo=Undo(LINKED + 9 * SECOND, "steam", "1", BOB))


def identity(
    user_id: str = ALICE, provider: str = "steam", external_id: str = "76561197960287930"
) -> LinkedIdentity:
    return LinkedIdentity(provider, external_id, user_id, LINKED)


async def log_in(store: IdentityStore, linked: LinkedIdentity) -> Account:
    """A first login: the new account."""
    account = Account(linked.user_id, created_at=LINKED, seen_at=LINKED, guest_secret_digest=None)
    return await store.create_account(account, linked)


async def guest(accounts: AccountStore, user_id: str) -> Account:
    secret = b"\x00\xff" * 16
    account = Account(user_id, created_at=LINKED, seen_at=LINKED, guest_secret_digest=secret)
    await accounts.create(account)
    return account


async def find(store: IdentityStore, linked: LinkedIdentity) -> LinkedIdentity | None:
    return await store.find(linked.provider, linked.external_id)


async def race(store: IdentityStore, accounts: AccountStore, *rivals: IdentityStore) -> None:
    """First logins of one external identity, one at each of `rivals`; exactly one may win."""
    logins = [identity(new_id()) for _ in rivals]
    outcomes = await asyncio.gather(
        *(log_in(rival, login) for rival, login in zip(rivals, logins, strict=True)),
        return_exceptions=True,
    )
    winners = [outcome for outcome in outcomes if isinstance(outcome, Account)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, errors.AlreadyExists)]
    assert (len(winners), len(losers)) == (1, len(rivals) - 1)
    found = await asyncio.gather(*(accounts.get(login.user_id) for login in logins))
    assert [account for account in found if account] == winners
    assert await find(store, identity()) == identity(winners[0].user_id)


async def race_to_link(
    accounts: AccountStore, rivals: Sequence[IdentityStore]
) -> tuple[Account, list[Account]]:
    """One identity, linked to as many accounts at once, one at each of `rivals`.

    The winner, and the losers' accounts as they are.
    """
    players = await asyncio.gather(*(guest(accounts, new_id()) for _ in rivals))
    outcomes = await asyncio.gather(
        *(rival.link(one, identity()) for rival, one in zip(rivals, players, strict=True)),
        return_exceptions=True,
    )
    winners = [outcome for outcome in outcomes if isinstance(outcome, Account)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, errors.AlreadyLinked)]
    assert (len(winners), len(losers)) == (1, len(rivals) - 1)
    assert {loser.owner for loser in losers} == {winners[0].user_id}
    assert await find(rivals[0], identity()) == identity(winners[0].user_id)
    stored = await asyncio.gather(*(accounts.get(player.user_id) for player in players))
    assert [one for one in stored if one and one.identities] == winners
    return winners[0], [one for one in stored if one and not one.identities]


async def race_to_rename(accounts: AccountStore, rivals: Sequence[IdentityStore]) -> None:
    """A player's identity gets another external id, at each of `rivals` at once."""
    account = await log_in(rivals[0], identity())
    new = identity(external_id="new")
    outcomes = await asyncio.gather(
        *(rival.rename(account, identity().external_id, new) for rival in rivals),
        return_exceptions=True,
    )
    winners = [outcome for outcome in outcomes if isinstance(outcome, Account)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, errors.VersionConflict)]
    assert (len(winners), len(losers)) == (1, len(rivals) - 1)
    assert await accounts.get(ALICE) == winners[0]
    assert [await find(rivals[0], one) for one in (identity(), new)] == [None, new]


class IdentityStoreContract:
    """Subclasses provide the fixtures `store` and `accounts`, empty, of one database."""

    async def test_an_unknown_identity_is_none(self, store: IdentityStore) -> None:
        await log_in(store, identity(external_id="another"))
        assert await find(store, identity()) is None

    async def test_an_identity_comes_back_as_it_was(self, store: IdentityStore) -> None:
        await log_in(store, identity())
        assert await find(store, identity()) == identity()

    async def test_a_moment_comes_back_in_utc(self, store: IdentityStore) -> None:
        await log_in(store, identity())
        found = await find(store, identity())
        assert found is not None
        assert found.linked_at.tzinfo is UTC

    @pytest.mark.parametrize("digest", [None, b"\x00\xff" * 16], ids=["no secret", "secret"])
    async def test_its_account_comes_back_as_it_was(
        self, store: IdentityStore, accounts: AccountStore, digest: bytes | None
    ) -> None:
        account = Account(ALICE, created_at=LINKED, seen_at=LINKED, guest_secret_digest=digest)
        expected = replace(account, identities=(identity(),))
        assert await store.create_account(account, identity()) == expected
        assert await accounts.get(ALICE) == expected

    async def test_a_linked_identity_changes_nothing_and_no_account_appears(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        await log_in(store, identity(ALICE))
        with pytest.raises(errors.AlreadyExists):
            await log_in(store, identity(BOB))
        assert await find(store, identity()) == identity(ALICE)
        assert await accounts.get(BOB) is None

    async def test_a_taken_user_id_changes_nothing_and_no_identity_appears(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account = await guest(accounts, ALICE)
        with pytest.raises(errors.AlreadyExists):
            await log_in(store, identity(ALICE))
        assert await accounts.get(ALICE) == account
        assert await find(store, identity()) is None

    async def test_the_same_login_again_is_refused_and_changes_nothing(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account = await log_in(store, identity())
        with pytest.raises(errors.AlreadyExists):
            await log_in(store, identity())
        assert await find(store, identity()) == identity()
        assert await accounts.get(ALICE) == account

    async def test_two_providers_may_have_players_of_the_same_external_id(
        self, store: IdentityStore
    ) -> None:
        await log_in(store, identity(ALICE, "steam"))
        await log_in(store, identity(BOB, "epic"))
        assert await find(store, identity(provider="steam")) == identity(ALICE, "steam")
        assert await find(store, identity(provider="epic")) == identity(BOB, "epic")

    @pytest.mark.parametrize(
        "external_id",
        ["Zoë", "🎮", "日本", "a#b", "#", " a ", "'; --", '"', "a\x00b", "\u2028", "x" * 255],
    )
    async def test_an_external_id_may_be_any_text(
        self, store: IdentityStore, accounts: AccountStore, external_id: str
    ) -> None:
        expected = identity(external_id=external_id)
        await log_in(store, expected)
        assert await find(store, expected) == expected
        account = await accounts.get(ALICE)
        assert account is not None
        assert account.identities == (expected,)
        assert await find(store, identity(external_id=external_id + "0")) is None

    async def test_external_ids_that_only_look_the_same_are_two(self, store: IdentityStore) -> None:
        composed = identity(ALICE, external_id="Zo\u00eb")
        decomposed = identity(BOB, external_id="Zoe\u0308")
        for linked in (composed, decomposed):
            await log_in(store, linked)
        assert await find(store, composed) == composed
        assert await find(store, decomposed) == decomposed

    async def test_external_ids_that_differ_in_case_are_two(self, store: IdentityStore) -> None:
        lower, upper = identity(ALICE, external_id="abc"), identity(BOB, external_id="ABC")
        for linked in (lower, upper):
            await log_in(store, linked)
        assert await find(store, lower) == lower
        assert await find(store, upper) == upper

    async def test_of_50_parallel_first_logins_exactly_one_creates_an_account(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        await race(store, accounts, *[store] * 50)

    # Linking.

    async def test_a_linked_identity_is_found_and_on_the_accounts_list(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account = await guest(accounts, ALICE)
        linked = await store.link(account, identity())
        assert linked == replace(account, identities=(identity(),), revision=2)
        assert await accounts.get(ALICE) == linked
        assert await find(store, identity()) == identity()

    async def test_as_many_identities_as_an_account_may_have_are_listed_in_order(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account = await guest(accounts, ALICE)
        many = tuple(
            replace(identity(provider=f"provider-{number}"), linked_at=LINKED + number * SECOND)
            for number in range(MOST_IDENTITIES)
        )
        for one in many:
            account = await store.link(account, one)
        assert account.identities == many
        assert await accounts.get(ALICE) == account
        with pytest.raises(errors.Conflict):
            await store.link(account, identity())
        assert await accounts.get(ALICE) == account
        assert await find(store, identity()) is None

    async def test_of_a_provider_only_one_is_linked(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account = await store.link(await guest(accounts, ALICE), identity())
        with pytest.raises(errors.Conflict):
            await store.link(account, identity(external_id="another"))
        assert await accounts.get(ALICE) == account
        assert await find(store, identity(external_id="another")) is None

    async def test_one_that_is_linked_already_changes_nothing(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account = await store.link(await guest(accounts, ALICE), identity())
        later = replace(identity(), linked_at=LINKED + SECOND)
        assert await store.link(account, later) == account
        assert await accounts.get(ALICE) == account
        assert await find(store, identity()) == identity()

    async def test_an_identity_of_another_account_is_not_linked_and_its_owner_is_told(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        owner = await log_in(store, identity(BOB))
        account = await guest(accounts, ALICE)
        with pytest.raises(errors.AlreadyLinked) as conflict:
            await store.link(account, identity())
        assert conflict.value.owner == BOB
        assert [await accounts.get(one) for one in (ALICE, BOB)] == [account, owner]
        assert await find(store, identity()) == identity(BOB)

    @pytest.mark.parametrize("linked", [False, True], ids=["new", "linked already"])
    async def test_an_account_that_has_changed_is_not_linked(
        self, store: IdentityStore, accounts: AccountStore, *, linked: bool
    ) -> None:
        account = await guest(accounts, ALICE)
        if linked:
            account = await store.link(account, identity())
        current = await accounts.replace(account.seen(LINKED + SECOND))
        with pytest.raises(errors.VersionConflict):
            await store.link(account, identity())
        assert await accounts.get(ALICE) == current
        assert await find(store, identity()) == (identity() if linked else None)

    async def test_an_account_that_there_is_not_is_not_linked(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        nobody = Account(ALICE, created_at=LINKED, seen_at=LINKED, guest_secret_digest=None)
        with pytest.raises(errors.VersionConflict):
            await store.link(nobody, identity())
        assert await accounts.get(ALICE) is None
        assert await find(store, identity()) is None

    async def test_an_account_that_is_being_erased_meanwhile_is_not_linked(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account = await guest(accounts, ALICE)
        erasing = await accounts.replace(account.erasing(ERASURE))
        with pytest.raises(errors.VersionConflict):
            await store.link(account, identity())
        with pytest.raises(errors.Conflict):
            await store.link(erasing, identity())
        assert await find(store, identity()) is None

    async def test_who_is_linked_is_no_inactive_guest(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        await store.link(await guest(accounts, ALICE), identity())
        other = await guest(accounts, BOB)
        await log_in(store, identity(CAROL, "epic"))
        found = [one async for one in accounts.inactive_guests(LINKED + SECOND)]
        assert found == [other]

    async def test_a_change_of_the_account_leaves_its_identities(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account = await store.link(await guest(accounts, ALICE), identity())
        changed = await accounts.replace(account.seen(LINKED + SECOND))
        assert changed.identities == (identity(),)
        assert await accounts.get(ALICE) == changed

    async def test_of_50_parallel_links_of_one_identity_exactly_one_happens(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        await race_to_link(accounts, [store] * 50)

    # Unlinking.

    async def test_an_unlinked_identity_is_nobodys_and_may_be_linked_by_anybody(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account = await store.link(await guest(accounts, ALICE), identity())
        unlinked = await store.unlink(account, *identity().key)
        assert unlinked == replace(account, identities=(), revision=3)
        assert await accounts.get(ALICE) == unlinked
        assert await find(store, identity()) is None
        await log_in(store, identity(BOB))

    async def test_the_others_stay_linked(self, store: IdentityStore) -> None:
        others = (identity(provider="epic"), identity(provider="apple"))
        account = await log_in(store, identity())
        for one in others:
            account = await store.link(account, one)
        account = await store.unlink(account, *identity().key)
        assert account.identities == others
        assert [await find(store, one) for one in others] == list(others)

    async def test_the_last_way_in_is_not_unlinked(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account = await log_in(store, identity())
        with pytest.raises(errors.Conflict):
            await store.unlink(account, *identity().key)
        assert await accounts.get(ALICE) == account
        assert await find(store, identity()) == identity()

    async def test_one_that_is_not_linked_changes_nothing(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        await log_in(store, identity(BOB))
        account = await guest(accounts, ALICE)
        assert await store.unlink(account, *identity().key) == account
        assert await accounts.get(ALICE) == account
        assert await find(store, identity()) == identity(BOB)

    @pytest.mark.parametrize("linked", [False, True], ids=["unlinked already", "linked"])
    async def test_of_an_account_that_has_changed_nothing_is_unlinked(
        self, store: IdentityStore, accounts: AccountStore, *, linked: bool
    ) -> None:
        account = await guest(accounts, ALICE)
        if linked:
            account = await store.link(account, identity())
        current = await accounts.replace(account.seen(LINKED + SECOND))
        with pytest.raises(errors.VersionConflict):
            await store.unlink(account, *identity().key)
        assert await accounts.get(ALICE) == current
        assert await find(store, identity()) == (identity() if linked else None)

    async def test_of_two_ways_in_that_are_unlinked_at_once_one_stays(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        other = identity(provider="epic")
        account = await store.link(await log_in(store, identity()), other)
        outcomes = await asyncio.gather(
            *(store.unlink(account, *one.key) for one in (identity(), other)),
            return_exceptions=True,
        )
        assert sorted(type(one).__name__ for one in outcomes) == ["Account", "VersionConflict"]
        left = await accounts.get(ALICE)
        assert left is not None
        assert left in outcomes
        assert [await find(store, one) for one in left.identities] == list(left.identities)
        assert len(left.identities) == 1

    # Renaming.

    async def test_a_renamed_identity_is_in_the_place_of_the_former_which_is_free(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        others = [identity(provider=name, external_id="1") for name in ("epic", "apple")]
        account = await store.link(await guest(accounts, ALICE), others[0])
        account = await store.link(account, identity())
        account = await store.link(account, others[1])
        new = replace(identity(external_id="new"), linked_at=LINKED + SECOND)
        renamed = await store.rename(account, identity().external_id, new)
        expected = (others[0], new, others[1])
        assert renamed == replace(account, identities=expected, revision=account.revision + 1)
        assert await accounts.get(ALICE) == renamed
        assert [await find(store, one) for one in (identity(), new)] == [None, new]
        await log_in(store, identity(BOB))

    async def test_the_last_way_in_may_be_renamed(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account = await log_in(store, identity())
        new = identity(external_id="new")
        renamed = await store.rename(account, identity().external_id, new)
        assert await accounts.get(ALICE) == renamed
        assert (await store.unlink(await self._with_secret(accounts), *new.key)).identities == ()

    async def test_nobody_s_identity_becomes_another_s_by_a_name(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account, new = await log_in(store, identity()), identity(BOB, external_id="new")
        owner = await log_in(store, new)
        with pytest.raises(errors.AlreadyLinked) as conflict:
            await store.rename(account, identity().external_id, replace(new, user_id=ALICE))
        assert conflict.value.owner == BOB
        assert [await accounts.get(one) for one in (ALICE, BOB)] == [account, owner]
        assert [await find(store, one) for one in (identity(), new)] == [identity(), new]

    async def test_an_account_that_has_changed_is_not_renamed(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account, new = await log_in(store, identity()), identity(external_id="new")
        current = await accounts.replace(account.seen(LINKED + SECOND))
        with pytest.raises(errors.VersionConflict):
            await store.rename(account, identity().external_id, new)
        assert await accounts.get(ALICE) == current
        assert [await find(store, one) for one in (identity(), new)] == [identity(), None]

    async def test_what_was_renamed_by_another_is_a_change_and_not_another_s(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account, new = await log_in(store, identity()), identity(external_id="new")
        renamed = await store.rename(account, identity().external_id, new)
        with pytest.raises(errors.VersionConflict):
            await store.rename(account, identity().external_id, new)
        assert await store.rename(renamed, identity().external_id, new) == renamed
        assert await accounts.get(ALICE) == renamed

    @pytest.mark.parametrize("former", ["another", "new"])
    async def test_what_is_not_linked_is_not_renamed(
        self, store: IdentityStore, accounts: AccountStore, former: str
    ) -> None:
        await log_in(store, identity(BOB, external_id="another"))
        account, new = await log_in(store, identity()), identity(external_id="new")
        with pytest.raises(errors.Conflict):
            await store.rename(account, former, new)
        assert await accounts.get(ALICE) == account
        assert [await find(store, one) for one in (identity(), new)] == [identity(), None]

    async def test_a_former_identity_that_is_another_s_by_now_is_not_renamed(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        """As of an account that lists what was freed, and what somebody else began anew with."""
        account, new = await log_in(store, identity()), identity(external_id="new")
        await store.release(identity())
        for owner in (None, identity(BOB)):
            if owner:
                await log_in(store, owner)
            with pytest.raises(errors.VersionConflict):
                await store.rename(account, identity().external_id, new)
            assert await accounts.get(ALICE) == account
            assert [await find(store, one) for one in (identity(), new)] == [owner, None]

    async def test_of_who_is_gone_nothing_is_renamed(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account, new = await log_in(store, identity()), identity(external_id="new")
        erasing = await accounts.replace(account.erasing(ERASURE))
        with pytest.raises(errors.Conflict):
            await store.rename(erasing, identity().external_id, new)
        with pytest.raises(errors.VersionConflict):
            await store.rename(account, identity().external_id, new)
        assert [await find(store, one) for one in (identity(), new)] == [identity(), None]

    async def test_of_50_parallel_renames_exactly_one_happens(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        await race_to_rename(accounts, [store] * 50)

    # Moving.

    async def test_a_moved_identity_is_the_targets_and_on_its_list_alone(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        source = await store.link(await guest(accounts, ALICE), identity())
        target = await guest(accounts, BOB)
        moved = replace(identity(BOB), linked_at=LINKED + SECOND)
        left, joined = await store.move(moved, source, target)
        assert left == replace(source, identities=(), revision=3)
        assert joined == replace(target, identities=(moved,), revision=2)
        assert [await accounts.get(one) for one in (ALICE, BOB)] == [left, joined]
        assert await find(store, identity()) == moved

    async def test_the_last_way_in_is_not_moved_away(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        source, target = await log_in(store, identity()), await guest(accounts, BOB)
        with pytest.raises(errors.Conflict):
            await store.move(identity(BOB), source, target)
        await self._nothing_has_moved(store, accounts, source, target)

    async def test_an_account_that_is_given_up_is_being_erased_from_that_moment_on(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        source, target = await log_in(store, identity()), await guest(accounts, BOB)
        left, joined = await store.move(identity(BOB), source.erasing(ERASURE), target)
        assert left == replace(source, identities=(), erasure=ERASURE, revision=2)
        assert [await accounts.get(one) for one in (ALICE, BOB)] == [left, joined]
        assert await find(store, identity()) == identity(BOB)

    async def test_an_account_that_was_given_up_gets_its_way_in_back(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        source, target = await log_in(store, identity(ALICE)), await guest(accounts, BOB)
        left, joined = await store.move(identity(BOB), source.erasing(GIVEN_UP), target)
        assert await accounts.get(ALICE) == left
        assert left.undo == GIVEN_UP.undo
        after, recovered = await store.move(identity(ALICE), joined, left.recovered(LINKED))
        assert recovered == replace(source, revision=3)
        assert await accounts.get(ALICE) == recovered
        assert await accounts.get(BOB) == after == replace(target, revision=3)
        assert await find(store, identity()) == identity(ALICE)

    async def test_an_account_that_was_given_up_gets_back_a_way_in_that_is_free(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        source, target = await log_in(store, identity(ALICE)), await guest(accounts, BOB)
        left, joined = await store.move(identity(BOB), source.erasing(GIVEN_UP), target)
        await store.unlink(joined, *identity().key)
        assert await store.link(left.recovered(LINKED), identity()) == replace(source, revision=3)
        assert await accounts.get(ALICE) == replace(source, revision=3)

    @pytest.mark.parametrize("changed", [ALICE, BOB], ids=["source", "target"])
    async def test_where_either_account_has_changed_nothing_is_moved(
        self, store: IdentityStore, accounts: AccountStore, changed: str
    ) -> None:
        source = await store.link(await guest(accounts, ALICE), identity())
        target = await guest(accounts, BOB)
        before = {ALICE: source, BOB: target}
        after = {
            **before,
            changed: await accounts.replace(before[changed].seen(LINKED + SECOND)),
        }
        with pytest.raises(errors.VersionConflict):
            await store.move(identity(BOB), source, target)
        await self._nothing_has_moved(store, accounts, after[ALICE], after[BOB])

    async def test_a_target_that_has_one_of_the_provider_gets_no_second_one(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        source = await store.link(await guest(accounts, ALICE), identity())
        target = await log_in(store, identity(BOB, external_id="another"))
        with pytest.raises(errors.Conflict):
            await store.move(identity(BOB), source, target)
        await self._nothing_has_moved(store, accounts, source, target)

    async def test_what_is_not_the_sources_is_not_moved(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        owner = await log_in(store, identity())
        source, target = await guest(accounts, BOB), await guest(accounts, CAROL)
        with pytest.raises(errors.VersionConflict):
            await store.move(identity(CAROL), source, target)
        await self._nothing_has_moved(store, accounts, owner, source, target)

    async def test_of_20_parallel_moves_to_as_many_accounts_exactly_one_happens(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        source = await store.link(await guest(accounts, ALICE), identity())
        targets = [await guest(accounts, new_id()) for _ in range(20)]
        outcomes = await asyncio.gather(
            *(store.move(identity(one.user_id), source, one) for one in targets),
            return_exceptions=True,
        )
        moves = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
        losers = [outcome for outcome in outcomes if isinstance(outcome, errors.VersionConflict)]
        assert (len(moves), len(losers)) == (1, 19)
        ((left, joined),) = moves
        stored = [await accounts.get(one.user_id) for one in (source, *targets)]
        assert [one for one in stored if one and one.identities] == [joined]
        assert stored[0] == left

    # Releasing.

    async def test_a_released_identity_is_nobodys_also_when_that_is_repeated(
        self, store: IdentityStore
    ) -> None:
        other = identity(BOB, external_id="another")
        for one in (identity(), other):
            await log_in(store, one)
        for _ in range(2):
            await store.release(identity())
            assert await find(store, identity()) is None
        assert await find(store, other) == other

    async def test_what_is_anothers_by_now_is_not_released(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        await log_in(store, identity())
        await store.release(identity())
        account = await log_in(store, identity(BOB))
        await store.release(identity())
        assert await find(store, identity()) == identity(BOB)
        assert await accounts.get(BOB) == account

    async def test_of_a_tombstone_no_identity_stays(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account = await log_in(store, identity())
        erasing = await accounts.replace(account.erasing(ERASURE))
        assert erasing.identities == (identity(),)
        await accounts.replace(erasing.erased(ERASURE.tokens_expire_at))
        tombstone = await accounts.get(ALICE)
        assert tombstone is not None
        assert tombstone.identities == ()

    async def _with_secret(self, accounts: AccountStore) -> Account:
        account = await accounts.get(ALICE)
        assert account is not None
        return await accounts.replace(account.with_guest_secret(b"\x00\xff" * 16))

    async def _nothing_has_moved(
        self, store: IdentityStore, accounts: AccountStore, *expected: Account
    ) -> None:
        assert [await accounts.get(one.user_id) for one in expected] == list(expected)
        assert await find(store, identity()) == identity(ALICE)
