"""player_data's blobs as files: a folder for each player, a file for each blob.

A file gets its name when all of it is on the disk. What a crash leaves of one that had none yet
ends with `.new`, and is found by `older_than`.
"""

import asyncio
import contextlib
import errno
import os
import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from services.player_data.models import CHUNK, BlobName
from shared import errors
from shared.files import make_private_folder
from shared.ids import is_id

_NAME = re.compile(r"[0-9a-f]{32}(\.new)?")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PAUSE_WHEN_FULL = 30


class FileBlobStore:
    """`folder` is made when it is needed, for its owner only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, name: BlobName, content: AsyncIterator[bytes]) -> None:
        path = self._path(name)
        temporary = path.with_suffix(".new")
        with _disk():
            file = await asyncio.to_thread(_create, temporary)
        try:
            async for chunk in content:
                with _disk():
                    await asyncio.to_thread(file.write, chunk)
            with _disk():
                await asyncio.to_thread(_finish, file, temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                file.close()  # waits for a write that is under way
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    @contextlib.asynccontextmanager
    async def read(self, name: BlobName) -> AsyncIterator[AsyncIterator[bytes] | None]:
        with _disk():
            file = await asyncio.to_thread(_open, self._path(name))
        if file is None:
            yield None
            return
        with file:
            yield _chunks(file)

    async def copy(self, source: BlobName, target: BlobName) -> bool:
        # No link: it would be as old as its source, and might be taken for one that nobody wants.
        async with self.read(source) as content:
            if content is None:
                return False
            await self.put(target, content)
            return True

    async def delete(self, name: BlobName) -> None:
        with _disk():
            await asyncio.to_thread(self._path(name).unlink, missing_ok=True)

    async def erase(self, player: str, *, limit: int) -> bool:
        with _disk():
            return await asyncio.to_thread(_empty, self._of(player), limit)

    async def older_than(self, moment: datetime) -> AsyncIterator[BlobName]:
        with _disk():
            players = await asyncio.to_thread(_names, self._folder)
        for player in filter(is_id, players):
            with _disk():
                found = await asyncio.to_thread(_old, self._of(player), moment)
            for each in found:
                yield BlobName(player, each)

    def _of(self, player: str) -> Path:
        if not is_id(player):
            raise ValueError("a folder is named by a user id")
        return self._folder / player

    def _path(self, name: BlobName) -> Path:
        if not _NAME.fullmatch(name.id):
            raise ValueError("a file is named by an id")
        return self._of(name.player) / name.id


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            reason = "there is no room for it at the moment"
            raise errors.Unavailable(reason, retry_after=_PAUSE_WHEN_FULL) from error
        raise errors.Unavailable("a file cannot be read or written") from error


def _create(path: Path) -> BinaryIO:
    if not path.parent.exists():
        make_private_folder(path.parent)
        _sync(path.parent.parent)
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")


def _finish(file: BinaryIO, temporary: Path, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
    temporary.replace(path)
    _sync(path.parent)


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    while True:
        with _disk():
            chunk = await asyncio.to_thread(file.read, CHUNK)
        if not chunk:
            return
        yield chunk


def _empty(folder: Path, limit: int) -> bool:
    """The folder goes as well, unless somebody has put something into it meanwhile."""
    try:
        with os.scandir(folder) as entries:
            found = list(islice(entries, limit + 1))
    except FileNotFoundError:
        return True
    for entry in found[:limit]:
        Path(entry.path).unlink(missing_ok=True)
    _sync(folder)
    if len(found) > limit:
        return False
    with contextlib.suppress(OSError):
        folder.rmdir()
    return True


def _names(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir())
    except FileNotFoundError:
        return []


def _old(folder: Path, moment: datetime) -> list[str]:
    found = []
    for name in filter(_NAME.fullmatch, _names(folder)):
        with contextlib.suppress(FileNotFoundError):  # it was deleted meanwhile
            if (folder / name).stat().st_mtime < moment.timestamp():
                found.append(name)
    return found


def _sync(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
