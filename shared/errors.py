"""What can go wrong, in the words of the domain. No HTTP, no store, no cloud.

PlaymeshError
├── InvalidRequest              the request itself is wrong
│   ├── TooLarge
│   ├── InvalidValue            it is not what the collection is for
│   ├── InvalidConflictToken
│   ├── WeakPassword            these three: of a player who has a password at a platform
│   ├── InvalidCode
│   ├── ExpiredCode
│   ├── UnsupportedGrantType    these four: of a request for a service token
│   ├── InvalidGrant
│   ├── InvalidScope
│   └── InvalidTarget
├── Unauthenticated             who are you?
│   ├── InvalidToken            access token
│   ├── InvalidCredential       user id and secret, platform ticket
│   │   ├── ExpiredCredential   was good once: get a new one from the platform
│   │   └── WrongAudience       good, but made for another application
│   ├── InvalidClient           a service's own credential
│   └── InvalidRefreshToken
│       ├── RefreshTokenReused  its session is over for that
│       └── SessionEnded        its session was over before
├── Forbidden                   known, but not allowed
│   ├── Banned                  by us
│   ├── ProviderBanned          by the platform
│   ├── NotOwned                the platform sold the game to somebody else
│   └── RefusedByPolicy         the platform's operator has a rule against it
├── NotFound
├── Conflict                    the state does not allow it
│   ├── AlreadyExists
│   ├── AlreadyLinked           it is another account's
│   ├── AlreadyDecided          the other way
│   ├── ActionRequired          the platform asks the player for something else first
│   ├── VersionConflict         somebody else was faster
│   ├── IdempotencyKeyReused    it belongs to another request
│   ├── QuotaExceeded           there would be more than a player may have
│   └── BatchFailed             of all or nothing it is nothing
├── TooManyRequests             more than is meant for one
├── Unavailable                 try again later
│   └── ProviderUnavailable     a platform cannot say who somebody is
└── ProviderMisconfigured       a platform does not take our key: an operator must act

`code` is stable and part of the interface; the detail is for people and may change.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar


class PlaymeshError(Exception):
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail


class InvalidRequest(PlaymeshError):
    code = "invalid_request"
    title = "The request is not valid"


class TooLarge(InvalidRequest):
    code = "too_large"
    title = "The request is too large"


class InvalidValue(InvalidRequest):
    """`violations`: what is wrong with it, a few at most, each in the words of its schema."""

    code = "invalid_value"
    title = "The value is not what its schema says"

    def __init__(
        self, detail: str | None = None, *, violations: Sequence[Mapping[str, str]] = ()
    ) -> None:
        super().__init__(detail)
        self.violations = violations


class InvalidConflictToken(InvalidRequest):
    code = "invalid_conflict_token"
    title = "The conflict token is not valid, or not any more: link again"


class WeakPassword(InvalidRequest):
    code = "weak_password"
    title = "The platform's rules do not allow this password"


class InvalidCode(InvalidRequest):
    code = "invalid_code"
    title = "The code is not the one that was sent"


class ExpiredCode(InvalidRequest):
    code = "expired_code"
    title = "The code has expired: ask for a new one"


class UnsupportedGrantType(InvalidRequest):
    code = "unsupported_grant_type"
    title = "The grant type is not offered"


class InvalidGrant(InvalidRequest):
    code = "invalid_grant"
    title = "The assertion does not hold"


class InvalidScope(InvalidRequest):
    code = "invalid_scope"
    title = "The scope is not granted"


class InvalidTarget(InvalidRequest):
    code = "invalid_target"
    title = "The resource is missing, or nothing is granted there"


class Unauthenticated(PlaymeshError):
    code = "unauthenticated"
    title = "Authentication is required"


class InvalidToken(Unauthenticated):
    code = "invalid_token"
    title = "The access token is missing or not valid"


class InvalidCredential(Unauthenticated):
    code = "invalid_credential"
    title = "The credential does not hold"


class ExpiredCredential(InvalidCredential):
    code = "expired_credential"
    title = "The credential has expired or was used before"


class WrongAudience(InvalidCredential):
    code = "wrong_audience"
    title = "The credential is for another application"


class InvalidClient(Unauthenticated):
    code = "invalid_client"
    title = "The client could not be authenticated"


class InvalidRefreshToken(Unauthenticated):
    code = "invalid_refresh_token"
    title = "The refresh token is not valid"


class RefreshTokenReused(InvalidRefreshToken):
    code = "refresh_reused"
    title = "The refresh token was used before, and its session has been ended for that"


class SessionEnded(InvalidRefreshToken):
    """`reason` is a word for programs: why it was ended."""

    code = "session_ended"
    title = "The session has been ended"

    def __init__(self, detail: str | None = None, *, reason: str = "ended") -> None:
        super().__init__(detail)
        self.reason = reason


class Forbidden(PlaymeshError):
    code = "forbidden"
    title = "The token does not allow this"


class Banned(Forbidden):
    """The detail is the reason, for the player; `until` None: until it is lifted."""

    code = "banned"
    title = "The player is banned"

    def __init__(self, detail: str | None = None, *, until: datetime | None = None) -> None:
        super().__init__(detail)
        self.until = until


class ProviderBanned(Forbidden):
    code = "provider_banned"
    title = "The platform has banned the player from this game"


class NotOwned(Forbidden):
    code = "not_owned"
    title = "The player does not own this game on the platform"


class RefusedByPolicy(Forbidden):
    code = "refused_by_policy"
    title = "The platform does not allow this to the player"


class NotFound(PlaymeshError):
    code = "not_found"
    title = "There is nothing here"


class Conflict(PlaymeshError):
    code = "conflict"
    title = "The current state does not allow this"


class AlreadyExists(Conflict):
    code = "already_exists"
    title = "It exists already"


class AlreadyLinked(Conflict):
    """`owner` is the user id of the account that has it; None where nobody said.

    `choice` is between the two accounts; None where nobody is asked to choose.
    """

    code = "already_linked"
    title = "The identity is linked to another account"

    def __init__(
        self,
        detail: str | None = None,
        *,
        owner: str | None = None,
        choice: object | None = None,
    ) -> None:
        super().__init__(detail)
        self.owner = owner
        self.choice = choice


class AlreadyDecided(Conflict):
    code = "already_decided"
    title = "This conflict has been decided the other way"


class ActionRequired(Conflict):
    """`challenge` is what is asked for, `parameters` are what the player may see of it.

    `token` is what the answer comes back with; None where the answer goes elsewhere.
    """

    code = "action_required"
    title = "The platform asks the player for something else first"

    def __init__(
        self,
        detail: str | None = None,
        *,
        challenge: str = "unsupported",
        parameters: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.challenge = challenge
        self.parameters: Mapping[str, str] = parameters or {}
        self.token = token


class VersionConflict(Conflict):
    """`current` is what is stored now; None where nothing is stored, or nobody looked."""

    code = "version_conflict"
    title = "The stored version is another one"

    def __init__(self, detail: str | None = None, *, current: object | None = None) -> None:
        super().__init__(detail)
        self.current = current


class IdempotencyKeyReused(Conflict):
    code = "idempotency_key_reused"
    title = "The Idempotency-Key belongs to another request"


class QuotaExceeded(Conflict):
    """`used` and `allowed` by what is counted; None of what has no limit."""

    code = "quota_exceeded"
    title = "The player would have more than a player may have"

    def __init__(
        self,
        detail: str | None = None,
        *,
        used: Mapping[str, int] | None = None,
        allowed: Mapping[str, int | None] | None = None,
    ) -> None:
        super().__init__(detail)
        self.used: Mapping[str, int] = used or {}
        self.allowed: Mapping[str, int | None] = allowed or {}


class BatchFailed(Conflict):
    """`failures` are those of what cannot be done, by their places in the request.

    `subjects`: what each place is about, where somebody knows.
    """

    code = "batch_failed"
    title = "Something of it cannot be done, so nothing was"

    def __init__(
        self,
        detail: str | None = None,
        *,
        failures: Mapping[int, PlaymeshError] | None = None,
        subjects: Sequence[object] = (),
    ) -> None:
        super().__init__(detail)
        self.failures: Mapping[int, PlaymeshError] = failures or {}
        self.subjects = subjects


class TooManyRequests(PlaymeshError):
    """`retry_after` is in seconds."""

    code = "too_many_requests"
    title = "There were too many requests of this kind"

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Unavailable(PlaymeshError):
    """`retry_after` is in seconds."""

    code = "unavailable"
    title = "The service cannot answer at the moment"

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class ProviderUnavailable(Unavailable):
    code = "provider_unavailable"
    title = "The platform cannot answer at the moment"


class ProviderMisconfigured(PlaymeshError):
    code = "provider_misconfigured"
    title = "Logins with this platform are not set up correctly on our side"
