"""What identity keeps; state changes are methods that refuse illegal moves."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from shared import errors

IDEMPOTENCY_LIFETIME = timedelta(hours=24)
RECOVERABLE_FOR = timedelta(days=30)
"""So long an account that was given up for another one is only marked."""
USED_LIFETIME = timedelta(hours=25)
"""Of what may be used once: longer than any of it holds, which is a day, and clocks differ."""
MOST_REPLAYS = 10
MOST_BANS = 16
"""Of one account from parts of the game, each of another scope."""
MOST_IDENTITIES = 16
"""Of one account, each of another provider."""
EVERYTHING = "all"
"""The scope of a ban that keeps a player out; every other one is for services to honour."""

REFRESH_REUSED = "refresh_reused"
SIGNED_OUT = "signed_out"
SIGNED_IN_ELSEWHERE = "signed_in_elsewhere"
IDENTITY_MOVED = "identity_moved"
ENDED_BY_OPERATOR = "ended_by_operator"
IDENTITY_REMOVED = "identity_removed"
"""Why a session has ended; the last: the player or the platform took back how it began."""


class Mark(enum.Enum):
    """What others must be told of an account; stores find accounts by it."""

    BANNED = "banned"
    ERASING = "erasing"
    RECOVERABLE = "recoverable"


@dataclass(frozen=True, slots=True)
class Ban:
    """`reason` is for the player to read. `until` None: until it is lifted."""

    reason: str
    since: datetime
    until: datetime | None = None
    scope: str = EVERYTHING

    def holds(self, now: datetime) -> bool:
        return self.until is None or now < self.until

    def outlasts(self, other: "Ban") -> bool:
        return self.until is None or (other.until is not None and other.until <= self.until)


@dataclass(frozen=True, slots=True)
class Undo:
    """What takes an erasure back before `until`: the identity that was the account's last way in.

    `taken_by` is the account that it was moved to.
    """

    until: datetime
    provider: str
    external_id: str
    taken_by: str


@dataclass(frozen=True, slots=True)
class Erasure:
    """From `requested_at` on nobody gets a token of the account.

    Until `tokens_expire_at` somebody may still have one, and write with it. With an `undo` nothing
    is removed before that is over.
    """

    requested_at: datetime
    tokens_expire_at: datetime
    undo: Undo | None = None


@dataclass(frozen=True, slots=True)
class LinkedIdentity:
    """Whom a platform knows as `external_id` we know as `user_id`.

    `provider` is a name of ours, without `#`; `external_id` is whatever the platform makes of it,
    and another one as soon as a byte differs.
    """

    provider: str
    external_id: str
    user_id: str
    linked_at: datetime

    @property
    def key(self) -> tuple[str, str]:
        return self.provider, self.external_id


@dataclass(frozen=True, slots=True)
class Account:
    """A player.

    `guest_secret_digest` is None for an account that has no guest secret; `seen_at` is when the
    player was last here, at most a day behind. The guest secret and the linked identities are the
    ways in: whoever is not gone has at least one. Of an account that was erased nothing stays but
    its id and when: a tombstone, so that the id is never given again, and that what comes back
    from a backup can be erased again. `revision` counts the changes, from 1 on.
    """

    user_id: str
    created_at: datetime
    guest_secret_digest: bytes | None = field(repr=False)
    seen_at: datetime
    identities: tuple[LinkedIdentity, ...] = ()
    bans: tuple[Ban, ...] = ()
    erasure: Erasure | None = None
    erased_at: datetime | None = None
    revision: int = 1

    @property
    def scope(self) -> str:
        """`guest` until an identity is linked."""
        return "authenticated" if self.identities else "guest"

    @property
    def has_way_in(self) -> bool:
        return self.guest_secret_digest is not None or bool(self.identities)

    @property
    def is_gone(self) -> bool:
        """Whether it is for nobody any more: it was erased, or is being erased."""
        return self.erasure is not None or self.erased_at is not None

    @property
    def undo(self) -> Undo | None:
        """None of an account that cannot be recovered, or need not be."""
        return self.erasure.undo if self.erasure is not None else None

    @property
    def marked(self) -> tuple[Mark, datetime] | None:
        """With the moment since when."""
        if self.erasure is not None:
            mark = Mark.RECOVERABLE if self.erasure.undo else Mark.ERASING
            return mark, self.erasure.requested_at
        everything = next((ban for ban in self.bans if ban.scope == EVERYTHING), None)
        return (Mark.BANNED, everything.since) if everything else None

    def ban(self, now: datetime, *, scope: str = EVERYTHING) -> Ban | None:
        """The one of this scope that holds at `now`."""
        return next((ban for ban in self.bans if ban.scope == scope and ban.holds(now)), None)

    def seen(self, now: datetime) -> "Account":
        return replace(self, seen_at=now)

    def with_guest_secret(self, digest: bytes) -> "Account":
        return replace(self, guest_secret_digest=digest)

    def linked(self, identity: LinkedIdentity) -> "Account":
        """One that is linked already stays as it is. Raises Conflict.

        Of each provider there is at most one, so that its name says which one is meant.
        """
        if any(one.key == identity.key for one in self.identities):
            return self
        if self.is_gone:
            raise errors.Conflict("the account is gone")
        if any(one.provider == identity.provider for one in self.identities):
            raise errors.Conflict("another identity of this provider is linked")
        if len(self.identities) >= MOST_IDENTITIES:
            raise errors.Conflict(f"an account has at most {MOST_IDENTITIES} identities")
        mine = replace(identity, user_id=self.user_id)
        return replace(self, identities=(*self.identities, mine))

    def renamed(self, former_external_id: str, identity: LinkedIdentity) -> "Account":
        """With `identity` in the place of the former one of its provider. Raises Conflict.

        One that is linked already stays as it is.
        """
        former = identity.provider, former_external_id
        keys = [one.key for one in self.identities]
        if identity.key in keys:
            return self
        if self.is_gone:
            raise errors.Conflict("the account is gone")
        if former not in keys:
            raise errors.Conflict("the former identity is not linked")
        mine = replace(identity, user_id=self.user_id)
        in_place = tuple(mine if one.key == former else one for one in self.identities)
        return replace(self, identities=in_place)

    def unlinked(self, provider: str, external_id: str) -> "Account":
        """One that is not linked changes nothing. Raises Conflict for the last way in.

        An account that is gone needs none.
        """
        left = tuple(one for one in self.identities if one.key != (provider, external_id))
        if left == self.identities:
            return self
        changed = replace(self, identities=left)
        if not (changed.has_way_in or changed.is_gone):
            raise errors.Conflict("it is the last way into the account")
        return changed

    def banned(self, ban: Ban) -> "Account":
        """In place of one of the same scope, and of those that are over. Raises Conflict.

        That is never a reason not to keep somebody out altogether.
        """
        others = [one for one in self.bans if one.scope != ban.scope and one.holds(ban.since)]
        parts = [one for one in (*others, ban) if one.scope != EVERYTHING]
        if ban.scope != EVERYTHING and len(parts) > MOST_BANS:
            raise errors.Conflict(f"a player has at most {MOST_BANS} bans")
        return replace(self, bans=(*others, ban))

    def unbanned(self, scope: str) -> "Account":
        return replace(self, bans=tuple(ban for ban in self.bans if ban.scope != scope))

    def erasing(self, erasure: Erasure) -> "Account":
        """Nobody gets in any more; a second request changes nothing.

        But where the first one could be undone, and the second one cannot, neither can it now.
        """
        if self.is_gone:
            return self if erasure.undo else self.beyond_recovery()
        return replace(self, erasure=erasure, guest_secret_digest=None)

    def beyond_recovery(self) -> "Account":
        """To be erased now, if it was to be later. Its tokens expire when they did."""
        if self.erasure is None or self.erasure.undo is None:
            return self
        return replace(self, erasure=replace(self.erasure, undo=None))

    def recovered(self, now: datetime) -> "Account":
        """As before it was given up, but without a way in: for `IdentityStore.move`, which has one.

        Raises Conflict where that cannot be undone, or not any more.
        """
        if self.undo is None or now >= self.undo.until:
            raise errors.Conflict("the account cannot be recovered, or not any more")
        return replace(self, erasure=None)

    def erased(self, now: datetime) -> "Account":
        """Only after every service has confirmed, and no token of it is good any more."""
        if self.erasure is None or self.erasure.undo or now < self.erasure.tokens_expire_at:
            raise errors.Conflict("the account cannot be a tombstone yet")
        return Account(
            user_id=self.user_id,
            created_at=self.created_at,
            guest_secret_digest=None,
            seen_at=now,
            erased_at=now,
            revision=self.revision,
        )


@dataclass(frozen=True, slots=True)
class IdentityBan:
    """Keeps whom a platform knows as `external_id` from logging in and from being linked."""

    provider: str
    external_id: str
    ban: Ban


@dataclass(frozen=True, slots=True)
class ExternalIdentity:
    """Whom a platform has confirmed, just now.

    `provider` names a space of ids, which two ways in may share; `external_id` is opaque, compared
    byte for byte, and begins with the part of that space that it is from where there are several
    (an Apple team, a Facebook application). `details` are for this login and hold no secret.
    `grant` is what the platform wants back when the player goes, for it alone to read; a secret.
    `former` is an external id that was the player's before, where the platform has given them
    another one, and says so.
    """

    provider: str
    external_id: str
    details: Mapping[str, str] = field(default_factory=dict)
    grant: str | None = field(default=None, repr=False, kw_only=True)
    former: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a platform wants back when the player goes whom it knows as `external_id`; sealed."""

    provider: str
    external_id: str
    sealed: str = field(repr=False)


class NoticeKind(enum.Enum):
    """What a platform tells us that one of its players has done there."""

    REVOKED = "revoked"
    """Taken back that this game knows them. Who consents again is the same player."""
    DELETED = "deleted"
    """Asked for all that this game has of them to be deleted, or left the platform."""
    OTHER = "other"
    """Nothing that is of use here."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a platform has told us, and has proven to be the one who tells it.

    `notice_id` is the same if it tells that again; None where only the address that it was sent to
    says what it is about, and `kind` is OTHER until then.
    """

    kind: NoticeKind
    provider: str
    external_id: str
    notice_id: str | None = None


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """Of the records that a player has now in a collection; `bytes` are those of their values."""

    name: str
    records: int
    bytes: int
    updated_at: datetime


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
    never. `provider` is that of the identity with which the player came; None for a guest.
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
    provider: str | None = None

    @property
    def expires_at(self) -> datetime:
        return min(self.idle_expires_at, self.absolute_expires_at)

    def outcome(self, counter: int, *, now: datetime, grace: timedelta) -> Outcome:
        """What refresh token `counter` is good for at `now`; the law is `SessionStore.redeem`'s."""
        if not self.lives(now) or counter > self.counter:
            return Outcome.REFUSED
        if counter == self.counter:
            return Outcome.ADVANCED
        in_time = bool(grace) and now - self.refreshed_at <= grace
        if counter < self.counter - 1 or not in_time:
            return Outcome.REUSED
        return Outcome.REPLAYED if self.replays < MOST_REPLAYS else Outcome.REPLAYED_TOO_OFTEN

    def refusal(self, outcome: Outcome) -> errors.PlaymeshError | None:
        """What to raise for an outcome; None where a token is given."""
        if outcome is Outcome.REFUSED and self.ended_reason is not None:
            return errors.SessionEnded(reason=self.ended_reason)
        refusal = REFUSALS.get(outcome)
        return refusal() if refusal else None

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
        """One that has ended stays as it is."""
        if self.ended_at is not None:
            return self
        return replace(self, ended_at=now, ended_reason=reason)

    def lives(self, now: datetime) -> bool:
        return self.ended_at is None and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Redeemed:
    """`session` is as it is since then: its `counter` is that of the token to give."""

    outcome: Outcome
    session: Session


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """What the first request with a key has chosen, for those that repeat it.

    `key` and `request` are digests: of the Idempotency-Key with what it was sent for, and of what
    the request said. `result` is a new guest's user id. Of what may be used once `key` is the
    digest, `request` says nothing, and `result` tells the first use from every later one.
    """

    key: bytes = field(repr=False)
    request: bytes = field(repr=False)
    result: str
    expires_at: datetime
