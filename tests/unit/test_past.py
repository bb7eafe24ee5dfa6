"""What is told of a moment by what is kept of a key."""

from datetime import datetime, timedelta

import pytest

from services.player_data.models import Record
from services.player_data.past import Past, State, at
from tests.conformance.records import KEY, T0


def minute(number: int) -> datetime:
    return T0 + timedelta(minutes=number)


def record(version: int, at: int, *, previous: int | None = None, created: int = 0) -> Record:
    """Moments in minutes."""
    return Record(
        key=KEY,
        value=str(version),
        version=version,
        created_at=minute(created),
        updated_at=minute(at),
        previous_at=None if previous is None else minute(previous),
    )


def told(moment: int, *kept: Record) -> Past | None:
    last, *others = kept
    return at(KEY, minute(moment), State.of(last), others)


def test_what_was_lost_between_two_versions_is_told_by_the_last_before_it() -> None:
    kept = record(5, at=9, previous=8), record(2, at=2)
    assert told(3, *kept) == Past(KEY, kept[1], is_complete=False)
    assert told(8, *kept) == Past(KEY, kept[1], is_complete=False)
    assert told(9, *kept) == Past(KEY, kept[0], is_complete=True)


def test_one_that_is_lost_is_not_until_it_was_written() -> None:
    kept = record(4, at=9, previous=8), record(2, at=2)
    assert told(7, *kept) == Past(KEY, kept[1], is_complete=True)
    assert told(8, *kept) == Past(KEY, kept[1], is_complete=False)


def test_a_deletion_is_known_by_the_creation_after_it_whatever_was_lost_before() -> None:
    kept = record(6, at=9, previous=8, created=9), record(2, at=2)
    assert told(8, *kept) is None
    assert told(7, *kept) == Past(KEY, kept[1], is_complete=False)


@pytest.mark.parametrize("created", [0, 9])
def test_a_version_from_before_moments_were_kept_tells_nothing_of_a_gap(created: int) -> None:
    kept = record(4, at=9, created=created), record(2, at=2)
    assert told(5, *kept) == Past(KEY, kept[1], is_complete=False)
    assert told(5, kept[0]) == Past(KEY, None, is_complete=False)


def test_a_version_from_before_moments_were_kept_ends_where_the_next_begins() -> None:
    kept = record(3, at=9), record(2, at=2)
    assert told(8, *kept) == Past(KEY, kept[1], is_complete=True)


def test_before_a_first_version_that_is_lost_there_was_nothing() -> None:
    only = record(2, at=9, previous=5)
    assert told(4, only) is None
    assert told(5, only) == Past(KEY, None, is_complete=False)


def test_a_deletion_whose_record_was_never_kept() -> None:
    deletion = State(2, minute(9), minute(5), None)
    assert at(KEY, minute(9), deletion, []) is None
    assert at(KEY, minute(6), deletion, []) == Past(KEY, None, is_complete=False)
    assert at(KEY, minute(4), deletion, []) is None
