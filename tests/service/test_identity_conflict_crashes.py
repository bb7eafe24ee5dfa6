"""A decision between two accounts, and a recovery, interrupted at every call of a store.

The call is refused, lost, answered to nobody, or the last that the process does. Whatever is left
then is in order, and the same request once more ends as if nothing had happened.
"""

import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.identity.adapters import sqlite
from services.identity.models import Account, ExternalIdentity, Mark, Session
from shared import errors
from shared.clock import Clock
from shared.ids import new_id
from shared.sqlite import Database
from tests.support.clock import ManualClock
from tests.support.conflicts import DAY, HERE, Process, Stores
from tests.support.interruptions import Crash, Interruption, When

START = ManualClock().now() - DAY
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


def process(
    database: Database, clock: Clock, around: Callable[[object], Any] = lambda target: target
) -> Process:
    """One of identity's, with `around` between it and its stores."""
    stores = Stores(
        around(sqlite.SqliteAccountStore(database)),
        around(sqlite.SqliteIdentityStore(database)),
        around(sqlite.SqliteIdentityBanStore(database)),
        around(sqlite.SqliteSessionStore(database)),
        around(sqlite.SqliteIdempotencyStore(database)),
        around(sqlite.SqliteGrantStore(database)),
    )
    return Process(stores, clock)


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
        return await self.calm.token(self.guest, self.external)

    async def account(self, user_id: str) -> Account:
        found = await self.calm.stores.accounts.get(user_id)
        assert found is not None
        return found

    async def living(self, user_id: str) -> list[Session]:
        return list(await self.calm.sessions.living(user_id))

    async def owned_by(self) -> str:
        """Whose the identity is; everybody lists what is theirs, and has a way in or is gone."""
        key = self.external.provider, self.external.external_id
        found = await self.calm.stores.identities.find(*key)
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
def calm(database: Database, clock: ManualClock) -> Process:
    return process(database, clock)


@pytest.fixture(params=list(When), ids=lambda when: when.name.lower())
def when(request: pytest.FixtureRequest) -> When:
    found: When = request.param
    return found


@dataclass
class Unlucky:
    """Processes whose first, second, third ... call of a store is interrupted, until none is."""

    database: Database
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
        # A call that is sent twice meets what it has done itself: that is what it says then.
        with contextlib.suppress(Crash, errors.Unavailable, errors.AlreadyExists):
            await deed(process(self.database, self.clock, interruption.around))
        self.was_interrupted = interruption.calls >= at
        self.calls = interruption.calls


@pytest.fixture
def unlucky(database: Database, clock: ManualClock, when: When) -> Unlucky:
    return Unlucky(database, clock, when)


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
    assert await calm.stores.accounts.marked_since(Mark.RECOVERABLE, START, limit=9) == []
