"""The signer uses a key only after it was seen in public, and keeps what it has."""

from base64 import urlsafe_b64decode
from dataclasses import dataclass, replace
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


@dataclass
class Signing:
    """A signer over the two stores that it reads."""

    ring: FileKeyRingStore
    public: FilePublicDocumentStore
    clock: ManualClock

    def __post_init__(self) -> None:
        self.signer = Signer(self.ring, self.public, POLICY, self.clock)

    async def rotate(
        self, *, published_ago: float, is_public: bool = True
    ) -> tuple[SigningKey, SigningKey]:
        """The old key, retiring from now on, and the new one, active whether it should or not."""
        now = self.clock.now()
        old = active_key(self.clock).retiring(now + timedelta(seconds=60) + TOKEN_LIFETIME)
        published = now - timedelta(seconds=published_ago)
        new = replace(active_key(self.clock), published_at=published)
        await self.ring.replace(KeyRing((old, new)), expected=None)
        public = KeyRing((old, new) if is_public else (old,))
        await self.public.publish(render_jwk_set(public), expected=None)
        return old, new


@pytest.fixture
def signing(tmp_path: Path, clock: ManualClock) -> Signing:
    return Signing(FileKeyRingStore(tmp_path), FilePublicDocumentStore(tmp_path), clock)


def active_key(clock: ManualClock, algorithm: str = "ES256") -> SigningKey:
    key = SigningKey.generate(algorithm, clock.now())
    return key.published(clock.now()).activated(clock.now())


def key_id_of(signer: Signer) -> str:
    header = signer.sign({}, typ="at+jwt").partition(".")[0]
    return str(urlsafe_b64decode(header + "==").decode().split('"kid":"')[1].split('"')[0])


async def test_without_a_ring_there_is_nothing_to_sign_with(signing: Signing) -> None:
    await signing.signer.refresh()
    assert signing.signer.not_ready()
    with pytest.raises(errors.Unavailable):
        signing.signer.sign({}, typ="at+jwt")


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_it_signs_with_the_active_key_once_that_is_published(
    signing: Signing, algorithm: str
) -> None:
    ring = KeyRing((active_key(signing.clock, algorithm),))
    await signing.ring.replace(ring, expected=None)
    await signing.signer.refresh()
    assert signing.signer.not_ready()

    await signing.public.publish(render_jwk_set(ring), expected=None)
    await signing.signer.refresh()

    assert signing.signer.not_ready() is None
    assert key_id_of(signing.signer) == ring.keys[0].key_id
    assert parse_jwk_set(render_jwk_set(ring))[key_id_of(signing.signer)].algorithm == algorithm


async def test_it_takes_the_new_key_that_is_known_everywhere(signing: Signing) -> None:
    _, new = await signing.rotate(published_ago=360)
    await signing.signer.refresh()
    assert key_id_of(signing.signer) == new.key_id


async def test_it_stays_on_the_old_key_while_the_new_one_is_not_in_the_set(
    signing: Signing,
) -> None:
    """A write of the set that was lost must not make tokens that nobody can verify."""
    old, _ = await signing.rotate(published_ago=360, is_public=False)
    await signing.signer.refresh()
    assert key_id_of(signing.signer) == old.key_id


async def test_it_stays_on_the_old_key_while_a_verifier_may_not_know_the_new_one(
    signing: Signing,
) -> None:
    """A rotator whose settings know shorter caches than there are moved on too early."""
    old, _ = await signing.rotate(published_ago=359)
    await signing.signer.refresh()
    assert key_id_of(signing.signer) == old.key_id


async def test_it_leaves_the_old_key_before_a_token_could_outlive_it(signing: Signing) -> None:
    old, new = await signing.rotate(published_ago=0)
    signing.clock.advance(60)
    await signing.signer.refresh()
    assert key_id_of(signing.signer) == old.key_id

    signing.clock.advance(1)
    await signing.signer.refresh()

    assert key_id_of(signing.signer) == new.key_id


async def test_what_it_has_seen_itself_for_long_enough_it_believes_without_the_rotators_word(
    signing: Signing,
) -> None:
    _, new = await signing.rotate(published_ago=0)
    await signing.signer.refresh()
    signing.clock.advance(KNOWN_AFTER.total_seconds())
    stored = await signing.ring.load()
    assert stored
    late = new.activated_at and replace(new, published_at=signing.clock.now())
    assert late
    old = stored.ring.keys[0]
    later = replace(old, retires_at=signing.clock.now() + timedelta(seconds=60) + TOKEN_LIFETIME)
    await signing.ring.replace(KeyRing((later, late)), expected=stored.version)

    await signing.signer.refresh()

    assert key_id_of(signing.signer) == new.key_id


async def test_it_stops_at_once_when_its_key_is_revoked(signing: Signing) -> None:
    """Also before the set has lost the key: nothing more may come from a key that has leaked."""
    leaked = active_key(signing.clock)
    stored = await signing.ring.replace(KeyRing((leaked,)), expected=None)
    await signing.public.publish(render_jwk_set(KeyRing((leaked,))), expected=None)
    await signing.signer.refresh()

    await signing.ring.replace(
        KeyRing((leaked.revoked(signing.clock.now()),)), expected=stored.version
    )
    await signing.signer.refresh()

    assert signing.signer.not_ready()


async def test_a_store_that_fails_leaves_the_loaded_key_in_use(
    signing: Signing, tmp_path: Path
) -> None:
    ring = KeyRing((active_key(signing.clock),))
    await signing.ring.replace(ring, expected=None)
    await signing.public.publish(render_jwk_set(ring), expected=None)
    await signing.signer.refresh()

    (tmp_path / "ring.json").write_bytes(b"damaged")
    with pytest.raises(errors.Unavailable):
        await signing.signer.refresh()

    assert key_id_of(signing.signer) == ring.keys[0].key_id


async def test_it_stops_signing_when_its_key_has_left_the_set(signing: Signing) -> None:
    ring = KeyRing((active_key(signing.clock),))
    await signing.ring.replace(ring, expected=None)
    published = await signing.public.publish(render_jwk_set(ring), expected=None)
    await signing.signer.refresh()

    other = KeyRing((active_key(signing.clock),))
    await signing.public.publish(render_jwk_set(other), expected=published.etag)
    await signing.signer.refresh()

    assert signing.signer.not_ready()
    with pytest.raises(errors.Unavailable):
        signing.signer.sign({}, typ="at+jwt")


@pytest.mark.parametrize("damage", [b"", b"garbage", b"[]", b"{}", b'{"keys":[]}', b'{"keys":[1]}'])
async def test_a_damaged_set_is_neither_served_nor_believed(
    signing: Signing, tmp_path: Path, damage: bytes
) -> None:
    ring = KeyRing((active_key(signing.clock),))
    await signing.ring.replace(ring, expected=None)
    published = await signing.public.publish(render_jwk_set(ring), expected=None)
    await signing.signer.refresh()

    (tmp_path / "jwks.json").write_bytes(damage)
    with pytest.raises(errors.Unavailable):
        await signing.signer.refresh()

    assert signing.signer.published == published
    assert key_id_of(signing.signer) == ring.keys[0].key_id


async def test_a_key_that_cannot_be_read_is_unavailable_and_shows_nothing(signing: Signing) -> None:
    key = active_key(signing.clock)
    damaged = replace(key, private_jwk={**(key.private_jwk or {}), "d": "%%%"})
    await signing.ring.replace(KeyRing((damaged,)), expected=None)
    await signing.public.publish(render_jwk_set(KeyRing((key,))), expected=None)

    with pytest.raises(errors.Unavailable, match=r"^the active key's private part is damaged$"):
        await signing.signer.refresh()
