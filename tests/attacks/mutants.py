"""Tokens that are good but for a few changes, each as likely to be missed as the last one."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import strategies as st
from joserfc.jwk import ECKey, RSAKey

from tests.support.issuer import AUDIENCE, ISSUER, Issuer
from tests.support.tokens import BASE64URL, MOMENTS, TEXTS, encode

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256

Members = list[tuple[str, str]]
"""Names and values of a JSON object, the values as they are written."""


@dataclass(frozen=True)
class Keys:
    """`rsa` and `ec` are the issuer's, `stranger` is nobody's."""

    rsa: RSAKey
    ec: ECKey
    stranger: RSAKey


@dataclass(frozen=True)
class Mutant:
    """A good token that is `age` seconds old, edited, sealed, and then spelled anew."""

    algorithm: str
    age: int
    header: list[tuple[str, str, str]]
    claims: list[tuple[str, str, str]]
    seal: str
    spell: list[tuple[str, int, str]]


# Members


def edited(members: Members, edits: list[tuple[str, str, str]]) -> Members:
    for edit, name, value in edits:
        members = EDITS[edit](members, name, value)
    return members


def _others(members: Members, name: str) -> Members:
    return [member for member in members if member[0] != name]


def _values(members: Members, name: str) -> Members:
    return [member for member in members if member[0] == name]


EDITS: dict[str, Callable[[Members, str, str], Members]] = {
    "drop": lambda members, name, _value: _others(members, name),
    "set": lambda members, name, value: [*_others(members, name), (name, value)],
    "add before": lambda members, name, value: [(name, value), *members],
    "add after": lambda members, name, value: [*members, (name, value)],
    "repeat": lambda members, name, _value: [*members, *_values(members, name)],
    "reorder": lambda members, name, _value: [*_values(members, name), *_others(members, name)],
    "other case": lambda members, name, _value: [
        (other.swapcase() if other == name else other, text) for other, text in members
    ],
    "escape": lambda members, name, _value: [
        ("".join(f"\\u{ord(letter):04x}" for letter in other) if other == name else other, text)
        for other, text in members
    ],
    "into a list": lambda members, name, _value: [
        (other, f"[{text}]" if other == name else text) for other, text in members
    ],
    "into text": lambda members, name, _value: [
        (other, json.dumps(text) if other == name else text) for other, text in members
    ],
    "spaces": lambda members, name, _value: [
        (other, f" \t\n{text}\r " if other == name else text) for other, text in members
    ],
}


def written(members: Members) -> str:
    return encode(("{" + ",".join(f'"{name}":{value}' for name, value in members) + "}").encode())


# Signatures


def _rsa(key: RSAKey, signed: bytes) -> bytes:
    private = key.private_key
    assert isinstance(private, rsa.RSAPrivateKey)
    return private.sign(signed, padding.PKCS1v15(), hashes.SHA256())


def _pss(key: RSAKey, signed: bytes) -> bytes:
    private = key.private_key
    assert isinstance(private, rsa.RSAPrivateKey)
    return private.sign(signed, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


def _der(key: ECKey, signed: bytes) -> bytes:
    private = key.private_key
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return private.sign(signed, ec.ECDSA(hashes.SHA256()))


def _raw(r: int, s: int, length: int = 32) -> bytes:
    return r.to_bytes(length, "big") + s.to_bytes(length, "big")


def _mac(keys: Keys, signed: bytes) -> bytes:
    public = keys.rsa.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hmac.digest(public, signed, hashlib.sha256)


Seal = Callable[[Keys, bytes], bytes]


def _ec(change: Callable[[int, int], bytes]) -> Seal:
    return lambda keys, signed: change(*decode_dss_signature(_der(keys.ec, signed)))


SEALS: dict[str, Seal] = {
    "RS256": lambda keys, signed: _rsa(keys.rsa, signed),
    "ES256": _ec(_raw),
    "stranger": lambda keys, signed: _rsa(keys.stranger, signed),
    "PS256": lambda keys, signed: _pss(keys.rsa, signed),
    "HS256": _mac,
    "nothing": lambda _keys, _signed: b"",
    "zeros": lambda _keys, _signed: bytes(64),
    "DER": lambda keys, signed: _der(keys.ec, signed),
    "r is 0": _ec(lambda _r, s: _raw(0, s)),
    "s is 0": _ec(lambda r, _s: _raw(r, 0)),
    "r is the order": _ec(lambda _r, s: _raw(ORDER, s)),
    "s plus the order": _ec(lambda r, s: _raw(r, (s + ORDER) % 2**256)),
    "negative s": _ec(lambda r, s: _raw(r, ORDER - s)),  # a good signature, as all see it
    "longer halves": _ec(lambda r, s: _raw(r, s, 33)),
    "halves swapped": _ec(lambda r, s: _raw(s, r)),
    "zero before": lambda keys, signed: b"\0" + _rsa(keys.rsa, signed),
    "zero after": lambda keys, signed: _rsa(keys.rsa, signed) + b"\0",
    "first byte missing": lambda keys, signed: _rsa(keys.rsa, signed)[1:],
}


# Spelling


def _decoded(segment: str) -> bytes:
    try:
        return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        return b""


def _of_segment(change: Callable[[str, int], str]) -> Callable[[str, int, str], str]:
    def apply(token: str, at: int, _letter: str) -> str:
        segments = token.split(".")
        chosen = at % len(segments)
        segments[chosen] = change(segments[chosen], at // len(segments))
        return ".".join(segments)

    return apply


def _with_bit_flipped(segment: str, at: int) -> str:
    raw = bytearray(_decoded(segment))
    if raw:
        raw[at // 8 % len(raw)] ^= 1 << at % 8
    return encode(bytes(raw))


def _with_trailing_bits(segment: str, at: int) -> str:
    if not segment or segment[-1] not in BASE64URL:
        return segment
    return segment[:-1] + BASE64URL[BASE64URL.index(segment[-1]) ^ (1 + at % 15)]


def _swapped(token: str, at: int, _letter: str) -> str:
    segments = token.split(".")
    one, other = at % len(segments), at // 8 % len(segments)
    segments[one], segments[other] = segments[other], segments[one]
    return ".".join(segments)


SPELLINGS: dict[str, Callable[[str, int, str], str]] = {
    "bit": _of_segment(_with_bit_flipped),
    "replace": lambda token, at, letter: (
        token[: at % (len(token) + 1)] + letter + token[at % (len(token) + 1) + 1 :]
    ),
    "insert": lambda token, at, letter: (
        token[: at % (len(token) + 1)] + letter + token[at % (len(token) + 1) :]
    ),
    "delete": lambda token, at, _letter: (
        token[: at % (len(token) + 1)] + token[at % (len(token) + 1) + 1 :]
    ),
    "truncate": lambda token, at, _letter: token[: at % (len(token) + 1)],
    "before": lambda token, _at, letter: letter + token,
    "after": lambda token, _at, letter: token + letter,
    "pad": _of_segment(lambda segment, _at: segment + "=" * (-len(segment) % 4)),
    "pad too much": _of_segment(lambda segment, at: segment + "=" * (at % 4 + 1)),
    "other alphabet": lambda token, _at, _letter: token.replace("-", "+").replace("_", "/"),
    "trailing bits": _of_segment(_with_trailing_bits),
    "break": _of_segment(lambda segment, at: f"{segment[: at % 80]}\n{segment[at % 80 :]}"),
    "empty": _of_segment(lambda _segment, _at: ""),
    "swap": _swapped,
    "repeat": lambda token, _at, _letter: f"{token}.{token.rpartition('.')[2]}",
}


# All of it


def mutants(now: int) -> st.SearchStrategy[Mutant]:
    """Times are an hour off or not at all, so that all verifiers' clocks agree."""
    texts = ["", "none", "HS256", "RS256", "ES256", "PS256", "key-1", "key-ec", "KEY-1", "at+jwt"]
    texts += ["AT+JWT", "application/at+jwt", "JWT", AUDIENCE, ISSUER, f"{ISSUER}/", "service:a"]
    times = [now - 3600, now, now + 900, now + 3600, now + 10**9, now + 0.5]
    raw = ["null", "true", "false", "0", "-1", "1e9", "1e400", "NaN", "-Infinity", "9" * 25]
    raw += [f'"{now}"', '"\\ud800"', '"\\u006bey-1"', '"a\\u0000"', "[]", "{}", '["b64"]']
    raw += [f'["{AUDIENCE}"]', f'["x","{AUDIENCE}"]', f'["{AUDIENCE}",7]', f'[["{AUDIENCE}"]]']
    values = st.sampled_from([*map(json.dumps, texts), *raw])
    moments = st.sampled_from([*map(str, times), *raw])
    hostile = ["crit", "b64", "zip", "jwk", "jku", "x5u", "x5c", "cty", "enc"]
    header = st.sampled_from(["alg", "kid", "typ"] * 4 + hostile)
    texts_of, moments_of = st.sampled_from([*TEXTS, "other"]), st.sampled_from(MOMENTS)
    edits, spellings = st.sampled_from(sorted(EDITS)), st.sampled_from(sorted(SPELLINGS))
    letters = st.sampled_from([*BASE64URL, *'.=+/ \n\r\t\0~"\u00e9\uff21\ud800'])
    right = st.sampled_from(["right"] * 30 + ["kept"] * 3 + sorted(SEALS))
    return st.builds(
        Mutant,
        algorithm=st.sampled_from(["RS256", "ES256"]),
        age=st.sampled_from([0] * 8 + [3600, -3600]),
        header=st.lists(st.tuples(edits, header, values), max_size=1),
        claims=st.lists(
            st.tuples(edits, texts_of, values) | st.tuples(edits, moments_of, moments), max_size=2
        ),
        seal=right,
        spell=st.just([])
        | st.lists(st.tuples(spellings, st.integers(0, 4096), letters), max_size=2),
    )


def forge(mutant: Mutant, issuer: Issuer, keys: Keys) -> str:
    key: RSAKey | ECKey = keys.rsa if mutant.algorithm == "RS256" else keys.ec
    names = {"alg": mutant.algorithm, "kid": str(key["kid"]), "typ": "at+jwt"}
    header = [(name, json.dumps(value)) for name, value in names.items()]
    values = issuer.claims()
    values |= {name: values[name] - mutant.age for name in MOMENTS}
    claims = [(name, json.dumps(value)) for name, value in values.items()]
    good = f"{written(header)}.{written(claims)}"
    signed = f"{written(edited(header, mutant.header))}.{written(edited(claims, mutant.claims))}"
    sealed = good if mutant.seal == "kept" else signed
    seal = mutant.algorithm if mutant.seal in ("right", "kept") else mutant.seal
    token = f"{signed}.{encode(SEALS[seal](keys, sealed.encode()))}"
    for spelling, at, letter in mutant.spell:
        token = SPELLINGS[spelling](token, at, letter)
    return token
