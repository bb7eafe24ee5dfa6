"""What a key held at a moment, of what is kept of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.player_data.models import Record, RecordKey

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class State:
    """What a write has made of a key; `record` is None of a deletion."""

    version: int
    updated_at: datetime
    previous_at: datetime | None
    record: Record | None

    @classmethod
    def of(cls, record: Record) -> "State":
        return cls(record.version, record.updated_at, record.previous_at, record)

    @property
    def is_creation(self) -> bool:
        return self.record is not None and self.record.created_at == self.updated_at


_NOTHING = State(0, _BEFORE_ALL, None, None)


@dataclass(frozen=True, slots=True)
class Past:
    """What a key held at a moment.

    Where not `is_complete`, what it held then is not kept any more, or is not known to be what it
    held: `record` is the last that is kept of before, None where none is, and there may have been
    no record at all.
    """

    key: RecordKey
    record: Record | None
    is_complete: bool


@dataclass(frozen=True, slots=True)
class PastPage:
    """`next_after` is None of the last page alone; any other may be empty."""

    held: Sequence[Past]
    next_after: RecordKey | None


def at(key: RecordKey, moment: datetime, last: State, kept: Sequence[Record]) -> Past | None:
    """Of a key's last write and its versions before, newest first; None where it held nothing.

    A version ends where the next one begins. A deletion is not kept, so between two versions that
    are kept one may be missing: the later one tells by `previous_at` when that began.
    """
    later: State | None = None
    state = _NOTHING
    for state in (last, *map(State.of, kept), _NOTHING):
        if state.updated_at <= moment:
            break
        later = state
    if later is None or later.version == state.version + 1:
        return _held(key, state)
    if later.previous_at is not None:
        if later.previous_at > moment and later.version == state.version + 2:
            return _held(key, state)  # what is missing came afterwards
        if later.previous_at <= moment and later.is_creation:
            return None  # what is missing is a deletion
    return Past(key, state.record, is_complete=False)


def _held(key: RecordKey, state: State) -> Past | None:
    return Past(key, state.record, is_complete=True) if state.record else None
