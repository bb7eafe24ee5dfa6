"""The key ring as operators see it: ids, states and times, never key material."""

from datetime import datetime

from services.keyrotator.rotator import RevocationOutlook, RotationOutlook
from shared.clock import to_iso
from shared.keys.models import KeyRing, SigningKey


def render_ring(ring: KeyRing) -> dict[str, object]:
    return {
        "keys": [_render_key(key) for key in reversed(ring.keys)],
        "rotation_requested": ring.rotation_requested,
    }


def render_outlook(outlook: RotationOutlook) -> dict[str, object]:
    return {**render_ring(outlook.ring), "activates_at": to_iso(outlook.activates_at)}


def render_revocation(outlook: RevocationOutlook) -> dict[str, object]:
    return {**render_ring(outlook.ring), "refused_at": to_iso(outlook.refused_at)}


def _render_key(key: SigningKey) -> dict[str, object]:
    return {
        "kid": key.key_id,
        "alg": key.algorithm,
        "state": key.state.value,
        "created": to_iso(key.created_at),
        "published": _iso(key.published_at),
        "activated": _iso(key.activated_at),
        "retires": _iso(key.retires_at),
        "revoked": _iso(key.revoked_at),
    }


def _iso(moment: datetime | None) -> str | None:
    return to_iso(moment) if moment else None
