"""A write whose reply was lost happens once, and answers as if the reply had come.

The first half is the whole contract of each store, once more, on a client that sends every write
twice; the second what may come in between.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import pytest
from hypothesis.stateful import run_state_machine_as_test

from services.identity.adapters.dynamodb import (
    ACCOUNTS,
    GRANTS,
    IDEMPOTENCY,
    IDENTITIES,
    IDENTITY_BANS,
    SESSIONS,
    DynamoAccountStore,
    DynamoGrantStore,
    DynamoIdempotencyStore,
    DynamoIdentityBanStore,
    DynamoIdentityStore,
    DynamoSessionStore,
)
from services.identity.models import (
    Account,
    IdempotencyRecord,
    IdentityBan,
    LinkedIdentity,
    Outcome,
    Redeemed,
    SessionKey,
)
from services.player_data import models
from services.player_data.adapters.dynamodb import TABLES, DynamoRecordStore
from services.player_data.models import HISTORY, Precondition, Record
from services.player_data.ports import RecordStore
from shared import errors
from shared.aws import Client
from shared.ids import new_id
from tests.conformance.accounts import BANNED, account
from tests.conformance.dynamodb import DynamoIdentityStoreTests, OnDynamo
from tests.conformance.grants import GRANT
from tests.conformance.grants import LATER as LATER_GRANT
from tests.conformance.grants import find as find_grant
from tests.conformance.idempotency import DAY, FIRST, NOW, SECOND
from tests.conformance.identities import (
    ALICE,
    BOB,
    CAROL,
    ERASURE,
    find,
    guest,
    identity,
    log_in,
)
from tests.conformance.identity_bans import BAN as IDENTITY_BAN
from tests.conformance.identity_bans import FOR_A_WEEK
from tests.conformance.identity_bans import find as find_ban
from tests.conformance.records import KEY, STATES, T0, T1, T2, delete, numbers, put, write
from tests.conformance.records_model import FEW, RecordStoreMachine
from tests.conformance.sessions import ADVANCED, GRACE, LATER, MILLISECOND, SESSION, redeem, start
from tests.support.aws import client, new_tables
from tests.support.interruptions import Crash, Interruption, When
from tests.support.lost_replies import Contended, Interrupted, Meanwhile, NeverAnswers, SentTwice

Others = Callable[[DynamoRecordStore], Awaitable[object]]


async def _nothing(_: DynamoRecordStore) -> None:
    pass


async def _puts(store: DynamoRecordStore) -> None:
    for number in range(3):
        await put(store, value=f'"other {number}"', now=T2)


async def _delete(store: DynamoRecordStore) -> None:
    await delete(store, now=T2)


async def _delete_and_put(store: DynamoRecordStore) -> None:
    await delete(store, now=T2)
    await put(store, value='"other"', now=T2)


async def _put_and_delete_and_put(store: DynamoRecordStore) -> None:
    await put(store, value='"other"', now=T1)
    await _delete_and_put(store)


def _blind(_: Record | None) -> Precondition:
    return Precondition.ALWAYS


def _exact(seen: Record | None) -> Precondition:
    return Precondition.at(seen.version) if seen else Precondition.ABSENT


def _wide(_: Record | None) -> Precondition:
    """Holds for what the write itself has made as well."""
    return Precondition(frozenset(range(1, 9)), may_be_absent=True)


class Write(Protocol):
    """`put` or `delete`, as far as both take the same."""

    async def __call__(
        self, store: RecordStore, *, precondition: Precondition = ..., keep: int = ...
    ) -> object: ...


Condition = Callable[[Record | None], Precondition]
CONDITIONS = [_blind, _exact, _wide]
PASSING = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"]
WRITES = frozenset(("put_item", "update_item", "delete_item", "transact_write_items"))
OTHERS = [_nothing, _puts, _delete, _delete_and_put, _put_and_delete_and_put]


class IdentitiesSentTwice(DynamoIdentityStoreTests):
    """Subclasses provide the fixture `endpoint`."""

    # Each sends twice, and a stand-in takes one after the other: within a call's deadline.
    rivals = 20

    @pytest.fixture
    def store(self, dynamodb: Client, prefix: str) -> DynamoIdentityStore:
        return DynamoIdentityStore(SentTwice(dynamodb), prefix)


class AmbiguousWrites(OnDynamo):
    """Subclasses provide the fixture `endpoint`."""

    @pytest.fixture
    def twice(self, dynamodb: Client) -> SentTwice:
        return SentTwice(dynamodb)

    @pytest.fixture
    async def prefix(self, dynamodb: Client) -> str:
        identity_tables = (ACCOUNTS, GRANTS, IDEMPOTENCY, IDENTITIES, IDENTITY_BANS, SESSIONS)
        return await new_tables(dynamodb, *identity_tables, *TABLES)

    # Accounts.

    async def test_an_account_is_created_once(self, twice: SentTwice, prefix: str) -> None:
        store = DynamoAccountStore(twice, prefix)
        await store.create(account())
        assert await store.get(account().user_id) == account()

    async def test_the_account_of_another_is_still_in_the_way(
        self, twice: SentTwice, prefix: str
    ) -> None:
        store = DynamoAccountStore(twice, prefix)
        await store.create(account())
        with pytest.raises(errors.AlreadyExists):
            await store.create(account())

    async def test_an_account_is_changed_once(self, twice: SentTwice, prefix: str) -> None:
        store = DynamoAccountStore(twice, prefix)
        await store.create(account())
        expected = replace(BANNED, revision=2)
        assert await store.replace(BANNED) == expected
        assert await store.get(BANNED.user_id) == expected

    async def test_the_change_of_another_to_an_account_is_still_a_conflict(
        self, twice: SentTwice, prefix: str
    ) -> None:
        store = DynamoAccountStore(twice, prefix)
        await store.create(account())
        winner = await store.replace(BANNED)
        with pytest.raises(errors.VersionConflict):
            await store.replace(BANNED)
        assert await store.get(BANNED.user_id) == winner

    @pytest.mark.parametrize("count", [1, 2, 3])
    async def test_an_account_was_changed_though_others_did_meanwhile(
        self, dynamodb: Client, twice: SentTwice, prefix: str, count: int
    ) -> None:
        store, other = DynamoAccountStore(twice, prefix), DynamoAccountStore(dynamodb, prefix)
        await store.create(account())

        async def follow() -> None:
            for revision in range(2, 2 + count):
                await other.replace(replace(account(), revision=revision))

        twice.meanwhile = follow
        assert await store.replace(BANNED) == replace(BANNED, revision=2)
        assert await other.get(BANNED.user_id) == replace(account(), revision=2 + count)

    # Bans of identities.

    @pytest.mark.parametrize("before", [None, IDENTITY_BAN], ids=["new", "in place of another"])
    async def test_a_ban_whose_place_another_took_meanwhile_does_not_come_back(
        self, dynamodb: Client, twice: SentTwice, prefix: str, before: IdentityBan | None
    ) -> None:
        store = DynamoIdentityBanStore(twice, prefix)
        other = DynamoIdentityBanStore(dynamodb, prefix)
        if before:
            await other.put(before)
        twice.meanwhile = lambda: other.put(FOR_A_WEEK)
        await store.put(IDENTITY_BAN)
        assert await find_ban(other) == FOR_A_WEEK

    async def test_a_ban_is_deleted_once_and_not_the_one_that_came_meanwhile(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store = DynamoIdentityBanStore(twice, prefix)
        other = DynamoIdentityBanStore(dynamodb, prefix)
        await other.put(IDENTITY_BAN)
        twice.meanwhile = lambda: other.put(FOR_A_WEEK)
        await store.delete(IDENTITY_BAN.provider, IDENTITY_BAN.external_id)
        assert await find_ban(other) == FOR_A_WEEK
        await store.delete(IDENTITY_BAN.provider, IDENTITY_BAN.external_id)
        assert await find_ban(other) is None

    # What platforms want back.

    async def test_a_grant_whose_place_another_took_meanwhile_does_not_come_back(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store, other = DynamoGrantStore(twice, prefix), DynamoGrantStore(dynamodb, prefix)
        twice.meanwhile = lambda: other.put(LATER_GRANT)
        await store.put(GRANT)
        assert await find_grant(other) == LATER_GRANT

    async def test_a_grant_is_deleted_once_and_not_the_one_that_came_meanwhile(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store, other = DynamoGrantStore(twice, prefix), DynamoGrantStore(dynamodb, prefix)
        await other.put(GRANT)
        twice.meanwhile = lambda: other.put(LATER_GRANT)
        await store.delete(GRANT)
        assert await find_grant(other) == LATER_GRANT

    # Identities.

    async def test_a_first_login_creates_an_account_and_its_identity_once(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store = DynamoIdentityStore(twice, prefix)
        created = await log_in(store, identity())
        assert await find(store, identity()) == identity()
        assert await DynamoAccountStore(dynamodb, prefix).get(created.user_id) == created
        assert twice.writes == 1

    async def test_the_identity_and_the_account_of_another_are_still_in_the_way(
        self, twice: SentTwice, prefix: str
    ) -> None:
        store = DynamoIdentityStore(twice, prefix)
        await log_in(store, identity())
        for rival in (identity(), identity(BOB), identity(external_id="another")):
            with pytest.raises(errors.AlreadyExists):
                await log_in(store, rival)

    async def test_a_first_login_that_others_followed_meanwhile_has_won(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store, other = DynamoIdentityStore(twice, prefix), DynamoIdentityStore(dynamodb, prefix)

        async def follow() -> None:
            with pytest.raises(errors.AlreadyExists):
                await log_in(other, identity(BOB))

        twice.meanwhile = follow
        await log_in(store, identity())
        assert await find(store, identity()) == identity()

    @pytest.mark.parametrize("done_before", [False, True], ids=["new", "done before"])
    @pytest.mark.parametrize("reason", PASSING)
    async def test_a_first_login_that_met_others_is_tried_again_and_happens_once(
        self, dynamodb: Client, prefix: str, reason: str, *, done_before: bool
    ) -> None:
        contended = Contended(dynamodb, 2, reason, done_before=done_before)
        store = DynamoIdentityStore(contended, prefix)
        await log_in(store, identity())
        assert await find(store, identity()) == identity()
        assert contended.transactions == 3

    async def test_a_first_login_that_meets_others_for_too_long_is_unavailable(
        self, dynamodb: Client, prefix: str
    ) -> None:
        store = DynamoIdentityStore(Contended(dynamodb, 5, "TransactionConflict"), prefix)
        with pytest.raises(errors.Unavailable):
            await log_in(store, identity())
        assert await find(store, identity()) is None

    async def test_a_first_login_that_is_refused_for_good_is_not_tried_again(
        self, dynamodb: Client, prefix: str
    ) -> None:
        contended = Contended(dynamodb, 1, "ValidationError")
        with pytest.raises(errors.Unavailable):
            await log_in(DynamoIdentityStore(contended, prefix), identity())
        assert contended.transactions == 1

    async def test_a_link_a_move_and_an_unlink_happen_once(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store, accounts = DynamoIdentityStore(twice, prefix), DynamoAccountStore(dynamodb, prefix)
        alice, bob = await guest(accounts, ALICE), await guest(accounts, BOB)
        alice = await store.link(alice, identity())
        assert (alice.revision, alice.identities) == (2, (identity(),))
        assert await accounts.get(ALICE) == alice
        alice, bob = await store.move(identity(BOB), alice, bob)
        assert (alice.revision, alice.identities) == (3, ())
        assert (bob.revision, bob.identities) == (2, (identity(BOB),))
        assert [await accounts.get(one) for one in (ALICE, BOB)] == [alice, bob]
        assert await find(store, identity()) == identity(BOB)
        bob = await store.unlink(bob, *identity().key)
        assert (bob.revision, bob.identities) == (3, ())
        assert await accounts.get(BOB) == bob
        assert await find(store, identity()) is None
        assert twice.writes == 3

    async def test_the_change_of_another_is_still_in_the_way_of_a_link_a_move_and_an_unlink(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store, accounts = DynamoIdentityStore(twice, prefix), DynamoAccountStore(dynamodb, prefix)
        alice, bob = await guest(accounts, ALICE), await guest(accounts, BOB)
        current = await accounts.replace(alice)
        with pytest.raises(errors.VersionConflict):
            await store.link(alice, identity())
        linked = await store.link(current, identity())
        with pytest.raises(errors.AlreadyLinked):
            await store.link(bob, identity())
        current = await accounts.replace(linked)
        with pytest.raises(errors.VersionConflict):
            await store.move(identity(BOB), linked, bob)
        with pytest.raises(errors.VersionConflict):
            await store.unlink(linked, *identity().key)
        assert [await accounts.get(one) for one in (ALICE, BOB)] == [current, bob]
        assert await find(store, identity()) == identity()

    async def test_a_link_that_was_undone_meanwhile_has_happened_and_does_not_come_back(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store, other = DynamoIdentityStore(twice, prefix), DynamoIdentityStore(dynamodb, prefix)
        accounts = DynamoAccountStore(dynamodb, prefix)
        alice = await guest(accounts, ALICE)
        linked = replace(alice, identities=(identity(),), revision=2)
        twice.meanwhile = lambda: other.unlink(linked, *identity().key)
        assert await store.link(alice, identity()) == linked
        assert await accounts.get(ALICE) == replace(alice, revision=3)
        assert await find(store, identity()) is None

    async def test_an_unlinked_identity_that_another_linked_meanwhile_stays_theirs(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store, other = DynamoIdentityStore(twice, prefix), DynamoIdentityStore(dynamodb, prefix)
        accounts = DynamoAccountStore(dynamodb, prefix)
        alice = await other.link(await guest(accounts, ALICE), identity())
        twice.meanwhile = lambda: log_in(other, identity(BOB))
        assert await store.unlink(alice, *identity().key) == replace(
            alice, identities=(), revision=3
        )
        assert await find(store, identity()) == identity(BOB)

    async def test_a_rename_happens_once_and_does_not_come_back(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store, other = DynamoIdentityStore(twice, prefix), DynamoIdentityStore(dynamodb, prefix)
        accounts = DynamoAccountStore(dynamodb, prefix)
        alice = await other.link(await guest(accounts, ALICE), identity())
        new = identity(external_id="new")
        renamed = replace(alice, identities=(new,), revision=3)
        assert await store.rename(alice, identity().external_id, new) == renamed
        assert await accounts.get(ALICE) == renamed
        newest = identity(external_id="newest")

        async def follow() -> None:
            unlinked = await other.unlink(
                replace(renamed, identities=(newest,), revision=4), *newest.key
            )
            await other.link(unlinked, identity())

        twice.meanwhile = follow
        assert (await store.rename(renamed, "new", newest)).identities == (newest,)
        stored = await accounts.get(ALICE)
        assert stored is not None
        assert stored.identities == (identity(),)
        assert [await find(other, one) for one in (new, newest)] == [None, None]
        assert twice.writes == 2

    async def test_the_rename_of_another_is_still_in_the_way(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store, accounts = DynamoIdentityStore(twice, prefix), DynamoAccountStore(dynamodb, prefix)
        alice, new = await log_in(store, identity()), identity(external_id="new")
        renamed = await store.rename(alice, identity().external_id, new)
        with pytest.raises(errors.VersionConflict):
            await store.rename(alice, identity().external_id, new)
        bob = await log_in(store, identity(BOB))
        with pytest.raises(errors.AlreadyLinked):
            await store.rename(bob, identity().external_id, identity(BOB, external_id="new"))
        assert [await accounts.get(one) for one in (ALICE, BOB)] == [renamed, bob]

    async def test_an_identity_that_was_moved_on_meanwhile_stays_there(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store, other = DynamoIdentityStore(twice, prefix), DynamoIdentityStore(dynamodb, prefix)
        accounts = DynamoAccountStore(dynamodb, prefix)
        alice, bob, carol = [await guest(accounts, one) for one in (ALICE, BOB, CAROL)]
        alice = await other.link(alice, identity())
        joined = replace(bob, identities=(identity(BOB),), revision=2)
        twice.meanwhile = lambda: other.move(identity(CAROL), joined, carol)
        left = replace(alice, identities=(), revision=3)
        assert await store.move(identity(BOB), alice, bob) == (left, joined)
        assert await find(store, identity()) == identity(CAROL)
        stored = [await accounts.get(one) for one in (ALICE, BOB, CAROL)]
        assert [one and one.identities for one in stored] == [(), (), (identity(CAROL),)]

    async def test_a_released_identity_that_was_linked_anew_meanwhile_stays(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store, other = DynamoIdentityStore(twice, prefix), DynamoIdentityStore(dynamodb, prefix)
        await log_in(other, identity())
        twice.meanwhile = lambda: log_in(other, identity(BOB))
        await store.release(identity())
        assert await find(store, identity()) == identity(BOB)

    @pytest.mark.parametrize("when", list(When))
    async def test_whoever_is_killed_or_hears_nothing_leaves_all_of_a_change_or_nothing(
        self, dynamodb: Client, prefix: str, when: When
    ) -> None:
        accounts, calm = DynamoAccountStore(dynamodb, prefix), DynamoIdentityStore(dynamodb, prefix)
        alice, bob = await guest(accounts, ALICE), await log_in(calm, identity(BOB, "epic"))

        def cut() -> DynamoIdentityStore:
            interruption = Interruption(WRITES, 1, when, _lost)
            return DynamoIdentityStore(interruption.around(dynamodb), prefix)

        async def owner_after(work: Awaitable[object], one: LinkedIdentity) -> str | None:
            """Whose an identity is: of the accounts that one alone has it on its list."""
            with contextlib.suppress(Crash, errors.Unavailable):
                await work
            found = await find(calm, one)
            listing = [
                account.user_id
                for account in await _both(accounts)
                if one.key in {each.key for each in account.identities}
            ]
            assert listing == ([found.user_id] if found else [])
            return found.user_id if found else None

        happens = when not in (When.BEFORE, When.DROPPED)
        steam, epic = identity(), identity(provider="epic")
        assert await owner_after(cut().link(alice, steam), steam) == (ALICE if happens else None)
        alice, bob = await _both(accounts)
        given_up = cut().move(epic, bob.erasing(ERASURE), alice)
        assert await owner_after(given_up, epic) == (ALICE if happens else BOB)
        alice, bob = await _both(accounts)
        assert bob.is_gone is happens
        if happens:
            assert await owner_after(cut().unlink(alice, *steam.key), steam) is None
        alice, _ = await _both(accounts)
        assert alice.identities == ((epic,) if happens else ())

    # Idempotency records.

    @pytest.mark.parametrize("expired", [False, True], ids=["new", "expired"])
    async def test_a_key_is_claimed_once(
        self, dynamodb: Client, twice: SentTwice, prefix: str, *, expired: bool
    ) -> None:
        store, other = (
            DynamoIdempotencyStore(twice, prefix),
            DynamoIdempotencyStore(dynamodb, prefix),
        )
        if expired:
            await other.claim(replace(SECOND, expires_at=NOW), now=NOW - DAY)
        assert await store.claim(FIRST, now=NOW) == FIRST
        assert await other.claim(SECOND, now=NOW) == FIRST

    async def test_a_key_that_others_claimed_meanwhile_was_claimed(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store, other = (
            DynamoIdempotencyStore(twice, prefix),
            DynamoIdempotencyStore(dynamodb, prefix),
        )

        async def follow() -> IdempotencyRecord:
            return await other.claim(SECOND, now=NOW)

        twice.meanwhile = follow
        assert await store.claim(FIRST, now=NOW) == FIRST

    async def test_a_key_that_was_claimed_by_another_is_answered_theirs(
        self, twice: SentTwice, prefix: str
    ) -> None:
        store = DynamoIdempotencyStore(twice, prefix)
        await store.claim(FIRST, now=NOW)
        assert await store.claim(SECOND, now=NOW) == FIRST

    # Sessions.

    async def test_a_session_is_created_once(self, twice: SentTwice, prefix: str) -> None:
        store = DynamoSessionStore(twice, prefix)
        await store.create(SESSION)
        assert await store.get(SESSION.key) == SESSION
        with pytest.raises(errors.AlreadyExists):
            await store.create(SESSION)

    async def test_a_session_that_was_used_meanwhile_was_created(
        self,
        dynamodb: Client,
        twice: SentTwice,
        prefix: str,
    ) -> None:
        store, other = DynamoSessionStore(twice, prefix), DynamoSessionStore(dynamodb, prefix)
        twice.meanwhile = lambda: _redeem_some(other, first=1, count=3)
        await store.create(SESSION)

    async def test_a_token_advances_its_session_once(self, twice: SentTwice, prefix: str) -> None:
        store = DynamoSessionStore(twice, prefix)
        await store.create(SESSION)
        assert await redeem(store) == Redeemed(Outcome.ADVANCED, ADVANCED)
        assert await store.get(SESSION.key) == ADVANCED

    async def test_a_replay_is_counted_once(self, twice: SentTwice, prefix: str) -> None:
        store = DynamoSessionStore(twice, prefix)
        await start(store, 2)
        expected = replace(ADVANCED, replays=1)
        assert await redeem(store) == Redeemed(Outcome.REPLAYED, expected)
        assert await store.get(SESSION.key) == expected

    async def test_the_last_replay_is_answered(self, twice: SentTwice, prefix: str) -> None:
        store = DynamoSessionStore(twice, prefix)
        await start(store, 2)
        for replays in range(1, 11):
            assert (await redeem(store)).session.replays == replays
        with pytest.raises(errors.TooManyRequests):
            await redeem(store)

    async def test_a_session_is_ended_once_and_it_is_told_why(
        self, twice: SentTwice, prefix: str
    ) -> None:
        store = DynamoSessionStore(twice, prefix)
        await start(store, 2)
        now = LATER + GRACE + MILLISECOND
        with pytest.raises(errors.RefreshTokenReused):
            await redeem(store, now=now)
        ended = replace(ADVANCED, ended_at=now, ended_reason="refresh_reused")
        assert await store.get(SESSION.key) == ended

    async def test_a_session_is_ended_once(self, twice: SentTwice, prefix: str) -> None:
        store = DynamoSessionStore(twice, prefix)
        await store.create(SESSION)
        ended = replace(SESSION, ended_at=LATER, ended_reason="signed_out")
        assert await store.end(SESSION.key, now=LATER, reason="signed_out") == ended
        assert await store.get(SESSION.key) == ended
        assert await store.list(SESSION.key.user_id) == [ended]

    async def test_an_end_that_others_wanted_meanwhile_is_the_first_one(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store, other = DynamoSessionStore(twice, prefix), DynamoSessionStore(dynamodb, prefix)
        await store.create(SESSION)
        twice.meanwhile = lambda: other.end(SESSION.key, now=LATER + MILLISECOND, reason="other")
        ended = replace(SESSION, ended_at=LATER, ended_reason="signed_out")
        assert await store.end(SESSION.key, now=LATER, reason="signed_out") == ended
        assert await other.get(SESSION.key) == ended

    async def test_sessions_are_removed_once_and_those_stay_that_came_meanwhile(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        store, other = DynamoSessionStore(twice, prefix), DynamoSessionStore(dynamodb, prefix)
        await store.create(SESSION)
        late = replace(SESSION, key=SessionKey(SESSION.key.user_id, new_id()))
        twice.meanwhile = lambda: other.create(late)
        await store.delete_all(SESSION.key.user_id)
        assert await other.list(SESSION.key.user_id) == [late]

    async def test_a_token_that_advanced_its_session_just_before_the_end_is_answered(
        self, dynamodb: Client, twice: SentTwice, prefix: str
    ) -> None:
        """It was first; what it is answered is as good as a slow reply."""
        store, other = DynamoSessionStore(twice, prefix), DynamoSessionStore(dynamodb, prefix)
        await store.create(SESSION)
        twice.meanwhile = lambda: other.end(SESSION.key, now=LATER, reason="signed_out")
        assert await redeem(store) == Redeemed(Outcome.ADVANCED, ADVANCED)
        with pytest.raises(errors.SessionEnded):
            await redeem(other, counter=2)

    @pytest.mark.parametrize("count", [1, 2, 3])
    async def test_a_token_advanced_its_session_though_others_did_meanwhile(
        self,
        dynamodb: Client,
        twice: SentTwice,
        prefix: str,
        count: int,
    ) -> None:
        store, other = DynamoSessionStore(twice, prefix), DynamoSessionStore(dynamodb, prefix)
        await store.create(SESSION)
        twice.meanwhile = lambda: _redeem_some(other, first=2, count=count)
        assert await redeem(store) == Redeemed(Outcome.ADVANCED, ADVANCED)
        found = await store.get(SESSION.key)
        assert found is not None
        assert found.counter == 2 + count

    async def test_a_token_that_too_many_replayed_meanwhile_is_answered_the_same_token(
        self,
        dynamodb: Client,
        twice: SentTwice,
        prefix: str,
    ) -> None:
        """Its operation is not among the last four any more: it is one of the replays."""
        store, other = DynamoSessionStore(twice, prefix), DynamoSessionStore(dynamodb, prefix)
        await store.create(SESSION)

        async def replay() -> None:
            for _ in range(5):
                await redeem(other)

        twice.meanwhile = replay
        expected = Redeemed(Outcome.REPLAYED, replace(ADVANCED, replays=6))
        assert await redeem(store) == expected

    async def test_without_any_reply_the_client_asks_again_and_is_answered_the_same_token(
        self, dynamodb: Client, prefix: str
    ) -> None:
        store = DynamoSessionStore(dynamodb, prefix)
        await store.create(SESSION)
        with pytest.raises(errors.Unavailable):
            await redeem(DynamoSessionStore(NeverAnswers(dynamodb), prefix))
        redeemed = await redeem(store, now=LATER + GRACE)
        assert redeemed == Redeemed(Outcome.REPLAYED, replace(ADVANCED, replays=1))

    @pytest.mark.parametrize("meanwhile", ["advanced", "ended"])
    async def test_a_replay_that_another_came_before_looks_again(
        self, dynamodb: Client, prefix: str, meanwhile: str
    ) -> None:
        """Between its first look and its write the token has become an older one."""
        other = DynamoSessionStore(dynamodb, prefix)
        await start(other, 3)
        late = _BeforeSecond(dynamodb, lambda: redeem(other, counter=3))
        if meanwhile == "ended":
            late = _BeforeSecond(dynamodb, lambda: _reuse(other))
        with pytest.raises(errors.InvalidRefreshToken) as refused:
            await redeem(DynamoSessionStore(late, prefix), counter=2)
        reused = isinstance(refused.value, errors.RefreshTokenReused)
        assert reused == (meanwhile == "advanced")
        found = await other.get(SESSION.key)
        assert found is not None
        assert found.ended_reason == "refresh_reused"

    # Records.

    @pytest.mark.parametrize("keep", [0, HISTORY])
    @pytest.mark.parametrize("others", OTHERS)
    @pytest.mark.parametrize("condition", CONDITIONS)
    @pytest.mark.parametrize("state", list(STATES))
    async def test_a_record_is_put_once(
        self,
        dynamodb: Client,
        prefix: str,
        state: str,
        condition: Condition,
        others: Others,
        keep: int,
    ) -> None:
        twice = SentTwice(dynamodb, among=["update_item"])
        store, other = DynamoRecordStore(twice, prefix), DynamoRecordStore(dynamodb, prefix)
        last_version = await STATES[state](other)
        seen = await other.get(KEY)
        twice.meanwhile = lambda: others(other)
        # At the moment of the earlier writes, which must not be taken for this one.
        written = await write(store, models.Write(KEY, '"mine"', condition(seen), keep), now=T0)
        assert written.record == Record(KEY, '"mine"', last_version + 1, T0, T0)
        assert written.created == (state != "present")
        await _same_as_once(dynamodb, other, state, others, '"mine"', keep)

    @pytest.mark.parametrize("keep", [0, HISTORY])
    @pytest.mark.parametrize("others", OTHERS)
    @pytest.mark.parametrize("condition", CONDITIONS)
    async def test_a_record_is_deleted_once(
        self,
        dynamodb: Client,
        prefix: str,
        condition: Condition,
        others: Others,
        keep: int,
    ) -> None:
        twice = SentTwice(dynamodb, among=["update_item"])
        store, other = DynamoRecordStore(twice, prefix), DynamoRecordStore(dynamodb, prefix)
        seen = await put(other)
        twice.meanwhile = lambda: others(other)
        deleted = await delete(store, precondition=condition(seen), keep=keep, now=T1)
        assert deleted == seen.version + 1
        await _same_as_once(dynamodb, other, "present", others, None, keep)

    @pytest.mark.parametrize("others", OTHERS)
    async def test_a_copy_that_is_sent_again_after_others_have_written_changes_no_history(
        self, dynamodb: Client, prefix: str, others: Others
    ) -> None:
        twice = SentTwice(dynamodb, among=["put_item"])
        store, other = DynamoRecordStore(twice, prefix), DynamoRecordStore(dynamodb, prefix)
        plain = DynamoRecordStore(dynamodb, await new_tables(dynamodb, *TABLES))
        await put(other)
        twice.meanwhile = lambda: others(other)
        await put(store, value='"mine"', now=T2)
        await put(plain)
        await others(plain)
        await put(plain, value='"mine"', now=T2)
        await _same(other, plain)

    async def test_a_copy_that_comes_late_pushes_nothing_newer_out_of_its_slot(
        self, dynamodb: Client, prefix: str
    ) -> None:
        twice = SentTwice(dynamodb, among=["put_item"])
        store, other = DynamoRecordStore(twice, prefix), DynamoRecordStore(dynamodb, prefix)
        seen = await put(other, keep=1)

        async def write_again() -> None:
            for _ in range(3):
                await put(other, keep=1)

        twice.meanwhile = write_again
        with pytest.raises(errors.VersionConflict):
            await put(store, precondition=Precondition.at(seen.version), keep=1)
        assert await numbers(other) == [3]

    @pytest.mark.parametrize("others", OTHERS)
    @pytest.mark.parametrize("state", list(STATES))
    async def test_a_blind_write_that_others_came_before_happens_after_them(
        self, dynamodb: Client, prefix: str, state: str, others: Others
    ) -> None:
        """Every write of it sent twice, and the others between its copy and its update."""
        late = Interrupted(SentTwice(dynamodb), "update_item")
        store, other = DynamoRecordStore(late, prefix), DynamoRecordStore(dynamodb, prefix)
        plain = DynamoRecordStore(dynamodb, await new_tables(dynamodb, *TABLES))
        await STATES[state](other)
        late.meanwhile = lambda: others(other)
        await put(store, value='"mine"', now=T2)
        await STATES[state](plain)
        await others(plain)
        await put(plain, value='"mine"', now=T2)
        await _same(other, plain)

    @pytest.mark.parametrize("write", [put, delete])
    async def test_a_conditional_write_that_another_came_before_is_a_conflict(
        self, dynamodb: Client, prefix: str, write: Write
    ) -> None:
        late = Interrupted(SentTwice(dynamodb), "update_item")
        store, other = DynamoRecordStore(late, prefix), DynamoRecordStore(dynamodb, prefix)
        seen = await put(other)
        late.meanwhile = lambda: put(other, value='"winner"')
        with pytest.raises(errors.VersionConflict) as conflict:
            await write(store, precondition=Precondition.at(seen.version))
        winner = await other.get(KEY)
        assert conflict.value.current == winner
        assert await other.versions(KEY) == [seen]

    async def test_a_blind_write_that_others_always_come_before_gives_up_and_has_not_happened(
        self, dynamodb: Client, prefix: str
    ) -> None:
        late = Interrupted(dynamodb, "update_item")
        store, other = DynamoRecordStore(late, prefix), DynamoRecordStore(dynamodb, prefix)
        await put(other)

        async def overtake() -> None:
            await put(other, value='"other"')
            late.meanwhile = overtake

        late.meanwhile = overtake
        with pytest.raises(errors.Unavailable):
            await put(store, value='"mine"')
        assert await numbers(other) == [8, 7, 6, 5, 4, 3, 2, 1]
        assert {record.value for record in await other.versions(KEY)} == {"1", '"other"'}

    async def test_the_change_of_another_is_still_a_conflict(
        self, twice: SentTwice, prefix: str
    ) -> None:
        store = DynamoRecordStore(twice, prefix)
        seen = await put(store)
        winner = await put(store, value='"winner"')
        for change in (put, delete):
            with pytest.raises(errors.VersionConflict) as conflict:
                await change(store, precondition=Precondition.at(seen.version))
            assert conflict.value.current == winner

    async def test_a_deletion_that_found_nothing_finds_nothing_twice(
        self, twice: SentTwice, prefix: str
    ) -> None:
        assert await delete(DynamoRecordStore(twice, prefix)) is None

    def test_records_answer_as_a_dict_would(self, endpoint: str) -> None:
        @contextlib.asynccontextmanager
        async def open_store() -> AsyncIterator[DynamoRecordStore]:
            async with client("dynamodb", endpoint) as opened:
                yield DynamoRecordStore(SentTwice(opened), await new_tables(opened, *TABLES))

        class Machine(RecordStoreMachine):
            def __init__(self) -> None:
                super().__init__(open_store)

        run_state_machine_as_test(Machine, settings=FEW)

    # No reply at all.

    async def test_a_write_without_any_reply_is_unavailable_and_happened_at_most_once(
        self,
        dynamodb: Client,
        prefix: str,
    ) -> None:
        store = DynamoRecordStore(NeverAnswers(dynamodb), prefix)
        with pytest.raises(errors.Unavailable):
            await put(store)
        found = await store.get(KEY)
        assert found is not None
        assert found.version == 1

    @pytest.mark.parametrize("write", [put, delete])
    async def test_a_copy_without_any_reply_is_unavailable_and_nothing_has_happened(
        self, dynamodb: Client, prefix: str, write: Write
    ) -> None:
        store = DynamoRecordStore(dynamodb, prefix)
        record = await put(store)
        with pytest.raises(errors.Unavailable):
            await write(DynamoRecordStore(NeverAnswers(dynamodb), prefix))
        assert await store.get(KEY) == record
        assert await store.versions(KEY) == []

    @pytest.mark.parametrize("keep", [1, 3])
    @pytest.mark.parametrize("write", [put, delete])
    async def test_a_crash_between_the_copy_and_the_write_changes_nothing(
        self, dynamodb: Client, prefix: str, write: Write, keep: int
    ) -> None:
        """Neither is the current version listed, nor is the oldest one pushed out."""
        crashing = Interrupted(dynamodb, "update_item")
        crashing.crash = True
        store = DynamoRecordStore(dynamodb, prefix)
        for _ in range(9):
            await put(store, keep=keep)
            current, history = await store.get(KEY), await store.versions(KEY)
            with pytest.raises(errors.Unavailable):
                await write(DynamoRecordStore(crashing, prefix), keep=keep)
            assert await store.get(KEY) == current
            assert await store.versions(KEY) == history


class _BeforeSecond:
    """Does `meanwhile` just before the second update."""

    def __init__(self, client: Client, meanwhile: Meanwhile) -> None:
        self._client = client
        self._meanwhile = meanwhile
        self._updates = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        return getattr(self._client, name)

    async def update_item(self, **parameters: object) -> Mapping[str, Any]:
        self._updates += 1
        if self._updates == 2:
            await self._meanwhile()
        answer: Mapping[str, Any] = await self._client.update_item(**parameters)
        return answer


def _lost() -> Exception:
    return TimeoutError()


async def _both(accounts: DynamoAccountStore) -> list[Account]:
    return [one for one in [await accounts.get(each) for each in (ALICE, BOB)] if one]


async def _redeem_some(store: DynamoSessionStore, *, first: int, count: int) -> None:
    for number in range(count):
        now = LATER + (number + 1) * MILLISECOND
        await redeem(store, counter=first + number, now=now)


async def _reuse(store: DynamoSessionStore) -> None:
    with pytest.raises(errors.RefreshTokenReused):
        await redeem(store, counter=1)


async def _same_as_once(
    dynamodb: Client,
    other: DynamoRecordStore,
    state: str,
    others: Others,
    value: str | None,
    keep: int,
) -> None:
    """What is stored is what the same writes make when every reply comes."""
    plain = DynamoRecordStore(dynamodb, await new_tables(dynamodb, *TABLES))
    await STATES[state](plain)
    if value is None:
        await delete(plain, keep=keep, now=T1)
    else:
        await put(plain, value=value, keep=keep)
    await others(plain)
    await _same(other, plain)


async def _same(one: DynamoRecordStore, other: DynamoRecordStore) -> None:
    assert await one.get(KEY) == await other.get(KEY)
    assert await one.versions(KEY) == await other.versions(KEY)
    assert (await put(one)).version == (await put(other)).version
