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

from services.identity.adapters.dynamodb import (
    ACCOUNTS,
    IDEMPOTENCY,
    IDENTITIES,
    SESSIONS,
    DynamoAccountStore,
    DynamoIdempotencyStore,
    DynamoIdentityStore,
    DynamoSessionStore,
)
from services.identity.models import MOST_REPLAYS, Redeemed, SessionKey
from services.identity.ports import (
    AccountStore,
    IdempotencyStore,
    IdentityStore,
    SessionStore,
)
from shared import errors
from shared.ids import new_id
from tests.conformance import idempotency, sessions
from tests.conformance.accounts import race_to_replace
from tests.conformance.identities import race
from tests.conformance.sessions import ADVANCED, GRACE, LATER, SECOND, SESSION, redeem, start
from tests.support import aws
from tests.support.long import LONG

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
    sessions: SessionStore


class Races:
    """Subclasses provide the fixture `openings`, of one empty database."""

    async def test_one_of_many_first_logins_creates_an_account(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        rivals = [opening.identities for opening in _draw(openings, seed)]
        await race(openings[0].identities, openings[0].accounts, *rivals)

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
            prefix = await aws.new_tables(clients[0], ACCOUNTS, IDEMPOTENCY, IDENTITIES, SESSIONS)
            yield [
                Opening(
                    DynamoAccountStore(client, prefix),
                    DynamoIdempotencyStore(client, prefix),
                    DynamoIdentityStore(client, prefix),
                    DynamoSessionStore(client, prefix),
                )
                for client in clients
            ]


def _draw(openings: Sequence[Opening], seed: int) -> list[Opening]:
    return random.Random(seed).choices(openings, k=RIVALS)  # noqa: S311 - decides nothing secret


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
