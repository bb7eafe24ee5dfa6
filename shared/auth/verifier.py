"""Verification of access tokens, closed by default (RFC 9068 section 4).

Every refusal is the same InvalidToken: what was wrong is for our log, not for whoever is trying.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog
from prometheus_client import Counter

from shared import errors, strict_json
from shared.auth import jws
from shared.auth.claims import SERVICE_PREFIX, Claims
from shared.auth.jwk_set import VerificationKey
from shared.auth.revocations import Revocations, session_mark, subject_mark
from shared.clock import Clock, from_millis, to_millis
from shared.strict_json import JsonValue

_log = structlog.get_logger()
_REVOKED = Counter("playmesh_revoked_tokens", "Tokens refused because they were taken back.")

LEEWAY = timedelta(seconds=60)
"""How far apart two clocks of the mesh may be; the only such constant."""

_MOST_VERDICTS = 10_000
_TYPES = ("at+jwt", "application/at+jwt")
_LONGEST_CLAIM = 256
_BAN = re.compile(r"[a-z0-9_.-]{1,32}")
_MOST_BANS = 16


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


@dataclass(frozen=True, slots=True)
class _Verdict:
    """`marks` are what a list of revocations would name the token by."""

    claims: Claims
    key: VerificationKey
    marks: tuple[str, ...]


class TokenVerifier:
    """A token that was verified once costs a digest and a look-up, as long as its key stays.

    What is remembered is the claims under the token's digest, with the very key that verified it:
    when the issuer's set has changed, the token is verified again. Whether it has been taken back
    is asked each time. Without `revocations` a token holds until it expires.
    """

    def __init__(
        self,
        keys: jws.KeySource,
        expectations: Expectations,
        clock: Clock,
        revocations: Revocations | None = None,
    ) -> None:
        self._keys = keys
        self._expected = expectations
        self._clock = clock
        self._revocations = revocations
        self._verdicts: dict[bytes, _Verdict] = {}

    async def verify(self, token: str) -> Claims:
        """Raises InvalidToken; Unavailable where the issuer's keys have never been seen, or its
        revocations must be known and are not.

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
        verdict = await self._verdict(token)
        if self._revocations is not None and self._revocations.refuses(verdict.marks):
            _REVOKED.inc()
            raise _Refused("revoked")
        return verdict.claims

    async def _verdict(self, token: str) -> _Verdict:
        # Both are known without reading it, so that a huge one costs nothing.
        if len(token) > jws.LONGEST_TOKEN or not token.isascii():
            raise _Refused("not a compact JWS")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verdicts.get(digest)
        if known is not None:
            key = known.key
            if self._is_time_for(known.claims) and await self._keys.key(key.key_id) is key:
                return known
            self._verdicts.pop(digest, None)
        signed = await jws.verify(token, self._keys, self._expected.algorithms)
        if signed.type.lower() not in _TYPES:
            raise _Refused("typ")
        claims = self._claims(signed.payload)
        if len(self._verdicts) >= _MOST_VERDICTS:
            del self._verdicts[next(iter(self._verdicts))]  # the oldest
        verdict = self._verdicts[digest] = _Verdict(claims, signed.key, _marks(claims))
        return verdict

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
            bans=_bans(values),
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


def _marks(claims: Claims) -> tuple[str, ...]:
    subject = subject_mark(claims.subject)
    return (subject,) if claims.session_id is None else (session_mark(claims.session_id), subject)


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


def _bans(values: Mapping[str, JsonValue]) -> frozenset[str]:
    """A claim that is wrong is no claim of nothing: the ban would be lost."""
    if "bans" not in values:
        return frozenset()
    value = values["bans"]
    if not isinstance(value, list) or not 1 <= len(value) <= _MOST_BANS:
        raise _Refused("bans")
    bans = frozenset(ban for ban in value if isinstance(ban, str) and _BAN.fullmatch(ban))
    if len(bans) != len(value):
        raise _Refused("bans")
    return bans
