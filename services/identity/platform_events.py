"""What platforms tell us of their players, and what becomes of it here.

A platform that is not answered tells it again. So nothing is noted about how far it got: each step
may be repeated, and what says where to begin is changed last.
"""

from collections import OrderedDict
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter

from services.identity.erasures import Erasures
from services.identity.grants import Grants
from services.identity.links import Links, is_only_way_in
from services.identity.models import IDENTITY_REMOVED, Account, Notice, NoticeKind
from services.identity.sessions import Sessions
from shared import errors
from shared.clock import Clock

_ATTEMPTS = 8
_REMEMBERED_FOR = timedelta(hours=25)
"""Longer than a notice is taken."""
_MOST_REMEMBERED = 10_000
_log = structlog.get_logger()
_NOTICES = Counter(
    "playmesh_provider_notices",
    "What platforms have told of their players, when it was done.",
    ("provider", "kind"),
)


class PlatformEvents:
    """Every method raises Unavailable: then it is not done, and may be repeated."""

    def __init__(
        self,
        links: Links,
        sessions: Sessions,
        erasures: Erasures,
        grants: Grants,
        clock: Clock,
    ) -> None:
        self._links = links
        self._sessions = sessions
        self._erasures = erasures
        self._grants = grants
        self._clock = clock
        self._done: OrderedDict[tuple[str, str], datetime] = OrderedDict()

    async def take(self, notice: Notice) -> str | None:
        """Do what a notice asks for, once; answer whose the identity was.

        Each process remembers for itself what was done, and nothing over a restart: what is told
        again does no harm, but to a player who has come back meanwhile and logs in once more.
        """
        if self._is_done(notice):
            return None
        user_id = None
        match notice.kind:
            case NoticeKind.REVOKED:
                user_id = await self.revoked(notice.provider, notice.external_id)
            case NoticeKind.DELETED:
                user_id = await self.deleted(notice.provider, notice.external_id)
        self._remember(notice)
        _NOTICES.labels(notice.provider, notice.kind.value).inc()
        _log.info(
            "provider.notice", provider=notice.provider, kind=notice.kind.value, user_id=user_id
        )
        return user_id

    async def revoked(self, provider: str, external_id: str) -> str | None:
        """The player's sessions that began with the identity end. Answers whose it is, or None.

        It stays linked: who consents again is the same player.
        """
        owner = await self._end(provider, external_id)
        return owner.user_id if owner else None

    async def deleted(self, provider: str, external_id: str) -> str | None:
        """As `revoked`, and the identity is unlinked; where it is the last way in, the account is
        erased.
        """
        owner = await self._end(provider, external_id)
        for _ in range(_ATTEMPTS):
            left = await self._links.withdraw(provider, external_id)
            if left is None:
                return owner.user_id if owner else None
            # Not where there is another way in by now.
            await self._erasures.request(
                left.user_id, only_if=lambda one: is_only_way_in(one, provider, external_id)
            )
        raise errors.Unavailable("the account is being changed all the time")

    def _is_done(self, notice: Notice) -> bool:
        key = notice.provider, notice.notice_id or ""
        return key in self._done and self._clock.now() < self._done[key] + _REMEMBERED_FOR

    def _remember(self, notice: Notice) -> None:
        if notice.notice_id is None:
            return
        self._done[notice.provider, notice.notice_id] = self._clock.now()
        self._done.move_to_end((notice.provider, notice.notice_id))
        while len(self._done) > _MOST_REMEMBERED:
            self._done.popitem(last=False)

    async def _end(self, provider: str, external_id: str) -> Account | None:
        await self._grants.forget(provider, external_id)
        owner = await self._links.find_owner(provider, external_id)
        if owner is not None:
            await self._sessions.end_all(owner.user_id, reason=IDENTITY_REMOVED, provider=provider)
        return owner
