"""What Apple tells us of its players: a JWS that it posts, signed as its ID tokens are.

An ID token of a player's must not pass for one, nor one for an ID token: only these have `events`.
"""

from collections.abc import Mapping
from datetime import timedelta

from services.identity.models import Notice, NoticeKind
from services.identity.providers.oidc import OidcSettings
from services.identity.providers.shape import Refused
from shared import errors
from shared.auth import jws
from shared.auth.jwk_set import THEIRS
from shared.auth.jwt_claims import (
    LEEWAY,
    ClaimSet,
    InvalidClaim,
    read_audiences,
    read_claims,
    read_date,
)
from shared.clock import Clock, from_millis, to_millis
from shared.strict_json import JsonValue

_MAX_AGE = timedelta(hours=24).total_seconds()
"""So long what was done is remembered."""
_LEEWAY = LEEWAY.total_seconds()
_LONGEST = 255
# Apple's pages say `account-deleted`; what is seen on the wire, and was said before, has no `d`.
_KINDS: Mapping[JsonValue, NoticeKind] = {
    "consent-revoked": NoticeKind.REVOKED,
    "account-delete": NoticeKind.DELETED,
    "account-deleted": NoticeKind.DELETED,
}


class AppleNotices:
    def __init__(self, settings: OidcSettings, keys: jws.KeySource, clock: Clock) -> None:
        self._settings = settings
        self._keys = keys
        self._clock = clock

    async def read(self, sent: str) -> Notice:
        """Raises Refused, and Unavailable where Apple's keys are not known."""
        settings = self._settings
        try:
            signed = await jws.verify(sent, self._keys, settings.algorithms, THEIRS)
            claims = read_claims(signed.payload)
            self._check(claims)
            return self._notice(claims)
        except (InvalidClaim, jws.InvalidJws) as invalid:
            reason = str(invalid)
        raise _invalid(reason)

    def _check(self, claims: ClaimSet) -> None:
        if claims.get("iss") not in self._settings.issuers:
            raise _invalid("iss")
        audiences = read_audiences(claims)
        if not audiences or not self._settings.audiences.issuperset(audiences):
            raise _invalid("aud")
        now = to_millis(self._clock.now()) / 1000
        issued, expires = read_date(claims, "iat"), read_date(claims, "exp")
        if issued > now + _LEEWAY:
            raise _invalid("not_yet_valid")
        if now >= min(expires, issued + _MAX_AGE) + _LEEWAY:
            raise _invalid("expired")

    def _notice(self, claims: ClaimSet) -> Notice:
        events = claims.get("events")
        event = read_claims(events.encode()) if isinstance(events, str) else events
        if not isinstance(event, Mapping):
            raise _invalid("events")
        subject, notice_id = event.get("sub"), claims.get("jti")
        kind = _KINDS.get(_word(event.get("type")), NoticeKind.OTHER)
        if kind is NoticeKind.OTHER:  # about a mail address, or of a kind that is yet to come
            subject = subject if _is_name(subject) else "-"
        if not _is_name(subject) or not _is_name(notice_id):
            raise _invalid("events")
        external_id = f"{self._settings.scope}:{subject}"
        issued_at = from_millis(int(read_date(claims, "iat") * 1000))
        return Notice(
            kind, self._settings.provider, external_id, issued_at, notice_id=f"{notice_id}"
        )


def _invalid(reason: str) -> Refused:
    return Refused(errors.InvalidCredential(), reason)


def _word(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _is_name(value: JsonValue) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()
