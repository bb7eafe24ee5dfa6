"""The rotation protocol, tick by tick, under a manual clock."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.keyrotator.rotation import RotationPolicy
from services.keyrotator.rotator import Rotator
from shared import errors
from shared.auth.jwk_set import parse_jwk_set
from shared.keys.adapters.files import FileKeyRingStore, FilePublicDocumentStore
from shared.keys.models import IllegalMoveError, KeyRing, KeyState, SigningKey
from tests.support.clock import ManualClock
from tests.support.interruptions import Crash, Interruption, When

PERIOD = timedelta(days=7)
LEAD = 60.0 + 300 + 60 + 60
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
        self.set_store = FilePublicDocumentStore(folder)
        self.clock = clock
        self.policy = policy
        self.rotator = self.restarted()

    def restarted(self) -> Rotator:
        return Rotator(self.ring_store, self.set_store, self.policy, self.clock)

    async def killed_after_write(self, number: int) -> None:
        killed = Interruption(frozenset(("replace", "publish")), number, When.AFTER)
        ring, public = killed.around(self.ring_store), killed.around(self.set_store)
        with pytest.raises(Crash):
            await Rotator(ring, public, self.policy, self.clock).tick()

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


async def test_the_first_tick_makes_a_key_that_signs_and_the_next_one(rotation: Rotation) -> None:
    await rotation.rotator.tick()

    assert await rotation.states() == ["active", "pending"]
    ring = await rotation.ring()
    assert await rotation.published() == {key.key_id for key in ring.keys}
    assert all(key.published_at is not None for key in ring.keys)


async def test_a_tick_with_nothing_due_changes_nothing(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    before = await rotation.ring_store.load()
    rotation.clock.advance(60)

    await rotation.rotator.tick()

    assert await rotation.ring_store.load() == before


async def test_the_next_key_signs_when_the_period_is_over(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    first = await rotation.active()
    await rotation.pass_time(PERIOD.total_seconds() - 1, step=3600)
    assert (await rotation.active()).key_id == first.key_id

    rotation.clock.advance(1)
    await rotation.rotator.tick()

    assert (await rotation.active()).key_id != first.key_id
    assert await rotation.states() == ["retiring", "active", "pending"]


async def test_the_next_key_is_public_a_whole_period_before_it_signs(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    await rotation.pass_time(PERIOD.total_seconds(), step=3600)
    active = await rotation.active()
    assert active.published_at
    assert active.activated_at
    assert active.activated_at - active.published_at == PERIOD


async def test_the_old_key_stays_published_until_its_last_token_has_expired(
    rotation: Rotation,
) -> None:
    await rotation.rotator.tick()
    first = await rotation.active()
    await rotation.pass_time(PERIOD.total_seconds(), step=3600)
    # The signer may go on for 60 s and a slack of 60 s, its last token lives 900 s, verifiers
    # grant 60 s.
    await rotation.pass_time(60 + 60 + 900 + 60 - 1)
    assert first.key_id in await rotation.published()

    await rotation.pass_time(1)

    assert first.key_id not in await rotation.published()
    assert await rotation.states() == ["retired", "active", "pending"]


async def test_a_retired_key_has_no_private_part(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    await rotation.pass_time(PERIOD.total_seconds() + 2000, step=600)

    (retired,) = [key for key in (await rotation.ring()).keys if key.state is KeyState.RETIRED]

    assert retired.private_jwk is None


async def test_a_rotator_that_was_down_for_two_periods_rotates_when_it_is_back(
    rotation: Rotation,
) -> None:
    await rotation.rotator.tick()
    first = await rotation.active()
    rotation.clock.advance(2 * PERIOD.total_seconds())

    await rotation.rotator.tick()

    assert (await rotation.active()).key_id != first.key_id
    assert first.key_id in await rotation.published()


async def test_a_next_key_that_was_published_late_waits_until_every_cache_has_learned_of_it(
    rotation: Rotation,
) -> None:
    """The rotator died after the first key; two periods later it may not publish and sign."""
    await rotation.killed_after_write(4)  # which activates the first and makes the next
    first = await rotation.active()
    rotation.clock.advance(2 * PERIOD.total_seconds())
    await rotation.rotator.tick()
    assert (await rotation.active()).key_id == first.key_id

    await rotation.pass_time(60 + 300 + 60 + 60 - 1)
    assert (await rotation.active()).key_id == first.key_id
    await rotation.pass_time(1)

    assert (await rotation.active()).key_id != first.key_id


async def test_a_requested_rotation_is_done_at_once_when_the_next_key_is_known_everywhere(
    rotation: Rotation,
) -> None:
    await rotation.rotator.tick()
    first = await rotation.active()
    rotation.clock.advance(LEAD)

    outlook = await rotation.rotator.request_rotation()

    assert (await rotation.active()).key_id != first.key_id
    assert outlook.activates_at == rotation.clock.now()
    assert not (await rotation.ring()).rotation_requested


async def test_a_requested_rotation_waits_until_the_next_key_is_known_everywhere(
    rotation: Rotation,
) -> None:
    await rotation.rotator.tick()
    first = await rotation.active()

    outlook = await rotation.rotator.request_rotation()

    assert outlook.activates_at == rotation.clock.now() + POLICY.publish_lead
    await rotation.pass_time(LEAD - 1)
    assert (await rotation.active()).key_id == first.key_id
    await rotation.pass_time(1)
    assert (await rotation.active()).key_id != first.key_id
    assert not (await rotation.ring()).rotation_requested


async def test_asking_twice_for_a_rotation_makes_one_key(rotation: Rotation) -> None:
    await rotation.rotator.tick()

    await rotation.rotator.request_rotation()
    await rotation.rotator.request_rotation()
    await rotation.pass_time(LEAD)

    assert await rotation.states() == ["retiring", "active", "pending"]


async def test_a_rotation_cannot_be_asked_for_before_there_is_a_ring(rotation: Rotation) -> None:
    with pytest.raises(errors.Unavailable):
        await rotation.rotator.request_rotation()


async def test_a_new_algorithm_is_taken_with_the_usual_lead_and_one_rotation(
    rotation: Rotation,
) -> None:
    await rotation.rotator.tick()
    await rotation.pass_time(LEAD)
    first = await rotation.active()
    rotation.policy = replace(POLICY, algorithm="RS256")
    rotation.rotator = rotation.restarted()

    await rotation.rotator.tick()
    assert (await rotation.active()).key_id == first.key_id
    await rotation.pass_time(LEAD - 1)
    assert (await rotation.active()).key_id == first.key_id
    await rotation.pass_time(1)

    assert (await rotation.active()).algorithm == "RS256"
    assert await rotation.states() == ["retiring", "retired", "active", "pending"]


async def test_two_rotators_that_differ_in_the_algorithm_make_one_key_in_a_lead(
    rotation: Rotation,
) -> None:
    """As in a rolling deployment that changes it."""
    await rotation.rotator.tick()
    before = rotation.restarted()
    rotation.policy = replace(POLICY, algorithm="RS256")
    after = rotation.restarted()
    await rotation.pass_time(LEAD)
    known = {key.key_id for key in (await rotation.ring()).keys}

    for _ in range(int(LEAD) // 60):
        await before.tick()
        await after.tick()
        rotation.clock.advance(60)

    assert len({key.key_id for key in (await rotation.ring()).keys} - known) == 1


async def test_a_revoked_key_leaves_the_set_and_the_next_one_signs_at_once(
    rotation: Rotation,
) -> None:
    await rotation.rotator.tick()
    leaked = await rotation.active()

    outlook = await rotation.rotator.revoke(leaked.key_id)

    assert await rotation.states() == ["revoked", "active", "pending"]
    assert leaked.key_id not in await rotation.published()
    assert len(await rotation.published()) == 2
    assert outlook.refused_at <= rotation.clock.now() + timedelta(seconds=360)


async def test_a_revoked_key_has_no_private_part(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    leaked = await rotation.active()

    await rotation.rotator.revoke(leaked.key_id)

    revoked = (await rotation.ring()).key(leaked.key_id)
    assert revoked
    assert revoked.private_jwk is None


async def test_a_next_key_that_leaked_is_replaced_and_the_active_one_goes_on(
    rotation: Rotation,
) -> None:
    await rotation.rotator.tick()
    active, leaked = (await rotation.ring()).keys

    await rotation.rotator.revoke(leaked.key_id)

    assert (await rotation.active()).key_id == active.key_id
    assert await rotation.states() == ["active", "revoked", "pending"]
    assert leaked.key_id not in await rotation.published()


async def test_a_retiring_key_can_be_revoked(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    first = await rotation.active()
    await rotation.pass_time(PERIOD.total_seconds(), step=3600)

    await rotation.rotator.revoke(first.key_id)

    assert await rotation.states() == ["revoked", "active", "pending"]
    assert first.key_id not in await rotation.published()


async def test_all_keys_can_be_revoked_and_the_set_is_never_empty(rotation: Rotation) -> None:
    """Whoever has read the secret has them all."""
    await rotation.rotator.tick()
    leaked = (await rotation.ring()).keys

    for key in leaked:
        await rotation.rotator.revoke(key.key_id)
        assert await rotation.published()

    assert (await rotation.active()).key_id not in {key.key_id for key in leaked}
    assert not {key.key_id for key in leaked} & await rotation.published()


async def test_revoking_twice_changes_nothing(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    leaked = await rotation.active()
    await rotation.rotator.revoke(leaked.key_id)
    before = await rotation.ring_store.load()

    await rotation.rotator.revoke(leaked.key_id)

    assert await rotation.ring_store.load() == before


async def test_a_key_that_is_not_known_cannot_be_revoked(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    with pytest.raises(errors.NotFound):
        await rotation.rotator.revoke("no-such-key")


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

    assert await rotation.published() == {key.key_id for key in (await rotation.ring()).keys}


async def test_the_public_set_never_holds_private_members(rotation: Rotation) -> None:
    await rotation.rotator.tick()
    await rotation.rotator.request_rotation()

    published = await rotation.set_store.read()

    assert published
    assert b'"d"' not in published.document


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
    await rotation.pass_time(LEAD)
    rotation.clock.advance(-years)
    ahead = await rotation.active()

    await rotation.rotator.tick()
    await rotation.pass_time(LEAD)
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
    long = replace(POLICY, overlap=100 * PERIOD)
    rotation.policy = long
    rotation.rotator = rotation.restarted()
    await rotation.rotator.tick()
    for _ in range(20):
        await rotation.rotator.request_rotation()
        await rotation.pass_time(LEAD, step=LEAD)
    assert len(await rotation.published()) == 12
