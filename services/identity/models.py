"""What identity keeps; state changes are methods that refuse illegal moves."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from shared import errors

MOST_REPLAYS = 10
REFRESH_REUSED = "refresh_reused"
"""Why a session has ended."""


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


class Outcome(enum.Enum):
    """What comes of a refresh token that is presented."""

    ADVANCED = "advanced"
    REPLAYED = "replayed"
    REPLAYED_TOO_OFTEN = "replayed too often"
    REUSED = "reused"
    REFUSED = "refused"


REFUSALS: Mapping[Outcome, type[errors.PlaymeshError]] = {
    Outcome.REPLAYED_TOO_OFTEN: errors.TooManyRequests,
    Outcome.REUSED: errors.RefreshTokenReused,
    Outcome.REFUSED: errors.InvalidRefreshToken,
}


@dataclass(frozen=True, slots=True)
class Session:
    """A login on one device: a family of refresh tokens, of which one is current.

    `counter` numbers the current refresh token, from 1 on; the token itself is derived, never
    stored. `refreshed_at` is when it became the current one, `replays` how often its predecessor
    has been presented since. `idle_expires_at` moves when the counter does, `absolute_expires_at`
    never.
    """

    key: SessionKey
    device: str | None
    counter: int
    created_at: datetime
    refreshed_at: datetime
    idle_expires_at: datetime
    absolute_expires_at: datetime
    replays: int = 0
    ended_at: datetime | None = None
    ended_reason: str | None = None

    @property
    def expires_at(self) -> datetime:
        return min(self.idle_expires_at, self.absolute_expires_at)

    def outcome(self, counter: int, *, now: datetime, grace: timedelta) -> Outcome:
        """What refresh token `counter` is good for at `now`; the law is `SessionStore.redeem`'s."""
        if self.ended_at is not None or now >= self.expires_at or counter > self.counter:
            return Outcome.REFUSED
        if counter == self.counter:
            return Outcome.ADVANCED
        in_time = bool(grace) and now - self.refreshed_at <= grace
        if counter < self.counter - 1 or not in_time:
            return Outcome.REUSED
        return Outcome.REPLAYED if self.replays < MOST_REPLAYS else Outcome.REPLAYED_TOO_OFTEN

    def advanced(self, *, now: datetime, idle_expires_at: datetime) -> "Session":
        return replace(
            self,
            counter=self.counter + 1,
            refreshed_at=now,
            idle_expires_at=idle_expires_at,
            replays=0,
        )

    def replayed(self) -> "Session":
        return replace(self, replays=self.replays + 1)

    def ended(self, *, now: datetime, reason: str) -> "Session":
        return replace(self, ended_at=now, ended_reason=reason)


@dataclass(frozen=True, slots=True)
class Redeemed:
    """`session` is as it is since then: its `counter` is that of the token to give."""

    outcome: Outcome
    session: Session


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
