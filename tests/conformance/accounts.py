"""What every store of accounts promises."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from services.identity.models import EVERYTHING, MOST_BANS, Account, Ban, Erasure, Mark, Undo
from services.identity.ports import AccountStore
from shared import errors
from shared.ids import new_id
from tests.support.lagging import eventually

ALICE = "a" * 32
BOB = "b" * 32
CREATED = datetime(2026, 3, 29, 1, 30, 59, 999000, tzinfo=UTC)


DAY = timedelta(days=1)
MILLISECOND = timedelta(milliseconds=1)


def account(
    user_id: str = ALICE,
    created_at: datetime = CREATED,
    digest: bytes | None = b"\x00\xff" * 16,
    seen_at: datetime = CREATED + DAY,
) -> Account:
    return Account(
        user_id=user_id, created_at=created_at, guest_secret_digest=digest, seen_at=seen_at
    )


BAN = Ban(reason="Zoë's 🎮", since=CREATED + 2 * DAY)
CHAT_BAN = replace(BAN, scope="chat", until=CREATED + 9 * DAY)
BANNED = account().banned(CHAT_BAN).banned(BAN)
ERASING = BANNED.erasing(Erasure(CREATED + 3 * DAY, CREATED + 3 * DAY + MILLISECOND))
UNDO = Undo(CREATED + 33 * DAY, "steam", "Zoë's #1", BOB)
GIVEN_UP = BANNED.erasing(Erasure(CREATED + 3 * DAY, CREATED + 3 * DAY + MILLISECOND, undo=UNDO))
ERASED = ERASING.erased(CREATED + 4 * DAY)
STATES = {
    "guest": account(),
    "banned": BANNED,
    "given up": GIVEN_UP,
    "erasing": ERASING,
    "erased": ERASED,
}
"""ALICE's account, as she might leave it."""


async def race_to_replace(rivals: Sequence[AccountStore]) -> Account:
    """Replace one revision at each, all at once; exactly one may win. Its account."""
    await rivals[0].create(account())
    wanted = [account().seen(CREATED + number * DAY) for number in range(len(rivals))]
    answers = await asyncio.gather(
        *(rival.replace(one) for rival, one in zip(rivals, wanted, strict=True)),
        return_exceptions=True,
    )
    won = {number: one for number, one in enumerate(answers) if isinstance(one, Account)}
    lost = [one for one in answers if isinstance(one, errors.VersionConflict)]
    assert (len(won), len(lost)) == (1, len(rivals) - 1)
    ((number, winner),) = won.items()
    assert winner == replace(wanted[number], revision=2)
    assert await rivals[0].get(ALICE) == winner
    return winner


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

    @pytest.mark.parametrize("state", list(STATES))
    async def test_it_comes_back_as_it_was_in_every_state(
        self, store: AccountStore, state: str
    ) -> None:
        await store.create(STATES[state])
        assert await store.get(ALICE) == STATES[state]

    async def test_every_moment_comes_back_in_utc(self, store: AccountStore) -> None:
        await store.create(replace(GIVEN_UP, bans=(CHAT_BAN,), erased_at=CREATED + 5 * DAY))
        found = await store.get(ALICE)
        assert found is not None
        assert found.erasure is not None
        assert found.undo is not None
        moments = [
            found.created_at,
            found.seen_at,
            found.bans[0].since,
            found.bans[0].until,
            found.erasure.requested_at,
            found.erasure.tokens_expire_at,
            found.undo.until,
            found.erased_at,
        ]
        assert [moment and moment.tzinfo for moment in moments] == [UTC] * 8

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

    # Changes.

    async def test_a_change_is_answered_and_stored_with_the_next_revision(
        self, store: AccountStore
    ) -> None:
        await store.create(account())
        banned = await store.replace(BANNED)
        assert banned == replace(BANNED, revision=2)
        assert await store.get(ALICE) == banned

    @pytest.mark.parametrize("after", list(STATES))
    @pytest.mark.parametrize("before", list(STATES))
    async def test_of_the_state_before_nothing_stays(
        self, store: AccountStore, before: str, after: str
    ) -> None:
        await store.create(STATES[before])
        assert await store.replace(STATES[after]) == replace(STATES[after], revision=2)
        assert await store.get(ALICE) == replace(STATES[after], revision=2)

    async def test_every_change_counts(self, store: AccountStore) -> None:
        await store.create(account())
        current = account()
        for number in range(1, 7):
            current = await store.replace(current.seen(CREATED + number * DAY))
            assert await store.get(ALICE) == current
        assert current.revision == 7

    async def test_as_many_bans_as_an_account_may_have_come_back_in_order(
        self, store: AccountStore
    ) -> None:
        bans = tuple(replace(BAN, scope=f"scope-{number}") for number in range(MOST_BANS))
        await store.create(replace(account(), bans=bans))
        found = await store.get(ALICE)
        assert found is not None
        assert found.bans == bans

    @pytest.mark.parametrize("revision", [1, 3], ids=["older", "newer"])
    async def test_a_change_of_another_revision_is_a_conflict_and_changes_nothing(
        self, store: AccountStore, revision: int
    ) -> None:
        await store.create(account())
        current = await store.replace(BANNED)
        with pytest.raises(errors.VersionConflict):
            await store.replace(replace(account(), revision=revision))
        assert await store.get(ALICE) == current

    @pytest.mark.parametrize("revision", [1, 2])
    async def test_a_change_of_an_account_that_there_is_not_is_a_conflict_and_makes_none(
        self, store: AccountStore, revision: int
    ) -> None:
        with pytest.raises(errors.VersionConflict):
            await store.replace(replace(account(), revision=revision))
        assert await store.get(ALICE) is None

    async def test_when_it_was_created_never_changes(self, store: AccountStore) -> None:
        await store.create(account())
        expected = replace(account(), revision=2)
        assert await store.replace(account(created_at=CREATED + DAY)) == expected
        assert await store.get(ALICE) == expected

    async def test_a_change_leaves_other_accounts_alone(self, store: AccountStore) -> None:
        await store.create(account())
        await store.create(account(BOB))
        await store.replace(BANNED)
        assert await store.get(BOB) == account(BOB)

    async def test_of_50_parallel_changes_of_one_revision_exactly_one_happens(
        self, store: AccountStore
    ) -> None:
        await race_to_replace([store] * 50)

    # Marks.

    async def test_the_accounts_of_a_mark_are_found_latest_first_from_a_moment_on(
        self, store: AccountStore
    ) -> None:
        banned = [_banned(number) for number in (2, 0, 3, 1)]
        for one in banned:
            await store.create(one)
        await store.create(account())
        expected = sorted(banned, key=_since, reverse=True)
        for number in range(5):
            since = CREATED + number * DAY
            wanted = expected[: 4 - number]
            await eventually(partial(_marked, store, Mark.BANNED, since), wanted)

    async def test_those_that_were_marked_after_a_moment_may_be_left_out(
        self, store: AccountStore
    ) -> None:
        banned = [_banned(number) for number in range(4)]
        for one in banned:
            await store.create(one)

        async def between() -> list[Account]:
            first, last = CREATED + DAY, CREATED + 2 * DAY
            return list(await store.marked_since(Mark.BANNED, first, limit=9, until=last))

        await eventually(between, banned[2:0:-1])

        async def earlier() -> list[Account]:
            last = CREATED + 2 * DAY - MILLISECOND
            return list(await store.marked_since(Mark.BANNED, CREATED, limit=9, until=last))

        await eventually(earlier, banned[1::-1])

    async def test_at_most_the_limit_are_found_and_those_are_the_latest(
        self, store: AccountStore
    ) -> None:
        for number in range(4):
            await store.create(_banned(number))
        latest = [CREATED + 3 * DAY, CREATED + 2 * DAY]

        async def two() -> list[datetime]:
            found = await store.marked_since(Mark.BANNED, CREATED, limit=2)
            return [_since(one) for one in found]

        await eventually(two, latest)

    async def test_who_is_banned_from_a_part_only_is_not_found(self, store: AccountStore) -> None:
        await store.create(account(BOB).banned(CHAT_BAN))
        await store.create(BANNED)
        await eventually(lambda: _marked(store, Mark.BANNED), [BANNED])

    async def test_a_mark_follows_every_change(self, store: AccountStore) -> None:
        marks = [
            (account().banned(BAN), Mark.BANNED),
            (account().unbanned(EVERYTHING), None),
            (account().banned(replace(BAN, since=CREATED + 7 * DAY)), Mark.BANNED),
            (GIVEN_UP, Mark.RECOVERABLE),
            (GIVEN_UP.beyond_recovery(), Mark.ERASING),
            (ERASED, None),
        ]
        await store.create(account())
        for revision, (wanted, mark) in enumerate(marks, start=1):
            stored = await store.replace(replace(wanted, revision=revision))
            for each in Mark:
                expected = [stored] if each is mark else []
                await eventually(partial(_marked, store, each), expected)

    async def test_a_mark_is_found_from_its_own_millisecond_on(self, store: AccountStore) -> None:
        await store.create(ERASING)
        since = CREATED + 3 * DAY
        await eventually(lambda: _marked(store, Mark.ERASING, since), [ERASING])
        assert await _marked(store, Mark.ERASING, since + MILLISECOND) == []

    # Maintenance.

    async def test_guests_that_were_last_seen_before_a_moment_are_found(
        self, store: AccountStore
    ) -> None:
        ids = [new_id() for _ in range(4)]
        for number, user_id in enumerate(ids):
            await store.create(account(user_id, seen_at=CREATED + number * MILLISECOND))
        before = CREATED + 2 * MILLISECOND
        found = [one async for one in store.inactive_guests(before)]
        assert sorted(found, key=_seen_at) == [
            account(user_id, seen_at=CREATED + number * MILLISECOND)
            for number, user_id in enumerate(ids[:2])
        ]

    async def test_who_is_banned_is_an_inactive_guest_and_who_is_gone_is_not(
        self, store: AccountStore
    ) -> None:
        expected = {}
        for name, state in STATES.items():
            one = replace(state, user_id=new_id())
            await store.create(one)
            if name in ("guest", "banned"):
                expected[one.user_id] = one
        found = [one async for one in store.inactive_guests(CREATED + 99 * DAY)]
        assert {one.user_id: one for one in found} == expected
        assert len(found) == len(expected)

    async def test_the_tombstones_are_the_accounts_that_were_erased(
        self, store: AccountStore
    ) -> None:
        await store.create(account(BOB))
        for number in range(3):
            await store.create(replace(ERASING, user_id=new_id()))
            await store.create(replace(ERASED, user_id=str(number) * 32))
        found = [one.user_id async for one in store.tombstones()]
        assert sorted(found) == [str(number) * 32 for number in range(3)]

    async def test_where_there_is_nobody_nobody_is_found(self, store: AccountStore) -> None:
        assert [one async for one in store.inactive_guests(CREATED)] == []
        assert [one async for one in store.tombstones()] == []
        assert await _marked(store, Mark.BANNED) == []

    async def test_accounts_may_change_under_the_hands_of_who_walks(
        self, store: AccountStore
    ) -> None:
        ids = {new_id() for _ in range(5)}
        for user_id in ids:
            await store.create(account(user_id))
        seen = []
        async for one in store.inactive_guests(CREATED + 2 * DAY):
            seen.append(one.user_id)
            await store.replace(one.seen(CREATED + 3 * DAY))
        assert sorted(seen) == sorted(ids)
        assert [one async for one in store.inactive_guests(CREATED + 2 * DAY)] == []


def _banned(number: int) -> Account:
    """Somebody, `number` days after CREATED."""
    return account(new_id()).banned(replace(BAN, since=CREATED + number * DAY))


def _since(one: Account) -> datetime:
    assert one.marked
    return one.marked[1]


def _seen_at(one: Account) -> datetime:
    return one.seen_at


async def _marked(
    store: AccountStore, mark: Mark, since: datetime = CREATED - 99 * DAY
) -> list[Account]:
    return list(await store.marked_since(mark, since, limit=100))
