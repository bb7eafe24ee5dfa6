"""Verification of access tokens, closed by default (RFC 9068 section 4, RFC 8725).

The signature is the library's work; everything that RFC 8725 asks of the application is here,
before and after it. Every refusal is the same InvalidToken: what was wrong is for our log, not
for whoever is trying.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode

from shared import errors, strict_json
from shared.auth.claims import SERVICE_PREFIX, Claims
from shared.auth.jwk_set import VerificationKey
from shared.clock import Clock, from_millis, to_millis
from shared.strict_json import JsonValue

_log = structlog.get_logger()

LEEWAY = timedelta(seconds=60)
"""How far apart two clocks of the mesh may be; the only such constant."""

_LONGEST_TOKEN = 8192
_MOST_VERDICTS = 10_000
_COMPACT = re.compile(r"[A-Za-z0-9_-]{1,1024}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TYPES = ("at+jwt", "application/at+jwt")
# What our issuer never sends must not be there: `crit`, `b64`, `zip`, `jwk`, `jku`, `x5u`, `x5c`.
_HEADER = frozenset(("alg", "kid", "typ"))
_LONGEST_CLAIM = 256


class KeySource(Protocol):
    async def key(self, key_id: str) -> VerificationKey | None:
        """None: the issuer has no such key. Raises Unavailable where that cannot be known."""
        ...


@dataclass(frozen=True, slots=True)
class Expectations:
    """Who may have issued a token, for whom, and for how long at most.

    `player_audience` and `service_audience` are two: a player's token never passes where a
    service's is asked for, nor the other way round. None accepts no token of that kind.
    """

    issuer: str
    player_audience: str | None
    service_audience: str | None
    longest_lifetime: timedelta
    algorithms: frozenset[str] = frozenset(("RS256", "ES256"))


class _Refused(Exception):
    pass


class TokenVerifier:
    """A token that was verified once costs a digest and a look-up, as long as its key stays.

    What is remembered is the claims under the token's digest, with the very key that verified it:
    when the issuer's set is fetched anew, or has lost that key, the token is verified again.
    """

    def __init__(self, keys: KeySource, expectations: Expectations, clock: Clock) -> None:
        self._keys = keys
        self._expected = expectations
        self._clock = clock
        self._verdicts: dict[bytes, tuple[Claims, VerificationKey]] = {}

    async def verify(self, token: str) -> Claims:
        """Raises InvalidToken; Unavailable where the issuer's keys have never been seen."""
        try:
            return await self._verify(token)
        except _Refused as reason:
            _log.info("token.refused", reason=str(reason))
            raise errors.InvalidToken from None

    async def _verify(self, token: str) -> Claims:
        if len(token) > _LONGEST_TOKEN or not _COMPACT.fullmatch(token):
            raise _Refused("not a compact JWS")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verdicts.get(digest)
        if known is not None:
            claims, key = known
            if self._is_time_for(claims) and await self._keys.key(key.key_id) is key:
                return claims
            self._verdicts.pop(digest, None)
        payload, key = await self._payload(token)
        claims = self._claims(payload)
        if len(self._verdicts) >= _MOST_VERDICTS:
            del self._verdicts[next(iter(self._verdicts))]  # the oldest
        self._verdicts[digest] = claims, key
        return claims

    def _is_time_for(self, claims: Claims) -> bool:
        return claims.valid_from - LEEWAY <= self._clock.now() < claims.expires_at + LEEWAY

    async def _payload(self, token: str) -> tuple[bytes, VerificationKey]:
        header = _json_object(token.partition(".")[0], "header")
        if header.keys() != _HEADER:
            raise _Refused("header members")
        typ, algorithm, key_id = header["typ"], header["alg"], header["kid"]
        if not (isinstance(typ, str) and typ.lower() in _TYPES):
            raise _Refused("typ")
        if not isinstance(algorithm, str) or algorithm not in self._expected.algorithms:
            raise _Refused("alg")
        key = await self._keys.key(key_id) if isinstance(key_id, str) else None
        if key is None or key.algorithm != algorithm:
            raise _Refused("kid")
        try:
            payload = jws.deserialize_compact(token, key.key, algorithms=[algorithm]).payload
        except (JoseError, ValueError):
            raise _Refused("signature") from None
        return payload, key

    def _claims(self, payload: bytes) -> Claims:
        values = _parse_object(payload, "claims")
        subject = _text(values, "sub")
        is_service = subject.startswith(SERVICE_PREFIX)
        audience = self._expected.service_audience if is_service else self._expected.player_audience
        if _text(values, "iss") != self._expected.issuer:
            raise _Refused("iss")
        if audience is None or audience not in _audiences(values):
            raise _Refused("aud")
        valid_from, expires = self._lifetime(values)
        return Claims(
            issuer=self._expected.issuer,
            subject=subject,
            audience=audience,
            token_id=_text(values, "jti"),
            client_id=_text(values, "client_id"),
            scopes=frozenset(_text(values, "scope", longest=1024).split(" ")),
            valid_from=from_millis(valid_from * 1000),
            expires_at=from_millis(expires * 1000),
            session_id=None if is_service else _text(values, "sid"),
        )

    def _lifetime(self, values: Mapping[str, JsonValue]) -> tuple[int, int]:
        now = to_millis(self._clock.now()) / 1000
        leeway = LEEWAY.total_seconds()
        issued, expires = _moment(values, "iat"), _moment(values, "exp")
        valid_from = max(issued, _moment(values, "nbf"))
        if now >= expires + leeway:
            raise _Refused("expired")
        if valid_from > now + leeway:
            raise _Refused("not yet valid")
        if not 0 < expires - issued <= self._expected.longest_lifetime.total_seconds():
            raise _Refused("lifetime")
        return valid_from, expires


def _json_object(segment: str, what: str) -> Mapping[str, JsonValue]:
    try:
        raw = urlsafe_b64decode(segment.encode())
    except ValueError:
        raise _Refused(f"{what} is not base64url") from None
    return _parse_object(raw, what)


def _parse_object(raw: bytes, what: str) -> Mapping[str, JsonValue]:
    try:
        value = strict_json.loads(raw)
    except ValueError:
        value = None
    if not isinstance(value, Mapping):
        raise _Refused(f"{what} is no JSON object")
    return value


def _text(values: Mapping[str, JsonValue], name: str, *, longest: int = _LONGEST_CLAIM) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise _Refused(name)
    return value


def _moment(values: Mapping[str, JsonValue], name: str) -> int:
    value = values.get(name)
    if type(value) is not int or not 0 <= value < 2**40:  # a bool is an int to isinstance
        raise _Refused(name)
    return value


def _audiences(values: Mapping[str, JsonValue]) -> list[JsonValue]:
    value = values.get("aud")
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return value
    raise _Refused("aud")
