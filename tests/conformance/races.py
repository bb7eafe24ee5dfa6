"""Of 50 that want the same thing at once exactly one gets it, with 100 seeds.

A seed says by which of several openings of the one database each of the 50 comes: on SQLite other
threads and connections, on DynamoDB other clients. 100 seeds take SQLite five seconds, and what
stands in for DynamoDB a minute and a half. There the first few are run, and all with
PLAYMESH_TEST_LONG=1: moto answers one request after the other, so only their order differs.
"""

import asyncio
import contextlib
import itertools
import random  # noqa: TID251 - seeded: a race can be run again
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import pytest

from services.identity.accounts import Accounts
from services.identity.adapters.dynamodb import (
    ACCOUNTS,
    GRANTS,
    IDEMPOTENCY,
    IDENTITIES,
    IDENTITY_BANS,
    SESSIONS,
    DynamoAccountStore,
    DynamoGrantStore,
    DynamoIdempotencyStore,
    DynamoIdentityBanStore,
    DynamoIdentityStore,
    DynamoSessionStore,
)
from services.identity.bans import Bans
from services.identity.grants import Grants
from services.identity.links import Links
from services.identity.models import MOST_REPLAYS, Account, Redeemed, SessionKey
from services.identity.ports import (
    AccountStore,
    GrantStore,
    IdempotencyStore,
    IdentityBanStore,
    IdentityStore,
    SessionStore,
)
from services.identity.sealing import Seals
from shared import errors
from shared.ids import new_id, new_key
from tests.conformance import idempotency, sessions
from tests.conformance.accounts import race_to_replace
from tests.conformance.decisions import decide_among_others
from tests.conformance.identities import guest, race, race_to_link, race_to_rename
from tests.conformance.sessions import ADVANCED, GRACE, LATER, SECOND, SESSION, redeem, start
from tests.support import aws
from tests.support.clock import ManualClock
from tests.support.conflicts import Process, Stores
from tests.support.long import LONG

KEY = new_key()
RIVALS = 50
OPENINGS = 3
SEEDS = range(100)

FEW_SEEDS = SEEDS if LONG else range(5)

RUNS = 1000 if LONG else 100
"""Of the race of a reuse with refreshes, over all seeds."""

ENDS = 100
"""Of the race of an end with refreshes."""


@dataclass(frozen=True, slots=True)
class Opening:
    accounts: AccountStore
    idempotency: IdempotencyStore
    identities: IdentityStore
    identity_bans: IdentityBanStore
    grants: GrantStore
    sessions: SessionStore

    @property
    def links(self) -> Links:
        """As one process of several has them."""
        clock = ManualClock()
        accounts = Accounts(self.accounts, clock)
        bans = Bans(accounts, self.identity_bans, clock)
        grants = Grants(self.grants, self.identities, Seals(lambda: KEY, clock), {})
        return Links(self.identities, accounts, bans, grants, clock)

    @property
    def process(self) -> Process:
        stores = Stores(
            self.accounts,
            self.identities,
            self.identity_bans,
            self.sessions,
            self.idempotency,
            self.grants,
        )
        return Process(stores, ManualClock())


class Races:
    """Subclasses provide the fixture `openings`, of one empty database."""

    async def test_one_of_many_first_logins_creates_an_account(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        rivals = [opening.identities for opening in _draw(openings, seed)]
        await race(openings[0].identities, openings[0].accounts, *rivals)

    async def test_all_of_many_first_logins_are_answered_the_one_account(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        rivals = [opening.links for opening in _draw(openings, seed)]
        answers = await asyncio.gather(*(links.account_of("steam", "1") for links in rivals))
        assert len({account.user_id for account in answers}) == 1
        assert await openings[0].accounts.get(answers[0].user_id) == answers[0]

    async def test_one_of_many_links_an_identity(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        rivals = [opening.identities for opening in _draw(openings, seed)]
        await race_to_link(openings[0].accounts, rivals)

    async def test_one_of_many_renames_an_identity(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        rivals = [opening.identities for opening in _draw(openings, seed)]
        await race_to_rename(openings[0].accounts, rivals)

    async def test_all_of_many_first_logins_with_a_new_id_are_the_player_of_the_former_one(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        player = (await openings[0].links.account_of("google_play", "old")).user_id
        rivals = [opening.links for opening in _draw(openings, seed)]
        answers = await asyncio.gather(
            *(links.account_of("google_play", "new", former="old") for links in rivals)
        )
        assert {account.user_id for account in answers} == {player}
        stored = await openings[0].accounts.get(player)
        assert stored is not None
        assert [one.key for one in stored.identities] == [("google_play", "new")]
        assert stored.revision == 2
        assert await openings[0].identities.find("google_play", "old") is None
        assert await openings[0].identities.find("google_play", "new") == stored.identities[0]

    async def test_whoever_links_and_unlinks_at_once_an_account_has_a_way_in(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        await _link_and_unlink(openings, seed)

    async def test_an_identity_that_many_move_and_link_is_ones_alone(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        await _move_and_link(openings, seed)

    async def test_whatever_happens_while_players_decide_everybody_has_what_they_list(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        await decide_among_others([opening.process for opening in openings], seed)

    async def test_one_of_many_claims_is_the_answer_to_all(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        await idempotency.race([opening.idempotency for opening in _draw(openings, seed)])

    async def test_one_of_many_advances_a_session(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        await openings[0].sessions.create(SESSION)
        rivals = [opening.sessions for opening in _draw(openings, seed)]
        too_often = RIVALS - 1 - MOST_REPLAYS
        assert await sessions.race(rivals) == {
            "advanced": 1,
            "replayed": MOST_REPLAYS,
            "TooManyRequests": too_often,
        }
        assert await openings[0].sessions.get(SESSION.key) == replace(ADVANCED, replays=10)

    async def test_one_of_many_changes_an_account(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        await race_to_replace([opening.accounts for opening in _draw(openings, seed)])

    async def test_after_the_end_nobody_advances_whoever_was_under_way(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        for number in range(ENDS // len(SEEDS)):
            await _end_among_refreshes(openings, 1000 * seed + number)

    async def test_after_a_reuse_no_token_is_good_whoever_was_under_way(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        for number in range(RUNS // len(SEEDS)):
            await _reuse_among_others(openings, 1000 * seed + number)


@pytest.mark.parametrize("seed", FEW_SEEDS)
class DynamoRaces(Races):
    """Subclasses provide the fixture `endpoint`."""

    @pytest.fixture
    async def openings(self, endpoint: str) -> AsyncIterator[Sequence[Opening]]:
        async with contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(aws.client("dynamodb", endpoint))
                for _ in range(OPENINGS)
            ]
            prefix = await aws.new_tables(
                clients[0], ACCOUNTS, GRANTS, IDEMPOTENCY, IDENTITIES, IDENTITY_BANS, SESSIONS
            )
            yield [
                Opening(
                    DynamoAccountStore(client, prefix),
                    DynamoIdempotencyStore(client, prefix),
                    DynamoIdentityStore(client, prefix),
                    DynamoIdentityBanStore(client, prefix),
                    DynamoGrantStore(client, prefix),
                    DynamoSessionStore(client, prefix),
                )
                for client in clients
            ]


def _draw(openings: Sequence[Opening], seed: int) -> list[Opening]:
    return random.Random(seed).choices(openings, k=RIVALS)  # noqa: S311 - decides nothing secret


async def _link_and_unlink(openings: Sequence[Opening], seed: int) -> None:
    """A player of platforms alone, whose devices link and unlink three of them as they like."""
    order = random.Random(seed)  # noqa: S311 - decides nothing secret
    player = (await openings[0].links.account_of("steam", "1")).user_id

    async def change() -> object:
        links, provider = order.choice(openings).links, order.choice(["steam", "epic", "apple"])
        if order.random() < 0.3:
            return await links.link(player, provider, "1")
        return await links.unlink(player, provider)

    answers = await asyncio.gather(*(change() for _ in range(10)), return_exceptions=True)
    refusals = [one for one in answers if not isinstance(one, Account)]
    # The last way in; or others came first all the time.
    assert all(isinstance(one, errors.Conflict | errors.Unavailable) for one in refusals)
    await _consistent(openings[0], [player], ["steam", "epic", "apple"])


async def _move_and_link(openings: Sequence[Opening], seed: int) -> None:
    """An identity that was one player's, and that several others want at the same time."""
    order = random.Random(seed)  # noqa: S311 - decides nothing secret
    owner = await openings[0].links.account_of("steam", "1")
    await openings[0].links.link(owner.user_id, "epic", "1")
    guests = await asyncio.gather(*(guest(openings[0].accounts, new_id()) for _ in range(6)))
    others = [one.user_id for one in guests]

    async def want(player: str) -> object:
        links = order.choice(openings).links
        if order.random() < 0.5:
            return await links.move("steam", "1", player)
        return await links.link(player, "steam", "1")

    outcomes = await asyncio.gather(*(want(player) for player in others), return_exceptions=True)
    # It may be moved on, and is never free: whoever links it is refused.
    refusals = [one for one in outcomes if not isinstance(one, Account)]
    assert all(isinstance(one, errors.AlreadyLinked | errors.Unavailable) for one in refusals)
    await _consistent(openings[0], [owner.user_id, *others], ["steam", "epic"])


async def _consistent(opening: Opening, players: Sequence[str], providers: Sequence[str]) -> None:
    """Everybody has a way in, and the lists are what is found."""
    accounts = [await opening.accounts.get(player) for player in players]
    assert all(account is not None and account.has_way_in for account in accounts)
    found = [await opening.identities.find(provider, "1") for provider in providers]
    listed = [one for account in accounts if account for one in account.identities]
    assert sorted(listed, key=repr) == sorted((one for one in found if one), key=repr)


async def _end_among_refreshes(openings: Sequence[Opening], seed: int) -> None:
    """A client that refreshes as fast as it can, when somebody ends its session."""
    session = replace(SESSION, key=SessionKey(SESSION.key.user_id, new_id()))
    order = random.Random(seed)  # noqa: S311 - decides nothing secret
    await openings[0].sessions.create(session)
    has_ended = False
    too_late: list[Redeemed] = []

    async def refresh() -> None:
        counter = session.counter
        while True:
            asked_after_the_end = has_ended
            try:
                redeemed = await redeem(
                    order.choice(openings).sessions, counter=counter, session=session
                )
            except errors.SessionEnded:
                return
            if asked_after_the_end:
                too_late.append(redeemed)
                return
            counter = redeemed.session.counter

    async def end() -> None:
        nonlocal has_ended
        store = order.choice(openings).sessions
        for _ in range(order.randrange(4)):
            await store.get(session.key)
        ended = await store.end(session.key, now=LATER, reason="signed_out")
        has_ended = True
        assert await store.get(session.key) == ended

    await asyncio.gather(refresh(), end())
    assert too_late == []


async def _reuse_among_others(openings: Sequence[Opening], seed: int) -> None:
    """The token before the predecessor, and refreshes with the others, in any order at once."""
    session = replace(SESSION, key=SessionKey(SESSION.key.user_id, new_id()))
    await start(openings[0].sessions, 3, session)
    order = random.Random(seed)  # noqa: S311 - decides nothing secret
    presented = [1, *(order.choice([2, 3, 4, 5]) for _ in range(9))]
    order.shuffle(presented)
    stores = [opening.sessions for opening in order.choices(openings, k=len(presented))]
    answers = await asyncio.gather(
        *(
            redeem(store, counter=counter, session=session)
            for store, counter in zip(stores, presented, strict=True)
        ),
        return_exceptions=True,
    )
    refusals = [answer for answer in answers if not isinstance(answer, Redeemed)]
    assert all(isinstance(answer, errors.InvalidRefreshToken) for answer in refusals)
    # One token ended the session, this one or another that had become as old by then.
    assert sum(isinstance(answer, errors.RefreshTokenReused) for answer in refusals) == 1
    ended = await stores[0].get(session.key)
    assert ended is not None
    assert ended.ended_reason == "refresh_reused"
    # Who was answered was answered before: what they did is in the session that has ended.
    granted = [answer.session for answer in answers if isinstance(answer, Redeemed)]
    assert all(one.ended_at is None and one.counter <= ended.counter for one in granted)
    for counter, now in itertools.product(range(1, ended.counter + 2), (LATER, LATER + GRACE)):
        with pytest.raises(errors.InvalidRefreshToken):
            await redeem(stores[0], counter=counter, now=now + SECOND, session=session)
    assert await stores[0].get(session.key) == ended
