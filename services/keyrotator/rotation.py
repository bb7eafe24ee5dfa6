"""The rotation protocol as a pure function of ring, policy and time.

A key is made, published, and waits until every verifier must have fetched it; only then does it
sign. The key before it stays published until the last token that it signed has expired. All
waiting is measured from times that are kept in the ring, so a restart, a second rotator or a
call too many changes nothing that is not due.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.auth.verifier import LEEWAY
from shared.keys.models import KeyRing, KeyState, SigningKey

_RETIRED_KEPT = 5
_MOST_PUBLISHED = 12
"""A bound on the JWK Set, which verifiers refuse beyond 64 KiB."""


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """`publish_lead`: from published to first signature. `overlap`: from last signature to gone.

    A new key is made half a period before it is due; a period of at least two leads is therefore
    never delayed by the lead.
    """

    period: timedelta
    algorithm: str
    publish_lead: timedelta
    overlap: timedelta

    @classmethod
    def from_caches(
        cls,
        *,
        period: timedelta,
        algorithm: str,
        jwks_max_age: timedelta,
        jwks_ttl: timedelta,
        key_refresh: timedelta,
        slack: timedelta,
        access_token_ttl: timedelta,
    ) -> "RotationPolicy":
        """The arithmetic of the mesh's caches.

        A verifier may hold, for `jwks_ttl`, a copy that a CDN held for `jwks_max_age`, which it
        got from an identity that re-reads the set every `key_refresh`. An identity may go on
        signing with the old key for `key_refresh`, and what it signs lives `access_token_ttl`
        and the leeway of the verifiers.
        """
        return cls(
            period=period,
            algorithm=algorithm,
            publish_lead=jwks_max_age + jwks_ttl + key_refresh + slack,
            overlap=key_refresh + access_token_ttl + LEEWAY,
        )


def needs_new_key(ring: KeyRing, policy: RotationPolicy, now: datetime) -> bool:
    if ring.pending or len(ring.public_jwks()) >= _MOST_PUBLISHED:
        return False
    active = ring.active
    return active is None or _is_due(ring, active, policy, now + policy.period / 2)


def advance(
    ring: KeyRing, policy: RotationPolicy, now: datetime, spare: SigningKey | None
) -> KeyRing:
    """The ring as it should be at `now`. `spare` is a new key for it, if `needs_new_key`."""
    keys = (_believe(key, policy, now) for key in ring.keys)
    ring = replace(ring, keys=tuple(_retire(key, now) for key in keys))
    if spare is not None:
        ring = ring.with_key(spare)
    ring = _activate(ring, policy, now)
    return _forget(ring)


def activation_time(ring: KeyRing, policy: RotationPolicy, now: datetime) -> datetime:
    """When the next key will begin to sign, if every step runs in time."""
    pending, active = ring.pending, ring.active
    published = pending.published_at if pending and pending.published_at else now
    earliest = max(now, published + policy.publish_lead) if active else now
    if active is None or active.activated_at is None or _is_due(ring, active, policy, now):
        return earliest
    return max(earliest, active.activated_at + policy.period)


def _activate(ring: KeyRing, policy: RotationPolicy, now: datetime) -> KeyRing:
    pending, active = ring.pending, ring.active
    if pending is None or pending.published_at is None:
        return ring
    if active is None:
        # The first key of all: no verifier can hold an older set, so there is nobody to wait for.
        return ring.with_key(pending.activated(now))
    if not _is_due(ring, active, policy, now) or now < pending.published_at + policy.publish_lead:
        return ring
    ring = ring.with_key(active.retiring(now + policy.overlap))
    return replace(ring.with_key(pending.activated(now)), rotation_requested=False)


def _is_due(ring: KeyRing, active: SigningKey, policy: RotationPolicy, now: datetime) -> bool:
    return (
        ring.rotation_requested
        or active.algorithm != policy.algorithm
        or active.activated_at is None
        or now >= active.activated_at + policy.period
        or _is_future(active.activated_at, now)
    )


def _is_future(moment: datetime, now: datetime) -> bool:
    """Further ahead than two clocks of the mesh may be apart: one of them has been wrong."""
    return moment > now + LEEWAY


def _believe(key: SigningKey, policy: RotationPolicy, now: datetime) -> SigningKey:
    """Times that a clock wrote which ran ahead must not hold up the rotation for as long."""
    if key.state is KeyState.PENDING and key.published_at and _is_future(key.published_at, now):
        return replace(key, published_at=None)
    if key.retires_at and _is_future(key.retires_at, now + policy.overlap):
        return replace(key, retires_at=now + policy.overlap)
    return key


def _retire(key: SigningKey, now: datetime) -> SigningKey:
    if key.state is KeyState.RETIRING and key.retires_at is not None and now >= key.retires_at:
        return key.retired()
    return key


def _forget(ring: KeyRing) -> KeyRing:
    retired = [key for key in ring.keys if key.state is KeyState.RETIRED]
    forgotten = {key.key_id for key in retired[:-_RETIRED_KEPT]}
    return replace(ring, keys=tuple(key for key in ring.keys if key.key_id not in forgotten))
