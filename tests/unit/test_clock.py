"""Moments and their forms; the system clock."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import SystemClock, from_iso, from_millis, to_iso, to_millis, to_seconds

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
MILLIS = 1_767_323_045_678


def test_the_system_clock_tells_utc_in_whole_milliseconds() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # noqa: TID251 - to compare with
    now = SystemClock().now()
    after = datetime.now(UTC)  # noqa: TID251 - to compare with
    assert before <= now <= after
    assert now.utcoffset() == timedelta(0)
    assert now.microsecond % 1000 == 0


def test_the_system_clock_never_runs_backwards() -> None:
    clock = SystemClock()
    moments = [clock.monotonic() for _ in range(1000)]
    assert moments == sorted(moments)


def test_a_moment_in_milliseconds_and_back() -> None:
    assert to_millis(MOMENT) == MILLIS
    assert from_millis(MILLIS) == MOMENT


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (MOMENT, 1_767_323_045),
        (MOMENT.replace(microsecond=999_999), 1_767_323_045),
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC), -1),
    ],
)
def test_seconds_are_rounded_down(moment: datetime, seconds: int) -> None:
    assert to_seconds(moment) == seconds


def test_on_the_wire_a_moment_has_milliseconds_and_a_z() -> None:
    assert to_iso(MOMENT) == "2026-01-02T03:04:05.678Z"


def test_on_the_wire_a_moment_of_another_zone_is_in_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert to_iso(MOMENT.astimezone(tokyo)) == "2026-01-02T03:04:05.678Z"


@given(st.integers(0, 2**42))
def test_a_moment_survives_every_form_unchanged(millis: int) -> None:
    moment = from_millis(millis)
    assert to_millis(moment) == millis
    assert from_iso(to_iso(moment)) == moment
    assert from_iso(to_iso(moment)).utcoffset() == timedelta(0)


def test_a_moment_is_read_in_utc() -> None:
    assert to_iso(from_iso("2026-12-24T18:00:00+01:00")) == "2026-12-24T17:00:00.000Z"
    assert from_iso("2026-12-24T18:00:00+01:00").utcoffset() == timedelta(0)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"])
def test_a_moment_in_a_year_that_utc_has_not_is_none(text: str) -> None:
    """A store would keep it, and nobody could read it again."""
    with pytest.raises(ValueError, match="UTC"):
        from_iso(text)
