"""Of 50 that want the same thing at once exactly one gets it, with 100 seeds.

A seed says by which of several openings of the one database each of the 50 comes: on SQLite other
threads and connections, on DynamoDB other clients. 100 seeds take SQLite five seconds, and what
stands in for DynamoDB a minute and a half. There the first few are run, and all with
PLAYMESH_TEST_LONG=1: moto answers one request after the other, so only their order differs.
"""

import asyncio
import contextlib
import random  # noqa: TID251 - seeded: a race can be run again
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

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
from services.identity.models import Session
from services.identity.ports import (
    AccountStore,
    IdempotencyStore,
    IdentityStore,
    SessionStore,
)
from shared import errors
from tests.conformance import idempotency
from tests.conformance.identities import race
from tests.conformance.sessions import SESSION, consume
from tests.support import aws
from tests.support.long import LONG

RIVALS = 50
OPENINGS = 3
SEEDS = range(100)

FEW_SEEDS = SEEDS if LONG else range(5)


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

    async def test_one_of_many_consumes_a_refresh_token(
        self, openings: Sequence[Opening], seed: int
    ) -> None:
        await openings[0].sessions.create(SESSION)
        outcomes = await asyncio.gather(
            *(consume(opening.sessions) for opening in _draw(openings, seed)),
            return_exceptions=True,
        )
        winners = [outcome for outcome in outcomes if isinstance(outcome, Session)]
        losers = [outcome for outcome in outcomes if isinstance(outcome, errors.VersionConflict)]
        assert (len(winners), len(losers)) == (1, RIVALS - 1)
        assert winners[0].counter == 2
        assert await openings[0].sessions.get(SESSION.key) == winners[0]


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
