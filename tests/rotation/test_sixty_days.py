"""A mesh of five rotators, three identities and many verifiers behind a CDN, for sixty days.

Fifteen days and a fifth of the verifiers for every day; all of it with PLAYMESH_TEST_LONG=1.
"""

import dataclasses
import math
import random  # noqa: TID251 - seeded: a simulation can be run again

import pytest
import structlog

from tests.rotation.parties import ACCEPTED_FOR, KEY_REFRESH, MAX_AGE, TTL
from tests.rotation.simulation import DAY, HOUR, MINUTE, Findings, Plan, Simulation
from tests.support import figures
from tests.support.long import LONG

KNOWN_AFTER = KEY_REFRESH + MAX_AGE + TTL
DAYS = 60 if LONG else 15
SEEDS = range(3 if LONG else 1)


def new_plan(seed: int) -> Plan:
    return Plan(seed, DAYS, verifiers=200 if LONG else 40, pace=4.0 if LONG else 6.0)


async def simulate(name: str, plan: Plan) -> Findings:
    with structlog.testing.capture_logs():  # thousands of refusals that should be
        found = await Simulation(plan).run()
    _, *later = found.keys.values()
    leads = [life.first_signature - life.published for life in later if life.first_signature]
    overlaps = [
        life.removed - math.floor(life.last_signature)
        for life in found.keys.values()
        if life.removed and life.last_signature and not life.is_revoked
    ]
    lead, overlap = min(leads, default=0.0), min(overlaps, default=0.0)
    figures.note(
        f"{name}, seed {plan.seed}",
        days=plan.days,
        verifiers=plan.verifiers,
        tokens=found.tokens,
        checks=found.checks,
        rotations=found.rotations,
        restarts=found.restarts,
        crashes_at_a_write=found.crashes,
        refused=found.refused,
        unknown_keys=found.rescued,
        refused_as_revoked=found.refused_as_revoked,
        accepted_late=found.accepted_late,
        **{f"last_accepted_by_{kind}": f"{s:.0f} s" for kind, s in found.last_acceptance.items()},
        **{f"last_learned_by_{kind}": f"{s:.0f} s" for kind, s in found.slowest_to_learn.items()},
        shortest_lead=f"{lead:.0f} s",
        shortest_overlap=f"{overlap:.0f} s",
    )
    # K-01: nobody is refused, and nothing is accepted for longer than caches may last.
    assert (found.refused, found.rescued, found.accepted_late) == (0, 0, 0)
    assert lead >= KNOWN_AFTER
    assert overlap >= ACCEPTED_FOR
    return found


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_rotation_refuses_a_token(seed: int) -> None:
    """By the clock, on request, and on a second request while the next key is new."""
    plan, dice = new_plan(seed), random.Random(seed)  # noqa: S311 - a moment, no secret
    requests = [day * DAY + dice.uniform(0, 3 * DAY) for day in range(9, DAYS - 4, 24)]
    again = [moment + dice.uniform(0, 2 * MINUTE) for moment in requests]
    found = await simulate("rotations", dataclasses.replace(plan, rotations=[*requests, *again]))
    assert found.rotations >= DAYS // 7 + len(requests)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_revoked_key_is_refused_by_all_in_time(seed: int) -> None:
    plan, dice = new_plan(seed), random.Random(seed)  # noqa: S311 - a moment, no secret
    leaked_at = dice.uniform(HOUR, (DAYS - 1) * DAY)
    found = await simulate("revocation", dataclasses.replace(plan, revocations=[leaked_at]))
    (leaked,) = (life for life in found.keys.values() if life.is_revoked)
    figures.note(
        f"revocation, seed {seed}, the revoked key alone",
        **{f"last_accepted_by_{kind}": f"{s:.0f} s" for kind, s in leaked.last_acceptance.items()},
    )
    assert 0 < leaked.last_acceptance["ours"] <= 360
    assert found.refused_as_revoked


@pytest.mark.parametrize("seed", SEEDS)
async def test_six_days_without_a_rotator_refuse_no_token(seed: int) -> None:
    """The key whose time is over goes on signing until they are back."""
    plan, dice = new_plan(seed), random.Random(seed)  # noqa: S311 - a moment, no secret
    outage = 6 * DAY + dice.uniform(0, DAY)
    found = await simulate("outage", dataclasses.replace(plan, days=14, outage=outage))
    first = next(iter(found.keys.values()))
    assert first.last_signature
    assert first.last_signature > outage + 6 * DAY
    assert found.rotations == 1
