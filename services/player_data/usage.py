"""How much a player has, how much a player may have, and whether a write goes too far."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from services.player_data.models import CollectionSummary, Record, size_of
from shared import errors


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the current records, as CollectionSummary has it; also a difference of two."""

    records: int = 0
    bytes: int = 0

    @classmethod
    def of(cls, collections: Iterable[CollectionSummary]) -> "Usage":
        used = cls()
        for one in collections:
            used += cls(one.records, one.bytes)
        return used

    @classmethod
    def growth(
        cls, values: Sequence[str | None], current: Sequence[Record | None], unit: int = 1
    ) -> "Usage":
        """By what writes change it, of the values after and the records before.

        Sizes are rounded up to whole units, each by itself.
        """
        before = [record.value for record in current if record is not None]
        return cls._counted(filter(None, values), unit) - cls._counted(before, unit)

    @classmethod
    def _counted(cls, values: Iterable[str], unit: int) -> "Usage":
        sizes = [-(-size_of(value) // unit) * unit for value in values]
        return cls(len(sizes), sum(sizes))

    @property
    def growing(self) -> "Usage":
        """Without what shrinks."""
        return Usage(max(self.records, 0), max(self.bytes, 0))

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.records + other.records, self.bytes + other.bytes)

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(self.records - other.records, self.bytes - other.bytes)

    def __bool__(self) -> bool:
        return self.records != 0 or self.bytes != 0


@dataclass(frozen=True, slots=True)
class Quota:
    """How much a player may have; None: as much as they like."""

    records: int | None = None
    bytes: int | None = None

    @property
    def is_set(self) -> bool:
        return self.records is not None or self.bytes is not None

    def admits(self, used: Usage, growth: Usage) -> bool:
        """What does not grow is always admitted, also of who has too much already."""
        return _admits(self.records, used.records, growth.records) and _admits(
            self.bytes, used.bytes, growth.bytes
        )

    def check(self, used: Usage, growth: Usage) -> None:
        """Raises QuotaExceeded."""
        if not self.admits(used, growth):
            raise errors.QuotaExceeded(used=asdict(used), allowed=asdict(self))


def _admits(allowed: int | None, used: int, growth: int) -> bool:
    return allowed is None or growth <= 0 or used + growth <= allowed
