"""What one of identity's processes needs to let a player decide, on stores of a test's choice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest

from services.identity.access_tokens import AccessTokens
from services.identity.accounts import Accounts
from services.identity.bans import Bans
from services.identity.conflicts import Choice, Conflicts
from services.identity.grants import Grants
from services.identity.idempotency import Idempotency
from services.identity.limits import LoginLimits
from services.identity.links import Links
from services.identity.models import CollectionSummary, ExternalIdentity
from services.identity.ports import (
    AccountStore,
    GrantStore,
    IdempotencyStore,
    IdentityBanStore,
    IdentityStore,
    SessionStore,
)
from services.identity.recoveries import Recoveries
from services.identity.refresh_tokens import RefreshTokens
from services.identity.sealing import Seals
from services.identity.sessions import SessionLimits, Sessions
from shared import errors
from shared.clock import Clock
from shared.ids import new_key
from shared.limits import RateLimit
from tests.support.issuer import AUDIENCE, ISSUER

DAY = timedelta(days=1)
LIFETIME = timedelta(minutes=19)
HERE = "192.0.2.1"
_KEY = new_key()
_LIMITS = SessionLimits(idle=DAY, absolute=DAY, grace=timedelta(minutes=1))
_NO_LIMIT = RateLimit(burst=0, per_second=0)


@dataclass(frozen=True)
class Stores:
    accounts: AccountStore
    identities: IdentityStore
    identity_bans: IdentityBanStore
    sessions: SessionStore
    idempotency: IdempotencyStore
    grants: GrantStore


class Process:
    def __init__(self, stores: Stores, clock: Clock) -> None:
        self.stores = stores
        self.accounts = Accounts(stores.accounts, clock)
        bans = Bans(self.accounts, stores.identity_bans, clock)
        grants = Grants(stores.grants, stores.identities, Seals(lambda: _KEY, clock), {})
        self.links = Links(stores.identities, self.accounts, bans, grants, clock)
        access = AccessTokens(_Unsigned(), ISSUER, AUDIENCE, timedelta(minutes=15), clock)
        refresh = RefreshTokens(lambda: _KEY)
        self.sessions = Sessions(stores.sessions, self.accounts, access, refresh, _LIMITS, clock)
        self.conflicts = Conflicts(
            self.links,
            self.accounts,
            self.sessions,
            Idempotency(stores.idempotency, lambda: _KEY, clock),
            LoginLimits(logins=_NO_LIMIT, guests=_NO_LIMIT, clock=clock),
            Seals(lambda: _KEY, clock),
            _Silent(),
            LIFETIME,
            clock,
        )
        self.recoveries = Recoveries(
            stores.identities, self.accounts, self.links, self.sessions, clock
        )

    async def token(self, user_id: str, identity: ExternalIdentity) -> str:
        """Of the conflict that it is to link what is another account's."""
        with pytest.raises(errors.AlreadyLinked) as conflict:
            await self.conflicts.link(user_id, identity)
        assert isinstance(conflict.value.choice, Choice)
        return conflict.value.choice.token


class _Silent:
    """player_data that cannot be asked."""

    async def summary(self, user_id: str) -> Sequence[CollectionSummary]:
        raise errors.Unavailable(user_id)


class _Unsigned:
    """Nobody looks at the access tokens."""

    def require_key(self) -> None:
        """There always is one."""

    def sign(self, claims: Mapping[str, object], *, typ: str) -> str:
        return f"{typ} of {claims['sub']}"
