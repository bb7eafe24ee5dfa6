"""A strict reader of JWK Sets (RFC 7517): stricter than the library that uses the keys.

What is wrong with the document rejects the document: it is not ours, or somebody tampers with
it. What is wrong with one entry that we could not have published (another key type, a foreign
use) skips that entry: a set may carry keys for others.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard, cast

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.util import base64_to_int

from shared import strict_json
from shared.strict_json import JsonValue

LARGEST_DOCUMENT = 64 * 1024
_PRIVATE_MEMBERS = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))
_ONLY_ALGORITHM = {"RSA": "RS256", "EC": "ES256"}  # of those that are verified here
_SMALLEST_RSA_BITS = 2048
_SMALLEST_RSA_EXPONENT = 65537
# What a modulus of ROCA (CVE-2017-15361) may leave modulo small primes: powers of 65537. Any other
# modulus passes for one with a probability of 2 to the minus 27.
_ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
_ROCA = {p: frozenset(pow(65537, power, p) for power in range(p)) for p in _ROCA_PRIMES}


class InvalidJwkSet(Exception):
    """The document must not replace a good one."""


@dataclass(frozen=True, slots=True)
class Conventions:
    """Where issuers that keep to the RFCs differ: what one never sends need not be taken from it.

    `key_ids` is what their ids look like. Without `needs_algorithm` a key may leave it to its type
    (RFC 7517 section 4.4 makes `alg` optional). `header` are the members that a token's header may
    have; none that brings a key along, or changes how a token is read, may ever be among them.
    """

    key_ids: re.Pattern[str]
    needs_algorithm: bool
    header: frozenset[str]

    def is_key_id(self, text: object) -> TypeGuard[str]:
        return isinstance(text, str) and self.key_ids.fullmatch(text) is not None


OURS = Conventions(
    key_ids=re.compile(r"[A-Za-z0-9_.~=@-]{1,128}"),
    needs_algorithm=True,
    header=frozenset(("alg", "kid", "typ")),
)
THEIRS = Conventions(
    # Base64 with its own alphabet, as Cognito has it, too.
    key_ids=re.compile(r"[A-Za-z0-9_.~=@+/:-]{1,256}"),
    needs_algorithm=False,
    # Thumbprints, as Entra ID sends them, name a certificate and do not bring one.
    header=OURS.header | {"x5t", "x5t#S256"},
)


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key and the one algorithm that it may be used with (RFC 8725 section 3.1)."""

    key_id: str
    algorithm: str
    key: RSAKey | ECKey


def parse_jwk_set(
    document: bytes, conventions: Conventions = OURS
) -> Mapping[str, VerificationKey]:
    """Keys by their id; at least one. Raises InvalidJwkSet."""
    entries = _entries(document)
    key_ids = [key_id for entry in entries if isinstance(key_id := entry.get("kid"), str)]
    if len(set(key_ids)) != len(key_ids):
        raise InvalidJwkSet("two entries have the same key id")
    if any(entry.get("kty") == "oct" or _PRIVATE_MEMBERS & entry.keys() for entry in entries):
        raise InvalidJwkSet("an entry is secret or private")
    usable = (_usable(entry, conventions) for entry in entries)
    keys = {key.key_id: key for key in usable if key is not None}
    if not keys:
        raise InvalidJwkSet("no usable key")
    return keys


def _entries(document: bytes) -> list[Mapping[str, JsonValue]]:
    if len(document) > LARGEST_DOCUMENT:
        raise InvalidJwkSet("the document is too large")
    try:
        parsed = strict_json.loads(document)
    except ValueError as error:
        raise InvalidJwkSet(f"not JSON: {error}") from None
    entries = parsed.get("keys") if isinstance(parsed, Mapping) else None
    if not isinstance(entries, list):
        raise InvalidJwkSet("no list of keys")
    objects = [entry for entry in entries if isinstance(entry, Mapping)]
    if len(objects) != len(entries):
        raise InvalidJwkSet("an entry is no object")
    return objects


def _usable(entry: Mapping[str, JsonValue], conventions: Conventions) -> VerificationKey | None:
    key_id, use, operations = entry.get("kid"), entry.get("use", "sig"), entry.get("key_ops")
    if not conventions.is_key_id(key_id) or use != "sig":
        return None
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return None
    algorithm = entry.get("alg")
    if algorithm is None and not conventions.needs_algorithm:
        algorithm = _ONLY_ALGORITHM.get(str(entry.get("kty")))
    key = _import(entry, algorithm)
    if key is None:
        return None
    return VerificationKey(key_id, str(algorithm), key)


def _import(entry: Mapping[str, JsonValue], algorithm: JsonValue) -> RSAKey | ECKey | None:
    try:
        match entry.get("kty"), algorithm:
            case "RSA", "RS256":
                members = _strings(entry, "kty", "n", "e")
                # Asked first: the library would take a weak key, and complain on stderr.
                return RSAKey.import_key(members) if _is_strong(members) else None
            case "EC", "ES256" if entry.get("crv") == "P-256":
                return ECKey.import_key(_strings(entry, "kty", "crv", "x", "y"))
            case _:
                return None
    except (JoseError, ValueError, KeyError, TypeError):
        return None


def _strings(entry: Mapping[str, JsonValue], *names: str) -> dict[str, str | list[str]]:
    """Only the members that make the key, so that the library sees nothing else."""
    values = {name: entry[name] for name in names}
    if not all(isinstance(value, str) for value in values.values()):
        raise ValueError
    return cast(dict[str, str | list[str]], values)


def _is_strong(rsa: Mapping[str, str | list[str]]) -> bool:
    modulus, exponent = base64_to_int(str(rsa["n"])), base64_to_int(str(rsa["e"]))
    return (
        modulus.bit_length() >= _SMALLEST_RSA_BITS
        and exponent >= _SMALLEST_RSA_EXPONENT
        and any(modulus % prime not in powers for prime, powers in _ROCA.items())
    )
