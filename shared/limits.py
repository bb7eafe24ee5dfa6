"""How often somebody may do something: a token bucket for each key, in bounded memory.

All that is kept of a bucket is the moment at which it will be full again, the theoretical arrival
time of the generic cell rate algorithm (ITU-T I.371). A token puts it off by one interval; a bucket
is empty when that would put it further than a whole bucket into the future.
"""

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass

from shared import errors
from shared.clock import Clock

_KEPT = 16
"""Bytes of a key: a shorter one is kept as it is, any other as a digest of this length."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`burst` at once, and `per_second` for as long as it takes; 0 per second is no limit."""

    burst: int
    per_second: float

    def __post_init__(self) -> None:
        if self.per_second < 0 or (self.per_second > 0 and self.burst < 1):
            raise ValueError("a limit lets one through at least, or is none")


class Limiter:
    """At most burst + per_second * t for each key in any t seconds.

    It remembers at most `most_keys`, and forgets first whoever was quiet for longest; to be
    forgotten is to have a full bucket. A restart forgets all, and two processes know nothing of
    each other.
    """

    def __init__(self, limit: RateLimit, clock: Clock, *, most_keys: int = 100_000) -> None:
        self._clock = clock
        self._most_keys = most_keys
        self._interval = 1 / limit.per_second if limit.per_second else 0.0
        self._bucket = limit.burst * self._interval
        # Floats: a sum of intervals may be a little more than a bucket. It is not accumulated.
        self._slack = min(self._interval, 1.0) / 1000
        self._full_at: OrderedDict[bytes, float] = OrderedDict()

    def take(self, key: str) -> None:
        """One token of `key`. Raises TooManyRequests where there is none, and takes none then.

        After its `retry_after`, in whole seconds and at least 1, there is one, unless it was taken.
        """
        if not self._interval:
            return
        now = self._clock.monotonic()
        kept = _kept(key)
        before = max(self._full_at.get(kept, now), now)
        after = before + self._interval
        wait = after - now - self._bucket
        refused = wait > self._slack
        # Whoever is refused is not quiet: otherwise trying on would be the way to a full bucket.
        self._full_at[kept] = before if refused else after
        self._full_at.move_to_end(kept)
        if len(self._full_at) > self._most_keys:
            self._full_at.popitem(last=False)
        if refused:
            # With half of the slack 6.0000001 is 6; the other half is left for whoever has waited.
            raise errors.TooManyRequests(retry_after=math.ceil(wait - self._slack / 2))


class Noted:
    """Keys that were noted within the last `lifetime` seconds, in the memory of a Limiter.

    Beyond `most_keys` the one that was noted first is forgotten first.
    """

    def __init__(self, lifetime: float, clock: Clock, *, most_keys: int = 100_000) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._most_keys = most_keys
        self._noted_at: OrderedDict[bytes, float] = OrderedDict()

    def note(self, key: str) -> None:
        kept = _kept(key)
        self._noted_at[kept] = self._clock.monotonic()
        self._noted_at.move_to_end(kept)
        if len(self._noted_at) > self._most_keys:
            self._noted_at.popitem(last=False)

    def __contains__(self, key: str) -> bool:
        noted_at = self._noted_at.get(_kept(key))
        return noted_at is not None and self._clock.monotonic() - noted_at < self._lifetime


def _kept(key: str) -> bytes:
    raw = key.encode("utf-8", "surrogatepass")
    return raw if len(raw) < _KEPT else hashlib.blake2b(raw, digest_size=_KEPT).digest()
