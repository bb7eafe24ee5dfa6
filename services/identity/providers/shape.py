"""What a platform's file is made of, and the one way for it to refuse."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from services.identity.models import ExternalIdentity, Notice
from shared import errors


class Refused(Exception):
    """`error` is what the caller gets. `reason` is one of few words of ours, for log and metrics.

    Never a word of the platform's or of the client's: their number is what metrics are bounded by,
    and they may hold a secret.
    """

    def __init__(self, error: errors.PlaymeshError, reason: str) -> None:
        super().__init__(reason)
        self.error = error
        self.reason = reason


class Platform(Protocol):
    """As IdentityProvider, but it raises Refused; `guarded.py` makes the one of the other."""

    @property
    def name(self) -> str: ...

    async def verify(self, credential: Mapping[str, str]) -> ExternalIdentity: ...


@runtime_checkable
class TakesGrants(Protocol):
    """A platform that wants something back; as GrantTaker, but it raises Refused."""

    async def revoke(self, grant: str) -> None: ...


@runtime_checkable
class SendsNotices(Protocol):
    """A platform that calls us; as NoticeReader, but it raises Refused."""

    async def read_notice(self, sent: str) -> Notice: ...


def part(credential: Mapping[str, str], name: str) -> str:
    """A part of a credential that must be there."""
    value = credential.get(name, "")
    if not value:
        raise Refused(errors.InvalidRequest(f"`{name}` is missing"), "incomplete")
    return value


def unavailable(reason: str, *, retry_after: int = 1) -> Refused:
    return Refused(errors.ProviderUnavailable(retry_after=retry_after), reason)
