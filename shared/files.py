"""Small files that are always whole: atomic replacement, conditional on what was read."""

import asyncio
import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared import errors


@dataclass(frozen=True, slots=True)
class FileContent:
    data: bytes
    etag: str


def make_private_folder(folder: Path) -> None:
    """Make `folder` and what is missing above it, for the owner only (mkdir's mode is not)."""
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


class VersionedFile:
    """One file, replaced as a whole and only by somebody who has seen what it holds.

    Readers see the old content or the new one, never a mixture, also after a crash or a power
    cut. Of several writers that read the same content exactly one wins, across processes. The
    directory is created with the owner's rights only, and so is the file unless `mode` says
    otherwise.
    """

    def __init__(self, path: Path, *, mode: int = 0o600) -> None:
        self._path = path
        self._mode = mode

    async def read(self) -> FileContent | None:
        """None where there is no file. Raises Unavailable where it cannot be read."""
        return await asyncio.to_thread(self._read)

    async def replace(self, data: bytes, *, expected: str | None) -> FileContent:
        """Write `data` if the file's entity tag is still `expected` (None: there is no file).

        Raises VersionConflict where it is not, Unavailable where the file cannot be written.
        """
        return await asyncio.to_thread(self._replace, data, expected)

    def _read(self) -> FileContent | None:
        try:
            return _content(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise errors.Unavailable(f"cannot read {self._path.name}") from error

    def _replace(self, data: bytes, expected: str | None) -> FileContent:
        try:
            make_private_folder(self._path.parent)
            with self._locked():
                current = self._read()
                if (current.etag if current else None) != expected:
                    raise errors.VersionConflict(f"{self._path.name} has changed")
                self._write(data)
        except OSError as error:
            raise errors.Unavailable(f"cannot write {self._path.name}") from error
        return _content(data)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # The lock has its own file: the content's inode changes with every replacement.
        lock = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, data: bytes) -> None:
        temporary = self._path.with_suffix(".new")
        temporary.unlink(missing_ok=True)  # left over by a crash
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, self._mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        temporary.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _content(data: bytes) -> FileContent:
    return FileContent(data, hashlib.sha256(data).hexdigest())
