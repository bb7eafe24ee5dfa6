"""Requests that may be sent again: a repetition finds what the first attempt has chosen.

And the reverse: what may be used once finds whether it was used before.

What a request must answer again and nobody may store, it derives. Nothing that is kept helps
whoever steals the store: clients choose their keys, some badly, so the digest of one is an HMAC,
and without identity's own key nobody can try keys out.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field

from services.identity.models import IDEMPOTENCY_LIFETIME, USED_LIFETIME, IdempotencyRecord
from services.identity.ports import IdempotencyStore
from services.identity.refresh_tokens import RefreshKey
from shared import errors
from shared.clock import Clock
from shared.ids import digest, new_id


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """`key` is its Idempotency-Key, as good as a secret; `content` what it says, canonical."""

    key: str = field(repr=False)
    content: str = field(repr=False)


class Idempotency:
    """`key` is that of the refresh tokens: no tag of theirs is one of these."""

    def __init__(self, store: IdempotencyStore, key: RefreshKey, clock: Clock) -> None:
        self._store = store
        self._key = key
        self._clock = clock

    async def claim(self, scope: str, request: KeyedRequest, *, result: str) -> str:
        """`result`, or that of the first request of this key and scope in the last 24 hours.

        Raises IdempotencyKeyReused where the first one said something else, and Unavailable.
        """
        now = self._clock.now()
        record = IdempotencyRecord(
            key=self._tag("idempotency key", scope, request.key),
            request=digest(request.content),
            result=result,
            expires_at=now + IDEMPOTENCY_LIFETIME,
        )
        stored = await self._store.claim(record, now=now)
        if not hmac.compare_digest(stored.request, record.request):
            raise errors.IdempotencyKeyReused
        return stored.result

    async def use_up(self, scope: str, what: str) -> bool:
        """Whether this is the first time in USED_LIFETIME. Raises Unavailable.

        Of many at once, in all processes, it is the first for one.
        """
        now = self._clock.now()
        # Known by what only this attempt has chosen: sent again by the store's client, it is still
        # the first.
        mine = new_id()
        record = IdempotencyRecord(
            key=self._tag("used up", scope, what),
            request=digest(""),
            result=mine,
            expires_at=now + USED_LIFETIME,
        )
        return (await self._store.claim(record, now=now)).result == mine

    def secret(self, scope: str, request: KeyedRequest, result: str) -> str:
        """A secret like those of `new_secret`, the same for every repetition of `request`."""
        tag = self._tag("secret", scope, result, request.key)
        return urlsafe_b64encode(tag).rstrip(b"=").decode()

    def _tag(self, *content: str) -> bytes:
        # What the client has chosen comes last, so no two contents are joined to the same text.
        return hmac.digest(self._key(), "\0".join(content).encode(), hashlib.sha256)
