"""The stores of simulations and of platforms' tests keep the contracts that the real ones keep."""

import pytest

from tests.conformance.idempotency import IdempotencyStoreContract
from tests.conformance.key_stores import KeyRingStoreContract, PublicDocumentStoreContract
from tests.support.memory_stores import (
    MemoryIdempotencyStore,
    MemoryKeyRingStore,
    MemoryPublicDocumentStore,
)


class TestMemoryKeyRingStore(KeyRingStoreContract):
    @pytest.fixture
    def store(self) -> MemoryKeyRingStore:
        return MemoryKeyRingStore()


class TestMemoryPublicDocumentStore(PublicDocumentStoreContract):
    @pytest.fixture
    def store(self) -> MemoryPublicDocumentStore:
        return MemoryPublicDocumentStore()


class TestMemoryIdempotencyStore(IdempotencyStoreContract):
    @pytest.fixture
    def store(self) -> MemoryIdempotencyStore:
        return MemoryIdempotencyStore()
