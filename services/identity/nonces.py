"""Nonces that we give out: whoever sends one back in a platform's token has asked for that lately.

A nonce is `n1.<random>.<until>.<tag>`; the tag authenticates the rest with a key that only identity
has. So nothing is kept of one until it is used, and every process knows those of the others.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta

from services.identity.refresh_tokens import RefreshKey
from shared.clock import Clock, from_millis, to_seconds
from shared.ids import new_id

NONCE_LIFETIME = timedelta(minutes=10)
_NONCE = re.compile(r"n1\.[0-9a-f]{32}\.([1-9][0-9]{0,11})\.[A-Za-z0-9_-]{43}")


class Nonces:
    """`key` is that of the refresh tokens: no tag of theirs is one of these.

    Both methods raise Unavailable as long as it is not known.
    """

    def __init__(self, key: RefreshKey, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def issue(self) -> str:
        """About 90 characters of `A-Za-z0-9._-`."""
        until = to_seconds(self._clock.now() + NONCE_LIFETIME)
        content = f"n1.{new_id()}.{until}"
        return f"{content}.{self._tag(content)}"

    def expires_at(self, nonce: str) -> datetime | None:
        """From then on it holds no more. None for what was not issued with this key."""
        match = _NONCE.fullmatch(nonce)
        if match is None:
            return None
        content, _, tag = nonce.rpartition(".")
        if not hmac.compare_digest(tag, self._tag(content)):
            return None
        return from_millis(int(match[1]) * 1000)

    def _tag(self, content: str) -> str:
        tag = hmac.digest(self._key(), content.encode(), hashlib.sha256)
        return urlsafe_b64encode(tag).rstrip(b"=").decode()
