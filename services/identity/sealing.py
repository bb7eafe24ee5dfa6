"""What leaves us and comes back, or lies in a store, and that nobody else may read or change."""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import timedelta

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.identity.refresh_tokens import RefreshKey
from shared import strict_json
from shared.clock import Clock, to_seconds
from shared.strict_json import JsonValue

Content = Mapping[str, JsonValue]


class Seals:
    """`key` is that of the refresh tokens; each purpose has a key of its own, derived from it.

    Both methods raise Unavailable as long as the key is not known.
    """

    def __init__(self, key: RefreshKey, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def seal(self, purpose: str, content: Content) -> str:
        """Printable ASCII without spaces, a third longer than `content` and 76 characters more."""
        text = strict_json.dumps(content).encode()
        return self._fernet(purpose).encrypt_at_time(text, to_seconds(self._clock.now())).decode()

    def open(self, purpose: str, sealed: str, *, within: timedelta | None = None) -> Content | None:
        """None for what was not sealed with this key for this purpose, or longer ago.

        Up to a second later than `within`, and a minute before it was sealed: clocks differ.
        """
        fernet = self._fernet(purpose)
        try:
            if within is None:
                text = fernet.decrypt(sealed)
            else:
                seconds = int(within.total_seconds())
                text = fernet.decrypt_at_time(sealed, seconds, to_seconds(self._clock.now()))
        except (InvalidToken, ValueError):
            return None
        content = strict_json.loads(text)
        return content if isinstance(content, Mapping) else None

    def _fernet(self, purpose: str) -> Fernet:
        derived = HKDF(SHA256(), length=32, salt=None, info=f"playmesh {purpose}".encode())
        return Fernet(urlsafe_b64encode(derived.derive(self._key())))
