"""The signer uses a key only after it was seen in public, and keeps what it has."""

from base64 import urlsafe_b64decode
from dataclasses import replace
from pathlib import Path

import pytest

from shared import errors
from shared.auth.jwk_set import parse_jwk_set
from shared.keys.adapters.files import FileJwkSetStore, FileKeyRingStore
from shared.keys.documents import render_jwk_set
from shared.keys.models import KeyRing, SigningKey
from shared.keys.signer import Signer
from tests.support.clock import ManualClock


@pytest.fixture
def ring_store(tmp_path: Path) -> FileKeyRingStore:
    return FileKeyRingStore(tmp_path)


@pytest.fixture
def set_store(tmp_path: Path) -> FileJwkSetStore:
    return FileJwkSetStore(tmp_path)


@pytest.fixture
def signer(ring_store: FileKeyRingStore, set_store: FileJwkSetStore) -> Signer:
    return Signer(ring_store, set_store)


def active_key(clock: ManualClock, algorithm: str = "ES256") -> SigningKey:
    key = SigningKey.generate(algorithm, clock.now())
    return key.published(clock.now()).activated(clock.now())


def key_id_of(signer: Signer) -> str:
    header = signer.sign({}, typ="at+jwt").partition(".")[0]
    return str(urlsafe_b64decode(header + "==").decode().split('"kid":"')[1].split('"')[0])


async def test_without_a_ring_there_is_nothing_to_sign_with(signer: Signer) -> None:
    await signer.refresh()
    assert signer.not_ready()
    with pytest.raises(errors.Unavailable):
        signer.sign({}, typ="at+jwt")


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_it_signs_with_the_active_key_once_that_is_published(
    signer: Signer,
    ring_store: FileKeyRingStore,
    set_store: FileJwkSetStore,
    clock: ManualClock,
    algorithm: str,
) -> None:
    ring = KeyRing((active_key(clock, algorithm),))
    await ring_store.replace(ring, expected=None)
    await signer.refresh()
    assert signer.not_ready()

    await set_store.publish(render_jwk_set(ring), expected=None)
    await signer.refresh()

    assert signer.not_ready() is None
    assert key_id_of(signer) == ring.keys[0].key_id
    assert parse_jwk_set(render_jwk_set(ring))[key_id_of(signer)].algorithm == algorithm


async def test_it_stays_on_the_old_key_while_the_new_one_is_not_in_the_set(
    signer: Signer, ring_store: FileKeyRingStore, set_store: FileJwkSetStore, clock: ManualClock
) -> None:
    """A write of the set that was lost must not make tokens that nobody can verify."""
    old = KeyRing((active_key(clock),))
    stored = await ring_store.replace(old, expected=None)
    await set_store.publish(render_jwk_set(old), expected=None)
    await signer.refresh()

    await ring_store.replace(KeyRing((active_key(clock),)), expected=stored.version)
    await signer.refresh()

    assert key_id_of(signer) == old.keys[0].key_id


async def test_a_store_that_fails_leaves_the_loaded_key_in_use(
    signer: Signer,
    ring_store: FileKeyRingStore,
    set_store: FileJwkSetStore,
    clock: ManualClock,
    tmp_path: Path,
) -> None:
    ring = KeyRing((active_key(clock),))
    await ring_store.replace(ring, expected=None)
    await set_store.publish(render_jwk_set(ring), expected=None)
    await signer.refresh()

    (tmp_path / "ring.json").write_bytes(b"damaged")
    with pytest.raises(errors.Unavailable):
        await signer.refresh()

    assert key_id_of(signer) == ring.keys[0].key_id


async def test_it_stops_signing_when_its_key_has_left_the_set(
    signer: Signer, ring_store: FileKeyRingStore, set_store: FileJwkSetStore, clock: ManualClock
) -> None:
    ring = KeyRing((active_key(clock),))
    await ring_store.replace(ring, expected=None)
    published = await set_store.publish(render_jwk_set(ring), expected=None)
    await signer.refresh()

    other = KeyRing((active_key(clock),))
    await set_store.publish(render_jwk_set(other), expected=published.etag)
    await signer.refresh()

    assert signer.not_ready()
    with pytest.raises(errors.Unavailable):
        signer.sign({}, typ="at+jwt")


@pytest.mark.parametrize("damage", [b"", b"garbage", b"[]", b"{}", b'{"keys":[]}', b'{"keys":[1]}'])
async def test_a_damaged_set_is_neither_served_nor_believed(
    signer: Signer,
    ring_store: FileKeyRingStore,
    set_store: FileJwkSetStore,
    clock: ManualClock,
    tmp_path: Path,
    damage: bytes,
) -> None:
    ring = KeyRing((active_key(clock),))
    await ring_store.replace(ring, expected=None)
    published = await set_store.publish(render_jwk_set(ring), expected=None)
    await signer.refresh()

    (tmp_path / "jwks.json").write_bytes(damage)
    with pytest.raises(errors.Unavailable):
        await signer.refresh()

    assert signer.published == published
    assert key_id_of(signer) == ring.keys[0].key_id


async def test_a_key_that_cannot_be_read_is_unavailable_and_shows_nothing(
    signer: Signer, ring_store: FileKeyRingStore, set_store: FileJwkSetStore, clock: ManualClock
) -> None:
    key = active_key(clock)
    damaged = replace(key, private_jwk={**(key.private_jwk or {}), "d": "%%%"})
    await ring_store.replace(KeyRing((damaged,)), expected=None)
    await set_store.publish(render_jwk_set(KeyRing((key,))), expected=None)

    with pytest.raises(errors.Unavailable, match=r"^the active key's private part is damaged$"):
        await signer.refresh()
