"""What a limit lets through, what it remembers, and who is never refused."""

import tracemalloc
from collections import OrderedDict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.identity.limits import LoginLimits
from shared import errors
from shared.limits import Limiter, Noted, RateLimit
from tests.support import figures
from tests.support.clock import ManualClock
from tests.support.long import LONG

MANY = 1_000_000
INTERVALS = [0.007, 0.01, 0.1, 1 / 3, 1.0, 6.0, 180.0]
NO_LIMIT = RateLimit(burst=0, per_second=0)
PLAYER = "0123456789abcdef0123456789abcdef"
STRANGER = "f" * 32
SECRET = "the right one"


def refused(limiter: Limiter, key: str = "somebody") -> int | None:
    """The `retry_after` of a refusal."""
    try:
        limiter.take(key)
    except errors.TooManyRequests as error:
        return error.retry_after
    return None


def limiter_of(
    clock: ManualClock, *, burst: int, interval: float, most_keys: int = 1000
) -> Limiter:
    return Limiter(RateLimit(burst, per_second=1 / interval), clock, most_keys=most_keys)


def use_up(limiter: Limiter, key: str = "somebody") -> int:
    """How many went through."""
    count = 0
    while refused(limiter, key) is None:
        count += 1
    return count


class BucketOfHundredths:
    """The textbook's token bucket, in hundredths of a token: whole numbers only."""

    def __init__(self, burst: int) -> None:
        self._full = self._level = burst * 100

    def pour(self, hundredths: int) -> None:
        self._level = min(self._full, self._level + hundredths)

    def take(self) -> bool:
        if self._level < 100:
            return False
        self._level -= 100
        return True


def test_a_burst_goes_through_and_no_more(clock: ManualClock) -> None:
    assert use_up(limiter_of(clock, burst=10, interval=6)) == 10


def test_an_interval_later_there_is_one_more(clock: ManualClock) -> None:
    limiter = limiter_of(clock, burst=10, interval=6)
    use_up(limiter)
    clock.advance(6)
    assert use_up(limiter) == 1


def test_a_bucket_holds_no_more_than_a_burst(clock: ManualClock) -> None:
    limiter = limiter_of(clock, burst=10, interval=6)
    use_up(limiter)
    clock.advance(1_000_000)
    assert use_up(limiter) == 10


def test_each_key_has_a_bucket_of_its_own(clock: ManualClock) -> None:
    limiter = limiter_of(clock, burst=10, interval=6)
    use_up(limiter, "one")
    assert use_up(limiter, "another") == 10


def test_a_refusal_costs_nothing(clock: ManualClock) -> None:
    limiter = limiter_of(clock, burst=1, interval=6)
    limiter.take("somebody")
    for _ in range(100):
        assert refused(limiter) == 6
    clock.advance(6)
    limiter.take("somebody")


@pytest.mark.parametrize(
    ("waited", "retry_after"), [(0, 6), (0.5, 6), (2.5, 4), (5, 1), (5.75, 1), (6, None)]
)
def test_the_wait_is_in_whole_seconds_and_not_longer_than_need_be(
    clock: ManualClock, waited: float, retry_after: int | None
) -> None:
    limiter = limiter_of(clock, burst=10, interval=6)
    use_up(limiter)
    clock.advance(waited)
    assert refused(limiter) == retry_after


@given(uptime=st.floats(0, 1e8), interval=st.sampled_from([1, 6, 60, 180, 3600]))
def test_the_wait_is_exact_at_any_uptime(uptime: float, interval: int) -> None:
    clock = ManualClock()
    clock.advance(uptime)
    limiter = limiter_of(clock, burst=10, interval=interval)
    assert use_up(limiter) == 10
    assert refused(limiter) == interval
    clock.advance(interval)
    limiter.take("somebody")


def test_the_wait_is_at_least_a_second(clock: ManualClock) -> None:
    limiter = limiter_of(clock, burst=10, interval=0.01)
    use_up(limiter)
    assert refused(limiter) == 1


def test_a_rate_of_nothing_is_no_limit_and_remembers_nobody(clock: ManualClock) -> None:
    limiter = Limiter(NO_LIMIT, clock)
    for _ in range(1000):
        limiter.take("somebody")
    assert not limiter._full_at


@pytest.mark.parametrize("limit", [(0, 1.0), (-1, 1.0), (10, -1.0)])
def test_a_limit_that_lets_nobody_through_cannot_be_made(limit: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="a limit"):
        RateLimit(*limit)


@given(
    burst=st.integers(1, 20),
    interval=st.sampled_from(INTERVALS),
    steps=st.lists(st.tuples(st.integers(0, 250), st.integers(1, 30)), max_size=30),
)
@example(burst=1, interval=0.1, steps=[(0, 2), (99, 1), (1, 2)])
def test_it_decides_like_a_token_bucket(
    burst: int, interval: float, steps: list[tuple[int, int]]
) -> None:
    clock, model = ManualClock(), BucketOfHundredths(burst)
    limiter = limiter_of(clock, burst=burst, interval=interval)
    for hundredths, takes in steps:
        clock.advance(hundredths * interval / 100)
        model.pour(hundredths)
        for _ in range(takes):
            assert (refused(limiter) is None) == model.take()


@given(
    burst=st.integers(1, 20),
    interval=st.sampled_from(INTERVALS),
    pauses=st.lists(st.one_of(st.just(0.0), st.floats(0, 3)), max_size=60),
)
def test_in_any_window_there_is_no_more_than_a_burst_and_the_rate(
    burst: int, interval: float, pauses: list[float]
) -> None:
    clock = ManualClock()
    limiter = limiter_of(clock, burst=burst, interval=interval)
    through = []
    for intervals in pauses:
        clock.advance(intervals * interval)
        if refused(limiter) is None:
            through.append(clock.monotonic())
    for first, begin in enumerate(through):
        for last, end in enumerate(through[first:], first):
            assert last - first + 1 <= burst + (end - begin) / interval + 0.0011


@given(
    burst=st.integers(1, 20),
    interval=st.one_of(st.sampled_from(INTERVALS), st.floats(0.001, 5000)),
    pauses=st.lists(st.floats(0, 5000), max_size=20),
)
@example(burst=1, interval=2.0015, pauses=[0, 0])
def test_after_the_wait_it_goes_through(burst: int, interval: float, pauses: list[float]) -> None:
    clock = ManualClock()
    limiter = limiter_of(clock, burst=burst, interval=interval)
    for pause in pauses:
        clock.advance(pause)
        for _ in range(burst):
            retry_after = refused(limiter)
            if retry_after is not None:
                clock.advance(retry_after)
                limiter.take("somebody")
                break


def test_whoever_was_quiet_for_longest_is_forgotten_first(clock: ManualClock) -> None:
    limiter = limiter_of(clock, burst=1, interval=1000, most_keys=3)
    for key in ("a", "b", "c", "a", "d"):
        refused(limiter, key)
    assert refused(limiter, "a")
    assert refused(limiter, "b") is None


def test_whoever_is_refused_is_not_quiet(clock: ManualClock) -> None:
    limiter = limiter_of(clock, burst=1, interval=1_000_000, most_keys=3)
    limiter.take("stubborn")
    for number in range(1000):
        limiter.take(str(number))
        assert refused(limiter, "stubborn")


@given(
    burst=st.integers(1, 4),
    most_keys=st.integers(1, 4),
    steps=st.lists(st.tuples(st.integers(0, 150), st.sampled_from("abcdef")), max_size=100),
)
def test_to_be_forgotten_is_no_more_than_a_restart(
    burst: int, most_keys: int, steps: list[tuple[int, str]]
) -> None:
    clock = ManualClock()
    limiter = limiter_of(clock, burst=burst, interval=1, most_keys=most_keys)
    model: OrderedDict[str, BucketOfHundredths] = OrderedDict()
    for hundredths, key in steps:
        clock.advance(hundredths / 100)
        for bucket in model.values():
            bucket.pour(hundredths)
        bucket = model.setdefault(key, BucketOfHundredths(burst))
        model.move_to_end(key)
        while len(model) > most_keys:
            model.popitem(last=False)
        assert (refused(limiter, key) is None) == bucket.take()


@pytest.mark.parametrize("key", ["", "\ud800", "ä" * 8, "x" * 16, "x" * 100_000, "\0", "🎮" * 10])
def test_any_text_is_a_key_and_costs_sixteen_bytes_at_most(clock: ManualClock, key: str) -> None:
    limiter = limiter_of(clock, burst=2, interval=6)
    assert use_up(limiter, key) == 2
    assert use_up(limiter, key + "x") == 2
    assert max(map(len, limiter._full_at)) <= 16


def test_a_million_keys_take_less_than_200_megabytes(clock: ManualClock) -> None:
    count = MANY if LONG else MANY // 10
    limiter = limiter_of(clock, burst=100, interval=0.1, most_keys=count)
    tracemalloc.start()
    try:
        for number in range(count):
            limiter.take(f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::/64")
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    figures.note("a limiter's memory", keys=count, bytes_per_key=held // count, peak=peak // count)
    assert len(limiter._full_at) == count
    assert peak < 200 * count


def test_a_flood_of_keys_takes_no_more_memory_than_the_bound(clock: ManualClock) -> None:
    limiter = Limiter(RateLimit(100, per_second=10), clock)
    distinct = MANY if LONG else MANY // 4
    tracemalloc.start()
    try:
        for number in range(distinct):
            limiter.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    figures.note("a limiter in a flood", distinct_keys=distinct, peak=f"{peak / 1e6:.1f} MB")
    assert len(limiter._full_at) == 100_000
    assert peak < 40_000_000


def test_what_was_noted_is_known_for_a_lifetime(clock: ManualClock) -> None:
    noted = Noted(60, clock)
    assert "somebody" not in noted
    noted.note("somebody")
    clock.advance(59.999)
    assert "somebody" in noted
    assert "another" not in noted
    clock.advance(0.001)
    assert "somebody" not in noted
    noted.note("somebody")
    assert "somebody" in noted


def test_what_was_noted_first_is_forgotten_first(clock: ManualClock) -> None:
    noted = Noted(60, clock, most_keys=3)
    for key in ("a", "b", "c", "a", "d"):
        noted.note(key)
    assert [key for key in "abcd" if key in noted] == ["a", "c", "d"]


def login_limits(
    clock: ManualClock, *, logins: RateLimit = NO_LIMIT, guests: RateLimit = NO_LIMIT
) -> LoginLimits:
    return LoginLimits(logins=logins, guests=guests, clock=clock)


def log_in(limits: LoginLimits, address: str, account: str, secret: str) -> None:
    """The order that the law asks for. There is one account, PLAYER."""
    limits.attempt(address)
    if (account, secret) != (PLAYER, SECRET):
        limits.failed(account)
        raise errors.InvalidCredential


def outcome_of(limits: LoginLimits, account: str) -> tuple[str, int | None, str]:
    with pytest.raises(errors.PlaymeshError) as caught:
        log_in(limits, "203.0.113.7", account, "wrong")
    error = caught.value
    return type(error).__name__, getattr(error, "retry_after", None), str(error)


def limited(limit: str) -> float:
    return REGISTRY.get_sample_value("playmesh_limited_total", {"limit": limit}) or 0.0


def test_an_address_has_a_limit_of_logins(clock: ManualClock) -> None:
    limits = login_limits(clock, logins=RateLimit(burst=100, per_second=10))
    before = limited("logins")
    for _ in range(100):
        limits.attempt("203.0.113.7")
    with pytest.raises(errors.TooManyRequests):
        limits.attempt("203.0.113.7")
    limits.attempt("203.0.113.8")
    assert limited("logins") - before == 1


def test_an_address_has_a_limit_of_guests_beside_it(clock: ManualClock) -> None:
    limits = login_limits(clock, guests=RateLimit(burst=20, per_second=20 / 3600))
    before = limited("guests")
    for _ in range(20):
        limits.creation("203.0.113.7")
    with pytest.raises(errors.TooManyRequests) as refusal:
        limits.creation("203.0.113.7")
    limits.creation("203.0.113.8")
    limits.attempt("203.0.113.7")
    assert refusal.value.retry_after == 180
    assert limited("guests") - before == 1


def test_a_repetition_counts_as_a_login_and_not_as_a_guest(clock: ManualClock) -> None:
    guests, logins = RateLimit(burst=1, per_second=1 / 180), RateLimit(burst=5, per_second=10)
    limits = login_limits(clock, guests=guests, logins=logins)
    limits.creation("203.0.113.7", idempotency_key="one")
    for _ in range(5):
        limits.creation("203.0.113.7", idempotency_key="one")
    with pytest.raises(errors.TooManyRequests) as refusal:
        limits.creation("203.0.113.7", idempotency_key="one")
    assert refusal.value.retry_after == 1
    limits.creation("203.0.113.8", idempotency_key="one")
    limits.creation("203.0.113.8", idempotency_key="another")


def test_a_request_that_was_refused_is_no_repetition(clock: ManualClock) -> None:
    limits = login_limits(clock, guests=RateLimit(burst=1, per_second=1 / 180))
    limits.creation("203.0.113.7")
    for _ in range(3):
        with pytest.raises(errors.TooManyRequests):
            limits.creation("203.0.113.7", idempotency_key="one")


def test_as_soon_as_a_key_may_make_another_guest_it_counts(clock: ManualClock) -> None:
    limits = login_limits(clock, guests=RateLimit(burst=1, per_second=1e-9))
    limits.creation("203.0.113.7", idempotency_key="one")
    clock.advance(24 * 3600 - 0.001)
    limits.creation("203.0.113.7", idempotency_key="one")
    clock.advance(0.001)
    with pytest.raises(errors.TooManyRequests):
        limits.creation("203.0.113.7", idempotency_key="one")


def test_an_account_has_ten_failures_and_then_one_every_six_seconds(clock: ManualClock) -> None:
    limits = login_limits(clock)
    before = limited("failures")
    for _ in range(10):
        limits.failed(PLAYER)
    with pytest.raises(errors.TooManyRequests) as refusal:
        limits.failed(PLAYER)
    assert refusal.value.retry_after == 6
    clock.advance(6)
    limits.failed(PLAYER)
    assert limited("failures") - before == 1


def test_the_right_secret_holds_after_ten_thousand_wrong_ones(clock: ManualClock) -> None:
    limits = login_limits(clock, logins=RateLimit(burst=100, per_second=10))
    refusals = 0
    for number in range(10_000):
        with pytest.raises((errors.InvalidCredential, errors.TooManyRequests)) as caught:
            log_in(limits, f"10.0.{number >> 8}.{number & 255}", PLAYER, "wrong")
        refusals += caught.type is errors.TooManyRequests
    assert refusals == 9990
    log_in(limits, "203.0.113.7", PLAYER, SECRET)


def test_an_unknown_account_answers_like_a_known_one(clock: ManualClock) -> None:
    limits = login_limits(clock)
    for number in range(100):
        assert outcome_of(limits, PLAYER) == outcome_of(limits, STRANGER)
        clock.advance(number % 7)


def test_nothing_is_limited_by_address_where_the_rates_are_nothing(clock: ManualClock) -> None:
    limits = login_limits(clock)
    for _ in range(1000):
        limits.attempt("203.0.113.7")
        limits.creation("203.0.113.7")
