"""Who has which identity, as a dict, and any sequence of changes on it and on a store."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.identity.models import Account, LinkedIdentity
from services.identity.ports import AccountStore, IdentityStore
from shared import errors
from tests.conformance.identities import ERASURE, GIVEN_UP, LINKED, guest

OpenStores = Callable[[], AbstractAsyncContextManager[tuple[AccountStore, IdentityStore]]]
Key = tuple[str, str]
T = TypeVar("T")

PLAYERS = ["a" * 32, "b" * 32, "c" * 32]
KEYS = [("steam", "1"), ("steam", "2"), ("epic", "1")]

players = st.sampled_from(PLAYERS)
keys = st.sampled_from(KEYS)
are_stale = st.sampled_from([False, False, False, True])
"""Whether what was read of an account is one revision old."""


@dataclass
class Player:
    has_secret: bool
    revision: int = 1
    is_gone: bool = False
    undo: Key | None = None
    keys: list[Key] = field(default_factory=list)


class IdentityStoreMachine(RuleBasedStateMachine):
    """Every outcome of the store is the model's, and so is what it holds."""

    def __init__(self, open_stores: OpenStores) -> None:
        super().__init__()
        self.players: dict[str, Player] = {}
        self.owners: dict[Key, str] = {}
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        opened = self.runner.run(self.stack.enter_async_context(open_stores()))
        self.accounts, self.store = opened

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    @initialize()
    def begin(self) -> None:
        """One has a secret from the start; the others may come with an identity."""
        self.runner.run(_awaited(guest(self.accounts, PLAYERS[0])))
        self.players[PLAYERS[0]] = Player(has_secret=True)

    @rule(user_id=players, key=keys)
    def log_in_first(self, user_id: str, key: Key) -> None:
        expected = "done"
        if user_id in self.players or key in self.owners:
            expected = "AlreadyExists"
        else:
            self.players[user_id] = Player(has_secret=False, keys=[key])
            self.owners[key] = user_id
        new = Account(user_id, created_at=LINKED, seen_at=LINKED, guest_secret_digest=None)
        assert self.outcome(self.store.create_account(new, _identity(key, user_id))) == expected

    @rule(user_id=players, key=keys, is_stale=are_stale)
    def link(self, user_id: str, key: Key, *, is_stale: bool) -> None:
        player = self.players.get(user_id)
        if player is None:
            return
        if key in player.keys:
            expected = "VersionConflict" if is_stale else "done"
        elif refusal := _refusal(player, key):
            expected = refusal
        elif key in self.owners:
            expected = "AlreadyLinked"
        elif is_stale:
            expected = "VersionConflict"
        else:
            expected = "done"
            player.keys.append(key)
            player.revision += 1
            self.owners[key] = user_id
        account = self.read(user_id, is_stale=is_stale)
        assert self.outcome(self.store.link(account, _identity(key, user_id))) == expected

    @rule(user_id=players, key=keys, is_stale=are_stale)
    def unlink(self, user_id: str, key: Key, *, is_stale: bool) -> None:
        player = self.players.get(user_id)
        if player is None or player.is_gone:
            return
        account = self.read(user_id, is_stale=is_stale)
        if key in player.keys and not player.has_secret and len(player.keys) == 1:
            expected = "Conflict"
        elif is_stale:
            expected = "VersionConflict"
        else:
            expected = "done"
            if key in player.keys:
                player.keys.remove(key)
                player.revision += 1
                del self.owners[key]
        assert self.outcome(self.store.unlink(account, *key)) == expected

    @rule(
        key=keys, user_id=players, gives_up=st.booleans(), is_stale=are_stale, was_stale=are_stale
    )
    def move(
        self, key: Key, user_id: str, *, gives_up: bool, is_stale: bool, was_stale: bool
    ) -> None:
        """From whose it is to another; who gives up is erased for it."""
        source_id, player = self.owners.get(key), self.players.get(user_id)
        if source_id is None or source_id == user_id or player is None:
            return
        source = self.players[source_id]
        left = self.read(source_id, is_stale=was_stale)
        joined = self.read(user_id, is_stale=is_stale)
        if gives_up:
            left = left.erasing(GIVEN_UP)
        if not gives_up and not source.is_gone and not source.has_secret and len(source.keys) == 1:
            expected = "Conflict"
        elif refusal := _refusal(player, key):
            expected = refusal
        elif is_stale or was_stale:
            expected = "VersionConflict"
        else:
            expected = "done"
            source.keys.remove(key)
            source.revision += 1
            if gives_up and not source.is_gone:
                source.is_gone, source.has_secret, source.undo = True, False, key
            player.keys.append(key)
            player.revision += 1
            self.owners[key] = user_id
        moved = self.store.move(_identity(key, user_id), left, joined)
        assert self.outcome(moved) == expected

    @rule(user_id=players, is_stale=are_stale)
    def recover(self, user_id: str, *, is_stale: bool) -> None:
        """One who was given up for the last way in, which goes back from whoever has it."""
        player = self.players.get(user_id)
        if player is None or player.undo is None or player.keys:
            return
        key, holder_id = player.undo, self.owners.get(player.undo)
        holder = self.players[holder_id] if holder_id else None
        if holder and not holder.is_gone and not holder.has_secret and len(holder.keys) == 1:
            expected = "Conflict"
        elif is_stale:
            expected = "VersionConflict"
        else:
            expected = "done"
            if holder:
                holder.keys.remove(key)
                holder.revision += 1
            player.is_gone, player.undo = False, None
            player.keys.append(key)
            player.revision += 1
            self.owners[key] = user_id
        recovered = self.read(user_id, is_stale=is_stale).recovered(LINKED)
        work: Awaitable[object]
        if holder_id:
            work = self.store.move(_identity(key, user_id), self.read(holder_id), recovered)
        else:
            work = self.store.link(recovered, _identity(key, user_id))
        assert self.outcome(work) == expected

    @rule(user_id=players, former=keys, key=keys, is_stale=are_stale)
    def rename(self, user_id: str, former: Key, key: Key, *, is_stale: bool) -> None:
        """In the place of the former one of the same provider."""
        player = self.players.get(user_id)
        if player is None or former[0] != key[0]:
            return
        account = self.read(user_id, is_stale=is_stale)
        if key in player.keys:
            expected = "VersionConflict" if is_stale else "done"
        elif player.is_gone or former not in player.keys:
            expected = "Conflict"
        elif key in self.owners:
            expected = "AlreadyLinked"
        elif is_stale:
            expected = "VersionConflict"
        else:
            expected = "done"
            player.keys[player.keys.index(former)] = key
            player.revision += 1
            del self.owners[former]
            self.owners[key] = user_id
        renamed = self.store.rename(account, former[1], _identity(key, user_id))
        assert self.outcome(renamed) == expected

    @rule(user_id=players)
    def erase(self, user_id: str) -> None:
        """As far as the mark: the identities are released later, the list goes later still."""
        player = self.players.get(user_id)
        if player is None or player.is_gone:
            return
        account = self.read(user_id)
        self.runner.run(_awaited(self.accounts.replace(account.erasing(ERASURE))))
        player.is_gone = True
        player.revision += 1

    @rule(user_id=players)
    def release(self, user_id: str) -> None:
        player = self.players.get(user_id)
        if player is None or not player.is_gone:
            return
        for identity in self.read(user_id).identities:
            self.runner.run(_awaited(self.store.release(identity)))
            if self.owners.get(identity.key) == user_id:
                del self.owners[identity.key]

    @invariant()
    def every_identity_is_found_where_it_should_be(self) -> None:
        for key in KEYS:
            found = self.runner.run(_awaited(self.store.find(*key)))
            assert (found.user_id if found else None) == self.owners.get(key)

    @invariant()
    def who_is_not_gone_lists_what_is_theirs_and_has_a_way_in(self) -> None:
        for user_id, player in self.players.items():
            account = self.read(user_id)
            assert (account.revision, account.is_gone) == (player.revision, player.is_gone)
            assert [one.key for one in account.identities] == player.keys
            if not player.is_gone:
                owned = {key for key, owner in self.owners.items() if owner == user_id}
                assert set(player.keys) == owned
                assert account.has_way_in

    def read(self, user_id: str, *, is_stale: bool = False) -> Account:
        account = self.runner.run(_awaited(self.accounts.get(user_id)))
        assert account is not None
        return replace(account, revision=account.revision - is_stale)

    def outcome(self, work: Awaitable[object]) -> str:
        try:
            self.runner.run(_awaited(work))
        except errors.PlaymeshError as refusal:
            return type(refusal).__name__
        return "done"


def _identity(key: Key, user_id: str) -> LinkedIdentity:
    return LinkedIdentity(*key, user_id, LINKED)


def _refusal(player: Player, key: Key) -> str | None:
    """What an account itself says to one more identity, which it has not."""
    is_full = any(provider == key[0] for provider, _ in player.keys)
    return "Conflict" if player.is_gone or is_full else None


async def _awaited(work: Awaitable[T]) -> T:
    return await work
