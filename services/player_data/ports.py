"""What player_data keeps, and the law that every store of it obeys."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from services.player_data.models import (
    BlobName,
    CollectionSummary,
    ExportPage,
    Page,
    Position,
    Receipt,
    Record,
    RecordKey,
    Write,
    Written,
)
from services.player_data.past import PastPage
from services.player_data.usage import Usage


class RecordStore(Protocol):
    """Records by player, collection and key. Every method raises Unavailable in bad weather.

    Reads see every acknowledged write. The version of a key grows by one with each write,
    deletions included, until its player is erased.

    A write to version n keeps the values of the versions n - `keep` to n - 1, in the same step:
    its failure neither adds to what is kept nor takes from it. Two numbers over the life of a key
    may cost versions that both would keep, but never the one before the last write.
    """

    async def get(self, key: RecordKey) -> Record | None: ...

    async def get_many(self, keys: Collection[RecordKey]) -> Collection[Record]:
        """Those of different keys that there are, in any order; not all as of one moment."""
        ...

    async def write(
        self,
        writes: Sequence[Write],
        *,
        by: str,
        now: datetime,
        receipt: Receipt | None = None,
        within_quota: bool = False,
    ) -> Sequence[Written]:
        """Do all writes or none, at most MOST_WRITES, of different keys of one player; in order.

        One atomic step: what a write makes of a record is stored only in place of that record. `by`
        is who writes. `created_at` is that of the last creation. What changes nothing, as a Change
        may, and to delete what is not there, makes no version.

        Raises BatchFailed with the error of every write that cannot be done, a precondition that
        does not hold being VersionConflict with the record as it is, and changes nothing then.
        Unavailable where others change the records all the time.

        With a `receipt` the writes are done once: where they were done before, and the receipt has
        not expired at `now` (which it has *at* its instant), nothing changes, and the answer is
        what it was then. Where it was another request, it raises IdempotencyKeyReused. What failed
        leaves no receipt. Of many callers with one receipt one writes, and all are answered alike.
        Where the answer had a value of more than MOST_REMEMBERED, of a change that is a function,
        and the key has pushed it out of its versions since, it raises Conflict.

        Raises QuotaExceeded with `within_quota`, and changes nothing, where the player would have
        more of something than the quota that the store was given, and more of it than before.
        Without, writes count and are not refused. Nobody is refused who has not more, or would
        not. A store that counts beside the writes may err there for a minute: after a writer
        crashed, and by less than 1 KB for a record that another process writes. And it may admit
        more than the quota, by what other processes have written in the last ten seconds, and by
        what writers have that crashed within a week.
        """
        ...

    async def list(
        self,
        player: str,
        *,
        collection: str | None,
        prefix: str,
        after: RecordKey | None,
        limit: int,
    ) -> Page:
        """In the order of collection and key, by code point, strictly after `after`.

        `prefix` is of the key and only given with a collection. A page holds at most `limit`
        records and LARGEST_PAGE characters of values, but one record whatever its size. A record
        that exists throughout a walk over all pages is seen exactly once, whatever is written
        meanwhile.
        """
        ...

    async def versions(self, key: RecordKey) -> Sequence[Record]:
        """The kept versions of a key before its last write, newest first, each as it was.

        A deletion has no value and is not among them, but counts as one of those to keep; the
        value before it is. LARGEST_PAGE characters of values at most, but one version whatever
        its size. Versions that writes push out meanwhile may be missing at the end.
        """
        ...

    async def export(self, player: str, *, after: Position | None, limit: int) -> ExportPage:
        """All that `get` and `versions` have of a player, also of keys whose record was deleted.

        In the order of collection and key, then from the newest version to the oldest, strictly
        behind `after`. A page holds at most `limit` values and LARGEST_PAGE characters of them,
        but one whatever its size, unless it is empty. A version that is kept throughout a walk
        over all pages is seen exactly once, also where it is overwritten meanwhile.
        """
        ...

    async def summary(self, player: str) -> Sequence[CollectionSummary]:
        """The collections that have a current record, by name and in the order of code points.

        What was deleted, and earlier versions, count for nothing.
        """
        ...

    async def usage(self, player: str, *, now: datetime) -> Usage:
        """The sum of what `summary` has.

        A store that counts beside the writes may be wrong where the sum is over 1 MiB: by 1 KB for
        each record that was written since it last counted anew, and by what writers have written
        in whose process it ended; for a week at most.
        """
        ...

    async def as_of(
        self,
        player: str,
        moment: datetime,
        *,
        collection: str | None,
        after: RecordKey | None,
        limit: int,
    ) -> PastPage:
        """What the player's keys held at a moment, as far as what is kept of them tells.

        In the order of collection and key, strictly after `after`; what held nothing is left out. A
        page is of at most `limit` keys, and holds LARGEST_PAGE characters of values, but one record
        whatever its size. What is written meanwhile may push out what it would have found, and
        that is incomplete then, but never wrong.
        """
        ...

    async def erase(self, player: str, *, limit: int) -> bool:
        """Remove records, versions and what deletions have left of a player, about `limit` items.

        True when nothing is left of what was there at the beginning. No step is atomic: after a
        failure or a crash anything may be left, and the next step goes on with it. Versions go
        before records.

        A write that comes meanwhile may survive, and so may what it copied of before, which nobody
        lists. So whoever erases does it once more when nobody can write any longer. A key that is
        written after True is as good as any: its versions begin with 1, it lists none of before,
        and hides none that was written since.
        """
        ...


class BlobStore(Protocol):
    """Content of blobs, whole and never changed. Every method raises Unavailable in bad weather.

    After that a write may have happened, but then as a whole. Reads see every acknowledged write.
    No more than a few CHUNKs of any content are in memory.
    """

    async def put(self, name: BlobName, content: AsyncIterator[bytes]) -> None:
        """Keep all of `content` under a new name.

        What `content` raises is raised, and nothing is kept then; nor where this is cancelled.
        """
        ...

    def read(self, name: BlobName) -> AbstractAsyncContextManager[AsyncIterator[bytes] | None]:
        """The content, in pieces of at most CHUNK; None where there is none of that name.

        What has begun goes on though it is deleted meanwhile. It raises Unavailable where it
        cannot go on.
        """
        ...

    async def copy(self, source: BlobName, target: BlobName) -> bool:
        """Keep the content under another, new name, as old as any that is put now.

        False where there is none of the first.
        """
        ...

    async def delete(self, name: BlobName) -> None:
        """Also where there is none."""
        ...

    async def erase(self, player: str, *, limit: int) -> bool:
        """Delete about `limit` of a player's. True when none is left of those that were there."""
        ...

    def older_than(self, moment: datetime) -> AsyncIterator[BlobName]:
        """Names of what was put before `moment`, also of what broken-off writes have left.

        Those of a player are together. What is put or deleted meanwhile may be missing.
        """
        ...
