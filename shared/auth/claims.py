"""What a verified access token says (RFC 9068 section 2.2), in our words."""

from dataclasses import dataclass
from datetime import datetime

SERVICE_PREFIX = "service:"


@dataclass(frozen=True, slots=True)
class Claims:
    """Only a verifier makes these: whoever holds one may trust it.

    `subject` is a player's user id, or `service:<name>`; the two can never be the same.
    `valid_from` is the later of `iat` and `nbf`. `bans`: the parts of the game that the player is
    kept out of, in the game's own words; who is kept out of all of it has no token.
    """

    issuer: str
    subject: str
    audience: str
    token_id: str
    client_id: str
    scopes: frozenset[str]
    valid_from: datetime
    expires_at: datetime
    session_id: str | None
    bans: frozenset[str] = frozenset()

    @property
    def is_service(self) -> bool:
        return self.subject.startswith(SERVICE_PREFIX)


def service_audience(service: str) -> str:
    """The audience of a token that is meant for one service of the mesh."""
    return f"playmesh:{service}"
