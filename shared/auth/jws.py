"""Compact JWS, read strictly (RFC 7515, RFC 8725): from a token to the payload that was signed.

What the payload says is the caller's business. The header chooses one of the keys that the caller
has, and nothing else: a member that brings a key along, or changes how a token is read, is
refused, whether we know it or not.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode

from shared import strict_json
from shared.auth.jwk_set import OURS, Conventions, VerificationKey
from shared.strict_json import JsonValue

LONGEST_TOKEN = 8192
# Base64url without padding; the library refuses a last character whose unused bits are set.
_COMPACT = re.compile(r"[A-Za-z0-9_-]{1,512}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_REQUIRED = frozenset(("alg", "kid"))


class InvalidJws(Exception):
    """Says which part was wrong, and nothing that the token says: it may be logged."""


class KeySource(Protocol):
    async def key(self, key_id: str) -> VerificationKey | None:
        """None: the issuer has no such key. Raises Unavailable where that cannot be known."""
        ...


@dataclass(frozen=True, slots=True)
class Signed:
    """What `key` has signed; `type` is the header's `typ`, empty where there is none."""

    type: str
    payload: bytes
    key: VerificationKey


async def verify(
    token: str, keys: KeySource, algorithms: frozenset[str], conventions: Conventions = OURS
) -> Signed:
    """Raises InvalidJws, and what `keys` raises."""
    if len(token) > LONGEST_TOKEN or not _COMPACT.fullmatch(token):
        raise InvalidJws("not a compact JWS")
    header = _header(token.partition(".")[0], conventions.header)
    algorithm, key_id, typ = header["alg"], header["kid"], header.get("typ", "")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise InvalidJws("alg")
    if not isinstance(typ, str):
        raise InvalidJws("typ")
    key = await keys.key(key_id) if conventions.is_key_id(key_id) else None
    if key is None or key.algorithm != algorithm:
        raise InvalidJws("kid")
    try:
        payload = jws.deserialize_compact(token, key.key, algorithms=[algorithm]).payload
    except (JoseError, ValueError):
        raise InvalidJws("signature") from None
    return Signed(typ, payload, key)


def _header(segment: str, allowed: frozenset[str]) -> Mapping[str, JsonValue]:
    try:
        header = strict_json.loads(urlsafe_b64decode(segment.encode()))
    except ValueError:
        header = None
    if not isinstance(header, Mapping):
        raise InvalidJws("header is no JSON object")
    if not _REQUIRED <= header.keys() <= allowed:
        raise InvalidJws("header members")
    return header
