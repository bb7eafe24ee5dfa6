"""What an operator is told of the keys; set at the end of every tick that did its work."""

from datetime import datetime

from prometheus_client import Gauge

from shared.keys.models import KeyRing, KeyState

_LAST_SUCCESS = Gauge(
    "playmesh_rotation_last_success_timestamp_seconds", "When a tick last did all that was due."
)
_ACTIVE_AGE = Gauge("playmesh_active_key_age_seconds", "How long the active key has been signing.")
_KEYS = Gauge("playmesh_keys", "Keys of the ring.", ("state",))


def observe(ring: KeyRing, now: datetime) -> None:
    _LAST_SUCCESS.set(now.timestamp())
    active = ring.active
    if active is not None and active.activated_at is not None:
        _ACTIVE_AGE.set((now - active.activated_at).total_seconds())
    for state in KeyState:
        _KEYS.labels(state.value).set(sum(key.state is state for key in ring.keys))
