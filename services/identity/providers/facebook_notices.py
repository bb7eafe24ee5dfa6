"""Facebook's signed requests, with which it tells that a player has left, or wants data deleted."""

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import timedelta

from services.identity.models import Notice, NoticeKind
from services.identity.providers.shape import Refused
from shared import errors, strict_json
from shared.clock import Clock, to_seconds
from shared.strict_json import JsonValue

_SIGNED = re.compile(r"([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{1,4096})")
_ID = re.compile(r"[1-9][0-9]{0,31}")
_MAX_AGE = int(timedelta(hours=24).total_seconds())
_LEEWAY = 60
_OF_A_LOGIN = ("code", "oauth_token")


def read_signed_request(sent: str, *, app_id: str, app_secret: str, clock: Clock) -> Notice:
    """Whom it is about; what of, the address says where it was sent. Raises Refused."""
    match = _SIGNED.fullmatch(sent)
    if match is None:
        raise _invalid("not_signed")
    # The signature is of the payload as it was sent, and compared as it must have been.
    tag = hmac.digest(app_secret.encode(), match[2].encode(), hashlib.sha256)
    expected = urlsafe_b64encode(tag).rstrip(b"=")
    if not hmac.compare_digest(expected, match[1].encode()):
        raise _invalid("signature")
    payload = _object(match[2])
    if payload.get("algorithm") != "HMAC-SHA256":
        raise _invalid("algorithm")
    # A page's login gets a request that is signed with the same secret, to keep in a cookie.
    if any(name in payload for name in _OF_A_LOGIN):
        raise _invalid("of_a_login")
    issued, now = payload.get("issued_at"), to_seconds(clock.now())
    if not isinstance(issued, int) or isinstance(issued, bool):
        raise _invalid("issued_at")
    if not now - _MAX_AGE <= issued <= now + _LEEWAY:
        raise _invalid("too_old" if issued < now else "not_yet_valid")
    user_id = payload.get("user_id")
    if not isinstance(user_id, str) or not _ID.fullmatch(user_id):
        raise _invalid("user_id")
    return Notice(NoticeKind.OTHER, "facebook", f"{app_id}:{user_id}")


def _object(encoded: str) -> Mapping[str, JsonValue]:
    try:
        value = strict_json.loads(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except ValueError:
        value = None
    if not isinstance(value, Mapping):
        raise _invalid("payload")
    return value


def _invalid(reason: str) -> Refused:
    return Refused(errors.InvalidCredential(), reason)
