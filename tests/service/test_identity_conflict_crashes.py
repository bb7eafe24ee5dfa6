"""A decision between two accounts, and a recovery, interrupted at every call of a store.

The call is refused, lost, answered to nobody, or the last that the process does. Whatever is left
then is in order, and the same request once more ends as if nothing had happened.
"""

import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from services.identity.access_tokens import AccessTokens
from services.identity.accounts import Accounts
from services.identity.adapters import sqlite
from services.identity.bans import Bans
from services.identity.conflicts import Choice, Conflicts
from services.identity.idempotency import Idempotency
from services.identity.limits import LoginLimits
from services.identity.links import Links
from services.identity.models import (
    Account,
    CollectionSummary,
    ExternalIdentity,
    Mark,
    Session,
)
from services.identity.ports import AccountStore, IdentityStore, SessionStore
from services.identity.recoveries import Recoveries
from services.identity.refresh_tokens import RefreshTokens
from services.identity.sealing import Seals
from services.identity.sessions import SessionLimits, Sessions
from shared import errors
from shared.ids import new_id, new_key
from shared.limits import RateLimit
from shared.sqlite import Database
from tests.service.test_identity_erasure_crashes import IssuersKey
from tests.support.clock import ManualClock
from tests.support.interruptions import Crash, Interruption, When
from tests.support.issuer import AUDIENCE, ISSUER, Issuer

KEY = new_key()
DAY = timedelta(days=1)
LIFETIME = timedelta(minutes=19)
LIMITS = SessionLimits(idle=DAY, absolute=DAY, grace=timedelta(minutes=1))
START = ManualClock().now() - DAY
NO_LIMIT = RateLimit(burst=0, per_second=0)
HERE = "192.0.2.1"
OPERATIONS = frozenset(
    (
        "get",
        "find",
        "replace",
        "link",
        "unlink",
        "move",
        "release",
        "claim",
        "list",
        "end",
        "create",
    )
)
"""All that a story calls; what each of the stores has of them is wrapped."""


class Silent:
    """player_data that cannot be asked."""

    async def summary(self, user_id: str) -> Sequence[CollectionSummary]:
        raise errors.Unavailable(user_id)


class Process:
    """One of identity's, with `around` between it and its stores."""

    def __init__(
        self,
        database: Database,
        key: IssuersKey,
        clock: ManualClock,
        around: Callable[[object], Any] = lambda target: target,
    ) -> None:
        self.clock = clock
        self.account_store: AccountStore = around(sqlite.SqliteAccountStore(database))
        self.identity_store: IdentityStore = around(sqlite.SqliteIdentityStore(database))
        self.session_store: SessionStore = around(sqlite.SqliteSessionStore(database))
        self.accounts = Accounts(self.account_store, clock)
        bans = Bans(self.accounts, around(sqlite.SqliteIdentityBanStore(database)), clock)
        self.links = Links(self.identity_store, self.accounts, bans, clock)
        access = AccessTokens(key, ISSUER, AUDIENCE, timedelta(minutes=15), clock)
        refresh = RefreshTokens(lambda: KEY)
        self.sessions = Sessions(self.session_store, self.accounts, access, refresh, LIMITS, clock)
        idempotency = around(sqlite.SqliteIdempotencyStore(database))
        self.conflicts = Conflicts(
            self.links,
            self.accounts,
            self.sessions,
            Idempotency(idempotency, lambda: KEY, clock),
            LoginLimits(logins=NO_LIMIT, guests=NO_LIMIT, clock=clock),
            Seals(lambda: KEY, clock),
            Silent(),
            LIFETIME,
            clock,
        )
        self.recoveries = Recoveries(
            self.identity_store, self.accounts, self.links, self.sessions, clock
        )


@dataclass(frozen=True)
class Players:
    """`owner` has the identity, and `guest` wants it."""

    calm: Process
    external: ExternalIdentity
    owner: str
    guest: str

    @classmethod
    async def new(cls, calm: Process, *, owner_is_guest: bool) -> "Players":
        external = ExternalIdentity("steam", new_id())
        key = external.provider, external.external_id
        if owner_is_guest:
            owner = (await calm.accounts.create_guest()).account
            owner = await calm.links.link(owner.user_id, *key)
        else:
            owner = await calm.links.account_of(*key)
        await calm.sessions.open(owner, provider="steam")
        await calm.sessions.open(owner)
        guest = (await calm.accounts.create_guest()).account
        return cls(calm, external, owner.user_id, guest.user_id)

    async def token(self) -> str:
        with pytest.raises(errors.AlreadyLinked) as conflict:
            await self.calm.conflicts.link(self.guest, self.external)
        assert isinstance(conflict.value.choice, Choice)
        return conflict.value.choice.token

    async def account(self, user_id: str) -> Account:
        found = await self.calm.account_store.get(user_id)
        assert found is not None
        return found

    async def living(self, user_id: str) -> list[Session]:
        return list(await self.calm.sessions.living(user_id))

    async def owned_by(self) -> str:
        """Whose the identity is; everybody lists what is theirs, and has a way in or is gone."""
        key = self.external.provider, self.external.external_id
        found = await self.calm.identity_store.find(*key)
        assert found is not None
        for user_id in (self.owner, self.guest):
            account = await self.account(user_id)
            assert account.has_way_in != account.is_gone
            listed = [one.key for one in account.identities]
            assert listed == ([key] if user_id == found.user_id else [])
        return found.user_id


Deed = Callable[[Process], Awaitable[object]]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "identity.db", sqlite.MIGRATIONS)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def key(clock: ManualClock, elliptic_key: ECKey) -> IssuersKey:
    return IssuersKey(Issuer(clock, elliptic_key))


@pytest.fixture
def calm(database: Database, key: IssuersKey, clock: ManualClock) -> Process:
    return Process(database, key, clock)


@pytest.fixture(params=list(When), ids=lambda when: when.name.lower())
def when(request: pytest.FixtureRequest) -> When:
    found: When = request.param
    return found


@dataclass
class Unlucky:
    """Processes whose first, second, third ... call of a store is interrupted, until none is."""

    database: Database
    key: IssuersKey
    clock: ManualClock
    when: When

    def __post_init__(self) -> None:
        self.was_interrupted = True
        self.calls = 0

    def numbers(self) -> Iterator[int]:
        for number in itertools.count(1):
            yield number
            if not self.was_interrupted:
                return

    async def does(self, deed: Deed, at: int) -> None:
        lost = errors.Unavailable
        interruption = Interruption(OPERATIONS, at, self.when, lambda: lost("lost"))
        process = Process(self.database, self.key, self.clock, interruption.around)
        # A call that is sent twice meets what it has done itself: that is what it says then.
        with contextlib.suppress(Crash, errors.Unavailable, errors.AlreadyExists):
            await deed(process)
        self.was_interrupted = interruption.calls >= at
        self.calls = interruption.calls


@pytest.fixture
def unlucky(database: Database, key: IssuersKey, clock: ManualClock, when: When) -> Unlucky:
    return Unlucky(database, key, clock, when)


@pytest.mark.parametrize("owner_is_guest", [False, True], ids=["given up", "has another way in"])
async def test_keep_current(calm: Process, unlucky: Unlucky, *, owner_is_guest: bool) -> None:
    for number in unlucky.numbers():
        players = await Players.new(calm, owner_is_guest=owner_is_guest)
        token = await players.token()

        async def decide(
            process: Process, players: Players = players, token: str = token
        ) -> object:
            return await process.conflicts.keep_current(players.guest, token, address=HERE)

        await unlucky.does(decide, number)
        moved = await players.owned_by() == players.guest
        assert (await players.account(players.owner)).is_gone == (moved and not owner_is_guest)

        answered = await decide(calm)
        assert answered == await players.account(players.guest)
        assert await players.owned_by() == players.guest
        owner = await players.account(players.owner)
        assert (owner.undo is not None) != owner_is_guest
        left = [session.provider for session in await players.living(players.owner)]
        assert left == ([None] if owner_is_guest else [])
        with pytest.raises(errors.AlreadyDecided):
            await calm.conflicts.keep_existing(players.guest, token, address=HERE)
    assert unlucky.calls >= 9


async def test_keep_existing(calm: Process, unlucky: Unlucky) -> None:
    for number in unlucky.numbers():
        players = await Players.new(calm, owner_is_guest=False)
        token = await players.token()

        async def decide(
            process: Process, players: Players = players, token: str = token
        ) -> object:
            return await process.conflicts.keep_existing(players.guest, token, address=HERE)

        before = await players.account(players.guest)
        await unlucky.does(decide, number)
        await decide(calm)
        assert await players.owned_by() == players.owner
        assert await players.account(players.guest) == before
        assert len(await players.living(players.owner)) in (3, 4)
        # Either nothing was decided before the call that failed, or this.
        with pytest.raises(errors.AlreadyDecided):
            await calm.conflicts.keep_current(players.guest, token, address=HERE)
    assert unlucky.calls >= 6


async def test_recover(calm: Process, unlucky: Unlucky) -> None:
    for number in unlucky.numbers():
        players = await Players.new(calm, owner_is_guest=False)
        token = await players.token()
        await calm.conflicts.keep_current(players.guest, token, address=HERE)
        guest = await players.account(players.guest)
        await calm.sessions.open(guest, provider="steam")
        await calm.sessions.open(guest)

        async def recover(process: Process, players: Players = players) -> None:
            await process.recoveries.recover(players.owner)

        await unlucky.does(recover, number)
        recovered = await players.owned_by() == players.owner
        assert (await players.account(players.owner)).is_gone != recovered

        await recover(calm)
        assert await players.owned_by() == players.owner
        assert [one.provider for one in await players.living(players.guest)] == [None]
        assert await players.living(players.owner) == []
    assert unlucky.calls >= 7
    assert await calm.account_store.marked_since(Mark.RECOVERABLE, START, limit=9) == []
