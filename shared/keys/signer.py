"""The signer: the active key in memory, used only after it was seen in public."""

from collections.abc import Mapping
from dataclasses import dataclass

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from shared import errors
from shared.keys.documents import key_ids
from shared.keys.models import SigningKey
from shared.keys.ports import JwkSetStore, KeyRingStore, PublishedSet


@dataclass(frozen=True, slots=True)
class _Loaded:
    key_id: str
    algorithm: str
    key: RSAKey | ECKey


class Signer:
    """Signs with the ring's active key. `refresh()` re-reads both stores; call it regularly.

    A key that is active but not in the public set is not used: a token that nobody can verify
    is worse than an old key. The private key is parsed once, when it changes.
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
        self.published = published
        stored = await self._ring.load()
        active = stored.ring.active if stored else None
        if active is None or active.key_id not in key_ids(published.document):
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


def _load(key: SigningKey) -> _Loaded:
    if key.private_jwk is None:
        raise errors.Unavailable("the active key has no private part")
    members: dict[str, str | list[str]] = dict(key.private_jwk)
    loaded = RSAKey.import_key(members) if key.algorithm == "RS256" else ECKey.import_key(members)
    loaded.private_key  # noqa: B018 - parses now, not in the first login
    return _Loaded(key.key_id, key.algorithm, loaded)
