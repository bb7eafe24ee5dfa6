"""Verification of access tokens, closed by default (RFC 9068 section 4).

Every refusal is the same InvalidToken: what was wrong is for our log, not for whoever is trying.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from shared import errors, strict_json
from shared.auth import jws
from shared.auth.claims import SERVICE_PREFIX, Claims
from shared.auth.jwk_set import VerificationKey
from shared.clock import Clock, from_millis, to_millis
from shared.strict_json import JsonValue

_log = structlog.get_logger()

LEEWAY = timedelta(seconds=60)
"""How far apart two clocks of the mesh may be; the only such constant."""

_MOST_VERDICTS = 10_000
_TYPES = ("at+jwt", "application/at+jwt")
_LONGEST_CLAIM = 256


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
    when the issuer's set has changed, the token is verified again.
    """

    def __init__(self, keys: jws.KeySource, expectations: Expectations, clock: Clock) -> None:
        self._keys = keys
        self._expected = expectations
        self._clock = clock
        self._verdicts: dict[bytes, tuple[Claims, VerificationKey]] = {}

    async def verify(self, token: str) -> Claims:
        """Raises InvalidToken; Unavailable where the issuer's keys have never been seen.

        A bug of ours, too, is Unavailable: it must not let anybody through, and is not the
        token's fault.
        """
        try:
            return await self._verify(token)
        except (_Refused, jws.InvalidJws) as reason:
            _log.info("token.refused", reason=str(reason))
            raise errors.InvalidToken from None
        except errors.Unavailable:
            raise
        except Exception as error:
            _log.exception("token.verification_failed")
            raise errors.Unavailable from error

    async def _verify(self, token: str) -> Claims:
        # Both are known without reading it, so that a huge one costs nothing.
        if len(token) > jws.LONGEST_TOKEN or not token.isascii():
            raise _Refused("not a compact JWS")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verdicts.get(digest)
        if known is not None:
            claims, key = known
            if self._is_time_for(claims) and await self._keys.key(key.key_id) is key:
                return claims
            self._verdicts.pop(digest, None)
        signed = await jws.verify(token, self._keys, self._expected.algorithms)
        if signed.type.lower() not in _TYPES:
            raise _Refused("typ")
        claims = self._claims(signed.payload)
        if len(self._verdicts) >= _MOST_VERDICTS:
            del self._verdicts[next(iter(self._verdicts))]  # the oldest
        self._verdicts[digest] = claims, signed.key
        return claims

    def _is_time_for(self, claims: Claims) -> bool:
        return claims.valid_from - LEEWAY <= self._clock.now() < claims.expires_at + LEEWAY

    def _claims(self, payload: bytes) -> Claims:
        values = _json_object(payload)
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


def _json_object(payload: bytes) -> Mapping[str, JsonValue]:
    try:
        value = strict_json.loads(payload)
    except ValueError:
        value = None
    if not isinstance(value, Mapping):
        raise _Refused("claims are no JSON object")
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
