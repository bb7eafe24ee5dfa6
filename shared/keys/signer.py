"""The signer: a key of the ring in memory, used only while it is seen in public."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from shared import errors
from shared.auth.jwk_set import InvalidJwkSet, VerificationKey, parse_jwk_set
from shared.clock import Clock
from shared.keys.models import KeyRing, KeyState, SigningKey
from shared.keys.ports import KeyRingStore, PublicDocumentStore, PublishedDocument


@dataclass(frozen=True, slots=True)
class _Loaded:
    key_id: str
    algorithm: str
    key: RSAKey | ECKey


@dataclass(frozen=True, slots=True)
class SignerPolicy:
    """`known_after`: so long after it became public every verifier knows a key.

    `token_lifetime`: for how long at most a signature is needed, the verifiers' leeway included.
    """

    known_after: timedelta
    token_lifetime: timedelta


class Signer:
    """Signs with a key of the ring. `refresh()` re-reads both stores; call it regularly.

    Only with a key that is in the public set, neither before it is there nor after: a token that
    nobody can verify is worse than none. The active key it is, unless that is so new that a
    verifier may not know it yet while the key before it may still be used. The private key is
    parsed once, when it changes.
    """

    def __init__(
        self, ring: KeyRingStore, public: PublicDocumentStore, policy: SignerPolicy, clock: Clock
    ) -> None:
        self._ring = ring
        self._public = public
        self._policy = policy
        self._clock = clock
        self._seen: Mapping[str, float] = {}
        self._public_keys: Mapping[str, VerificationKey] = {}
        self._loaded: _Loaded | None = None
        self.published: PublishedDocument | None = None

    async def refresh(self) -> None:
        """Raises Unavailable where a store cannot be read; what was loaded stays in use."""
        published = await self._public.read()
        if published is None:
            return
        # The same set keeps its keys, by which a verifier knows what it has verified.
        is_same = published == self.published
        public_keys = self._public_keys if is_same else _parse(published)
        self.published, self._public_keys = published, public_keys
        monotonic = self._clock.monotonic()
        self._seen = {key_id: self._seen.get(key_id, monotonic) for key_id in public_keys}
        if self._loaded is not None and self._loaded.key_id not in public_keys:
            self._loaded = None
        stored = await self._ring.load()
        key = self._choose(stored.ring) if stored else None
        if key is None:
            self._loaded = None
        elif self._loaded is None or self._loaded.key_id != key.key_id:
            self._loaded = _load(key)

    def _choose(self, ring: KeyRing) -> SigningKey | None:
        active = ring.active if ring.active and ring.active.key_id in self._seen else None
        if active is not None and self._is_known(active):
            return active
        before = (key for key in reversed(ring.keys) if self._may_still_sign(key))
        return next(before, active)

    def _is_known(self, key: SigningKey) -> bool:
        """By the rotator's word, or because this process has seen the key for long enough."""
        known_after = self._policy.known_after
        if key.published_at is not None and key.published_at + known_after <= self._clock.now():
            return True
        seen_for = self._clock.monotonic() - self._seen[key.key_id]
        return seen_for >= known_after.total_seconds()

    def _may_still_sign(self, key: SigningKey) -> bool:
        """Whether a token that it signs now expires before the key leaves the set."""
        return (
            key.state is KeyState.RETIRING
            and key.key_id in self._seen
            and key.retires_at is not None
            and self._clock.now() + self._policy.token_lifetime <= key.retires_at
        )

    def not_ready(self) -> str | None:
        return None if self._loaded else "no signing key yet: is keyrotator running?"

    async def key(self, key_id: str) -> VerificationKey | None:
        """A key of the public set, for who verifies in this process: no HTTP in between."""
        if self.published is None:
            raise errors.Unavailable("no key has been published yet")
        return self._public_keys.get(key_id)

    def require_key(self) -> None:
        """Raises Unavailable as long as there is no key."""
        self._key()

    def sign(self, claims: Mapping[str, object], *, typ: str) -> str:
        """A compact JWS over `claims`. Raises Unavailable as long as there is no key."""
        loaded = self._key()
        header = {"alg": loaded.algorithm, "kid": loaded.key_id, "typ": typ}
        return jwt.encode(header, dict(claims), loaded.key, algorithms=[loaded.algorithm])

    def _key(self) -> _Loaded:
        if self._loaded is None:
            raise errors.Unavailable("there is no signing key yet")
        return self._loaded


def _parse(published: PublishedDocument) -> Mapping[str, VerificationKey]:
    try:
        return parse_jwk_set(published.document)
    except InvalidJwkSet as error:
        raise errors.Unavailable(f"the published JWK Set is damaged: {error}") from None


def _load(key: SigningKey) -> _Loaded:
    members: dict[str, str | list[str]] = dict(key.private_jwk or {})
    kind = RSAKey if key.algorithm == "RS256" else ECKey
    try:
        loaded = kind.import_key(members)
        loaded.private_key  # noqa: B018 - parses now, not in the first login
    except (JoseError, ValueError, TypeError, KeyError):
        # Without the cause: it may show a part of the key.
        raise errors.Unavailable("the active key's private part is damaged") from None
    return _Loaded(key.key_id, key.algorithm, loaded)
