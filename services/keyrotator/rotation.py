"""The rotation protocol as pure functions of ring, policy and time.

There is always a next key: made and published as soon as the one before it begins to sign, so
that it is known everywhere long before its turn, also when its turn comes early. When it signs,
the key before it stays published until the last token that it signed has expired. All waiting is
measured from times that are kept in the ring, so a restart, a second rotator or a call too many
changes nothing that is not due.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.auth.jwt_claims import LEEWAY
from shared.keys.models import KeyRing, KeyState, SigningKey

_UNPUBLISHED_KEPT = 5
_MOST_PUBLISHED = 12
"""A bound on the JWK Set, which verifiers refuse beyond 64 KiB."""


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """`publish_lead`: from published to first signature. `overlap`: from last signature to gone.

    `revocation`: from withdrawn to refused by every verifier of ours that can reach the issuer.
    """

    period: timedelta
    algorithm: str
    publish_lead: timedelta
    overlap: timedelta
    revocation: timedelta

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
        and the leeway of the verifiers. Our own verifiers keep a set for `jwks_max_age` at most.
        """
        return cls(
            period=period,
            algorithm=algorithm,
            publish_lead=jwks_max_age + jwks_ttl + key_refresh + slack,
            overlap=key_refresh + access_token_ttl + LEEWAY + slack,
            revocation=key_refresh + jwks_max_age + min(jwks_ttl, jwks_max_age) + slack,
        )


def plan(ring: KeyRing, policy: RotationPolicy, now: datetime) -> KeyRing:
    """The ring as it should be at `now`, but for a key that has to be made: see `needs_key`."""
    keys = (_believe(key, policy, now) for key in ring.keys)
    ring = replace(ring, keys=tuple(_retire(key, now) for key in keys))
    return _forget(_activate(ring, policy, now))


def needs_key(ring: KeyRing, policy: RotationPolicy, now: datetime) -> bool:
    """Whether a planned ring lacks its next key, or has one of another algorithm than it should.

    Such a one must be public for a lead before it is replaced: two rotators whose settings
    differ, as in a rolling deployment, would otherwise replace each other's at every tick.
    """
    pending = ring.pending
    if pending is None:
        return ring.active is None or len(ring.public_jwks()) < _MOST_PUBLISHED
    return pending.algorithm != policy.algorithm and _is_ripe(pending, policy, now)


def with_next(ring: KeyRing, key: SigningKey) -> KeyRing:
    """The ring with `key` as its next one."""
    if ring.pending is not None:
        ring = ring.with_key(ring.pending.discarded())
    return ring.with_key(key)


def due_activation(ring: KeyRing, policy: RotationPolicy, now: datetime) -> datetime:
    """When the next key will begin to sign where its turn has come, if every step runs in time."""
    pending = ring.pending
    published = pending.published_at if pending else None
    return max(now, (published or now) + policy.publish_lead)


def _activate(ring: KeyRing, policy: RotationPolicy, now: datetime) -> KeyRing:
    pending, active = ring.pending, ring.active
    if pending is None or pending.published_at is None:
        return ring
    if active is None:
        # The first key of all, or the one before it was revoked: waiting would help nobody.
        return replace(ring.with_key(pending.activated(now)), rotation_requested=False)
    is_wanted = pending.algorithm == policy.algorithm and _is_due(ring, active, policy, now)
    if not is_wanted or not _is_ripe(pending, policy, now):
        return ring
    ring = ring.with_key(active.retiring(now + policy.overlap))
    return replace(ring.with_key(pending.activated(now)), rotation_requested=False)


def _is_ripe(pending: SigningKey, policy: RotationPolicy, now: datetime) -> bool:
    """Whether every verifier must have seen the key."""
    published = pending.published_at
    return published is not None and now >= published + policy.publish_lead


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
    unpublished = [key.key_id for key in ring.keys if not key.is_published]
    forgotten = set(unpublished[:-_UNPUBLISHED_KEPT])
    return replace(ring, keys=tuple(key for key in ring.keys if key.key_id not in forgotten))
