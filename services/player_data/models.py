"""Records: values of a player, versioned, under a collection and a key."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from shared import errors

_NAME = re.compile(r"[A-Za-z0-9._~:@-]{1,128}")
LARGEST_VALUE = 350 * 1024
"""Bytes of a value as UTF-8 JSON; a DynamoDB item holds 400 KB in all."""
LARGEST_PAGE = 1024 * 1024
"""Characters of all values of a page, unless its first record alone has more."""
MOST_WRITES = 25
"""Done together: what games need, and what a transaction of DynamoDB holds four times."""
LARGEST_WRITES = 3 * 1024 * 1024
"""Bytes of all values that are written together; a transaction of DynamoDB holds 4 MB."""
_TOO_MUCH = f"all values together have more than {LARGEST_WRITES} bytes"
MOST_REMEMBERED = 4096
"""Bytes of a value that a receipt has itself; a longer one it finds among the versions."""
CHUNK = 128 * 1024
"""Bytes of a blob that are in memory at a time, for each request that sends or reads one."""
HISTORY = 10
"""Earlier versions of a key that are kept. With another number, those of before may get lost."""


def check_name(text: str, what: str) -> str:
    """Collections and keys: 1 to 128 of the characters that no URL, log or store escapes.

    `.` and `..` are left out, since clients and proxies resolve them as path segments.
    """
    if not _NAME.fullmatch(text) or text in (".", ".."):
        raise errors.InvalidRequest(
            f"a {what} is 1 to 128 letters, digits or any of . _ ~ : @ - (not . or .. alone)"
        )
    return text


def check_size(value: str) -> str:
    """Raises TooLarge."""
    size = len(value.encode())
    if size > LARGEST_VALUE:
        raise errors.TooLarge(
            f"the value has {size} bytes, {LARGEST_VALUE} are allowed;"
            " a larger one is sent as application/octet-stream"
        )
    return value


def size_of(value: str) -> int:
    """Bytes: of JSON as UTF-8, of a blob those of its content."""
    blob = Blob.of(value)
    return blob.size if blob else len(value.encode())


@dataclass(frozen=True, slots=True)
class RecordKey:
    player: str
    collection: str
    key: str

    @property
    def place(self) -> tuple[str, str, str]:
        """By which keys are in order."""
        return self.player, self.collection, self.key


@dataclass(frozen=True, slots=True)
class BlobName:
    """Under which content lies: the player's id and one of its own, both as of `ids.new_id`."""

    player: str
    id: str


@dataclass(frozen=True, slots=True)
class Blob:
    """What a record has of content that lies elsewhere, in a BlobStore, under an id of its own.

    `sha256` is hexadecimal. One version of one key has it and no other: who wants the content
    again, to restore it, makes a copy.
    """

    id: str
    media_type: str
    size: int
    sha256: str

    @property
    def value(self) -> str:
        """In place of JSON text, and no JSON text begins so: neither ever passes for the other."""
        return f"@{self.size} {self.id} {self.sha256} {self.media_type}"

    @classmethod
    def of(cls, value: str) -> "Blob | None":
        """None of JSON text."""
        if not value.startswith("@"):
            return None
        size, blob_id, sha256, media_type = value[1:].split(" ", 3)
        return cls(blob_id, media_type, int(size), sha256)


@dataclass(frozen=True, slots=True)
class Record:
    """`value` is JSON text, or that of a Blob.

    `version` counts every change of the key, deletions included. So a version never comes back,
    also not when a key is deleted and written again; only where the whole player was erased does a
    key begin with 1 once more.

    `written_by` is the subject of who wrote it, empty of what is older than that. `previous_at` is
    when the version before was written, or deleted; None of the first.
    """

    key: RecordKey
    value: str
    version: int
    created_at: datetime
    updated_at: datetime
    written_by: str = ""
    previous_at: datetime | None = field(default=None, compare=False)

    @property
    def blob(self) -> Blob | None:
        """None where the value is JSON."""
        return Blob.of(self.value)


@dataclass(frozen=True, slots=True)
class Precondition:
    """What must be true of the stored record for a write to happen.

    `versions` None: any version will do; `may_be_absent`: no record will do, too.
    """

    versions: frozenset[int] | None
    may_be_absent: bool

    ALWAYS: ClassVar["Precondition"]
    ABSENT: ClassVar["Precondition"]
    EXISTS: ClassVar["Precondition"]

    @classmethod
    def at(cls, *versions: int) -> "Precondition":
        return cls(frozenset(versions), may_be_absent=False)

    def admits(self, current: Record | None) -> bool:
        if current is None:
            return self.may_be_absent
        return self.versions is None or current.version in self.versions


Precondition.ALWAYS = Precondition(None, may_be_absent=True)
Precondition.ABSENT = Precondition(frozenset(), may_be_absent=True)
Precondition.EXISTS = Precondition(None, may_be_absent=False)


Change = Callable[[Record | None], str | None]
"""What a key holds after, of what it holds before; None is nothing. Pure: it may be asked again.

Where that is the text that is there nothing changes.
"""


@dataclass(frozen=True, slots=True)
class Write:
    """`change` is the text that the key is to hold, None to delete it, or makes one of both.

    It keeps the values of the `keep` versions before it.
    """

    key: RecordKey
    change: str | Change | None
    precondition: Precondition
    keep: int

    def outcome(self, current: Record | None) -> str | None:
        """The value after. Raises VersionConflict with the current record, and what it raises."""
        if not self.precondition.admits(current):
            raise errors.VersionConflict(current=current)
        return self.change(current) if callable(self.change) else self.change

    def idle(self, value: str | None, current: Record | None) -> "Written | None":
        """The answer where its outcome, `value`, changes nothing."""
        if value is None and current is None:
            return Written(self.key, version=None, record=None, created=False)
        if callable(self.change) and current is not None and current.value == value:
            return Written(self.key, current.version, current, created=False)
        return None


@dataclass(frozen=True, slots=True)
class Written:
    """What has become of a write: `record` is None where there is none after it.

    `version` is None where there was none before it either. `created`: there was no record before.
    """

    key: RecordKey
    version: int | None
    record: Record | None
    created: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """By what a request of a player's is known when it comes again, until it expires.

    `key` and `request` are digests, of its Idempotency-Key and of all that it asks for.
    """

    player: str
    key: bytes
    request: bytes
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """`next_after` is the last key of a page that has a successor, None of the last page."""

    records: list[Record]
    next_after: RecordKey | None


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """Of the current records of a collection; `bytes` are those of their values, see `size_of`.

    `updated_at` is when one of them was written last.
    """

    name: str
    records: int
    bytes: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """A value that is kept of a player, and whether it is the current one of its key."""

    record: Record
    is_current: bool


@dataclass(frozen=True, slots=True)
class Position:
    """A place in an export: behind this version of the key; 0 is behind all of them."""

    key: RecordKey
    version: int


@dataclass(frozen=True, slots=True)
class ExportPage:
    """`next_after` is None of the last page alone; any other may be empty."""

    held: list[Held]
    next_after: Position | None


def outcomes(writes: Sequence[Write], current: Sequence[Record | None]) -> Sequence[str | None]:
    """What every key will hold, of what it holds. Raises BatchFailed."""
    found: list[str | None] = []
    failures: dict[int, errors.PlaymeshError] = {}
    size = 0
    for place, (write, record) in enumerate(zip(writes, current, strict=True)):
        if size > LARGEST_WRITES:
            # What would become of it takes time to find out, and it is too much already.
            failures[place] = errors.TooLarge(_TOO_MUCH)
            continue
        try:
            value = write.outcome(record)
        except errors.PlaymeshError as error:
            failures[place] = error
            continue
        found.append(value)
        size += len(value.encode()) if value else 0
        if size > LARGEST_WRITES:
            failures[place] = errors.TooLarge(_TOO_MUCH)
    if failures:
        raise errors.BatchFailed(failures=failures)
    return found


def fill_page(records: Iterable[Record]) -> list[Record]:
    """The first records, as many as a page takes: LARGEST_PAGE, but one whatever its size."""
    page: list[Record] = []
    size = 0
    for record in records:
        size += len(record.value)
        if page and size > LARGEST_PAGE:
            break
        page.append(record)
    return page
