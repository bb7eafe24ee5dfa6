"""The embedded key stores keep the contracts."""

import stat
from pathlib import Path

import pytest

from shared import errors
from shared.clock import Clock
from shared.keys.adapters.files import FileKeyRingStore, FilePublicDocumentStore
from tests.conformance.key_stores import (
    KeyRingStoreContract,
    PublicDocumentStoreContract,
    make_ring,
)


class TestFileKeyRingStore(KeyRingStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FileKeyRingStore:
        return FileKeyRingStore(tmp_path / "keys")

    async def test_only_the_owner_can_read_the_ring(
        self, store: FileKeyRingStore, tmp_path: Path, clock: Clock
    ) -> None:
        await store.replace(make_ring(clock), expected=None)
        assert stat.S_IMODE((tmp_path / "keys" / "ring.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700

    @pytest.mark.parametrize(
        "damage", [b"", b"{", b"[]", b'{"keys":[{}],"rotation_requested":false}', b"\xff"]
    )
    async def test_a_damaged_ring_is_unavailable_and_says_nothing_of_its_content(
        self, store: FileKeyRingStore, tmp_path: Path, damage: bytes
    ) -> None:
        (tmp_path / "keys").mkdir()
        (tmp_path / "keys" / "ring.json").write_bytes(damage)
        with pytest.raises(errors.Unavailable, match=r"^the key ring document is damaged$"):
            await store.load()


class TestFilePublicDocumentStore(PublicDocumentStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FilePublicDocumentStore:
        return FilePublicDocumentStore(tmp_path / "keys")
