"""A player's records, and who may reach them."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from services.player_data.collections import Caller, Check, Collections, check_value
from services.player_data.models import (
    Change,
    Page,
    Position,
    Precondition,
    Receipt,
    Record,
    RecordKey,
    Write,
    Written,
)
from services.player_data.ports import RecordStore
from shared import errors
from shared.clock import Clock
from shared.ids import is_id

ME = "me"
LARGEST_READS = 4 * 1024 * 1024
"""Characters of all values that are read together."""
_AT_ONCE = 20
_MOST_LISTED = 100
_REMEMBERED = timedelta(hours=24)
_NO_VERSION = "there is no such version"


@dataclass(frozen=True, slots=True)
class Asked:
    """A write as it was asked for."""

    key: RecordKey
    change: str | Change
    precondition: Precondition = Precondition.ALWAYS


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """`key` is its Idempotency-Key, `content` all that it asks for, canonical."""

    key: str = field(repr=False)
    content: str = field(repr=False)


class Records:
    """Every method raises NotFound for what the caller may not read, Forbidden for what it may not
    write, and Unavailable.
    """

    def __init__(self, store: RecordStore, collections: Collections, clock: Clock) -> None:
        self._store = store
        self._collections = collections
        self._clock = clock

    async def get(self, caller: Caller, key: RecordKey) -> Record:
        """Raises NotFound."""
        self._check_read(caller, key)
        record = await self._store.get(key)
        if record is None:
            raise errors.NotFound("there is no such record")
        return record

    async def read_all(self, caller: Caller, keys: Sequence[RecordKey]) -> list[Record | None]:
        """In the order of the keys. None as well where it may not be read. Raises TooLarge."""
        readable = list({key for key in keys if self._may_read(caller, key)})
        found: dict[RecordKey, Record] = {}
        size = 0
        # Not all at once: a hundred of the largest have 35 MB.
        for start in range(0, len(readable), _AT_ONCE):
            for one in await self._store.get_many(readable[start : start + _AT_ONCE]):
                found[one.key] = one
                size += len(one.value)
            if size > LARGEST_READS:
                raise errors.TooLarge(
                    f"the records have more than {LARGEST_READS} characters: ask for fewer"
                )
        return [found.get(key) for key in keys]

    async def write(
        self, caller: Caller, asked: Asked, request: KeyedRequest | None = None
    ) -> Written:
        """Raises VersionConflict with the current record, IdempotencyKeyReused, QuotaExceeded, and
        what the change raises.
        """
        try:
            (written,) = await self.write_all(caller, [asked], request)
        except errors.BatchFailed as failed:
            raise failed.failures[0] from None
        return written

    async def write_all(
        self, caller: Caller, asked: Sequence[Asked], request: KeyedRequest | None = None
    ) -> Sequence[Written]:
        """Write all or none, of one player. Raises BatchFailed, IdempotencyKeyReused, and, of a
        player, QuotaExceeded.

        A repetition of `request` within 24 hours is answered as the first was, and does nothing.
        """
        now = self._clock.now()
        writes = self._admitted(caller, asked)
        receipt = None
        if request is not None:
            receipt = Receipt(
                player=asked[0].key.player,
                key=_digest(caller.subject, request.key),
                request=_digest(request.content),
                expires_at=now + _REMEMBERED,
            )
        return await self._store.write(
            writes,
            by=caller.subject,
            now=now,
            receipt=receipt,
            within_quota=not caller.is_service,
        )

    async def list(
        self,
        caller: Caller,
        player: str,
        *,
        collection: str | None,
        prefix: str,
        after: RecordKey | None,
        limit: int,
    ) -> Page:
        """Of all collections, or of one; who is neither the owner nor a service must name it.

        A page may have fewer records than there could be: those that are internal are left out,
        and no page ends with one, since where it ends is told.
        """
        if collection is not None:
            self._check_read(caller, RecordKey(player, collection, ""))
        elif not caller.is_service and caller.subject != player:
            raise errors.NotFound("there is no such record")
        most = limit
        while True:
            page = await self._store.list(
                player, collection=collection, prefix=prefix, after=after, limit=most
            )
            readable = [one for one in page.records if self._may_read(caller, one.key)]
            if len(readable) > limit:
                return Page(readable[:limit], readable[limit - 1].key)
            if page.next_after is None:
                return Page(readable, None)
            if readable:
                return Page(readable, readable[-1].key)
            # So that a desert of internal records is crossed in few steps.
            after, most = page.next_after, _MOST_LISTED

    async def versions(self, caller: Caller, key: RecordKey) -> Sequence[Record]:
        """What the key held before, newest first, whether or not it holds something now.

        Not for other players, however public the record is.
        """
        self._check_history(caller, key)
        return await self._store.versions(key)

    async def version(self, caller: Caller, key: RecordKey, version: int) -> Record:
        """One that is kept, or the current one. Raises NotFound."""
        self._check_history(caller, key)
        record = await self._kept(key, version)
        if record is None:
            raise errors.NotFound(_NO_VERSION)
        return record

    async def restore(
        self,
        caller: Caller,
        key: RecordKey,
        version: int,
        precondition: Precondition,
        request: KeyedRequest | None = None,
    ) -> Written:
        """Put again what a version held, as a new version unless it is there already.

        Raises as `version` and `write` do.
        """
        self._check_history(caller, key)
        record = await self._kept(key, version)

        def change(_: Record | None) -> str:
            # Not refused before: a repetition is answered though the version was pushed out since.
            if record is None:
                raise errors.NotFound(_NO_VERSION)
            return record.value

        return await self.write(caller, Asked(key, change, precondition), request)

    async def _kept(self, key: RecordKey, version: int) -> Record | None:
        """By the way of an export, whose page begins with it; `versions` has those of a page."""
        before = Position(key, version + 1)
        page = await self._store.export(key.player, after=before, limit=1)
        for held in page.held:
            if held.record.key == key and held.record.version == version:
                return held.record
        return None

    def _admitted(self, caller: Caller, asked: Iterable[Asked]) -> Sequence[Write]:
        writes: list[Write] = []
        failures: dict[int, errors.PlaymeshError] = {}
        for place, one in enumerate(asked):
            collection = self._collections.of(one.key.collection)
            try:
                caller.check_write(one.key, collection)
                change = _checked(one.change, collection.check)
            except errors.PlaymeshError as error:
                failures[place] = error
                continue
            writes.append(Write(one.key, change, one.precondition, collection.history))
        if failures:
            raise errors.BatchFailed(failures=failures)
        return writes

    def _may_read(self, caller: Caller, key: RecordKey) -> bool:
        return caller.may_read(key, self._collections.of(key.collection))

    def _check_read(self, caller: Caller, key: RecordKey) -> None:
        caller.check_read(key, self._collections.of(key.collection))

    def _check_history(self, caller: Caller, key: RecordKey) -> None:
        self._check_read(caller, key)
        if not caller.is_service and caller.subject != key.player:
            raise errors.NotFound("there is no such record")


def resolve_player(asked: str, caller: Caller) -> str:
    """The player whose records are meant: `me`, or a user id. Raises NotFound."""
    if asked == ME and not caller.is_service:
        return caller.subject
    if not is_id(asked):
        raise errors.NotFound("there is no such player")
    return asked


def _checked(change: str | Change, check: Check | None) -> str | Change:
    """The change, refused where what it makes is not what the collection is for."""
    if check is None:
        return change
    if isinstance(change, str):
        check_value(change, check)
        return change

    def checked(current: Record | None) -> str | None:
        value = change(current)
        if value is not None:
            check_value(value, check)
        return value

    return checked


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()
