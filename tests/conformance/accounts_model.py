"""Accounts in the plainest words, and any sequence of what two processes do to them and a store.

A process changes what it has read, however long ago that was.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.identity.models import RECOVERABLE_FOR, Account, Ban, Erasure, Mark, Undo
from services.identity.ports import AccountStore
from shared import errors
from shared.ids import digest, new_id, new_secret

OpenStores = Callable[[], AbstractAsyncContextManager[Sequence[AccountStore]]]
"""Of one database, one for each process."""

LIFETIME = timedelta(minutes=17)
ALWAYS = datetime(2000, 1, 1, tzinfo=UTC)

processes = st.integers(0, 1)
players = st.integers(0, 1)
"""Two, so that what is done to the one is seen not to touch the other."""
scopes = st.sampled_from(["all", "chat"])
pauses = st.sampled_from(
    [timedelta(milliseconds=1), LIFETIME - timedelta(minutes=1), LIFETIME, RECOVERABLE_FOR]
)


@dataclass(frozen=True)
class Player:
    """All that is to be known of an account; `bans` is since when, by scope.

    `back` is until when one who is `leaving` may come back.
    """

    user_id: str
    created: datetime
    secret: bytes | None
    seen: datetime
    bans: Mapping[str, datetime]
    leaving: datetime | None = None
    back: datetime | None = None
    gone: datetime | None = None
    changes: int = 1

    @property
    def is_here(self) -> bool:
        return self.leaving is None and self.gone is None


def told(account: Account) -> Player:
    """What a store answers, in the model's words."""
    if account.erasure:
        assert account.erasure.tokens_expire_at == account.erasure.requested_at + LIFETIME
    return Player(
        user_id=account.user_id,
        created=account.created_at,
        secret=account.guest_secret_digest,
        seen=account.seen_at,
        bans={ban.scope: ban.since for ban in account.bans},
        leaving=account.erasure.requested_at if account.erasure else None,
        back=account.undo.until if account.undo else None,
        gone=account.erased_at,
        changes=account.revision,
    )


class AccountStoreMachine(RuleBasedStateMachine):
    """Every answer of the store is the model's."""

    def __init__(self, open_stores: OpenStores) -> None:
        super().__init__()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.players: list[Player] = []
        self.read: dict[tuple[int, int], Account] = {}
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.stores = self.runner.run(self.stack.enter_async_context(open_stores()))

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    @initialize()
    def begin(self) -> None:
        for which in range(2):
            account = Account(new_id(), self.now, digest(new_secret()), seen_at=self.now)
            self.runner.run(self.create(account))
            self.players.append(told(account))
            for process in range(2):
                self.look(process, which)

    @rule(pause=pauses)
    def wait(self, pause: timedelta) -> None:
        self.now += pause

    @rule(process=processes, which=players)
    def look(self, process: int, which: int) -> None:
        account = self.runner.run(self.get(process, self.players[which].user_id))
        assert told(account) == self.players[which]
        self.read[process, which] = account

    @rule(process=processes, which=players, scope=scopes)
    def ban(self, process: int, which: int, scope: str) -> None:
        account = self.read[process, which]
        bans = {**told(account).bans, scope: self.now}
        banned = account.banned(Ban("cheating", self.now, scope=scope))
        self.write(process, which, banned, replace(told(account), bans=bans))

    @rule(process=processes, which=players, scope=scopes)
    def unban(self, process: int, which: int, scope: str) -> None:
        account = self.read[process, which]
        bans = {one: since for one, since in told(account).bans.items() if one != scope}
        self.write(process, which, account.unbanned(scope), replace(told(account), bans=bans))

    @rule(process=processes, which=players)
    def be_here(self, process: int, which: int) -> None:
        account = self.read[process, which]
        self.write(process, which, account.seen(self.now), replace(told(account), seen=self.now))

    @rule(process=processes, which=players)
    def change_secret(self, process: int, which: int) -> None:
        account, secret = self.read[process, which], digest(new_secret())
        changed = account.with_guest_secret(secret)
        self.write(process, which, changed, replace(told(account), secret=secret))

    @rule(process=processes, which=players)
    def begin_to_erase(self, process: int, which: int) -> None:
        account = self.read[process, which]
        erasing = account.erasing(Erasure(self.now, self.now + LIFETIME))
        wanted = replace(told(account), leaving=self.now, secret=None)
        self.write(process, which, erasing, wanted)

    @rule(process=processes, which=players)
    def give_up(self, process: int, which: int) -> None:
        account, until = self.read[process, which], self.now + RECOVERABLE_FOR
        undo = Undo(until, "steam", "1", taken_by=self.players[1 - which].user_id)
        given_up = account.erasing(Erasure(self.now, self.now + LIFETIME, undo))
        wanted = replace(told(account), leaving=self.now, back=until, secret=None)
        self.write(process, which, given_up, wanted)

    @rule(process=processes, which=players)
    def erase_who_was_given_up(self, process: int, which: int) -> None:
        account = self.read[process, which]
        if told(account).back:
            erasing = account.erasing(Erasure(self.now, self.now + LIFETIME))
            self.store(process, which, erasing, replace(told(account), back=None))

    @rule(process=processes, which=players)
    def recover(self, process: int, which: int) -> None:
        account = self.read[process, which]
        before = told(account)
        if before.back is None or self.now >= before.back:
            try:
                account.recovered(self.now)
            except errors.Conflict:
                return
            raise AssertionError("back from where nobody comes back")
        wanted = replace(before, leaving=None, back=None)
        self.store(process, which, account.recovered(self.now), wanted)

    @rule(process=processes, which=players)
    def end_to_erase(self, process: int, which: int) -> None:
        account = self.read[process, which]
        before = told(account)
        if before.leaving is None or before.back or self.now < before.leaving + LIFETIME:
            try:
                account.erased(self.now)
            except errors.Conflict:
                return
            raise AssertionError("a tombstone before its time")
        nothing = Player(
            before.user_id,
            before.created,
            secret=None,
            seen=self.now,
            bans={},
            gone=self.now,
            changes=before.changes,
        )
        self.store(process, which, account.erased(self.now), nothing)

    def write(self, process: int, which: int, account: Account, wanted: Player) -> None:
        """As a process does that finds the account there: who is gone changes no more."""
        if told(self.read[process, which]).is_here:
            self.store(process, which, account, wanted)

    def store(self, process: int, which: int, account: Account, wanted: Player) -> None:
        """Nothing is changed by who has not seen the last change."""
        answer = self.runner.run(self.replace(process, account))
        if wanted.changes != self.players[which].changes:
            assert answer is None
            return
        assert answer
        self.players[which] = replace(wanted, changes=wanted.changes + 1)
        assert told(answer) == self.players[which]
        self.read[process, which] = answer

    @invariant()
    def either_process_finds_what_the_model_has(self) -> None:
        here = [player for player in self.players if player.is_here]
        banned = {one.user_id: one.bans["all"] for one in here if "all" in one.bans}
        expected = {
            "banned": banned,
            "banned just now": {who: since for who, since in banned.items() if since == self.now},
            "leaving": {
                one.user_id: one.leaving for one in self.players if one.leaving and not one.back
            },
            "may come back": {one.user_id: one.leaving for one in self.players if one.back},
            "may not come back": {
                one.user_id: one.leaving
                for one in self.players
                if one.back and one.back <= self.now
            },
            "gone": {one.user_id: one.gone for one in self.players if one.gone},
            "not here lately": {one.user_id: one.seen for one in here if one.seen < self.now},
        }
        process = sum(player.changes for player in self.players) % 2
        assert self.runner.run(self.found(process)) == expected
        for player in self.players:
            assert told(self.runner.run(self.get(process, player.user_id))) == player

    async def found(self, process: int) -> dict[str, dict[str, datetime | None]]:
        store = self.stores[process]
        banned, banned_now = [
            {one.user_id: told(one).bans["all"] for one in marked}
            for marked in (
                await store.marked_since(Mark.BANNED, ALWAYS, limit=9),
                await store.marked_since(Mark.BANNED, self.now, limit=9),
            )
        ]
        leaving = map(told, await store.marked_since(Mark.ERASING, ALWAYS, limit=9))
        given_up = map(told, await store.marked_since(Mark.RECOVERABLE, ALWAYS, limit=9))
        due = await store.marked_since(
            Mark.RECOVERABLE, ALWAYS, limit=9, until=self.now - RECOVERABLE_FOR
        )
        gone = [told(one) async for one in store.tombstones()]
        away = [told(one) async for one in store.inactive_guests(self.now)]
        return {
            "banned": dict(banned),
            "banned just now": dict(banned_now),
            "leaving": {one.user_id: one.leaving for one in leaving},
            "may come back": {one.user_id: one.leaving for one in given_up},
            "may not come back": {one.user_id: told(one).leaving for one in due},
            "gone": {one.user_id: one.gone for one in gone},
            "not here lately": {one.user_id: one.seen for one in away},
        }

    async def create(self, account: Account) -> None:
        await self.stores[0].create(account)

    async def get(self, process: int, user_id: str) -> Account:
        account = await self.stores[process].get(user_id)
        assert account
        return account

    async def replace(self, process: int, account: Account) -> Account | None:
        try:
            return await self.stores[process].replace(account)
        except errors.VersionConflict:
            return None
