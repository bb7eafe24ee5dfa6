"""The signer: the active key in memory, used only after it was seen in public."""

from collections.abc import Mapping
from dataclasses import dataclass

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from shared import errors
from shared.auth.jwk_set import InvalidJwkSet, VerificationKey, parse_jwk_set
from shared.keys.models import SigningKey
from shared.keys.ports import JwkSetStore, KeyRingStore, PublishedSet


@dataclass(frozen=True, slots=True)
class _Loaded:
    key_id: str
    algorithm: str
    key: RSAKey | ECKey


class Signer:
    """Signs with the ring's active key. `refresh()` re-reads both stores; call it regularly.

    Only with a key that is in the public set, neither before it is there nor after: a token that
    nobody can verify is worse than none. The private key is parsed once, when it changes.
    """

    def __init__(self, ring: KeyRingStore, public: JwkSetStore) -> None:
        self._ring = ring
        self._public = public
        self._loaded: _Loaded | None = None
        self.published: PublishedSet | None = None

    async def refresh(self) -> None:
        """Raises Unavailable where a store cannot be read; what was loaded stays in use."""
        published = await self._public.read()
        if published is None:
            return
        public_keys = _parse(published)
        self.published = published
        if self._loaded is not None and self._loaded.key_id not in public_keys:
            self._loaded = None
        stored = await self._ring.load()
        active = stored.ring.active if stored else None
        if active is None or active.key_id not in public_keys:
            return
        if self._loaded is None or self._loaded.key_id != active.key_id:
            self._loaded = _load(active)

    def not_ready(self) -> str | None:
        return None if self._loaded else "no signing key yet: is keyrotator running?"

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


def _parse(published: PublishedSet) -> Mapping[str, VerificationKey]:
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
