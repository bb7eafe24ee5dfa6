"""The signer uses a key only after it was seen in public, and keeps what it has."""

from base64 import urlsafe_b64decode
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from shared import errors
from shared.auth.jwk_set import parse_jwk_set
from shared.keys.adapters.files import FileKeyRingStore, FilePublicDocumentStore
from shared.keys.documents import render_jwk_set
from shared.keys.models import KeyRing, SigningKey
from shared.keys.signer import Signer, SignerPolicy
from tests.support.clock import ManualClock

KNOWN_AFTER = timedelta(seconds=360)
TOKEN_LIFETIME = timedelta(seconds=960)
POLICY = SignerPolicy(known_after=KNOWN_AFTER, token_lifetime=TOKEN_LIFETIME)


@pytest.fixture
def ring_store(tmp_path: Path) -> FileKeyRingStore:
    return FileKeyRingStore(tmp_path)


@pytest.fixture
def set_store(tmp_path: Path) -> FilePublicDocumentStore:
    return FilePublicDocumentStore(tmp_path)


@pytest.fixture
def signer(
    ring_store: FileKeyRingStore, set_store: FilePublicDocumentStore, clock: ManualClock
) -> Signer:
    return Signer(ring_store, set_store, POLICY, clock)


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
    set_store: FilePublicDocumentStore,
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


async def rotate(
    ring_store: FileKeyRingStore,
    set_store: FilePublicDocumentStore,
    clock: ManualClock,
    *,
    published_ago: float,
    is_public: bool = True,
) -> tuple[SigningKey, SigningKey]:
    """The old key, retiring from now on, and the new one, active whether or not it should be."""
    now = clock.now()
    old = active_key(clock).retiring(now + timedelta(seconds=60) + TOKEN_LIFETIME)
    new = replace(active_key(clock), published_at=now - timedelta(seconds=published_ago))
    ring, public = KeyRing((old, new)), KeyRing((old, new) if is_public else (old,))
    stored, published = await ring_store.load(), await set_store.read()
    await ring_store.replace(ring, expected=stored.version if stored else None)
    await set_store.publish(render_jwk_set(public), expected=published.etag if published else None)
    return old, new


async def test_it_takes_the_new_key_that_is_known_everywhere(
    signer: Signer,
    ring_store: FileKeyRingStore,
    set_store: FilePublicDocumentStore,
    clock: ManualClock,
) -> None:
    _, new = await rotate(ring_store, set_store, clock, published_ago=360)
    await signer.refresh()
    assert key_id_of(signer) == new.key_id


async def test_it_stays_on_the_old_key_while_the_new_one_is_not_in_the_set(
    signer: Signer,
    ring_store: FileKeyRingStore,
    set_store: FilePublicDocumentStore,
    clock: ManualClock,
) -> None:
    """A write of the set that was lost must not make tokens that nobody can verify."""
    old, _ = await rotate(ring_store, set_store, clock, published_ago=360, is_public=False)
    await signer.refresh()
    assert key_id_of(signer) == old.key_id


async def test_it_stays_on_the_old_key_while_a_verifier_may_not_know_the_new_one(
    signer: Signer,
    ring_store: FileKeyRingStore,
    set_store: FilePublicDocumentStore,
    clock: ManualClock,
) -> None:
    """A rotator whose settings know shorter caches than there are moved on too early."""
    old, _ = await rotate(ring_store, set_store, clock, published_ago=359)
    await signer.refresh()
    assert key_id_of(signer) == old.key_id


async def test_it_leaves_the_old_key_before_a_token_could_outlive_it(
    signer: Signer,
    ring_store: FileKeyRingStore,
    set_store: FilePublicDocumentStore,
    clock: ManualClock,
) -> None:
    old, new = await rotate(ring_store, set_store, clock, published_ago=0)
    clock.advance(60)
    await signer.refresh()
    assert key_id_of(signer) == old.key_id

    clock.advance(1)
    await signer.refresh()

    assert key_id_of(signer) == new.key_id


async def test_what_it_has_seen_itself_for_long_enough_it_believes_without_the_rotators_word(
    signer: Signer,
    ring_store: FileKeyRingStore,
    set_store: FilePublicDocumentStore,
    clock: ManualClock,
) -> None:
    _, new = await rotate(ring_store, set_store, clock, published_ago=0)
    await signer.refresh()
    clock.advance(KNOWN_AFTER.total_seconds())
    stored = await ring_store.load()
    assert stored
    late = new.activated_at and replace(new, published_at=clock.now())
    assert late
    old = stored.ring.keys[0]
    later = replace(old, retires_at=clock.now() + timedelta(seconds=60) + TOKEN_LIFETIME)
    await ring_store.replace(KeyRing((later, late)), expected=stored.version)

    await signer.refresh()

    assert key_id_of(signer) == new.key_id


async def test_it_stops_at_once_when_its_key_is_revoked(
    signer: Signer,
    ring_store: FileKeyRingStore,
    set_store: FilePublicDocumentStore,
    clock: ManualClock,
) -> None:
    """Also before the set has lost the key: nothing more may come from a key that has leaked."""
    leaked = active_key(clock)
    stored = await ring_store.replace(KeyRing((leaked,)), expected=None)
    await set_store.publish(render_jwk_set(KeyRing((leaked,))), expected=None)
    await signer.refresh()

    await ring_store.replace(KeyRing((leaked.revoked(clock.now()),)), expected=stored.version)
    await signer.refresh()

    assert signer.not_ready()


async def test_a_store_that_fails_leaves_the_loaded_key_in_use(
    signer: Signer,
    ring_store: FileKeyRingStore,
    set_store: FilePublicDocumentStore,
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
    signer: Signer,
    ring_store: FileKeyRingStore,
    set_store: FilePublicDocumentStore,
    clock: ManualClock,
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
    set_store: FilePublicDocumentStore,
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
    signer: Signer,
    ring_store: FileKeyRingStore,
    set_store: FilePublicDocumentStore,
    clock: ManualClock,
) -> None:
    key = active_key(clock)
    damaged = replace(key, private_jwk={**(key.private_jwk or {}), "d": "%%%"})
    await ring_store.replace(KeyRing((damaged,)), expected=None)
    await set_store.publish(render_jwk_set(KeyRing((key,))), expected=None)

    with pytest.raises(errors.Unavailable, match=r"^the active key's private part is damaged$"):
        await signer.refresh()
