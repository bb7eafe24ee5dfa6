"""Small files are always whole, and replaced only by somebody who has seen what they hold."""

import asyncio
import hashlib
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from shared import errors
from shared.files import FileContent, VersionedFile, make_private_folder

ROOT = Path(__file__).parents[2]

# Takes the lock, tells so, and keeps it until it is told to go.
LOCKING_PROCESS = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o600)
fcntl.flock(lock, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.readline()
"""

# Says that it is ready, waits, and then tries to be the first to write.
RACING_PROCESS = """
import asyncio, pathlib, sys
from shared import errors
from shared.files import VersionedFile

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        await VersionedFile(pathlib.Path(sys.argv[1])).replace(b"me", expected=None)
        print("won")
    except errors.VersionConflict:
        print("lost")

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ring.json"


@pytest.fixture
def file(path: Path) -> VersionedFile:
    return VersionedFile(path)


def listing(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def without_umask(mode: int) -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mode & ~mask


def leave_behind(path: Path, content: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


async def start(program: str, path: Path) -> asyncio.subprocess.Process:
    """Start `program` and wait for its first line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout
    assert await process.stdout.readline()
    return process


async def test_a_missing_file_is_none(file: VersionedFile) -> None:
    assert await file.read() is None


async def test_what_was_written_is_read(file: VersionedFile) -> None:
    written = await file.replace(b"one", expected=None)
    assert written == FileContent(b"one", hashlib.sha256(b"one").hexdigest())
    assert await file.read() == written


async def test_who_has_seen_the_content_may_replace_it(file: VersionedFile) -> None:
    first = await file.replace(b"one", expected=None)
    await file.replace(b"two", expected=first.etag)
    assert await file.read() == FileContent(b"two", hashlib.sha256(b"two").hexdigest())


async def test_equal_content_has_an_equal_tag_whoever_wrote_it(file: VersionedFile) -> None:
    first = await file.replace(b"one", expected=None)
    assert (await file.replace(b"one", expected=first.etag)).etag == first.etag


@pytest.mark.parametrize("expected", [None, "", "0" * 64, hashlib.sha256(b"").hexdigest()])
async def test_who_has_not_seen_the_content_changes_nothing(
    file: VersionedFile, path: Path, expected: str | None
) -> None:
    written = await file.replace(b"one", expected=None)
    with pytest.raises(errors.VersionConflict, match=r"ring\.json has changed"):
        await file.replace(b"two", expected=expected)
    assert await file.read() == written
    assert "ring.new" not in listing(path.parent)


async def test_who_expects_content_does_not_create_a_file(file: VersionedFile) -> None:
    with pytest.raises(errors.VersionConflict):
        await file.replace(b"two", expected=hashlib.sha256(b"one").hexdigest())
    assert await file.read() is None


async def test_an_empty_file_is_not_a_missing_one(file: VersionedFile, path: Path) -> None:
    leave_behind(path)
    with pytest.raises(errors.VersionConflict):
        await file.replace(b"two", expected=None)


async def test_of_twenty_racing_writers_exactly_one_wins(file: VersionedFile, path: Path) -> None:
    seen = await file.replace(b"old", expected=None)
    outcomes = await asyncio.gather(
        *(VersionedFile(path).replace(b"%d" % n, expected=seen.etag) for n in range(20)),
        return_exceptions=True,
    )
    winners = [outcome for outcome in outcomes if isinstance(outcome, FileContent)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, errors.VersionConflict)]
    assert (len(winners), len(losers)) == (1, 19)
    assert await file.read() == winners[0]


async def test_of_four_racing_processes_exactly_one_wins(file: VersionedFile, path: Path) -> None:
    processes = await asyncio.gather(*(start(RACING_PROCESS, path) for _ in range(4)))
    outcomes = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert sorted(out for out, _ in outcomes) == [b"lost\n", b"lost\n", b"lost\n", b"won\n"]
    assert await file.read() is not None


async def test_a_reader_never_sees_a_part(file: VersionedFile, path: Path) -> None:
    contents = {bytes([letter]) * 500_000 for letter in b"ab"}
    stop = threading.Event()

    def read_until_stopped() -> set[bytes]:
        seen = set()
        while not stop.is_set():
            seen.add(path.read_bytes())
        return seen

    current = await file.replace(min(contents), expected=None)
    reader = asyncio.create_task(asyncio.to_thread(read_until_stopped))
    for _ in range(20):
        for content in contents:
            current = await file.replace(content, expected=current.etag)
    stop.set()
    assert await reader <= contents


async def test_what_a_crash_left_over_is_in_nobody_s_way(file: VersionedFile, path: Path) -> None:
    leave_behind(path.with_suffix(".new"), b"half of some")
    path.with_suffix(".new").chmod(0o644)
    await file.replace(b"one", expected=None)
    assert (await file.read() or FileContent(b"", "")).data == b"one"
    assert mode_of(path) == 0o600
    assert listing(path.parent) == {"ring.json", "ring.lock"}


async def test_a_left_over_link_is_not_followed(
    file: VersionedFile, path: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    leave_behind(elsewhere, b"precious")
    leave_behind(path.with_suffix(".lock"))
    path.with_suffix(".new").symlink_to(elsewhere)
    await file.replace(b"one", expected=None)
    assert elsewhere.stat().st_size == len(b"precious")


async def test_a_writer_waits_for_a_lock_that_another_process_holds(
    file: VersionedFile, path: Path
) -> None:
    leave_behind(path.with_suffix(".lock"))
    process = await start(LOCKING_PROCESS, path.with_suffix(".lock"))
    writing = asyncio.create_task(file.replace(b"mine", expected=None))
    done, _ = await asyncio.wait({writing}, timeout=0.1)
    assert not done
    leave_behind(path, b"theirs")
    await process.communicate(b"go\n")
    with pytest.raises(errors.VersionConflict):
        await writing


async def test_a_reader_waits_for_no_lock(file: VersionedFile, path: Path) -> None:
    await file.replace(b"one", expected=None)
    process = await start(LOCKING_PROCESS, path.with_suffix(".lock"))
    async with asyncio.timeout(5):
        assert await file.read() is not None
    await process.communicate(b"go\n")


async def test_the_lock_of_a_killed_process_is_free(file: VersionedFile, path: Path) -> None:
    leave_behind(path.with_suffix(".lock"))
    process = await start(LOCKING_PROCESS, path.with_suffix(".lock"))
    process.kill()
    await process.communicate()
    async with asyncio.timeout(5):
        await file.replace(b"one", expected=None)


async def test_by_default_the_owner_only_may_read(file: VersionedFile, path: Path) -> None:
    await file.replace(b"one", expected=None)
    assert mode_of(path) == 0o600
    assert mode_of(path.with_suffix(".lock")) == 0o600
    assert mode_of(path.parent) == 0o700


async def test_another_mode_holds_from_the_first_byte_and_after_every_replacement(
    path: Path,
) -> None:
    file = VersionedFile(path, mode=0o644)
    first = await file.replace(b"one", expected=None)
    assert mode_of(path) == without_umask(0o644)
    await file.replace(b"two", expected=first.etag)
    assert mode_of(path) == without_umask(0o644)


async def test_a_folder_that_exists_keeps_its_mode(file: VersionedFile, path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    path.parent.chmod(0o755)
    await file.replace(b"one", expected=None)
    assert mode_of(path.parent) == 0o755


async def test_a_folder_in_the_place_of_the_file_is_unavailable(
    file: VersionedFile, path: Path
) -> None:
    leave_behind(path / "inner")
    with pytest.raises(errors.Unavailable, match=r"cannot read ring\.json"):
        await file.read()
    with pytest.raises(errors.Unavailable):
        await file.replace(b"one", expected=None)


async def test_a_file_in_the_place_of_the_folder_is_unavailable(
    file: VersionedFile, path: Path
) -> None:
    leave_behind(path.parent)
    with pytest.raises(errors.Unavailable):
        await file.read()
    with pytest.raises(errors.Unavailable, match=r"cannot write ring\.json"):
        await file.replace(b"one", expected=None)


async def test_a_write_that_fails_leaves_the_old_content(file: VersionedFile, path: Path) -> None:
    written = await file.replace(b"one", expected=None)
    path.with_suffix(".new").mkdir()  # nothing can be written there
    with pytest.raises(errors.Unavailable):
        await file.replace(b"two", expected=written.etag)
    path.with_suffix(".new").rmdir()
    assert await file.read() == written
    await file.replace(b"two", expected=written.etag)


def test_folders_that_are_missing_above_are_private_too(tmp_path: Path) -> None:
    make_private_folder(tmp_path / "data" / "keys" / "more")
    for folder in ("data", "data/keys", "data/keys/more"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700
