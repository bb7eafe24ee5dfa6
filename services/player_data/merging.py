"""The records of one player taken over into another's, as the two turn out to be one person.

Nothing is lost: what a value is replaced by makes a new version, and the other player's records
stay as they are until that player is erased. Each record is taken over once, however often it is
asked for: so a sum is not added twice.
"""

import enum
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeGuard

from services.player_data.blobs import Blobs
from services.player_data.changes import LARGEST_NUMBER, put
from services.player_data.collections import Collections, Merge, check_value
from services.player_data.models import Change, Precondition, Receipt, Record, RecordKey, Write
from services.player_data.ports import RecordStore
from shared import errors, strict_json
from shared.clock import Clock
from shared.strict_json import JsonValue

_AT_ONCE = 50
_REMEMBERED = timedelta(days=60)
"""Longer than the other player is kept for who changes their mind."""


class Action(enum.Enum):
    """What becomes of a record that the other player has."""

    ADDED = "added"
    KEPT = "kept"
    REPLACED = "replaced"
    COMBINED = "combined"
    DONE = "done"
    """It was taken over before, and whatever became of it since is left alone."""
    CHANGED = "changed"
    """As DONE, but the other player's has another version by now, which was not taken over."""
    REFUSED = "refused"
    """It would not fit: too large, a number too high, or not what the collection is for."""


@dataclass(frozen=True, slots=True)
class Merged:
    """`version` is the one that the record had right after; None where nothing was done."""

    collection: str
    key: str
    policy: Merge
    action: Action
    version: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """`next_after` is where the next one begins, None of the last."""

    merged: Sequence[Merged]
    next_after: RecordKey | None


class _DryRun(errors.Conflict):
    """Ends the write, which changes nothing then, once it is known what it would do."""


class Merging:
    def __init__(
        self, store: RecordStore, collections: Collections, clock: Clock, blobs: Blobs
    ) -> None:
        self._store = store
        self._collections = collections
        self._clock = clock
        self._blobs = blobs

    async def step(
        self, source: str, target: str, *, after: RecordKey | None, by: str, dry_run: bool
    ) -> Step:
        """Take over a page of the source's records, or tell what would become of them.

        To repeat it is harmless. Raises InvalidRequest, Unavailable.
        """
        if source == target:
            raise errors.InvalidRequest("a player cannot be merged into itself")
        page = await self._store.list(
            source, collection=None, prefix="", after=after, limit=_AT_ONCE
        )
        take = self._one if dry_run else self._copied
        merged = [await take(one, target, by, dry_run=dry_run) for one in page.records]
        return Step(merged, page.next_after)

    async def _copied(self, record: Record, target: str, by: str, *, dry_run: bool) -> Merged:
        """With content of its own, where it is a blob: the other player's goes with them."""
        if record.blob is None:
            return await self._one(record, target, by, dry_run=dry_run)
        copied = await self._blobs.copy(record.blob, record.key.player, target)
        if copied is None:
            raise errors.Unavailable("the record has changed meanwhile")
        merged = await self._one(replace(record, value=copied.value), target, by, dry_run=dry_run)
        await self._blobs.discard(replace(record.key, player=target), copied)
        return merged

    async def _one(self, record: Record, target: str, by: str, *, dry_run: bool) -> Merged:
        key = replace(record.key, player=target)
        collection = self._collections.of(key.collection)
        asked: list[Action] = []

        def change(current: Record | None) -> str:
            action, value = _decide(collection.merge, current, record)
            if action is not Action.KEPT:
                check_value(value, collection.check)
            asked.append(action)
            if dry_run:
                raise _DryRun
            return value

        action, version = await self._write(record, key, change, by)
        if action is None:
            # Nothing was asked of one that was taken over before.
            action = asked[-1] if asked else Action.DONE
        return Merged(key.collection, key.key, collection.merge, action, version)

    async def _write(
        self, record: Record, key: RecordKey, change: Change, by: str
    ) -> tuple[Action | None, int | None]:
        """What became of it, None where it was done as the change says."""
        collection = self._collections.of(key.collection)
        # At least one, so that what is replaced can be found again.
        write = Write(key, change, Precondition.ALWAYS, max(1, collection.history))
        receipt = self._receipt(record, key)
        try:
            (written,) = await self._store.write(
                [write], by=by, now=self._clock.now(), receipt=receipt
            )
        except errors.BatchFailed as failed:
            return None if isinstance(failed.failures[0], _DryRun) else Action.REFUSED, None
        except errors.IdempotencyKeyReused:
            return Action.CHANGED, None
        except errors.Conflict:  # what it wrote is not kept any more
            return Action.DONE, None
        return None, written.version

    def _receipt(self, record: Record, key: RecordKey) -> Receipt:
        return Receipt(
            player=key.player,
            key=_digest("merge", record.key.player, key.collection, key.key),
            request=_digest(str(record.version)),
            expires_at=self._clock.now() + _REMEMBERED,
        )


def _decide(policy: Merge, current: Record | None, theirs: Record) -> tuple[Action, str]:
    if current is None:
        return Action.ADDED, theirs.value
    action, value = _chosen(policy, current, theirs)
    return (Action.KEPT if value == current.value else action), value


def _chosen(policy: Merge, current: Record, theirs: Record) -> tuple[Action, str]:
    if policy in (Merge.SUM, Merge.MAX) and (current.blob or theirs.blob):
        policy = Merge.NEWER
    match policy:
        case Merge.CURRENT:
            return Action.KEPT, current.value
        case Merge.EXISTING:
            return Action.REPLACED, theirs.value
        case Merge.NEWER:
            newer = current if current.updated_at >= theirs.updated_at else theirs
            return Action.REPLACED, newer.value
        case Merge.SUM | Merge.MAX:
            combine = _sum if policy is Merge.SUM else max
            newer = max(current, theirs, key=lambda one: one.updated_at)
            older = theirs if newer is current else current
            values = [strict_json.loads(one.value.encode()) for one in (newer, older)]
            return Action.COMBINED, put(_combined(values[0], values[1], combine))


def _sum(one: float, other: float) -> float:
    if abs(one + other) > LARGEST_NUMBER:
        raise errors.Conflict("the sum would be too large")
    return one + other


def _combined(
    newer: JsonValue, older: JsonValue, combine: Callable[[float, float], float]
) -> JsonValue:
    """Numbers by themselves and as members, at any depth; of all else what is newer."""
    if _is_number(newer) and _is_number(older):
        return combine(newer, older)
    if isinstance(newer, Mapping) and isinstance(older, Mapping):
        return {
            **older,
            **{
                name: _combined(value, older[name], combine) if name in older else value
                for name, value in newer.items()
            },
        }
    return newer


def _is_number(value: JsonValue) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()
