"""What every store of the key ring and of the JWK Set promises."""

import asyncio
from datetime import timedelta

import pytest

from shared import errors
from shared.clock import Clock
from shared.keys.models import KeyRing, SigningKey
from shared.keys.ports import KeyRingStore, PublicDocumentStore


def make_ring(clock: Clock) -> KeyRing:
    """A ring with a key in every state and every moment set."""
    now = clock.now()
    pending = SigningKey.generate("ES256", now)
    active = SigningKey.generate("ES256", now).published(now + timedelta(milliseconds=1))
    retiring = SigningKey.generate("ES256", now).published(now).activated(now)
    retired = SigningKey.generate("ES256", now).published(now).activated(now)
    return KeyRing(
        keys=(
            retired.retiring(now).retired(),
            retiring.retiring(now + timedelta(seconds=1020)),
            active.activated(now + timedelta(milliseconds=2)),
            pending,
        ),
        rotation_requested=True,
    )


class KeyRingStoreContract:
    """Subclasses provide the fixture `store`, empty."""

    async def test_there_is_no_ring_at_first(self, store: KeyRingStore) -> None:
        assert await store.load() is None

    async def test_a_ring_comes_back_as_it_was(self, store: KeyRingStore, clock: Clock) -> None:
        ring = make_ring(clock)
        stored = await store.replace(ring, expected=None)
        assert stored.ring == ring
        assert await store.load() == stored

    async def test_the_first_ring_is_written_only_where_there_is_none(
        self, store: KeyRingStore, clock: Clock
    ) -> None:
        first = await store.replace(make_ring(clock), expected=None)
        with pytest.raises(errors.VersionConflict):
            await store.replace(KeyRing(), expected=None)
        assert await store.load() == first

    async def test_a_stale_version_replaces_nothing(
        self, store: KeyRingStore, clock: Clock
    ) -> None:
        first = await store.replace(KeyRing(), expected=None)
        second = await store.replace(make_ring(clock), expected=first.version)
        with pytest.raises(errors.VersionConflict):
            await store.replace(KeyRing(), expected=first.version)
        assert await store.load() == second

    async def test_a_ring_cannot_be_replaced_that_never_was(self, store: KeyRingStore) -> None:
        with pytest.raises(errors.VersionConflict):
            await store.replace(KeyRing(), expected="no-such-version")
        assert await store.load() is None

    async def test_of_many_writers_that_read_the_same_version_one_wins(
        self, store: KeyRingStore, clock: Clock
    ) -> None:
        first = await store.replace(KeyRing(), expected=None)
        rings = [KeyRing((SigningKey.generate("ES256", clock.now()),)) for _ in range(20)]
        outcomes = await asyncio.gather(
            *(store.replace(ring, expected=first.version) for ring in rings),
            return_exceptions=True,
        )
        winners = [one for one in outcomes if not isinstance(one, BaseException)]
        losers = [one for one in outcomes if isinstance(one, errors.VersionConflict)]
        assert (len(winners), len(losers)) == (1, 19)
        assert await store.load() == winners[0]


class PublicDocumentStoreContract:
    """Subclasses provide the fixture `store`, empty."""

    async def test_nothing_is_published_at_first(self, store: PublicDocumentStore) -> None:
        assert await store.read() is None

    async def test_the_document_is_served_byte_for_byte(self, store: PublicDocumentStore) -> None:
        document = '{"keys":[],"é":"ü\\n"}'.encode()
        published = await store.publish(document, expected=None)
        assert published.document == document
        assert await store.read() == published

    async def test_a_stale_entity_tag_publishes_nothing(self, store: PublicDocumentStore) -> None:
        first = await store.publish(b"1", expected=None)
        second = await store.publish(b"2", expected=first.etag)
        with pytest.raises(errors.VersionConflict):
            await store.publish(b"3", expected=first.etag)
        with pytest.raises(errors.VersionConflict):
            await store.publish(b"3", expected=None)
        assert await store.read() == second

    async def test_of_many_publishers_that_read_the_same_set_one_wins(
        self, store: PublicDocumentStore
    ) -> None:
        first = await store.publish(b"first", expected=None)
        outcomes = await asyncio.gather(
            *(store.publish(b"%d" % number, expected=first.etag) for number in range(20)),
            return_exceptions=True,
        )
        winners = [one for one in outcomes if not isinstance(one, BaseException)]
        assert len(winners) == 1
        assert await store.read() == winners[0]
