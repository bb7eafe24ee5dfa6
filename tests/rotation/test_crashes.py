"""A rotator is interrupted at every call that it makes, in each way that there is.

The story goes from nothing over a rotation, a retirement and two revocations. After each
interruption the invariants must hold, two runs of another rotator must repair what there is to
repair, and the story must end as it would have.
"""

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from services.keyrotator.rotator import Rotator
from shared import errors
from shared.auth.jwk_set import parse_jwk_set
from shared.keys.models import KeyRing, KeyState
from shared.keys.ports import PublishedDocument, StoredRing
from shared.keys.signer import Signer, SignerPolicy
from tests.rotation.worlds import POLICY, Files, World, new_rotator, open_aws
from tests.support import figures
from tests.support.calls import header_of
from tests.support.clock import ManualClock
from tests.support.interruptions import Crash, Interruption, When
from tests.support.long import LONG

SIGNER = SignerPolicy(known_after=timedelta(seconds=360), token_lifetime=timedelta(seconds=960))
THE_END = ["retired", "revoked", "revoked", "active", "pending"]
LEAD = POLICY.publish_lead.total_seconds()
OVERLAP = POLICY.overlap.total_seconds()

MANY = 15

Deed = Callable[[Rotator], Awaitable[object]]


class Seen:
    """Both stores as they were when they were last looked at."""

    stored: StoredRing | None = None
    published: PublishedDocument | None = None

    async def load(self) -> StoredRing | None:
        return self.stored

    async def read(self) -> PublishedDocument | None:
        return self.published

    async def replace(self, ring: KeyRing, *, expected: str | None) -> StoredRing:
        raise NotImplementedError

    async def publish(self, document: bytes, *, expected: str | None) -> PublishedDocument:
        raise NotImplementedError


@dataclass
class Watch:
    """An identity that signs all the time, and what must be true whenever one looks."""

    world: World
    clock: ManualClock
    last_tokens: dict[str, datetime] = field(default_factory=dict)  # when a key's last expires

    def __post_init__(self) -> None:
        self.ring_store, self.public_store = self.world.stores()
        self.seen = Seen()
        self.signer = Signer(self.seen, self.seen, SIGNER, self.clock)

    async def ring(self) -> KeyRing:
        stored = await self.ring_store.load()
        return stored.ring if stored else KeyRing()

    async def versions(self) -> tuple[str | None, str | None]:
        stored, published = await self.ring_store.load(), await self.public_store.read()
        return stored.version if stored else None, published.etag if published else None

    async def look(self) -> None:
        stored, published = await self.ring_store.load(), await self.public_store.read()
        self.seen.stored, self.seen.published = stored, published
        ring = stored.ring if stored else KeyRing()
        # The parser refuses a set that is empty or private.
        public = parse_jwk_set(published.document) if published else {}
        active = ring.active
        if active:
            assert active.key_id in public
            assert active.published_at
            assert active.activated_at
            waited = active.activated_at - active.published_at >= POLICY.publish_lead
            assert waited or not any(key.state is KeyState.RETIRING for key in ring.keys)
        for key_id, expires in self.last_tokens.items():
            key = ring.key(key_id)
            is_revoked = key is not None and key.state is KeyState.REVOKED
            assert key_id in public or is_revoked or expires <= self.clock.now()
        await self.signer.refresh()
        if self.signer.not_ready() is None:
            key_id = header_of(self.signer.sign({}, typ="at+jwt"))["kid"]
            self.last_tokens[key_id] = self.clock.now() + SIGNER.token_lifetime


@dataclass
class Story:
    """What happens to the keys, with a rotator that is interrupted once."""

    world: World
    clock: ManualClock
    interruption: Interruption
    was_interrupted: bool = False

    def __post_init__(self) -> None:
        self.watch = Watch(self.world, self.clock)
        self.rotator = new_rotator(self.world, self.clock, self.interruption.around)

    async def tell(self) -> None:
        await self.do(lambda rotator: rotator.tick())
        await self.pass_time(LEAD)
        (first, *_) = (await self.watch.ring()).keys

        async def rotate(rotator: Rotator) -> None:
            """As an operator who looks first whether it was heard the first time."""
            ring = await rotator.ring()
            if ring.active == first and not ring.rotation_requested:
                await rotator.request_rotation()

        await self.do(rotate)
        for seconds in (60, OVERLAP):
            await self.pass_time(seconds)
            await self.do(lambda rotator: rotator.tick())
        for number in (2, 1):  # the next key, then the active one
            leaked = (await self.watch.ring()).keys[number].key_id
            await self.do(lambda rotator, leaked=leaked: rotator.revoke(leaked))  # type: ignore[misc] # a default for a lambda
            await self.pass_time(LEAD)

    async def do(self, deed: Deed) -> None:
        try:
            await deed(self.rotator)
        except (Crash, errors.Unavailable):
            assert not self.was_interrupted
            self.was_interrupted = True
            await self.repair()
            await deed(self.rotator)
        await self.watch.look()

    async def repair(self) -> None:
        self.rotator = new_rotator(self.world, self.clock)
        for _ in range(2):
            await self.watch.look()
            await self.rotator.tick()
        before = await self.watch.versions()
        await self.rotator.tick()
        assert await self.watch.versions() == before

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.watch.look()


async def interrupt_each(
    world: Callable[[], Awaitable[World]], when: When, calls: str, *, step: int = 1
) -> int:
    """Tell the story with an interruption at one call after the other; how many there are."""
    at = 1
    while True:
        here = await world()
        interruption = Interruption(getattr(here, calls), at, when, here.loss)
        story = Story(here, ManualClock(), interruption)
        await story.tell()
        assert [key.state.value for key in (await story.watch.ring()).keys] == THE_END
        if interruption.calls < at:
            name = type(here).__name__
            figures.note(f"{name}, {when.value}", calls=interruption.calls, every=step)
            return interruption.calls
        at += step


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER, When.LOST], ids=lambda when: when.value)
async def test_on_files_every_interruption_is_repaired(tmp_path: Path, when: When) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())

    async def world() -> Files:
        return Files(next(folders))

    assert await interrupt_each(world, when, "operations" if LONG else "writes") > MANY


@pytest.mark.parametrize("when", list(When), ids=lambda when: when.value)
async def test_on_aws_every_interruption_is_repaired(moto: str, when: When) -> None:
    """Every write in turn is too much for every day: there it is one in five."""
    async with open_aws(moto) as empty:
        if LONG:
            calls = await interrupt_each(empty.another, when, "operations")
        else:
            calls = await interrupt_each(empty.another, when, "writes", step=5)
    assert calls > MANY
