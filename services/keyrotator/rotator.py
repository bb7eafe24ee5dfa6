"""Applies the rotation protocol to the stores, one conditional write at a time."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from services.keyrotator.rotation import (
    RotationPolicy,
    activation_time,
    advance,
    needs_new_key,
)
from shared import errors
from shared.clock import Clock
from shared.keys.documents import render_jwk_set
from shared.keys.models import KeyRing, SigningKey
from shared.keys.ports import JwkSetStore, KeyRingStore

_log = structlog.get_logger()
_MOST_STEPS = 8


@dataclass(frozen=True, slots=True)
class RotationOutlook:
    """`activates_at` is when the next key will begin to sign, if every step runs in time."""

    ring: KeyRing
    activates_at: datetime


class Rotator:
    """Any number of rotators may run on the same stores.

    Each step reads, decides, and writes on the condition that nothing has changed since. Losing
    that race means that another rotator did the work; the next tick sees it.
    """

    def __init__(
        self, ring: KeyRingStore, public: JwkSetStore, policy: RotationPolicy, clock: Clock
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
                    return
            except errors.VersionConflict:
                _log.info("rotation.lost_race")

    async def ring(self) -> KeyRing:
        stored = await self._ring.load()
        return stored.ring if stored else KeyRing()

    async def request_rotation(self) -> RotationOutlook:
        """Ask for a rotation now, by the same safe steps; asking again changes nothing."""
        for _ in range(_MOST_STEPS):
            stored = await self._ring.load()
            if stored is None:
                raise errors.Unavailable("there is no key ring yet")
            if stored.ring.rotation_requested:
                break
            requested = replace(stored.ring, rotation_requested=True)
            try:
                await self._ring.replace(requested, expected=stored.version)
            except errors.VersionConflict:
                continue
            _log.info("rotation.requested")
            break
        await self.tick()
        ring = await self.ring()
        return RotationOutlook(ring, activation_time(ring, self._policy, self._clock.now()))

    async def _step(self) -> bool:
        """One write, if one is due. True when there may be more to do.

        The public set is read before the ring, so the ring is never older than the set whose
        replacement it decides: an old ring cannot take a newer rotator's key out of the set.
        """
        published = await self._public.read()
        stored = await self._ring.load()
        now = self._clock.now()
        before = stored.ring if stored else KeyRing()
        if stored is None and published is not None:
            # A ring made anew would take the keys out of the set that sessions depend on.
            raise errors.Unavailable(
                "a JWK Set is published, but its key ring is missing: restore the ring,"
                " or remove the published set to begin anew with every token invalid"
            )
        spare = await self._new_key() if needs_new_key(before, self._policy, now) else None
        after = advance(before, self._policy, now, spare)
        if after != before:
            await self._ring.replace(after, expected=stored.version if stored else None)
            _log_changes(before, after)
            return True
        document = render_jwk_set(after)
        if published is None or published.document != document:
            await self._public.publish(document, expected=published.etag if published else None)
            return True
        pending = after.pending
        if pending and pending.published_at is None and stored:
            # The set in the store has the key: from now on, and no earlier, verifiers can see it.
            marked = after.with_key(pending.published(self._clock.now()))
            await self._ring.replace(marked, expected=stored.version)
            return True
        return False

    async def _new_key(self) -> SigningKey:
        return await asyncio.to_thread(
            SigningKey.generate, self._policy.algorithm, self._clock.now()
        )


def _log_changes(before: KeyRing, after: KeyRing) -> None:
    known = {key.key_id: key.state for key in before.keys}
    for key in after.keys:
        if known.get(key.key_id) is not key.state:
            _log.info("key.state", kid=key.key_id, state=key.state.value)
