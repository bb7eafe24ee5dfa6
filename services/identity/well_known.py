"""The two public documents: whom to trust, and with which keys (RFC 8414, RFC 7517)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from shared import errors
from shared.keys.ports import PublishedDocument


@dataclass(frozen=True, slots=True)
class WellKnown:
    """`published` answers the JWK Set as it is stored, None before the first key."""

    openid_configuration: bytes
    published: Callable[[], PublishedDocument | None]
    max_age: timedelta

    @property
    def max_age_seconds(self) -> int:
        return int(self.max_age.total_seconds())

    def jwk_set(self) -> PublishedDocument:
        """Raises Unavailable before the first key was published."""
        published = self.published()
        if published is None:
            raise errors.Unavailable("no key has been published yet")
        return published
