"""Random ids, opaque secrets and their digests: the only home of `secrets`."""

import hashlib
import hmac
import random
import re
import secrets

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_ID = re.compile(r"[0-9a-f]{32}")


def new_id() -> str:
    """128 random bits in hex. Never a secret, safe in any URL, key and log."""
    return secrets.token_hex(16)


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def new_secret() -> str:
    """256 random bits in base64url: needs no escaping in a query, no slow hash in a store."""
    return secrets.token_urlsafe(32)


def new_key() -> bytes:
    """A 256-bit key for an HMAC."""
    return secrets.token_bytes(32)


def new_operation() -> bytes:
    """128 random bits that tell one write from every other, sent again as often as need be."""
    return secrets.token_bytes(16)


def is_secret(text: str) -> bool:
    """Whether `text` has the form of `new_secret()`; checked before any store is asked."""
    return _SECRET.fullmatch(text) is not None


def digest(secret: str) -> bytes:
    """What a store keeps of a secret. SHA-256 is enough for 256 random bits (ASVS 6.5.2)."""
    return hashlib.sha256(secret.encode()).digest()


def matches(secret: str, expected: bytes) -> bool:
    """Compare in constant time (ASVS 11.2.4)."""
    return hmac.compare_digest(digest(secret), expected)


def jitter(spread: float) -> float:
    """A factor around 1, within ± `spread`: keeps a fleet from doing the same thing at once."""
    return 1 + random.uniform(-spread, spread)  # noqa: S311 - spreads load, guards nothing
