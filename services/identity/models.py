"""What identity keeps; state changes are methods that refuse illegal moves."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Account:
    """A player. `guest_secret_digest` is None for an account that has no guest secret."""

    user_id: str
    created_at: datetime
    guest_secret_digest: bytes | None = field(repr=False)

    @property
    def scope(self) -> str:
        """`guest` until an identity is linked."""
        return "guest"


@dataclass(frozen=True, slots=True)
class LinkedIdentity:
    """Whom a platform knows as `external_id` we know as `user_id`.

    `provider` is a name of ours, without `#`; `external_id` is whatever the platform makes of it.
    """

    provider: str
    external_id: str
    user_id: str
    linked_at: datetime


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session belongs to a player: where the one is known, so is the other."""

    user_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Session:
    """A login on one device: a family of refresh tokens, of which one is current.

    `counter` numbers the current refresh token; the token itself is derived, never stored.
    `idle_expires_at` moves with every refresh, `absolute_expires_at` never.
    """

    key: SessionKey
    device: str | None
    counter: int
    created_at: datetime
    refreshed_at: datetime
    idle_expires_at: datetime
    absolute_expires_at: datetime
    ended_at: datetime | None = None
    ended_reason: str | None = None

    @property
    def expires_at(self) -> datetime:
        return min(self.idle_expires_at, self.absolute_expires_at)


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """What the first request with a key has chosen, for those that repeat it.

    `key` and `request` are digests: of the Idempotency-Key with what it was sent for, and of what
    the request said. `result` is a new guest's user id.
    """

    key: bytes = field(repr=False)
    request: bytes = field(repr=False)
    result: str
    expires_at: datetime
