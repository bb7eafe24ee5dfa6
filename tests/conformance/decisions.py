"""Players who decide between accounts, while everything else happens to these and the identity."""

import asyncio
import random  # noqa: TID251 - seeded: a race can be run again
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from services.identity.models import Erasure, ExternalIdentity
from shared import errors
from shared.ids import new_id
from tests.conformance.identities import guest
from tests.support.clock import ManualClock
from tests.support.conflicts import HERE, LIFETIME, Process

STEAM = ("steam", "1")
EPIC = ("epic", "1")
AT_ONCE = 12
EXPECTED = (errors.Conflict, errors.NotFound, errors.Unavailable, errors.InvalidCredential)
"""What somebody may be told who was too late."""


@dataclass(frozen=True)
class Conflict:
    """`owner` has the identity; `wants` are the tokens of those who want it."""

    owner: str
    wants: dict[str, str]


async def _keep_current(process: Process, conflict: Conflict, player: str) -> None:
    await process.conflicts.keep_current(player, conflict.wants[player], address=HERE)


async def _keep_existing(process: Process, conflict: Conflict, player: str) -> None:
    await process.conflicts.keep_existing(player, conflict.wants[player], address=HERE)


async def _link(process: Process, _conflict: Conflict, player: str) -> None:
    await process.links.link(player, *STEAM)


async def _unlink(process: Process, _conflict: Conflict, player: str) -> None:
    await process.links.unlink(player, STEAM[0])


async def _unlink_owner(process: Process, conflict: Conflict, _player: str) -> None:
    await process.links.unlink(conflict.owner, STEAM[0])


async def _log_in(process: Process, _conflict: Conflict, _player: str) -> None:
    await process.links.account_of(*STEAM)


async def _erase(process: Process, _conflict: Conflict, player: str) -> None:
    now = ManualClock().now()
    erasing = Erasure(now, now + LIFETIME)
    account = await process.accounts.change(
        player, lambda one: one.erasing(erasing), also_gone=True
    )
    assert account is not None
    await process.links.release(account)


async def _erase_owner(process: Process, conflict: Conflict, _player: str) -> None:
    await _erase(process, conflict, conflict.owner)


async def _recover_owner(process: Process, conflict: Conflict, _player: str) -> None:
    await process.recoveries.recover(conflict.owner)


Deed = Callable[[Process, Conflict, str], Awaitable[None]]
DEEDS: Sequence[Deed] = (
    _keep_current,
    _keep_current,
    _keep_current,
    _keep_existing,
    _link,
    _unlink,
    _unlink_owner,
    _log_in,
    _erase,
    _erase_owner,
    _recover_owner,
    _recover_owner,
)


async def decide_among_others(processes: Sequence[Process], seed: int) -> None:
    order = random.Random(seed)  # noqa: S311 - decides nothing secret
    calm = processes[0]
    owner = (await calm.links.account_of(*STEAM)).user_id
    if order.random() < 0.5:
        await calm.links.link(owner, *EPIC)
    players = [(await guest(calm.stores.accounts, new_id())).user_id for _ in range(2)]
    identity = ExternalIdentity(*STEAM)
    conflict = Conflict(owner, {player: await calm.token(player, identity) for player in players})
    outcomes = await asyncio.gather(
        *(
            order.choice(DEEDS)(order.choice(processes), conflict, order.choice(players))
            for _ in range(AT_ONCE)
        ),
        return_exceptions=True,
    )
    assert [one for one in outcomes if one and not isinstance(one, EXPECTED)] == []
    await _everybody_has_what_they_list(calm, [owner, *players])


async def _everybody_has_what_they_list(process: Process, players: Sequence[str]) -> None:
    found = [await process.stores.identities.find(*key) for key in (STEAM, EPIC)]
    owners = {identity.user_id for identity in found if identity}
    accounts = [await process.stores.accounts.get(one) for one in {*players, *owners}]
    here = {one.user_id: one for one in accounts if one and not one.is_gone}
    assert all(account.has_way_in for account in here.values())
    # One of an account that is gone is free with the next look, and nobody else's until then.
    taken = [one for one in found if one and one.user_id in here]
    listed = [one for account in here.values() for one in account.identities]
    assert sorted(listed, key=repr) == sorted(taken, key=repr)
    given_up = [one for one in accounts if one and one.undo]
    assert not any(one.identities or one.has_way_in for one in given_up)
