"""The rotation protocol, tick by tick, under a manual clock."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from services.keyrotator.rotation import RotationPolicy
from services.keyrotator.rotator import Rotator
from shared import errors
from shared.auth.jwk_set import parse_jwk_set
from shared.keys.adapters.files import FileJwkSetStore, FileKeyRingStore
from shared.keys.models import IllegalMoveError, KeyRing, KeyState, SigningKey
from tests.support.clock import ManualClock
from tests.support.key_stores import Crash, CrashingRingStore, CrashingSetStore, CrashPoints

PERIOD = timedelta(days=7)
# ES256 keys are made in no time; the protocol is the same for both.
POLICY = RotationPolicy.from_caches(
    period=PERIOD,
    algorithm="ES256",
    jwks_max_age=timedelta(seconds=60),
    jwks_ttl=timedelta(seconds=300),
    key_refresh=timedelta(seconds=60),
    slack=timedelta(seconds=60),
    access_token_ttl=timedelta(seconds=900),
)


class Rotation:
    """A rotator over files, and what a test asks of them."""

    def __init__(self, folder: Path, clock: ManualClock, policy: RotationPolicy = POLICY) -> None:
        self.ring_store = FileKeyRingStore(folder)
        self.set_store = FileJwkSetStore(folder)
        self.clock = clock
        self.policy = policy
        self.rotator = self.restarted()

    def restarted(self, points: CrashPoints | None = None) -> Rotator:
        points = points or CrashPoints()
        return Rotator(
            CrashingRingStore(self.ring_store, points),
            CrashingSetStore(self.set_store, points),
            self.policy,
            self.clock,
        )

    async def ring(self) -> KeyRing:
        return await self.rotator.ring()

    async def active(self) -> SigningKey:
        active = (await self.ring()).active
        assert active
        return active

    async def states(self) -> list[str]:
        return [key.state.value for key in (await self.ring()).keys]

    async def published(self) -> frozenset[str]:
        published = await self.set_store.read()
        return frozenset(parse_jwk_set(published.document)) if published else frozenset()

    async def pass_time(self, seconds: float, *, step: float = 60) -> None:
        """Tick as the loop would."""
        passed = 0.0
        while passed < seconds:
            self.clock.advance(min(step, seconds - passed))
            passed += step
            await self.rotator.tick()


@pytest.fixture
def rotation(tmp_path: Path, clock: ManualClock) -> Rotation:
    return Rotation(tmp_path, clock)


async def test_the_first_tick_makes_publishes_and_activates_a_key(rotation: Rotation) -> None:
    await rotation.rotator.tick()

    active = await rotation.active()
    assert await rotation.published() == {active.key_id}
    assert active.published_at is not None


async def test_a_tick_with_nothing_due_changes_nothing(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    before = await rotation.ring_store.load()
    rotation.clock.advance(60)

    await rotation.rotator.tick()

    assert await rotation.ring_store.load() == before


async def test_the_next_key_is_published_half_a_period_before_it_signs(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    rotation.clock.advance(PERIOD.total_seconds() / 2 - 1)
    await rotation.rotator.tick()
    assert await rotation.states() == ["active"]

    rotation.clock.advance(1)
    await rotation.rotator.tick()

    assert await rotation.states() == ["active", "pending"]
    assert len(await rotation.published()) == 2


async def test_the_next_key_signs_when_the_period_is_over(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    first = await rotation.active()
    await rotation.pass_time(PERIOD.total_seconds() - 1, step=3600)
    assert (await rotation.active()).key_id == first.key_id

    rotation.clock.advance(1)
    await rotation.rotator.tick()

    assert (await rotation.active()).key_id != first.key_id
    assert await rotation.states() == ["retiring", "active"]


async def test_the_old_key_stays_published_until_its_last_token_has_expired(
    rotation: Rotation,
) -> None:
    await rotation.rotator.tick()
    first = await rotation.active()
    await rotation.pass_time(PERIOD.total_seconds(), step=3600)
    # The signer may go on for 60 s, its last token lives 900 s, verifiers grant 60 s.
    await rotation.pass_time(60 + 900 + 60 - 1)
    assert first.key_id in await rotation.published()

    await rotation.pass_time(1)

    assert first.key_id not in await rotation.published()
    assert await rotation.states() == ["retired", "active"]


async def test_a_retired_key_has_no_private_part(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    await rotation.pass_time(PERIOD.total_seconds() + 2000, step=600)

    (retired,) = [key for key in (await rotation.ring()).keys if key.state is KeyState.RETIRED]

    assert retired.private_jwk is None


async def test_a_late_rotator_still_lets_every_cache_learn_of_the_key(rotation: Rotation) -> None:
    """A rotator that was down for two periods may not publish and sign in one go."""
    await rotation.rotator.tick()
    first = await rotation.active()
    rotation.clock.advance(2 * PERIOD.total_seconds())
    await rotation.rotator.tick()
    assert (await rotation.active()).key_id == first.key_id

    await rotation.pass_time(60 + 300 + 60 + 60 - 1)
    assert (await rotation.active()).key_id == first.key_id
    await rotation.pass_time(1)

    assert (await rotation.active()).key_id != first.key_id


async def test_a_requested_rotation_takes_the_same_steps_without_waiting_for_the_period(
    rotation: Rotation,
) -> None:
    await rotation.rotator.tick()
    first = await rotation.active()

    outlook = await rotation.rotator.request_rotation()

    assert outlook.activates_at == rotation.clock.now() + POLICY.publish_lead
    assert await rotation.states() == ["active", "pending"]
    await rotation.pass_time(POLICY.publish_lead.total_seconds() - 1)
    assert (await rotation.active()).key_id == first.key_id
    await rotation.pass_time(1)
    assert (await rotation.active()).key_id != first.key_id
    assert not (await rotation.ring()).rotation_requested


async def test_asking_twice_for_a_rotation_makes_one_key(rotation: Rotation) -> None:
    await rotation.rotator.tick()

    await rotation.rotator.request_rotation()
    await rotation.rotator.request_rotation()
    await rotation.pass_time(POLICY.publish_lead.total_seconds())

    assert await rotation.states() == ["retiring", "active"]


async def test_a_rotation_cannot_be_asked_for_before_there_is_a_ring(rotation: Rotation) -> None:
    with pytest.raises(errors.Unavailable):
        await rotation.rotator.request_rotation()


async def test_a_new_algorithm_is_taken_by_a_rotation_with_the_usual_lead(
    rotation: Rotation,
) -> None:
    await rotation.rotator.tick()
    policy = RotationPolicy(PERIOD, "RS256", POLICY.publish_lead, POLICY.overlap)
    rotation.policy = policy
    rotation.rotator = rotation.restarted()

    await rotation.rotator.tick()
    assert (await rotation.active()).algorithm == "ES256"
    await rotation.pass_time(POLICY.publish_lead.total_seconds())

    assert (await rotation.active()).algorithm == "RS256"


async def test_retired_keys_do_not_pile_up(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    await rotation.pass_time(10 * PERIOD.total_seconds(), step=6 * 3600)

    assert (await rotation.states()).count("retired") <= 5
    assert len(await rotation.published()) <= 3


async def test_a_published_set_that_was_lost_is_published_again(
    rotation: Rotation, tmp_path: Path
) -> None:
    await rotation.rotator.tick()
    (tmp_path / "jwks.json").unlink()

    await rotation.rotator.tick()

    assert await rotation.published() == {(await rotation.active()).key_id}


async def test_the_public_set_never_holds_private_members(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    await rotation.rotator.request_rotation()

    published = await rotation.set_store.read()

    assert published
    assert b'"d"' not in published.document


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_crash_at_any_write_is_repaired_by_the_next_run(
    tmp_path: Path,
    clock: ManualClock,
    after: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """From nothing to a second active key, killed once at each write in turn."""
    crash_at, crashed = 0, True
    while crashed:
        crash_at += 1
        rotation = Rotation(tmp_path / str(crash_at), clock)
        rotator = rotation.restarted(CrashPoints(crash_at, after=after))
        try:
            await rotator.tick()
            await rotator.request_rotation()
            clock.advance(POLICY.publish_lead.total_seconds())
            await rotator.tick()
            crashed = False
        except Crash:
            await rotation.rotator.tick()
            if len((await rotation.ring()).keys) == 1:
                await rotation.rotator.request_rotation()
            await rotation.pass_time(POLICY.publish_lead.total_seconds())
        assert await rotation.states() == ["retiring", "active"]
        assert await rotation.published() == {key.key_id for key in (await rotation.ring()).keys}
    assert crash_at > 8


async def test_many_rotators_on_one_store_make_one_key_per_period(
    tmp_path: Path, clock: ManualClock
) -> None:
    rotation = Rotation(tmp_path, clock)
    rotators = [rotation.restarted() for _ in range(5)]

    await asyncio.gather(*(rotator.tick() for rotator in rotators))
    clock.advance(PERIOD.total_seconds())
    await asyncio.gather(*(rotator.tick() for rotator in rotators))
    clock.advance(POLICY.publish_lead.total_seconds())
    await asyncio.gather(*(rotator.tick() for rotator in rotators))

    assert await rotation.states() == ["retiring", "active"]


def test_a_key_cannot_sign_before_it_was_published(clock: ManualClock) -> None:
    key = SigningKey.generate("ES256", clock.now())
    with pytest.raises(IllegalMoveError):
        key.activated(clock.now())


def test_a_pending_key_cannot_retire(clock: ManualClock) -> None:
    key = SigningKey.generate("ES256", clock.now())
    with pytest.raises(IllegalMoveError):
        key.retiring(clock.now())


def test_a_ring_has_one_active_key_at_most(clock: ManualClock) -> None:
    keys = tuple(
        SigningKey.generate("ES256", clock.now()).published(clock.now()).activated(clock.now())
        for _ in range(2)
    )
    with pytest.raises(IllegalMoveError):
        KeyRing(keys)


def test_the_private_part_does_not_show_in_a_repr(clock: ManualClock) -> None:
    key = SigningKey.generate("ES256", clock.now())
    assert key.private_jwk
    assert key.private_jwk["d"] not in repr(KeyRing((key,)))


async def test_a_ring_that_was_lost_is_not_made_anew_over_a_published_set(
    rotation: Rotation, tmp_path: Path
) -> None:
    """Its keys would leave the set, and every player would be out."""
    await rotation.rotator.tick()
    published = await rotation.published()
    (tmp_path / "ring.json").unlink()

    with pytest.raises(errors.Unavailable, match="restore the ring"):
        await rotation.rotator.tick()

    assert await rotation.published() == published


async def test_a_clock_that_ran_ahead_does_not_hold_up_later_rotations(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    years = 10 * 365 * 86400.0
    rotation.clock.advance(years)
    await rotation.rotator.tick()
    await rotation.pass_time(POLICY.publish_lead.total_seconds())
    rotation.clock.advance(-years)
    ahead = await rotation.active()

    await rotation.rotator.tick()
    await rotation.pass_time(POLICY.publish_lead.total_seconds())
    assert (await rotation.active()).key_id != ahead.key_id
    await rotation.pass_time(POLICY.overlap.total_seconds())
    assert "retiring" not in await rotation.states()


async def test_two_clocks_that_are_a_little_apart_do_not_rotate(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    before = await rotation.ring()
    rotation.clock.advance(-60)
    await rotation.rotator.tick()
    assert await rotation.ring() == before


async def test_rotations_asked_for_without_end_do_not_make_a_set_without_end(
    rotation: Rotation,
) -> None:
    lead = POLICY.publish_lead.total_seconds()
    long = RotationPolicy(PERIOD, "ES256", POLICY.publish_lead, overlap=100 * PERIOD)
    rotation.policy = long
    rotation.rotator = rotation.restarted()
    await rotation.rotator.tick()
    for _ in range(20):
        await rotation.rotator.request_rotation()
        await rotation.pass_time(lead, step=lead)
    assert len(await rotation.published()) == 12
