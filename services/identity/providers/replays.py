"""Credentials that were used, so that nobody uses them again: digests, in bounded memory."""

import hashlib
from collections import OrderedDict

from services.identity.providers.shape import Refused
from shared import errors
from shared.clock import Clock, to_millis

_MOST = 100_000


class Replays:
    """Each process remembers for itself, and nothing over a restart; the oldest goes first."""

    def __init__(self, clock: Clock, *, most: int = _MOST) -> None:
        self._clock = clock
        self._most = most
        self._kept: OrderedDict[bytes, float] = OrderedDict()

    def check(self, credential: str) -> None:
        """Raises Refused where it was used."""
        digest = _digest(credential)
        if digest in self._kept and not self._is_over(digest):
            raise Refused(errors.ExpiredCredential(), "replayed")

    def claim(self, credential: str, *, until: float) -> None:
        """Use it up; it is remembered until a moment to come, in seconds since the epoch.

        Raises Refused where it was used: of many that come with one credential, one gets in. After
        it was found good, so that only what a platform has confirmed takes memory.
        """
        self.check(credential)
        digest = _digest(credential)
        self._kept[digest] = until
        self._kept.move_to_end(digest)
        while len(self._kept) > self._most or self._is_over(next(iter(self._kept))):
            self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)

    def _is_over(self, digest: bytes) -> bool:
        return self._kept[digest] <= to_millis(self._clock.now()) / 1000


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode()).digest()
