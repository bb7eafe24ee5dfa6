"""Time, handed in: the only home of the system clock."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Clock(Protocol):
    """Where domain code gets its time from."""

    def now(self) -> datetime:
        """Wall time, UTC, whole milliseconds: what stores can keep without loss."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards: the only clock for ages and time-outs."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return from_millis(time.time_ns() // 1_000_000)

    def monotonic(self) -> float:
        return time.monotonic()


def to_millis(moment: datetime) -> int:
    """Milliseconds since 1970-01-01T00:00Z: the form in which stores keep a moment."""
    return (moment - _EPOCH) // _MILLISECOND


def from_millis(millis: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=millis)


def to_seconds(moment: datetime) -> int:
    """Whole seconds since the epoch, rounded down: the NumericDate of RFC 7519 section 2."""
    return to_millis(moment) // 1000


def to_iso(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: how moments look on the wire and in files."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_iso(text: str) -> datetime:
    """In UTC. Raises ValueError, also where the zone is missing, or UTC has no such year."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # the last hours of the year 9999: nothing could read it again
        raise ValueError("a moment that is none in UTC") from None
