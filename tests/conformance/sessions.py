"""What every store of sessions promises."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from services.identity.models import MOST_REPLAYS, Outcome, Redeemed, Session, SessionKey
from services.identity.ports import SessionStore
from shared import errors
from shared.ids import new_id
from tests.support.lagging import eventually

ALICE = "a" * 32
BOB = "b" * 32

START = datetime(2026, 10, 25, 0, 59, 59, 1000, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
IDLE = timedelta(days=7)
SESSION = Session(
    key=SessionKey(ALICE, "5" * 32),
    device="Zoë's 🎮",
    counter=1,
    created_at=START,
    refreshed_at=START + MILLISECOND,
    idle_expires_at=START + IDLE,
    absolute_expires_at=START + timedelta(days=30, milliseconds=2),
    replays=2,
)
ENDED = replace(SESSION, ended_at=START + 3 * MILLISECOND, ended_reason="signed_out")
LATER = START + timedelta(hours=1)
SECOND = timedelta(seconds=1)
GRACE = 60 * SECOND
ADVANCED = replace(SESSION, counter=2, refreshed_at=LATER, idle_expires_at=LATER + IDLE, replays=0)
"""SESSION since its first token was redeemed at LATER."""


async def redeem(
    store: SessionStore,
    *,
    counter: int = 1,
    now: datetime = LATER,
    session: Session = SESSION,
    grace: timedelta = GRACE,
) -> Redeemed:
    return await store.redeem(
        session.key, counter=counter, now=now, idle_expires_at=now + IDLE, grace=grace
    )


async def start(store: SessionStore, counter: int, session: Session = SESSION) -> Session:
    """Create a session and advance it to `counter`, at LATER."""
    await store.create(session)
    for number in range(session.counter, counter):
        await redeem(store, counter=number, session=session)
    found = await store.get(session.key)
    assert found is not None
    return found


async def race(rivals: Sequence[SessionStore], *, now: datetime = LATER) -> Counter[str]:
    """Present the first token of SESSION to all at once. What came of it, by outcome or error."""
    answers = await asyncio.gather(
        *(redeem(store, now=now) for store in rivals), return_exceptions=True
    )
    granted = [answer for answer in answers if isinstance(answer, Redeemed)]
    assert {answer.session.counter for answer in granted} == {2}
    return Counter(
        answer.outcome.value if isinstance(answer, Redeemed) else type(answer).__name__
        for answer in answers
    )


class SessionStoreContract:
    """Subclasses provide the fixture `store`, empty."""

    async def test_an_unknown_session_is_none(self, store: SessionStore) -> None:
        await store.create(replace(SESSION, key=SessionKey(ALICE, "6" * 32)))
        assert await store.get(SESSION.key) is None

    @pytest.mark.parametrize(
        "session",
        [
            SESSION,
            replace(SESSION, device=None),
            replace(SESSION, counter=999_999_999),
            replace(SESSION, provider="steam"),
            ENDED,
        ],
        ids=["whole", "no device", "high counter", "of an identity", "ended"],
    )
    async def test_a_session_comes_back_as_it_was(
        self, store: SessionStore, session: Session
    ) -> None:
        await store.create(session)
        assert await store.get(session.key) == session

    async def test_every_moment_comes_back_in_utc(self, store: SessionStore) -> None:
        await store.create(ENDED)
        found = await store.get(SESSION.key)
        assert found is not None
        moments = [
            found.created_at,
            found.refreshed_at,
            found.idle_expires_at,
            found.absolute_expires_at,
            found.ended_at,
        ]
        assert [moment and moment.tzinfo for moment in moments] == [UTC] * 5

    async def test_a_taken_id_changes_nothing(self, store: SessionStore) -> None:
        await store.create(SESSION)
        with pytest.raises(errors.AlreadyExists):
            await store.create(replace(SESSION, counter=5, device="other"))
        assert await store.get(SESSION.key) == SESSION

    async def test_two_players_may_have_sessions_of_the_same_id(self, store: SessionStore) -> None:
        other = replace(SESSION, key=SessionKey(BOB, SESSION.key.session_id), device="other")
        await store.create(SESSION)
        await store.create(other)
        await redeem(store)
        assert await store.get(other.key) == other

    async def test_redeeming_leaves_other_sessions_of_the_player_alone(
        self, store: SessionStore
    ) -> None:
        other = replace(SESSION, key=SessionKey(ALICE, "6" * 32))
        await store.create(SESSION)
        await store.create(other)
        await redeem(store)
        assert await store.get(other.key) == other

    # The current token.

    async def test_it_advances_the_counter_and_the_idle_limit_and_nothing_else(
        self, store: SessionStore
    ) -> None:
        await store.create(SESSION)
        assert await redeem(store) == Redeemed(Outcome.ADVANCED, ADVANCED)
        assert await store.get(SESSION.key) == ADVANCED

    async def test_of_a_chain_every_token_is_the_current_one_once(
        self, store: SessionStore
    ) -> None:
        await store.create(SESSION)
        redeemed = [await redeem(store, counter=counter) for counter in range(1, 11)]
        assert [one.session.counter for one in redeemed] == list(range(2, 12))
        assert {one.outcome for one in redeemed} == {Outcome.ADVANCED}

    @pytest.mark.parametrize("limit", ["idle_expires_at", "absolute_expires_at"])
    async def test_it_is_good_until_a_millisecond_before_a_limit(
        self, store: SessionStore, limit: str
    ) -> None:
        session = _with_limit(limit)
        await store.create(session)
        redeemed = await redeem(store, now=getattr(session, limit) - MILLISECOND)
        assert redeemed.session.counter == 2

    # Its predecessor.

    @pytest.mark.parametrize("seconds", [-1, 0, 1, 30, 60])
    async def test_within_the_grace_the_predecessor_is_answered_the_session_as_it_is(
        self, store: SessionStore, seconds: int
    ) -> None:
        """Also by a process whose clock is behind that of the one which advanced the counter."""
        await start(store, 2)
        expected = replace(ADVANCED, replays=1)
        redeemed = await redeem(store, now=LATER + seconds * SECOND)
        assert redeemed == Redeemed(Outcome.REPLAYED, expected)
        assert await store.get(SESSION.key) == expected

    @pytest.mark.parametrize("late", [MILLISECOND, SECOND, timedelta(days=6)], ids=str)
    async def test_after_the_grace_the_predecessor_ends_the_session(
        self, store: SessionStore, late: timedelta
    ) -> None:
        await start(store, 2)
        now = LATER + GRACE + late
        await _reuse(store, counter=1, now=now)
        ended = replace(ADVANCED, ended_at=now, ended_reason="refresh_reused")
        assert await store.get(SESSION.key) == ended

    async def test_replays_do_not_make_the_grace_longer(self, store: SessionStore) -> None:
        await start(store, 2)
        for seconds in (30, 59, 60):
            await redeem(store, now=LATER + seconds * SECOND)
        await _reuse(store, counter=1, now=LATER + 61 * SECOND)

    async def test_the_grace_begins_anew_with_every_advance(self, store: SessionStore) -> None:
        await start(store, 2)
        await redeem(store, counter=2, now=LATER + 50 * SECOND)
        redeemed = await redeem(store, counter=2, now=LATER + 110 * SECOND)
        assert (redeemed.outcome, redeemed.session.counter) == (Outcome.REPLAYED, 3)

    async def test_after_ten_replays_it_is_too_often_and_changes_nothing(
        self, store: SessionStore
    ) -> None:
        await start(store, 2)
        for _ in range(MOST_REPLAYS):
            await redeem(store)
        with pytest.raises(errors.TooManyRequests):
            await redeem(store)
        assert await store.get(SESSION.key) == replace(ADVANCED, replays=10)

    async def test_after_ten_replays_the_current_token_still_advances(
        self, store: SessionStore
    ) -> None:
        await start(store, 2)
        for _ in range(MOST_REPLAYS):
            await redeem(store)
        assert (await redeem(store, counter=2)).outcome is Outcome.ADVANCED
        assert (await redeem(store, counter=2)).session.replays == 1

    async def test_too_often_and_too_late_is_too_late(self, store: SessionStore) -> None:
        await start(store, 2)
        for _ in range(MOST_REPLAYS):
            await redeem(store)
        await _reuse(store, counter=1, now=LATER + GRACE + MILLISECOND)

    async def test_without_a_grace_the_predecessor_ends_the_session_at_once(
        self, store: SessionStore
    ) -> None:
        await start(store, 2)
        with pytest.raises(errors.RefreshTokenReused):
            await redeem(store, grace=timedelta(0))
        assert await _is_over(store)

    # Older tokens.

    @pytest.mark.parametrize("counter", [1, 2, 3])
    @pytest.mark.parametrize("since", [timedelta(0), SECOND, timedelta(days=6)], ids=str)
    async def test_an_older_token_ends_the_session_at_any_time(
        self, store: SessionStore, counter: int, since: timedelta
    ) -> None:
        current = await start(store, 5)
        await _reuse(store, counter=counter, now=LATER + since)
        ended = replace(current, ended_at=LATER + since, ended_reason="refresh_reused")
        assert await store.get(SESSION.key) == ended

    @pytest.mark.parametrize("counter", [1, 2, 3, 4, 5])
    async def test_once_it_was_reused_every_token_is_refused_and_changes_nothing(
        self, store: SessionStore, counter: int
    ) -> None:
        await start(store, 4)
        await _reuse(store, counter=1, now=LATER)
        ended = await store.get(SESSION.key)
        await _refused_as_ended(store, "refresh_reused", counter=counter, now=LATER + SECOND)
        assert await store.get(SESSION.key) == ended

    async def test_reuse_ends_no_other_session_of_the_player(self, store: SessionStore) -> None:
        other = replace(SESSION, key=SessionKey(ALICE, "6" * 32))
        await store.create(other)
        await start(store, 3)
        await _reuse(store, counter=1, now=LATER)
        assert await store.get(other.key) == other

    # What is no token of a living session.

    @pytest.mark.parametrize("counter", [3, 4, 2**40], ids=["next", "after next", "far"])
    async def test_a_token_of_the_future_is_refused_and_changes_nothing(
        self, store: SessionStore, counter: int
    ) -> None:
        current = await start(store, 2)
        await _refused(store, counter=counter, now=LATER)
        assert await store.get(SESSION.key) == current

    async def test_a_token_of_an_unknown_session_is_refused(self, store: SessionStore) -> None:
        await _refused(store, counter=1, now=LATER)
        assert await store.get(SESSION.key) is None

    @pytest.mark.parametrize("now", [LATER, LATER + timedelta(days=99)], ids=["soon", "expired"])
    @pytest.mark.parametrize("counter", [1, 2, 3, 4])
    async def test_a_token_of_an_ended_session_is_told_why_and_changes_nothing(
        self, store: SessionStore, counter: int, now: datetime
    ) -> None:
        ended = replace(ENDED, counter=3)
        await store.create(ended)
        await _refused_as_ended(store, "signed_out", counter=counter, now=now)
        assert await store.get(SESSION.key) == ended

    @pytest.mark.parametrize("counter", [1, 2, 3], ids=["older", "predecessor", "current"])
    @pytest.mark.parametrize("late", [timedelta(0), MILLISECOND], ids=["at", "after"])
    @pytest.mark.parametrize("limit", ["idle_expires_at", "absolute_expires_at"])
    async def test_from_the_instant_of_a_limit_on_every_token_is_refused_and_changes_nothing(
        self, store: SessionStore, limit: str, late: timedelta, counter: int
    ) -> None:
        """Also within the grace: the counter advanced a millisecond before the limit."""
        session = _with_limit(limit)
        reached = getattr(session, limit)
        session = replace(session, counter=3, refreshed_at=reached - MILLISECOND)
        await store.create(session)
        await _refused(store, counter=counter, now=reached + late)
        assert await store.get(session.key) == session

    # The end.

    async def test_a_session_that_is_ended_is_answered_as_it_is_since_then(
        self, store: SessionStore
    ) -> None:
        current = await start(store, 2)
        ended = replace(current, ended_at=LATER + SECOND, ended_reason="signed_out")
        assert await _end(store, LATER + SECOND) == ended
        assert await store.get(SESSION.key) == ended

    @pytest.mark.parametrize("counter", [1, 2, 3], ids=["predecessor", "current", "next"])
    async def test_after_the_end_no_token_is_good_and_it_is_told_why(
        self, store: SessionStore, counter: int
    ) -> None:
        await start(store, 2)
        ended = await _end(store, LATER)
        await _refused_as_ended(store, "signed_out", counter=counter, now=LATER)
        assert await store.get(SESSION.key) == ended

    async def test_a_session_that_has_ended_before_stays_as_it_was(
        self, store: SessionStore
    ) -> None:
        await store.create(ENDED)
        again = await store.end(SESSION.key, now=LATER, reason="ended_by_operator")
        assert again == ENDED
        assert await store.get(SESSION.key) == ENDED

    async def test_a_session_that_has_expired_can_be_ended(self, store: SessionStore) -> None:
        await store.create(SESSION)
        now = SESSION.absolute_expires_at + SECOND
        ended = replace(SESSION, ended_at=now, ended_reason="signed_out")
        assert await _end(store, now) == ended
        await _refused_as_ended(store, "signed_out", counter=1, now=now)

    async def test_the_end_of_an_unknown_session_is_none_and_makes_none(
        self, store: SessionStore
    ) -> None:
        assert await _end(store, LATER) is None
        assert await store.get(SESSION.key) is None
        assert await store.list(ALICE) == []

    async def test_the_end_leaves_other_sessions_alone(self, store: SessionStore) -> None:
        others = [_session(ALICE), replace(SESSION, key=SessionKey(BOB, SESSION.key.session_id))]
        for one in (SESSION, *others):
            await store.create(one)
        await _end(store, LATER)
        assert [await store.get(one.key) for one in others] == others

    # All of a player.

    async def test_the_list_has_all_of_a_player_also_what_is_over_and_of_nobody_else(
        self, store: SessionStore
    ) -> None:
        expired = replace(_session(ALICE), idle_expires_at=START, absolute_expires_at=START)
        own = [SESSION, _ended(1, user_id=ALICE), expired]
        for one in (*own, _session(BOB)):
            await store.create(one)
        assert _by_key(await store.list(ALICE)) == _by_key(own)

    async def test_the_list_of_nobody_is_empty(self, store: SessionStore) -> None:
        await store.create(_session(BOB))
        assert await store.list(ALICE) == []

    async def test_the_list_sees_every_change(self, store: SessionStore) -> None:
        current = await start(store, 2)
        assert await store.list(ALICE) == [current]
        assert await store.list(ALICE) == [await store.get(SESSION.key)]
        ended = await _end(store, LATER)
        assert await store.list(ALICE) == [ended]

    async def test_all_sessions_of_a_player_can_be_removed_however_many(
        self, store: SessionStore
    ) -> None:
        other = _session(BOB)
        await store.create(other)
        await create_all(store, [_session(ALICE) for _ in range(60)])
        await store.create(_ended(1, user_id=ALICE))
        await store.delete_all(ALICE)
        assert await store.list(ALICE) == []
        assert await store.get(other.key) == other

    async def test_removing_the_sessions_of_nobody_changes_nothing(
        self, store: SessionStore
    ) -> None:
        await store.create(SESSION)
        await store.delete_all(BOB)
        assert await store.list(ALICE) == [SESSION]

    async def test_what_was_removed_does_not_come_back(self, store: SessionStore) -> None:
        await store.create(SESSION)
        await store.delete_all(ALICE)
        await _refused(store, counter=1, now=LATER)
        assert await _end(store, LATER) is None
        assert await store.list(ALICE) == []

    # Those that were ended lately.

    async def test_what_was_ended_is_found_latest_first_from_a_moment_on(
        self, store: SessionStore
    ) -> None:
        ended = [_ended(number) for number in range(12)]
        await create_all(store, [*ended, SESSION])
        latest_first = [one.key for one in reversed(ended)]
        for number in (0, 1, 7, 11, 12):
            since = START + number * SECOND
            await eventually(partial(_lately, store, since), latest_first[: 12 - number])

    async def test_at_most_the_limit_is_found_and_those_are_the_latest(
        self, store: SessionStore
    ) -> None:
        ended = [_ended(number) for number in range(12)]
        await create_all(store, ended)
        for limit in (1, 5, 12, 13):
            latest = [one.key for one in reversed(ended)][:limit]
            await eventually(partial(_lately, store, START, limit=limit), latest)

    async def test_whoever_ends_a_session_it_is_found(self, store: SessionStore) -> None:
        """Its creator, who logs out, or a token that is used again."""
        created, out, reused = _ended(1), _session(ALICE), _session(BOB)
        await store.create(created)
        await store.create(out)
        await start(store, 3, reused)
        await store.end(out.key, now=LATER, reason="signed_out")
        with pytest.raises(errors.RefreshTokenReused):
            await redeem(store, counter=1, now=LATER + SECOND, session=reused)
        expected = [one.key for one in (reused, out, created)]
        await eventually(partial(_lately, store, START), expected)

    async def test_an_end_is_found_from_its_own_millisecond_on(self, store: SessionStore) -> None:
        await start(store, 2)
        await _end(store, LATER)
        await eventually(partial(_lately, store, LATER), [SESSION.key])
        assert await _lately(store, LATER + MILLISECOND) == []

    async def test_what_was_removed_is_not_found_either(self, store: SessionStore) -> None:
        await store.create(_ended(1, user_id=ALICE))
        await store.delete_all(ALICE)
        await eventually(partial(_lately, store, START), [])

    # Many at once.

    async def test_of_100_with_the_current_token_one_advances_and_ten_are_answered_the_same(
        self, store: SessionStore
    ) -> None:
        await store.create(SESSION)
        outcomes = await race([store] * 100)
        assert outcomes == {"advanced": 1, "replayed": MOST_REPLAYS, "TooManyRequests": 89}
        assert await store.get(SESSION.key) == replace(ADVANCED, replays=MOST_REPLAYS)

    async def test_of_50_that_come_too_late_one_ends_the_session(self, store: SessionStore) -> None:
        await start(store, 2)
        answers = await asyncio.gather(
            *(redeem(store, now=LATER + GRACE + SECOND) for _ in range(50)), return_exceptions=True
        )
        outcomes = Counter(type(answer) for answer in answers)
        assert outcomes == {errors.RefreshTokenReused: 1, errors.SessionEnded: 49}

    async def test_of_1000_refreshes_after_the_end_none_succeeds(self, store: SessionStore) -> None:
        await store.create(SESSION)
        await _end(store, LATER)
        outcomes: Counter[type] = Counter()
        for _ in range(20):
            answers = await asyncio.gather(
                *(redeem(store) for _ in range(50)), return_exceptions=True
            )
            outcomes.update(map(type, answers))
        assert outcomes == {errors.SessionEnded: 1000}

    async def test_of_50_that_end_a_session_all_are_answered_the_same(
        self, store: SessionStore
    ) -> None:
        await store.create(SESSION)
        answers = await asyncio.gather(
            *(
                store.end(SESSION.key, now=LATER + number * SECOND, reason=str(number))
                for number in range(50)
            )
        )
        assert answers == [await store.get(SESSION.key)] * 50


async def create_all(store: SessionStore, sessions: Sequence[Session]) -> None:
    for one in sessions:
        await store.create(one)


async def _end(store: SessionStore, now: datetime) -> Session | None:
    return await store.end(SESSION.key, now=now, reason="signed_out")


async def _lately(store: SessionStore, since: datetime, *, limit: int = 100) -> list[SessionKey]:
    return list(await store.ended_since(since, limit=limit))


def _session(user_id: str) -> Session:
    return replace(SESSION, key=SessionKey(user_id, new_id()))


def _ended(number: int, user_id: str = BOB) -> Session:
    """One that was ended `number` seconds after START."""
    ended_at = START + number * SECOND
    return replace(_session(user_id), ended_at=ended_at, ended_reason="signed_out")


def _by_key(sessions: Sequence[Session]) -> dict[SessionKey, Session]:
    found = {one.key: one for one in sessions}
    assert len(found) == len(sessions)
    return found


async def _reuse(store: SessionStore, *, counter: int, now: datetime) -> None:
    with pytest.raises(errors.RefreshTokenReused):
        await redeem(store, counter=counter, now=now)


async def _refused(store: SessionStore, *, counter: int, now: datetime) -> None:
    with pytest.raises(errors.InvalidRefreshToken) as refused:
        await redeem(store, counter=counter, now=now)
    assert type(refused.value) is errors.InvalidRefreshToken


async def _refused_as_ended(
    store: SessionStore, reason: str, *, counter: int, now: datetime
) -> None:
    with pytest.raises(errors.SessionEnded) as refused:
        await redeem(store, counter=counter, now=now)
    assert refused.value.reason == reason


async def _is_over(store: SessionStore) -> bool:
    session = await store.get(SESSION.key)
    return session is not None and session.ended_at is not None


def _with_limit(limit: str) -> Session:
    """A session of which only `limit` is near."""
    far = START + timedelta(days=300)
    near = START + timedelta(days=1, milliseconds=7)
    return replace(
        SESSION,
        idle_expires_at=near if limit == "idle_expires_at" else far,
        absolute_expires_at=near if limit == "absolute_expires_at" else far,
    )
