"""A credential that was used is remembered for as long as it would hold, in bounded memory."""

import pytest

from services.identity.providers.replays import Replays
from services.identity.providers.shape import Refused
from shared.clock import to_seconds
from tests.support.clock import ManualClock


def later(clock: ManualClock, seconds: int) -> float:
    return to_seconds(clock.now()) + seconds


def test_it_is_refused_until_its_moment_and_not_at_it(clock: ManualClock) -> None:
    replays = Replays(clock)
    replays.claim("one", until=later(clock, 10))
    clock.advance(9.999)
    with pytest.raises(Refused):
        replays.claim("one", until=later(clock, 10))
    clock.advance(0.001)
    replays.claim("one", until=later(clock, 10))
    with pytest.raises(Refused):
        replays.check("one")


def test_another_one_is_another(clock: ManualClock) -> None:
    replays = Replays(clock)
    replays.claim("one", until=later(clock, 10))
    replays.check("other")


def test_the_oldest_goes_where_there_are_too_many(clock: ManualClock) -> None:
    replays = Replays(clock, most=3)
    for name in ("a", "b", "c", "d"):
        replays.claim(name, until=later(clock, 10))
    assert len(replays) == 3
    replays.check("a")
    for name in ("b", "c", "d"):
        with pytest.raises(Refused):
            replays.check(name)


def test_what_is_over_takes_no_memory(clock: ManualClock) -> None:
    replays = Replays(clock)
    for number in range(100):
        replays.claim(str(number), until=later(clock, 10))
    clock.advance(10)
    replays.claim("last", until=later(clock, 10))
    assert len(replays) == 1
