"""Tokens that have not expired and are good for nothing any more: what verifiers must know.

The list is a view over the records of sessions and accounts themselves, by the moment when they
were ended, banned or erased. So there is nothing to write besides, and nothing that a crash could
leave out.
"""

import asyncio
import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog

from services.identity.models import Account, Mark
from services.identity.ports import AccountStore, SessionStore
from shared import errors
from shared.auth.revocations import MOST_MARKS, render, session_mark, subject_mark
from shared.clock import Clock
from shared.keys.ports import PublishedDocument

_log = structlog.get_logger()
_ONE_TOO_MANY = MOST_MARKS + 1
"""Asked for, so that it is noticed."""
_STALE_AFTER = 4.0
"""Seconds after which others are not told any more what may be wrong by now."""


class Revocations:
    """`lifetime`: so long after its session has ended, at most, a token would still be taken.

    `refresh()` re-reads the stores; call it every other second.
    """

    def __init__(
        self, sessions: SessionStore, accounts: AccountStore, lifetime: timedelta, clock: Clock
    ) -> None:
        self._sessions = sessions
        self._accounts = accounts
        self._lifetime = lifetime
        self._clock = clock
        self._marks: frozenset[str] = frozenset()
        self._document: PublishedDocument | None = None
        self._read_at = 0.0

    async def refresh(self) -> None:
        """Raises Unavailable; what was known stays in use then."""
        read_at, now = self._clock.monotonic(), self._clock.now()
        since = now - self._lifetime
        erasing, given_up, banned, ended = await asyncio.gather(
            self._accounts.marked_since(Mark.ERASING, since, limit=_ONE_TOO_MANY),
            self._accounts.marked_since(Mark.RECOVERABLE, since, limit=_ONE_TOO_MANY),
            self._accounts.marked_since(Mark.BANNED, since, limit=_ONE_TOO_MANY),
            self._sessions.ended_since(since, limit=_ONE_TOO_MANY),
        )
        marks = [
            *(
                subject_mark(account.user_id)
                for account in (*erasing, *given_up)
                if _has_tokens(account, now)
            ),
            *(subject_mark(account.user_id) for account in banned if account.ban(now)),
            *(session_mark(session.session_id) for session in ended),
        ]
        if len(marks) > MOST_MARKS:
            # The sessions that ended first, whose tokens expire first.
            _log.error("revocations.too_many", marks=len(marks), most=MOST_MARKS)
            del marks[MOST_MARKS:]
        if self._document is None or self._marks != frozenset(marks):
            self._marks = frozenset(marks)
            document = render(self._marks)
            etag = hashlib.sha256(document).hexdigest()[:32]
            self._document = PublishedDocument(document, etag)
        self._read_at = read_at

    def published(self) -> PublishedDocument:
        """Raises Unavailable where it is not known, or not any more."""
        if self._document is None or self._clock.monotonic() - self._read_at > _STALE_AFTER:
            raise errors.Unavailable("what has been revoked is not known at the moment")
        return self._document

    def refuses(self, marks: Iterable[str]) -> bool:
        """For a verifier in this process."""
        return not self._marks.isdisjoint(marks)


def _has_tokens(account: Account, now: datetime) -> bool:
    """Whether somebody may: not of a guest who is erased for not having been here for long."""
    return account.erasure is not None and now < account.erasure.tokens_expire_at
