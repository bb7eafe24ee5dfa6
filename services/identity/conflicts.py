"""A player links an identity that is another account's, and decides between the two accounts.

What leaves us for the decision to come back with is sealed: who asked, and for which identity, as
it was linked then. The first decision is bound to it, so that its repetitions go on with it, and
no other one is carried out.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from services.identity.accounts import Accounts
from services.identity.idempotency import Idempotency, KeyedRequest
from services.identity.limits import LoginLimits
from services.identity.links import Links
from services.identity.models import (
    IDENTITY_MOVED,
    IDENTITY_REMOVED,
    RECOVERABLE_FOR,
    Account,
    CollectionSummary,
    Erasure,
    ExternalIdentity,
    LinkedIdentity,
    SessionKey,
    Undo,
)
from services.identity.ports import PlayerDataSummaries
from services.identity.sealing import Content, Seals
from services.identity.sessions import IssuedTokens, Sessions
from shared import errors
from shared.clock import Clock, from_millis, to_millis
from shared.ids import new_id

CURRENT, EXISTING = "current", "existing"
"""Whose the identity is to be: the account of who asks, or the one that has it."""

_PURPOSE = "conflict"
_TIME_TO_DECIDE = timedelta(minutes=10)
_PATIENCE = 2.0
"""Seconds for which a conflict waits for what player_data says."""
_ATTEMPTS = 8
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Side:
    """An account, and what there is of it; None where player_data does not say."""

    account: Account
    player_data: Sequence[CollectionSummary] | None


@dataclass(frozen=True, slots=True)
class Choice:
    """`expires_in` is in seconds."""

    token: str = field(repr=False)
    expires_in: int
    current: Side
    existing: Side


class Conflicts:
    """`lifetime`: so long after it was issued, at most, a token is taken."""

    def __init__(
        self,
        links: Links,
        accounts: Accounts,
        sessions: Sessions,
        idempotency: Idempotency,
        limits: LoginLimits,
        seals: Seals,
        summaries: PlayerDataSummaries,
        lifetime: timedelta,
        clock: Clock,
    ) -> None:
        self._links = links
        self._accounts = accounts
        self._sessions = sessions
        self._idempotency = idempotency
        self._limits = limits
        self._seals = seals
        self._summaries = summaries
        self._lifetime = lifetime
        self._clock = clock

    async def link(self, user_id: str, identity: ExternalIdentity) -> Account:
        """As `Links.link` for who has proven the identity: AlreadyLinked has a Choice.

        Raises Banned as well where the account that has it is.
        """
        key = identity.provider, identity.external_id
        for _ in range(_ATTEMPTS):
            try:
                return await self._links.link(user_id, *key, former=identity.former)
            except errors.AlreadyLinked:
                current, existing = await self._get(user_id), await self._links.admit_owner(*key)
            seen = next((one for one in _identities(existing) if one.key == key), None)
            if existing is None or existing.user_id == user_id or seen is None:
                continue  # it has changed hands: it may be free by now, or this player's
            self._admit(existing)
            choice = await self._choice(current, existing, seen)
            raise errors.AlreadyLinked(owner=existing.user_id, choice=choice)
        raise errors.Unavailable("the identity is being changed all the time")

    async def keep_current(self, user_id: str, token: str, *, address: str) -> Account:
        """The identity becomes this player's; answer the account.

        Where it was the last way into the other account, that one is given up: it can be recovered
        for a while, and then it is erased. Raises as `_decided` and `Links.move`.
        """
        seen = await self._decided(user_id, token, CURRENT, address)
        now = self._clock.now()
        undo = Undo(now + RECOVERABLE_FOR, *seen.key, taken_by=user_id)
        account = await self._links.move(
            *seen.key, user_id, seen=seen, erasure=Erasure(now, now + self._lifetime, undo)
        )
        # After it, and every time: who was interrupted here has them ended by the repetition.
        given_up = await self._accounts.get(seen.user_id) is None
        await self._sessions.end_all(
            seen.user_id, reason=IDENTITY_MOVED, provider=None if given_up else seen.provider
        )
        _log.info(
            "identity.moved",
            provider=seen.provider,
            user_id=user_id,
            from_user_id=seen.user_id,
            given_up=given_up,
        )
        return account

    async def keep_existing(
        self, user_id: str, token: str, *, address: str, device: str | None = None
    ) -> IssuedTokens:
        """A session of the account that has the identity; this player's account stays as it is.

        Raises as `_decided`; Banned where either player or the identity is, and Conflict where
        the identity has changed hands.
        """
        seen = await self._decided(user_id, token, EXISTING, address)
        existing = await self._links.admit_owner(*seen.key)
        self._admit(await self._get(user_id))
        if existing is None or seen not in existing.identities:
            raise errors.Conflict("the identity has changed hands")
        self._limits.proven(existing.user_id)
        tokens = await self._sessions.open(existing, device=device, provider=seen.provider)
        if not await self._links.still_has(existing.user_id, *seen.key):
            session = SessionKey(existing.user_id, tokens.session_id)
            await self._sessions.end(session, reason=IDENTITY_REMOVED)
            raise errors.Conflict("the identity has changed hands")
        return tokens

    async def _decided(self, user_id: str, token: str, keep: str, address: str) -> LinkedIdentity:
        """The identity as it was linked when the conflict was found.

        Raises InvalidConflictToken, Forbidden where it is another player's, AlreadyDecided,
        TooManyRequests.
        """
        self._limits.attempt(address)
        match self._seals.open(_PURPOSE, token, within=_TIME_TO_DECIDE):
            case {
                "id": str(conflict_id),
                "current": str(current),
                "existing": str(existing),
                "provider": str(provider),
                "external_id": str(external_id),
                "linked_at": int(linked_at),
            }:
                seen = LinkedIdentity(provider, external_id, existing, from_millis(linked_at))
            case _:
                raise errors.InvalidConflictToken
        if current != user_id:
            raise errors.Forbidden("the conflict is another player's")
        try:
            # Not the token itself: one content can be written in several ways.
            decision = KeyedRequest(conflict_id, keep)
            await self._idempotency.claim(_PURPOSE, decision, result=keep)
        except errors.IdempotencyKeyReused:
            raise errors.AlreadyDecided from None
        return seen

    async def _choice(self, current: Account, existing: Account, seen: LinkedIdentity) -> Choice:
        content: Content = {
            "id": new_id(),
            "current": current.user_id,
            "existing": existing.user_id,
            "provider": seen.provider,
            "external_id": seen.external_id,
            "linked_at": to_millis(seen.linked_at),
        }
        mine, theirs = await asyncio.gather(
            self._player_data(current.user_id), self._player_data(existing.user_id)
        )
        return Choice(
            token=self._seals.seal(_PURPOSE, content),
            expires_in=int(_TIME_TO_DECIDE.total_seconds()),
            current=Side(current, mine),
            existing=Side(existing, theirs),
        )

    async def _player_data(self, user_id: str) -> Sequence[CollectionSummary] | None:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._summaries.summary(user_id)
        except (errors.Unavailable, TimeoutError):
            return None

    async def _get(self, user_id: str) -> Account:
        account = await self._accounts.get(user_id)
        if account is None:
            raise errors.NotFound("there is no such account")
        return account

    def _admit(self, account: Account) -> None:
        ban = account.ban(self._clock.now())
        if ban is not None:
            raise errors.Banned(ban.reason, until=ban.until)


def _identities(account: Account | None) -> Sequence[LinkedIdentity]:
    return account.identities if account else ()
