"""The key stores of the simulations keep the contracts that the real ones keep."""

import pytest

from tests.conformance.key_stores import KeyRingStoreContract, PublicDocumentStoreContract
from tests.support.memory_stores import MemoryKeyRingStore, MemoryPublicDocumentStore


class TestMemoryKeyRingStore(KeyRingStoreContract):
    @pytest.fixture
    def store(self) -> MemoryKeyRingStore:
        return MemoryKeyRingStore()


class TestMemoryPublicDocumentStore(PublicDocumentStoreContract):
    @pytest.fixture
    def store(self) -> MemoryPublicDocumentStore:
        return MemoryPublicDocumentStore()
