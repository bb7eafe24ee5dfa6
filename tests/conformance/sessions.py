"""What every store of sessions promises."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.identity.models import Session, SessionKey
from services.identity.ports import SessionStore
from shared import errors

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
)
ENDED = replace(SESSION, ended_at=START + 3 * MILLISECOND, ended_reason="signed_out")
LATER = START + timedelta(hours=1)


async def consume(
    store: SessionStore, *, counter: int = 1, now: datetime = LATER, session: Session = SESSION
) -> Session:
    return await store.consume_refresh_token(
        session.key, counter=counter, now=now, idle_expires_at=now + IDLE
    )


class SessionStoreContract:
    """Subclasses provide the fixture `store`, empty."""

    async def test_an_unknown_session_is_none(self, store: SessionStore) -> None:
        await store.create(replace(SESSION, key=SessionKey(ALICE, "6" * 32)))
        assert await store.get(SESSION.key) is None

    @pytest.mark.parametrize(
        "session",
        [SESSION, replace(SESSION, device=None), replace(SESSION, counter=999_999_999), ENDED],
        ids=["whole", "no device", "high counter", "ended"],
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
        await consume(store)
        assert await store.get(other.key) == other

    async def test_consuming_advances_the_counter_and_the_idle_limit_and_nothing_else(
        self, store: SessionStore
    ) -> None:
        await store.create(SESSION)
        advanced = await consume(store)
        assert advanced == replace(
            SESSION, counter=2, refreshed_at=LATER, idle_expires_at=LATER + IDLE
        )
        assert await store.get(SESSION.key) == advanced

    async def test_consuming_leaves_other_sessions_of_the_player_alone(
        self, store: SessionStore
    ) -> None:
        other = replace(SESSION, key=SessionKey(ALICE, "6" * 32))
        await store.create(SESSION)
        await store.create(other)
        await consume(store)
        assert await store.get(other.key) == other

    async def test_a_chain_of_tokens_can_be_consumed_one_after_the_other(
        self, store: SessionStore
    ) -> None:
        await store.create(SESSION)
        counters = [(await consume(store, counter=counter)).counter for counter in range(1, 11)]
        assert counters == list(range(2, 12))

    @pytest.mark.parametrize("counter", [0, 1, 3, 2**40], ids=["zero", "used", "next", "far"])
    async def test_another_counter_than_the_current_is_refused_and_changes_nothing(
        self, store: SessionStore, counter: int
    ) -> None:
        await store.create(SESSION)
        current = await consume(store)
        with pytest.raises(errors.VersionConflict):
            await consume(store, counter=counter)
        assert await store.get(SESSION.key) == current

    async def test_a_token_of_an_unknown_session_is_refused(self, store: SessionStore) -> None:
        with pytest.raises(errors.VersionConflict):
            await consume(store)
        assert await store.get(SESSION.key) is None

    async def test_a_token_of_an_ended_session_is_refused_and_changes_nothing(
        self, store: SessionStore
    ) -> None:
        await store.create(ENDED)
        with pytest.raises(errors.VersionConflict):
            await consume(store)
        assert await store.get(SESSION.key) == ENDED

    @pytest.mark.parametrize("limit", ["idle_expires_at", "absolute_expires_at"])
    async def test_a_token_is_good_until_a_millisecond_before_a_limit(
        self, store: SessionStore, limit: str
    ) -> None:
        session = _with_limit(limit)
        await store.create(session)
        advanced = await consume(store, now=getattr(session, limit) - MILLISECOND)
        assert advanced.counter == 2

    @pytest.mark.parametrize("late", [timedelta(0), MILLISECOND], ids=["at", "after"])
    @pytest.mark.parametrize("limit", ["idle_expires_at", "absolute_expires_at"])
    async def test_a_token_is_refused_from_the_instant_of_a_limit_on(
        self, store: SessionStore, limit: str, late: timedelta
    ) -> None:
        session = _with_limit(limit)
        await store.create(session)
        with pytest.raises(errors.VersionConflict):
            await consume(store, now=getattr(session, limit) + late)
        assert await store.get(session.key) == session

    async def test_of_50_parallel_consumptions_of_one_token_exactly_one_succeeds(
        self, store: SessionStore
    ) -> None:
        await store.create(SESSION)
        outcomes = await asyncio.gather(
            *(consume(store) for _ in range(50)), return_exceptions=True
        )
        winners = [outcome for outcome in outcomes if isinstance(outcome, Session)]
        losers = [outcome for outcome in outcomes if isinstance(outcome, errors.VersionConflict)]
        assert (len(winners), len(losers)) == (1, 49)
        assert await store.get(SESSION.key) == winners[0]
        assert winners[0].counter == 2


def _with_limit(limit: str) -> Session:
    """A session of which only `limit` is near."""
    far = START + timedelta(days=300)
    near = START + timedelta(days=1, milliseconds=7)
    return replace(
        SESSION,
        idle_expires_at=near if limit == "idle_expires_at" else far,
        absolute_expires_at=near if limit == "absolute_expires_at" else far,
    )
