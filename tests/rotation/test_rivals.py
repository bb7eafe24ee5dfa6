"""Five rotators at once on the same stores, with 100 seeds that say in which order they come."""

import asyncio
import random  # noqa: TID251 - seeded: a race can be run again
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from services.keyrotator.rotator import Rotator
from shared import errors
from shared.auth.jwk_set import parse_jwk_set
from shared.keys.models import KeyRing, KeyState
from tests.rotation.worlds import POLICY, Files, World, new_rotator, open_aws
from tests.support import figures
from tests.support.clock import ManualClock
from tests.support.long import LONG

RIVALS = 5
SEEDS = range(100)
FEW_SEEDS = SEEDS if LONG else range(3)
LEAD = POLICY.publish_lead.total_seconds()
PERIOD = POLICY.period.total_seconds()
OVERLAP = POLICY.overlap.total_seconds()


class Dawdling:
    """Lets the others go first, a few times or not at all, before and after each call."""

    def __init__(self, target: object, dice: random.Random) -> None:
        self._target = target
        self._dice = dice

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the target's
        operation = getattr(self._target, name)

        async def slow(*args: object, **named: object) -> object:
            await self._wait()
            try:
                return await operation(*args, **named)
            finally:
                await self._wait()

        return slow

    async def _wait(self) -> None:
        for _ in range(self._dice.choice((0, 0, 1, 2, 5, 13))):
            await asyncio.sleep(0)


async def all_at_once(
    rotators: list[Rotator], deed: Callable[[Rotator], Awaitable[object]]
) -> None:
    """Losing every race is no fault: another one did the work, and the next tick sees it."""
    for outcome in await asyncio.gather(*map(deed, rotators), return_exceptions=True):
        if outcome is not None and isinstance(outcome, BaseException):
            assert isinstance(outcome, errors.Unavailable), outcome
    await rotators[0].tick()


async def race(world: World, seed: int) -> None:
    clock, dice = ManualClock(), random.Random(seed)  # noqa: S311 - an order, no secret
    rotators = [
        new_rotator(world, clock, lambda target: Dawdling(target, dice)) for _ in range(RIVALS)
    ]
    ring_store, public_store = world.stores()
    seen: set[str] = set()

    async def states() -> Counter[KeyState]:
        stored, published = await ring_store.load(), await public_store.read()
        ring = stored.ring if stored else KeyRing()
        public = parse_jwk_set(published.document) if published else {}
        assert set(public) == {key.key_id for key in ring.keys if key.is_published}
        seen.update(key.key_id for key in ring.keys)
        return Counter(key.state for key in ring.keys)

    await all_at_once(rotators, lambda rotator: rotator.tick())
    assert await states() == {KeyState.ACTIVE: 1, KeyState.PENDING: 1}
    clock.advance(PERIOD)
    await all_at_once(rotators, lambda rotator: rotator.tick())
    assert await states() == {KeyState.RETIRING: 1, KeyState.ACTIVE: 1, KeyState.PENDING: 1}
    clock.advance(max(LEAD, OVERLAP))
    await all_at_once(rotators, lambda rotator: rotator.request_rotation())
    assert (await states())[KeyState.RETIRED] == 1
    stored = await ring_store.load()
    assert stored
    assert stored.ring.active
    leaked = stored.ring.active.key_id
    await all_at_once(rotators, lambda rotator: rotator.revoke(leaked))
    after = await states()
    assert (after[KeyState.REVOKED], after[KeyState.ACTIVE], after[KeyState.PENDING]) == (1, 1, 1)
    # One for the start, and one for each key that began to sign: nothing was made for nothing.
    assert len(seen) == 1 + 4


async def test_on_files_five_rotators_make_one_key_for_each_that_is_needed(tmp_path: Path) -> None:
    for seed in SEEDS:
        await race(Files(tmp_path / str(seed)), seed)
    figures.note("five rotators on files", seeds=len(SEEDS))


async def test_on_aws_five_rotators_make_one_key_for_each_that_is_needed(moto: str) -> None:
    async with open_aws(moto) as empty:
        for seed in FEW_SEEDS:
            await race(await empty.another(), seed)
    figures.note("five rotators on AWS's interfaces", seeds=len(FEW_SEEDS))
