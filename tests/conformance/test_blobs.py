"""Files and S3 keep the contract of blobs."""

import contextlib
import os
import resource
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.player_data.adapters.files import FileBlobStore
from services.player_data.adapters.s3 import S3BlobStore
from services.player_data.models import CHUNK, BlobName
from shared import errors
from shared.aws import Client
from shared.clock import SystemClock
from shared.ids import new_id
from shared.start_check import StartCheck, StartError
from tests.conformance.blobs import (
    ALICE,
    DAY,
    BlobStoreContract,
    kept,
    new_name,
    pieces,
    read,
)
from tests.support import aws
from tests.support.interruptions import Interruption, When


@contextlib.contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As on a disk that is full: writing fails in the middle of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


class TestFileBlobStore(BlobStoreContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "data" / "blobs"

    @pytest.fixture
    def store(self, folder: Path) -> FileBlobStore:
        return FileBlobStore(folder)

    async def test_only_the_owner_can_read_it(self, store: FileBlobStore, folder: Path) -> None:
        name = new_name()
        await store.put(name, pieces(b"x"))
        modes = [
            stat.S_IMODE(path.stat().st_mode)
            for path in (folder, folder / ALICE, folder / ALICE / name.id)
        ]
        assert modes == [0o700, 0o700, 0o600]

    async def test_a_full_disk_is_unavailable_and_leaves_nothing(
        self, store: FileBlobStore
    ) -> None:
        with no_file_larger_than(2 * CHUNK), pytest.raises(errors.Unavailable, match="no room"):
            await store.put(new_name(), pieces(b"x" * 3 * CHUNK))
        assert await kept(store) == set()

    async def test_a_folder_that_cannot_be_used_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "blobs").write_text("a file")
        store = FileBlobStore(tmp_path / "blobs")
        with pytest.raises(errors.Unavailable):
            await store.put(new_name(), pieces(b"x"))
        with pytest.raises(errors.Unavailable):
            await read(store, new_name())

    async def test_what_a_crash_has_left_of_a_put_is_found_and_goes(
        self, store: FileBlobStore, folder: Path
    ) -> None:
        await store.put(whole := new_name(), pieces(b"x"))
        left = f"{new_id()}.new"
        (folder / ALICE / left).write_bytes(b"half")
        assert await kept(store) == {whole, BlobName(ALICE, left)}
        await store.delete(BlobName(ALICE, left))
        assert await kept(store) == {whole}

    async def test_a_copy_of_what_is_old_is_new(self, store: FileBlobStore, folder: Path) -> None:
        source, target = new_name(), new_name()
        await store.put(source, pieces(b"x"))
        now = SystemClock().now()
        long_ago = (now - 9 * DAY).timestamp()
        os.utime(folder / ALICE / source.id, (long_ago, long_ago))
        await store.copy(source, target)
        assert [name async for name in store.older_than(now - DAY)] == [source]

    async def test_the_folder_of_a_player_goes_with_the_last(
        self, store: FileBlobStore, folder: Path
    ) -> None:
        await store.put(new_name(), pieces(b"x"))
        assert await store.erase(ALICE, limit=1)
        assert names(folder) == []

    @pytest.mark.parametrize("name", [BlobName("..", "a" * 32), BlobName(ALICE, "../x")])
    async def test_no_name_leads_out_of_the_folder(
        self, store: FileBlobStore, name: BlobName
    ) -> None:
        with pytest.raises(ValueError, match="is named by"):
            await read(store, name)


@pytest.fixture
async def s3(moto: str) -> AsyncIterator[Client]:
    async with aws.client("s3", moto) as client:
        yield client


@pytest.fixture
async def bucket(s3: Client) -> str:
    name = f"test-{new_id()}"
    await s3.create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    return name


class TestS3BlobStore(BlobStoreContract):
    @pytest.fixture
    def store(self, s3: Client, bucket: str) -> S3BlobStore:
        return S3BlobStore(s3, bucket)

    async def test_an_object_is_found_by_its_player(
        self, store: S3BlobStore, s3: Client, bucket: str
    ) -> None:
        await store.put(name := new_name(), pieces(b"x"))
        listed = await s3.list_objects_v2(Bucket=bucket)
        assert [each["Key"] for each in listed["Contents"]] == [f"{ALICE}/{name.id}"]

    async def test_what_is_not_ours_in_the_bucket_is_left_alone(
        self, store: S3BlobStore, s3: Client, bucket: str
    ) -> None:
        for key in ("readme.txt", f"{ALICE}/notes", f"backup/{new_id()}"):
            await s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        assert await kept(store) == set()

    async def test_more_than_a_page_is_listed(
        self, store: S3BlobStore, s3: Client, bucket: str
    ) -> None:
        names = {new_name() for _ in range(1001)}
        for name in names:
            await s3.put_object(Bucket=bucket, Key=f"{ALICE}/{name.id}", Body=b"")
        assert await kept(store) == names

    async def test_a_reply_that_is_lost_is_unavailable_and_the_content_may_be_there(
        self, s3: Client, bucket: str
    ) -> None:
        lost = Interruption(frozenset(("put_object",)), at=1, when=When.LOST)
        store = S3BlobStore(lost.around(s3), bucket)
        with pytest.raises(errors.Unavailable):
            await store.put(name := new_name(), pieces(b"x"))
        assert await read(store, name) == b"x"

    async def test_a_full_disk_is_unavailable(self, store: S3BlobStore) -> None:
        with no_file_larger_than(2 * CHUNK), pytest.raises(errors.Unavailable, match="no room"):
            await store.put(new_name(), pieces(b"x" * 3 * CHUNK))

    async def test_a_bucket_that_is_there_passes_at_start(self, store: S3BlobStore) -> None:
        check = StartCheck()
        check.add(store.probes())
        await check.look()
        assert check.not_ready() is None

    async def test_a_bucket_that_does_not_exist_is_named(self, s3: Client) -> None:
        store = S3BlobStore(s3, "no-such-bucket")
        check = StartCheck()
        check.add(store.probes())
        with pytest.raises(StartError, match="s3://no-such-bucket in eu-west-1 does not exist"):
            await check.look()
        with pytest.raises(errors.Unavailable):
            await store.put(new_name(), pieces(b"x"))
        with pytest.raises(errors.Unavailable):
            await read(store, new_name())
