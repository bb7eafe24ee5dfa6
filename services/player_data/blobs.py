"""Values that are no JSON: their content is kept first, then a record that refers to it.

A crash in between leaves content that no record refers to, never a record without content. Content
belongs to one version of one key, so it is of no use any more when that version is not kept any
more. Who writes removes what the write has pushed out, where that is easily told; all else is found
by `Sweeping`.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from services.player_data.collections import Caller, Collections, check_value
from services.player_data.models import (
    LARGEST_PAGE,
    LARGEST_VALUE,
    Blob,
    BlobName,
    Precondition,
    Record,
    RecordKey,
    Written,
)
from services.player_data.ports import BlobStore, RecordStore
from services.player_data.records import Asked, KeyedRequest, Records
from shared import errors
from shared.ids import is_id, new_id


class Blobs:
    """`largest` is in bytes. Every method raises as those of Records do."""

    def __init__(
        self,
        records: Records,
        store: RecordStore,
        contents: BlobStore,
        collections: Collections,
        *,
        largest: int,
    ) -> None:
        self.largest = largest
        self._records = records
        self._store = store
        self._contents = contents
        self._collections = collections

    async def receive(
        self,
        caller: Caller,
        key: RecordKey,
        media_type: str,
        content: AsyncIterator[bytes],
        precondition: Precondition,
    ) -> Blob:
        """Keep content that a record of `key` is to have; `write` comes next.

        What is refused without it is refused before it is read. Raises TooLarge, VersionConflict,
        InvalidValue where the collection has a schema, and what `content` raises.
        """
        blob = Blob(new_id(), media_type, 0, "")
        self._admit(caller, key, blob)
        if precondition != Precondition.ALWAYS:
            current = await self._store.get(key)
            if not precondition.admits(current):
                raise errors.VersionConflict(current=current)
        measured = _Measured(content, self.largest)
        await self._contents.put(BlobName(key.player, blob.id), measured.chunks())
        return replace(blob, size=measured.size, sha256=measured.digest.hexdigest())

    async def write(
        self,
        caller: Caller,
        key: RecordKey,
        blob: Blob,
        precondition: Precondition,
        request: KeyedRequest | None = None,
        *,
        unless: int | None = None,
    ) -> Written:
        """As that of Records; a version that is there already stays. Content that no version has
        after all is removed.
        """

        # A function, so that a repetition is answered with the blob of the first request.
        def change(current: Record | None) -> str:
            return current.value if current and current.version == unless else blob.value

        before = await self._kept(key)
        try:
            written = await self._records.write(caller, Asked(key, change, precondition), request)
        except errors.Unavailable:
            raise  # the record may have been written
        except errors.PlaymeshError:
            await self._collect(key, [blob])
            raise
        is_used = written.record is not None and written.record.blob == blob
        await self._collect(key, [*(before or ()), *([] if is_used else [blob])])
        return written

    async def restore(
        self,
        caller: Caller,
        key: RecordKey,
        version: int,
        precondition: Precondition,
        request: KeyedRequest | None = None,
    ) -> Written:
        """As that of Records, of which it is a part."""
        try:
            record = await self._records.version(caller, key, version)
        except errors.NotFound:
            record = None  # a repetition is answered all the same
        if record is None or record.blob is None:
            return await self._records.restore(caller, key, version, precondition, request)
        self._admit(caller, key, record.blob)
        copied = await self.copy(record.blob, key.player, key.player)
        if copied is None:
            raise errors.NotFound("there is no such version")
        return await self.write(caller, key, copied, precondition, request, unless=version)

    async def copy(self, blob: Blob, source: str, target: str) -> Blob | None:
        """The same for another version, or another player; None where it is not kept any more."""
        copied = replace(blob, id=new_id())
        names = BlobName(source, blob.id), BlobName(target, copied.id)
        return copied if await self._contents.copy(*names) else None

    def read(
        self, player: str, blob: Blob
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes] | None]:
        """The content; None where it is not kept any more. No access is checked here."""
        return self._contents.read(BlobName(player, blob.id))

    async def discard(self, key: RecordKey, blob: Blob) -> None:
        """Remove a copy, unless a version of `key` has it."""
        await self._collect(key, [blob])

    def _admit(self, caller: Caller, key: RecordKey, blob: Blob) -> None:
        collection = self._collections.of(key.collection)
        caller.check_write(key, collection)
        check_value(blob.value, collection.check)
        if not is_id(key.player):
            raise errors.NotFound("there is no such player")

    async def _kept(self, key: RecordKey) -> set[Blob] | None:
        """What the versions of a key have, the current one included; None where it has too many."""
        current = await self._store.get(key)  # first: it may be an earlier one a moment later
        versions = await self._store.versions(key)
        if sum(len(one.value) for one in versions) > LARGEST_PAGE - LARGEST_VALUE:
            return None  # there may be more than a page
        return {one.blob for one in (current, *versions) if one and one.blob}

    async def _collect(self, key: RecordKey, candidates: Collection[Blob]) -> None:
        """Remove those of the candidates that no version has. It never fails: there is time."""
        if not candidates:
            return
        with contextlib.suppress(errors.Unavailable):
            kept = await self._kept(key)
            for blob in candidates:
                if kept is not None and blob not in kept:
                    await self._contents.delete(BlobName(key.player, blob.id))


class _Measured:
    """Content as it goes by: how much, and its digest. Raises TooLarge beyond `largest`."""

    def __init__(self, content: AsyncIterator[bytes], largest: int) -> None:
        self._content = content
        self._largest = largest
        self.size = 0
        self.digest = hashlib.sha256()

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self._content:
            self.size += len(chunk)
            if self.size > self._largest:
                raise errors.TooLarge(f"at most {self._largest} bytes are allowed")
            self.digest.update(chunk)
            yield chunk
