"""Applies the rotation protocol to the stores, one conditional write at a time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from services.keyrotator import metrics
from services.keyrotator.rotation import (
    RotationPolicy,
    due_activation,
    needs_key,
    plan,
    with_next,
)
from shared import errors
from shared.clock import Clock
from shared.keys.documents import render_jwk_set
from shared.keys.models import KeyRing, SigningKey
from shared.keys.ports import KeyRingStore, PublicDocumentStore, StoredRing

_log = structlog.get_logger()
_MOST_STEPS = 10


@dataclass(frozen=True, slots=True)
class RotationOutlook:
    """`activates_at` is when the key after the one that signed began to sign, or will."""

    ring: KeyRing
    activates_at: datetime


@dataclass(frozen=True, slots=True)
class RevocationOutlook:
    """`refused_at` is when the last of our verifiers will refuse the key, if it is connected."""

    ring: KeyRing
    refused_at: datetime


class Rotator:
    """Any number of rotators may run on the same stores.

    Each step reads, decides, and writes on the condition that nothing has changed since. Losing
    that race means that another rotator did the work; the next step sees it.
    """

    def __init__(
        self, ring: KeyRingStore, public: PublicDocumentStore, policy: RotationPolicy, clock: Clock
    ) -> None:
        self._ring = ring
        self._public = public
        self._policy = policy
        self._clock = clock

    async def tick(self) -> None:
        """Do all that is due now. Raises Unavailable where a store cannot be used."""
        for _ in range(_MOST_STEPS):
            try:
                if not await self._step():
                    break
            except errors.VersionConflict:
                _log.info("rotation.lost_race")
        metrics.observe(await self.ring(), self._clock.now())

    async def ring(self) -> KeyRing:
        stored = await self._ring.load()
        return stored.ring if stored else KeyRing()

    async def request_rotation(self) -> RotationOutlook:
        """Rotate as soon as the next key is known everywhere, by the same safe steps.

        Asking again while that is under way changes nothing.
        """
        active = (await self.ring()).active
        asked_about = active.key_id if active else None

        def is_done(ring: KeyRing) -> bool:
            return ring.active is not None and ring.active.key_id != asked_about

        def requested(ring: KeyRing) -> KeyRing:
            return ring if is_done(ring) else replace(ring, rotation_requested=True)

        if await self._change(requested):
            _log.info("rotation.requested")
        await self.tick()
        ring = await self.ring()
        if ring.active and ring.active.activated_at and is_done(ring):
            return RotationOutlook(ring, ring.active.activated_at)
        return RotationOutlook(ring, due_activation(ring, self._policy, self._clock.now()))

    async def revoke(self, key_id: str) -> RevocationOutlook:
        """Withdraw a key that somebody else may have; the next key signs from now on.

        Every token that it signed is refused with it. Raises NotFound. Asking again changes
        nothing.
        """

        def revoked(ring: KeyRing) -> KeyRing:
            key = ring.key(key_id)
            if key is None:
                raise errors.NotFound("there is no such key")
            return ring.with_key(key.revoked(self._clock.now())) if key.is_published else ring

        if await self._change(revoked):
            _log.warning("key.revoked", kid=key_id)
        await self.tick()
        return RevocationOutlook(await self.ring(), self._clock.now() + self._policy.revocation)

    async def _change(self, change: Callable[[KeyRing], KeyRing]) -> bool:
        """Apply `change`, and what it makes due, to the stored ring; False: nothing to change."""
        for _ in range(_MOST_STEPS):
            stored = await self._ring.load()
            if stored is None:
                raise errors.Unavailable("there is no key ring yet")
            changed = change(stored.ring)
            if changed == stored.ring:
                return False
            try:
                await self._replace(stored, await self._planned(changed))
            except errors.VersionConflict:
                continue
            return True
        raise errors.Unavailable("the key ring is being changed too often")

    async def _step(self) -> bool:
        """One write, if one is due. True when there may be more to do.

        The public set is read before the ring, so the ring is never older than the set whose
        replacement it decides: an old ring cannot take a newer rotator's key out of the set.
        """
        published = await self._public.read()
        stored = await self._ring.load()
        if stored is None and published is not None:
            # A ring made anew would take the keys out of the set that sessions depend on.
            raise errors.Unavailable(
                "a JWK Set is published, but its key ring is missing: restore the ring,"
                " or remove the published set to begin anew with every token invalid"
            )
        before = stored.ring if stored else KeyRing()
        after = await self._planned(before)
        if after != before:
            await self._replace(stored, after)
            return True
        document = render_jwk_set(after)
        if published is None or published.document != document:
            await self._public.publish(document, expected=published.etag if published else None)
            return True
        pending = after.pending
        if pending and pending.published_at is None:
            # The set in the store has the key: from now on, and no earlier, verifiers can see it.
            await self._replace(stored, after.with_key(pending.published(self._clock.now())))
            return True
        return False

    async def _planned(self, ring: KeyRing) -> KeyRing:
        now = self._clock.now()
        ring = plan(ring, self._policy, now)
        if not needs_key(ring, self._policy, now):
            return ring
        key = await asyncio.to_thread(SigningKey.generate, self._policy.algorithm, now)
        return with_next(ring, key)

    async def _replace(self, stored: StoredRing | None, ring: KeyRing) -> None:
        await self._ring.replace(ring, expected=stored.version if stored else None)
        known = {key.key_id: key.state for key in stored.ring.keys} if stored else {}
        for key in ring.keys:
            if known.get(key.key_id) is not key.state:
                _log.info("key.state", kid=key.key_id, state=key.state.value)
