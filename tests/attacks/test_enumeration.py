"""Without the right secret nobody finds out which accounts there are or are banned (G-03)."""

import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.ids import new_id, new_secret
from tests.support import apps, figures
from tests.support.apps import RunningIdentity
from tests.support.calls import call, without_request_id
from tests.support.clock import ManualClock
from tests.support.counted import counted
from tests.support.long import LONG
from tests.support.people import ban, new_person
from tests.support.servers import Answer

ATTEMPTS = 2000 if LONG else 50
MOST_APART_MS = 0.5
KINDS = ("unknown user", "wrong secret", "banned, wrong secret")


@pytest.fixture
def calls() -> Counter[str]:
    return Counter()


@pytest.fixture
async def identity(
    tmp_path: Path, clock: ManualClock, calls: Counter[str]
) -> AsyncIterator[RunningIdentity]:
    async with apps.identity(
        tmp_path,
        clock,
        {"PLAYMESH_SIGNING_ALG": "ES256"},
        around=lambda stores: counted(stores, calls),
    ) as running:
        yield running


@pytest.fixture
async def user_ids(identity: RunningIdentity) -> dict[str, str]:
    known, banned = await new_person(identity), await new_person(identity)
    await ban(identity, banned.user_id)
    return dict(zip(KINDS, (new_id(), known.user_id, banned.user_id), strict=True))


async def attempt(identity: RunningIdentity, path: str, user_id: str) -> Answer:
    credential = {"user_id": user_id, "guest_secret": new_secret()}
    if path == "/v1/sessions":
        body = {"provider": "guest", "credential": credential}
        return await call(identity.http, "POST", path, json=body)
    return await call(identity.http, "GET", path, params=credential)


@pytest.mark.parametrize("path", ["/v1/sessions", "/login-as-guest"])
async def test_every_wrong_credential_is_answered_the_same(
    identity: RunningIdentity, user_ids: dict[str, str], path: str
) -> None:
    """Also when there were so many that the answer is another."""
    for number in range(15):
        answers = [await attempt(identity, path, user_ids[kind]) for kind in KINDS]
        told = [without_request_id(answer) for answer in answers]
        assert told == [told[0]] * len(KINDS)
        assert told[0][0] == (401 if number < 10 else 429)


@pytest.mark.parametrize("path", ["/v1/sessions", "/login-as-guest"])
async def test_every_wrong_credential_asks_the_stores_the_same(
    identity: RunningIdentity, user_ids: dict[str, str], calls: Counter[str], path: str
) -> None:
    asked = []
    for kind in KINDS:
        calls.clear()
        await attempt(identity, path, user_ids[kind])
        asked.append(dict(calls))
    assert asked == [{"get": 1}] * len(KINDS)


async def test_every_wrong_credential_takes_the_same_time(
    identity: RunningIdentity, user_ids: dict[str, str], clock: ManualClock
) -> None:
    """In turns, so that whatever else the machine does is in all of them."""
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(ATTEMPTS):
        clock.advance(6)  # none of them is one too many
        for kind in KINDS:
            started = time.perf_counter()
            answer = await attempt(identity, "/v1/sessions", user_ids[kind])
            taken[kind].append((time.perf_counter() - started) * 1000)
            assert answer.status == 401
    medians = {kind: statistics.median(values) for kind, values in taken.items()}
    apart = max(medians.values()) - min(medians.values())
    told = {kind.replace(" ", "_").replace(",", ""): f"{ms:.3f} ms" for kind, ms in medians.items()}
    figures.note(f"medians of {ATTEMPTS} wrong logins each", **told)
    assert apart < MOST_APART_MS
