"""Refresh tokens: opaque to clients, derived rather than stored.

A token is `<version>.<user id>.<session id>.<counter>.<tag>`; the tag authenticates the rest
with a key that only identity has. So nobody can guess a token, a stolen table holds none, and
the current token of a session can be made again from its record.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass

from services.identity.models import SessionKey

_VERSION = "r1"
_TOKEN = re.compile(r"r1\.([0-9a-f]{32})\.([0-9a-f]{32})\.([1-9][0-9]{0,8})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class RefreshToken:
    session: SessionKey
    counter: int


RefreshKey = Callable[[], bytes]
"""Raises Unavailable as long as the key is not known."""


class RefreshTokens:
    """`key` is 256 random bits; whoever has it can make the tokens of every session."""

    def __init__(self, key: RefreshKey) -> None:
        self._key = key

    def render(self, token: RefreshToken) -> str:
        session = token.session
        content = f"{_VERSION}.{session.user_id}.{session.session_id}.{token.counter}"
        return f"{content}.{self._tag(content)}"

    def parse(self, text: str) -> RefreshToken | None:
        """None for everything that was not made by `render` with this key."""
        match = _TOKEN.fullmatch(text)
        if match is None:
            return None
        content, _, tag = text.rpartition(".")
        if not hmac.compare_digest(tag, self._tag(content)):
            return None
        return RefreshToken(SessionKey(match[1], match[2]), int(match[3]))

    def _tag(self, content: str) -> str:
        tag = hmac.digest(self._key(), content.encode(), hashlib.sha256)
        return urlsafe_b64encode(tag).rstrip(b"=").decode()
