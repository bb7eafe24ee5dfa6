"""What identity takes back before it expires: the list's form, and the question verifiers ask.

A mark is a digest, so that a list which anybody may read names nobody: 96 bits are too many to
meet by chance, and ids of 128 random bits cannot be found by trying.
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from shared import strict_json

MOST_MARKS = 50_000
LARGEST_DOCUMENT = 2 * 1024 * 1024
_MARK_BYTES = 12
_MARK = re.compile(r"[A-Za-z0-9_-]{16}")


class InvalidRevocations(Exception):
    """The document must not replace a good one."""


class Revocations(Protocol):
    """What has been taken back, as far as is known here."""

    def refuses(self, marks: Collection[str]) -> bool:
        """Whether any of a token's marks is listed.

        It is asked for each request, so it neither waits nor looks far. Raises Unavailable where
        nobody may be let in without knowing.
        """
        ...


def session_mark(session_id: str) -> str:
    """What refuses the tokens of one session."""
    return _mark(f"sid:{session_id}")


def subject_mark(subject: str) -> str:
    """What refuses all tokens of a player or of a service."""
    return _mark(f"sub:{subject}")


def render(marks: Iterable[str]) -> bytes:
    """The same bytes for the same marks. Raises InvalidRevocations where there are too many."""
    listed = sorted(set(marks))
    if len(listed) > MOST_MARKS:
        raise InvalidRevocations("too many marks")
    return strict_json.dumps({"revoked": listed}).encode()


def parse(document: bytes) -> frozenset[str]:
    """The marks. Members that are not known to us do not matter. Raises InvalidRevocations."""
    if len(document) > LARGEST_DOCUMENT:
        raise InvalidRevocations("the document is too large")
    try:
        parsed = strict_json.loads(document)
    except ValueError as error:
        raise InvalidRevocations(f"not JSON: {error}") from None
    listed = parsed.get("revoked") if isinstance(parsed, Mapping) else None
    if not isinstance(listed, list):
        raise InvalidRevocations("no list of marks")
    if len(listed) > MOST_MARKS:
        raise InvalidRevocations("too many marks")
    if not all(isinstance(mark, str) and _MARK.fullmatch(mark) for mark in listed):
        raise InvalidRevocations("an entry is no mark")
    return frozenset(listed)


def _mark(text: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:_MARK_BYTES]).decode()
