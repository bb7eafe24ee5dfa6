"""Verification of access tokens, closed by default (RFC 9068 section 4).

Every refusal is the same InvalidToken: what was wrong is for our log, not for whoever is trying.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta

import structlog
from prometheus_client import Counter

from shared import errors
from shared.auth import jws
from shared.auth.claims import SERVICE_PREFIX, Claims
from shared.auth.jwk_set import VerificationKey
from shared.auth.jwt_claims import (
    LEEWAY,
    ClaimSet,
    InvalidClaim,
    read_audiences,
    read_claims,
    read_lifetime,
    read_text,
)
from shared.auth.revocations import Revocations, session_mark, subject_mark
from shared.clock import Clock, from_millis

_log = structlog.get_logger()
_REVOKED = Counter("playmesh_revoked_tokens", "Tokens refused because they were taken back.")

_MOST_VERDICTS = 10_000
_TYPES = ("at+jwt", "application/at+jwt")
_LONGEST_CLAIM = 256
_LONGEST_SCOPE = 1024
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
        except (InvalidClaim, jws.InvalidJws) as reason:
            _log.info("token.refused", reason=str(reason))
            raise errors.InvalidToken from None
        except errors.Unavailable:
            raise
        except Exception as error:
            _log.exception("token.verification_failed")
            raise errors.Unavailable from error

    async def verify_player(self, token: str) -> str:
        """The player whose access token it is. Raises as `verify`: also for a service's token."""
        claims = await self.verify(token)
        if claims.is_service:
            raise errors.InvalidToken
        return claims.subject

    async def _verify(self, token: str) -> Claims:
        verdict = await self._verdict(token)
        if self._revocations is not None and self._revocations.refuses(verdict.marks):
            _REVOKED.inc()
            raise InvalidClaim("revoked")
        return verdict.claims

    async def _verdict(self, token: str) -> _Verdict:
        # Both are known without reading it, so that a huge one costs nothing.
        if len(token) > jws.LONGEST_TOKEN or not token.isascii():
            raise jws.InvalidJws("not a compact JWS")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verdicts.get(digest)
        if known is not None:
            key = known.key
            if self._is_time_for(known.claims) and await self._keys.key(key.key_id) is key:
                return known
            self._verdicts.pop(digest, None)
        signed = await jws.verify(token, self._keys, self._expected.algorithms)
        if signed.type.lower() not in _TYPES:
            raise jws.InvalidJws("typ")
        claims = self._claims(signed.payload)
        if len(self._verdicts) >= _MOST_VERDICTS:
            del self._verdicts[next(iter(self._verdicts))]  # the oldest
        verdict = self._verdicts[digest] = _Verdict(claims, signed.key, _marks(claims))
        return verdict

    def _is_time_for(self, claims: Claims) -> bool:
        return claims.valid_from - LEEWAY <= self._clock.now() < claims.expires_at + LEEWAY

    def _claims(self, payload: bytes) -> Claims:
        values = read_claims(payload)
        subject = read_text(values, "sub", longest=_LONGEST_CLAIM)
        is_service = subject.startswith(SERVICE_PREFIX)
        audience = self._expected.service_audience if is_service else self._expected.player_audience
        if read_text(values, "iss", longest=_LONGEST_CLAIM) != self._expected.issuer:
            raise InvalidClaim("iss")
        if audience is None or audience not in read_audiences(values):
            raise InvalidClaim("aud")
        longest = self._expected.longest_lifetime
        valid_from, expires = read_lifetime(values, self._clock.now(), longest)
        return Claims(
            issuer=self._expected.issuer,
            subject=subject,
            audience=audience,
            token_id=read_text(values, "jti", longest=_LONGEST_CLAIM),
            client_id=read_text(values, "client_id", longest=_LONGEST_CLAIM),
            scopes=frozenset(read_text(values, "scope", longest=_LONGEST_SCOPE).split(" ")),
            valid_from=from_millis(valid_from * 1000),
            expires_at=from_millis(expires * 1000),
            session_id=None if is_service else read_text(values, "sid", longest=_LONGEST_CLAIM),
            bans=_bans(values),
        )


def _marks(claims: Claims) -> tuple[str, ...]:
    subject = subject_mark(claims.subject)
    return (subject,) if claims.session_id is None else (session_mark(claims.session_id), subject)


def _bans(values: ClaimSet) -> frozenset[str]:
    """A claim that is wrong is no claim of nothing: the ban would be lost."""
    if "bans" not in values:
        return frozenset()
    value = values["bans"]
    if not isinstance(value, list) or not 1 <= len(value) <= _MOST_BANS:
        raise InvalidClaim("bans")
    bans = frozenset(ban for ban in value if isinstance(ban, str) and _BAN.fullmatch(ban))
    if len(bans) != len(value):
        raise InvalidClaim("bans")
    return bans
