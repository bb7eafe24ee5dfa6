"""What a JWT claims, read strictly (RFC 7519 section 4.1). Who may say it is the caller's business.

Every function raises InvalidClaim.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from shared import strict_json
from shared.clock import to_millis
from shared.strict_json import JsonValue

LEEWAY = timedelta(seconds=60)
"""How far apart two clocks of the mesh may be; the only such constant."""

_END_OF_TIME = 2**40

ClaimSet = Mapping[str, JsonValue]


class InvalidClaim(Exception):
    """Says which claim was wrong, or how, and nothing that the token says: it may be logged."""


def read_claims(payload: bytes) -> ClaimSet:
    try:
        value = strict_json.loads(payload)
    except ValueError:
        value = None
    if not isinstance(value, Mapping):
        raise InvalidClaim("claims")
    return value


def read_text(claims: ClaimSet, name: str, *, longest: int) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise InvalidClaim(name)
    return value


def read_audiences(claims: ClaimSet, name: str = "aud") -> list[str]:
    """May be empty: an audience that is no text is refused, since two readers may differ on it."""
    value = claims.get(name)
    values = value if isinstance(value, list) else [value]
    texts = [one for one in values if isinstance(one, str)]
    if len(texts) != len(values):
        raise InvalidClaim(name)
    return texts


def read_date(claims: ClaimSet, name: str) -> float:
    """A NumericDate, which need not be whole (RFC 7519 section 2)."""
    value = claims.get(name)
    # A bool is an int to isinstance.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidClaim(name)
    if not 0 <= value < _END_OF_TIME:
        raise InvalidClaim(name)
    return value


def read_whole_date(claims: ClaimSet, name: str) -> int:
    value = read_date(claims, name)
    if not isinstance(value, int):
        raise InvalidClaim(name)
    return value


def read_lifetime(claims: ClaimSet, now: datetime, longest: timedelta) -> tuple[int, int]:
    """From when, the later of `iat` and `nbf`, and until when. All must be there and be whole.

    Raises also where that is not `now`, or it is for longer than the `longest`.
    """
    moment, leeway = to_millis(now) / 1000, LEEWAY.total_seconds()
    issued, expires = read_whole_date(claims, "iat"), read_whole_date(claims, "exp")
    valid_from = max(issued, read_whole_date(claims, "nbf"))
    if moment >= expires + leeway:
        raise InvalidClaim("expired")
    if valid_from > moment + leeway:
        raise InvalidClaim("not yet valid")
    if not 0 < expires - issued <= longest.total_seconds():
        raise InvalidClaim("lifetime")
    return valid_from, expires
