"""What a request was answered, as the text that stores keep beside its digest; a JSON array."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from services.player_data.models import (
    MOST_REMEMBERED,
    Receipt,
    Record,
    RecordKey,
    Write,
    Written,
)
from shared import errors, strict_json
from shared.clock import from_millis, to_millis


def render(done: Iterable[Written], writes: Iterable[Write]) -> str:
    return strict_json.dumps(
        [_entry(written, write) for written, write in zip(done, writes, strict=True)]
    )


def read(text: str, writes: Sequence[Write]) -> list[Written]:
    """With the values that are here, or are the same again; `is_whole` tells where one is not."""
    entries: Any = strict_json.loads(text.encode())
    return [_written(entry, write) for entry, write in zip(entries, writes, strict=True)]


def is_whole(written: Written) -> bool:
    return written.record is None or written.record.value != ""


def complete(written: Written, kept: Iterable[Record | None]) -> Written:
    """With the value that it had, of what the key holds and held. Raises Conflict."""
    for record in kept:
        if record is not None and written.record and record.version == written.version:
            return replace(written, record=replace(written.record, value=record.value))
    raise errors.Conflict("it was done, and what it wrote is not kept any more")


def check(receipt: Receipt, request: bytes) -> None:
    """Raises IdempotencyKeyReused where `request`, which was answered, was another one."""
    if request != receipt.request:
        raise errors.IdempotencyKeyReused


def _entry(written: Written, write: Write) -> list[object]:
    record = written.record
    if record is None:
        return [written.version]
    is_here = callable(write.change) and len(record.value.encode()) <= MOST_REMEMBERED
    return [
        written.version,
        written.created,
        to_millis(record.created_at),
        to_millis(record.updated_at),
        record.written_by,
        record.value if is_here else "",
    ]


def _written(entry: list[Any], write: Write) -> Written:
    key, version = write.key, entry[0]
    if len(entry) == 1:
        return Written(key, version, record=None, created=False)
    value = write.change if isinstance(write.change, str) else entry[5]
    return Written(key, version, _record(key, entry, value), created=entry[1])


def _record(key: RecordKey, entry: list[Any], value: str) -> Record:
    return Record(
        key=key,
        value=value,
        version=entry[0],
        created_at=from_millis(entry[2]),
        updated_at=from_millis(entry[3]),
        written_by=entry[4],
    )
