"""Signing keys and their ring, from pending to retired or revoked. Illegal moves are refused."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from joserfc.jwk import ECKey, RSAKey

JwkMembers = Mapping[str, str]

_RSA_BITS = 2048


class KeyState(enum.Enum):
    PENDING = "pending"
    """Published, or about to be; signs nothing, so that every verifier can learn of it first."""
    ACTIVE = "active"
    """Signs. At most one key of a ring."""
    RETIRING = "retiring"
    """Signs no more, still published: tokens that it signed are in use."""
    RETIRED = "retired"
    """No longer published, private part gone; kept for the record."""
    REVOKED = "revoked"
    """As retired, but at once: somebody else may be able to sign with it."""


_UNPUBLISHED = (KeyState.RETIRED, KeyState.REVOKED)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """`private_jwk` is None once unpublished, `published_at` until the set was seen stored."""

    key_id: str
    algorithm: str
    state: KeyState
    public_jwk: JwkMembers
    private_jwk: JwkMembers | None = field(repr=False)
    created_at: datetime
    published_at: datetime | None = None
    activated_at: datetime | None = None
    retires_at: datetime | None = None
    revoked_at: datetime | None = None

    @classmethod
    def generate(cls, algorithm: str, now: datetime) -> "SigningKey":
        """A new pending key. The key id is the key's own thumbprint (RFC 7638): never reused.

        An RSA key takes tenths of a second to find; call it off the event loop.
        """
        key = (
            RSAKey.generate_key(_RSA_BITS) if algorithm == "RS256" else ECKey.generate_key("P-256")
        )
        key_id = key.thumbprint()
        names = {"kid": key_id, "alg": algorithm, "use": "sig"}
        return cls(
            key_id=key_id,
            algorithm=algorithm,
            state=KeyState.PENDING,
            public_jwk=_members(key.as_dict(private=False)) | names,
            private_jwk=_members(key.as_dict(private=True)) | names,
            created_at=now,
        )

    @property
    def is_published(self) -> bool:
        """Whether the key belongs into the public JWK Set."""
        return self.state not in _UNPUBLISHED

    def published(self, now: datetime) -> "SigningKey":
        self._must_be(KeyState.PENDING)
        return replace(self, published_at=now)

    def activated(self, now: datetime) -> "SigningKey":
        self._must_be(KeyState.PENDING)
        if self.published_at is None:
            raise IllegalMoveError(f"{self.key_id} would sign before it was published")
        return replace(self, state=KeyState.ACTIVE, activated_at=now)

    def retiring(self, until: datetime) -> "SigningKey":
        self._must_be(KeyState.ACTIVE)
        return replace(self, state=KeyState.RETIRING, retires_at=until)

    def retired(self) -> "SigningKey":
        self._must_be(KeyState.RETIRING)
        return replace(self, state=KeyState.RETIRED, private_jwk=None)

    def discarded(self) -> "SigningKey":
        """A key that never signed, so nobody waits for anything."""
        self._must_be(KeyState.PENDING)
        return replace(self, state=KeyState.RETIRED, private_jwk=None)

    def revoked(self, now: datetime) -> "SigningKey":
        if not self.is_published:
            raise IllegalMoveError(f"{self.key_id} is {self.state.value} already")
        return replace(self, state=KeyState.REVOKED, private_jwk=None, revoked_at=now)

    def _must_be(self, state: KeyState) -> None:
        if self.state is not state:
            raise IllegalMoveError(f"{self.key_id} is {self.state.value}, not {state.value}")


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Every key of an issuer, oldest first. `rotation_requested` asks not to wait for the clock."""

    keys: tuple[SigningKey, ...] = ()
    rotation_requested: bool = False

    def __post_init__(self) -> None:
        if len({key.key_id for key in self.keys}) != len(self.keys):
            raise IllegalMoveError("two keys with one key id")
        if sum(key.state is KeyState.ACTIVE for key in self.keys) > 1:
            raise IllegalMoveError("two active keys")

    @property
    def active(self) -> SigningKey | None:
        return next((key for key in self.keys if key.state is KeyState.ACTIVE), None)

    @property
    def pending(self) -> SigningKey | None:
        return next((key for key in self.keys if key.state is KeyState.PENDING), None)

    def key(self, key_id: str) -> SigningKey | None:
        return next((key for key in self.keys if key.key_id == key_id), None)

    def with_key(self, key: SigningKey) -> "KeyRing":
        """The ring with `key` in the place of the key of the same id, or added at the end."""
        if self.key(key.key_id):
            keys = tuple(key if known.key_id == key.key_id else known for known in self.keys)
            return replace(self, keys=keys)
        return replace(self, keys=(*self.keys, key))

    def public_jwks(self) -> list[JwkMembers]:
        """The members of the JWK Set that this ring asks for, newest key first."""
        return [key.public_jwk for key in reversed(self.keys) if key.is_published]


class IllegalMoveError(Exception):
    """A state change that would break a token or a promise: a bug, never an outcome."""


def _members(values: Mapping[str, str | list[str]]) -> dict[str, str]:
    return {name: value for name, value in values.items() if isinstance(value, str)}
