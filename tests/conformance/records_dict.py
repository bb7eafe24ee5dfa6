"""A dict that behaves as every store of records promises."""

import builtins
import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from services.player_data.models import (
    MOST_REMEMBERED,
    Held,
    Page,
    Receipt,
    Record,
    RecordKey,
    Write,
    Written,
)
from shared import errors


@dataclass
class Model:
    """The promise, in the plainest words. `keep` is how many versions a key has, by its name."""

    keep: Mapping[str, int]
    records: dict[RecordKey, Record] = field(default_factory=dict)
    last: dict[RecordKey, int] = field(default_factory=dict)
    """The number of the last version of every key."""
    touched: dict[RecordKey, datetime] = field(default_factory=dict)
    """When the last version of every key was written, or deleted."""
    overwritten: list[Record] = field(default_factory=list)
    receipts: dict[tuple[str, bytes], tuple[Receipt, Sequence[Written]]] = field(
        default_factory=dict
    )

    def write(
        self, writes: Sequence[Write], *, by: str, now: datetime, receipt: Receipt | None
    ) -> Sequence[Written]:
        if receipt:
            before = self.receipts.get((receipt.player, receipt.key))
            if before and now < before[0].expires_at:
                if before[0].request != receipt.request:
                    raise errors.IdempotencyKeyReused
                return [self._remembered(*one) for one in zip(before[1], writes, strict=True)]
        trial = copy.deepcopy(self)
        done: list[Written] = []
        failures: dict[int, errors.PlaymeshError] = {}
        for place, one in enumerate(writes):
            try:
                done.append(trial._write(one, by, now))
            except errors.PlaymeshError as error:
                failures[place] = error
        if failures:
            raise errors.BatchFailed(failures=failures)
        if receipt:
            trial.receipts[receipt.player, receipt.key] = (receipt, done)
        self.__dict__ |= trial.__dict__
        return done

    def _write(self, write: Write, by: str, now: datetime) -> Written:
        key, current = write.key, self.records.get(write.key)
        if not write.precondition.admits(current):
            raise errors.VersionConflict(current=current)
        value = write.change(current) if callable(write.change) else write.change
        if current is None and value is None:
            return Written(key, version=None, record=None, created=False)
        if callable(write.change) and current is not None and current.value == value:
            return Written(key, current.version, current, created=False)
        if current:
            self.overwritten.append(self.records.pop(key))
        self.last[key] = self.last.get(key, 0) + 1
        previous, self.touched[key] = self.touched.get(key), now
        if value is None:
            return Written(key, self.last[key], record=None, created=False)
        created_at = current.created_at if current else now
        record = Record(key, value, self.last[key], created_at, now, by, previous)
        self.records[key] = record
        return Written(key, record.version, record, created=current is None)

    def _remembered(self, written: Written, write: Write) -> Written:
        """A long value that was made of another is known as long as it is kept."""
        record = written.record
        if record and callable(write.change) and len(record.value) > MOST_REMEMBERED:
            current = self.records.get(written.key)
            kept = [*filter(None, [current]), *self.versions(written.key)]
            if written.version not in [one.version for one in kept]:
                raise errors.Conflict
        return written

    def get_many(self, keys: Collection[RecordKey]) -> Collection[Record]:
        return [self.records[key] for key in keys if key in self.records]

    def versions(self, key: RecordKey) -> Sequence[Record]:
        oldest = self.last.get(key, 0) - self.keep[key.key]
        return [
            record
            for record in reversed(self.overwritten)
            if record.key == key and record.version >= oldest
        ]

    def export(self, player: str) -> Sequence[Held]:
        held = []
        for key in sorted(self.last, key=lambda key: (key.collection, key.key)):
            if key.player == player:
                if current := self.records.get(key):
                    held.append(Held(current, is_current=True))
                held += [Held(record, is_current=False) for record in self.versions(key)]
        return held

    def erase(self, player: str) -> None:
        """As if there had never been anything."""
        self.records = {key: one for key, one in self.records.items() if key.player != player}
        self.last = {key: one for key, one in self.last.items() if key.player != player}
        self.touched = {key: one for key, one in self.touched.items() if key.player != player}
        self.overwritten = [one for one in self.overwritten if one.key.player != player]
        self.receipts = {key: one for key, one in self.receipts.items() if key[0] != player}

    def list(
        self,
        player: str,
        *,
        collection: str | None,
        prefix: str,
        after: RecordKey | None,
        limit: int,
    ) -> Page:
        start = (after.collection, after.key) if after else ("", "")
        found = sorted(
            (
                record
                for key, record in self.records.items()
                if key.player == player
                and collection in (None, key.collection)
                and key.key.startswith(prefix)
                and (key.collection, key.key) > start
            ),
            key=lambda record: (record.key.collection, record.key.key),
        )
        return Page(found[:limit], found[limit - 1].key if len(found) > limit else None)

    def summary(self, player: str) -> Sequence[tuple[str, int, int, datetime]]:
        of = [record for key, record in self.records.items() if key.player == player]
        by_name: dict[str, builtins.list[Record]] = {
            name: [one for one in of if one.key.collection == name]
            for name in sorted({one.key.collection for one in of})
        }
        return [
            (
                name,
                len(held),
                sum(len(one.value) for one in held),
                max(one.updated_at for one in held),
            )
            for name, held in by_name.items()
        ]
