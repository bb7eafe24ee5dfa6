"""What a collection is for: who reaches its records, and how many of their versions are kept."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from services.player_data.models import HISTORY, Blob, RecordKey
from shared import errors, strict_json
from shared.strict_json import JsonValue

Check = Callable[[JsonValue], None]
"""Raises InvalidRequest where a value is not what the collection is for."""


def check_value(value: str, check: Check | None) -> None:
    """Of what a record is to hold. Raises InvalidValue of a blob where a schema asks for JSON."""
    if check is None:
        return
    if Blob.of(value):
        raise errors.InvalidValue(
            violations=[{"path": "", "rule": "type", "detail": "a blob is no JSON"}]
        )
    check(strict_json.loads(value.encode()))


class Access(enum.Enum):
    """Who reads and who writes, besides services, which do both."""

    PRIVATE = "private"
    """The owner does both."""
    PUBLIC = "public"
    """Any player reads, the owner writes."""
    PROTECTED = "protected"
    """The owner reads."""
    INTERNAL = "internal"
    """No player does either."""


class Merge(enum.Enum):
    """What becomes of a key that both of two players have who turn out to be one."""

    NEWER = "newer"
    """What was written last."""
    CURRENT = "current"
    """What the player has who stays."""
    EXISTING = "existing"
    """What the other one has."""
    SUM = "sum"
    """Numbers are added, also as members; of all else what was written last."""
    MAX = "max"
    """As SUM, the higher number."""


@dataclass(frozen=True, slots=True)
class Collection:
    """`history`: how many versions before the current one are kept."""

    access: Access = Access.PRIVATE
    history: int = HISTORY
    merge: Merge = Merge.NEWER
    check: Check | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Collections:
    """By name; `others` is every collection that has none."""

    named: Mapping[str, Collection] = field(default_factory=dict)
    others: Collection = Collection()

    def of(self, name: str) -> Collection:
        return self.named.get(name, self.others)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, by the subject of a verified token."""

    subject: str
    is_service: bool

    def may_read(self, key: RecordKey, collection: Collection) -> bool:
        if self.is_service:
            return True
        if self.subject == key.player:
            return collection.access is not Access.INTERNAL
        return collection.access is Access.PUBLIC

    def may_write(self, key: RecordKey, collection: Collection) -> bool:
        if self.is_service:
            return True
        is_owners = collection.access in (Access.PRIVATE, Access.PUBLIC)
        return is_owners and self.subject == key.player

    def check_read(self, key: RecordKey, collection: Collection) -> None:
        """Raises NotFound: who may not read a record does not learn that there is one."""
        if not self.may_read(key, collection):
            raise errors.NotFound("there is no such record")

    def check_write(self, key: RecordKey, collection: Collection) -> None:
        """Raises NotFound, and Forbidden where it may be read."""
        self.check_read(key, collection)
        if not self.may_write(key, collection):
            raise errors.Forbidden("players do not write this record")
