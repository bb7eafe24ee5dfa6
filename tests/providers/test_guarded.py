"""Whatever a platform's file does, a login ends in time, is counted, and leaks nothing."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Mapping

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.identity.models import ExternalIdentity
from services.identity.providers import guarded
from services.identity.providers.guarded import Guarded
from services.identity.providers.shape import Refused
from shared import errors
from tests.support.clock import ManualClock

PLAYER = ExternalIdentity("some", "player-1")
SECRET = "CANARY-credential"


class Some:
    name = "some"

    def __init__(self, behave: Callable[[], Awaitable[ExternalIdentity]]) -> None:
        self._behave = behave

    async def verify(self, credential: Mapping[str, str]) -> ExternalIdentity:
        assert credential
        return await self._behave()


def raising(error: Exception, clock: ManualClock) -> Guarded:
    async def behave() -> ExternalIdentity:
        raise error

    return Guarded(Some(behave), clock)


def sample(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(f"playmesh_provider_{name}", {"provider": "some", **labels})
    return found or 0.0


async def test_a_bug_lets_nobody_in_and_quotes_nothing(clock: ManualClock) -> None:
    provider = raising(KeyError(f"{SECRET} in a message"), clock)
    with capture_logs() as logs, pytest.raises(errors.ProviderUnavailable) as caught:
        await provider.verify({"ticket": SECRET})
    assert logs[0]["event"] == "provider.failed"
    assert logs[0]["error"] == "KeyError"
    assert logs[0]["where"].startswith("test_guarded.py:")
    assert SECRET not in repr(logs) + "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


async def test_what_a_platform_refuses_is_what_the_caller_gets_without_a_word_more(
    clock: ManualClock,
) -> None:
    provider = raising(Refused(errors.WrongAudience(), "aud"), clock)
    with pytest.raises(errors.WrongAudience) as caught:
        await provider.verify({"ticket": SECRET})
    assert caught.value.detail is None
    assert caught.value.__context__ is None


async def test_keys_that_cannot_be_fetched_are_the_platform_s_trouble(clock: ManualClock) -> None:
    provider = raising(errors.Unavailable("host and path", retry_after=7), clock)
    with pytest.raises(errors.ProviderUnavailable) as caught:
        await provider.verify({"ticket": SECRET})
    assert caught.value.retry_after == 7
    assert caught.value.detail is None


def test_a_login_has_ten_seconds_in_all() -> None:
    assert guarded._BUDGET == 10


async def test_a_platform_that_takes_longer_is_unavailable(clock: ManualClock) -> None:
    async def hang() -> ExternalIdentity:
        await asyncio.Event().wait()
        raise AssertionError

    provider = Guarded(Some(hang), clock, budget=0.01)
    async with asyncio.timeout(5):
        with pytest.raises(errors.ProviderUnavailable):
            await provider.verify({"ticket": SECRET})


async def test_a_client_that_goes_away_is_no_refusal(clock: ManualClock) -> None:
    async def hang() -> ExternalIdentity:
        await asyncio.Event().wait()
        raise AssertionError

    login = asyncio.create_task(Guarded(Some(hang), clock).verify({"ticket": SECRET}))
    await asyncio.sleep(0)
    login.cancel()
    await asyncio.wait([login])
    assert login.cancelled()


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (Refused(errors.ExpiredCredential(), "expired"), "expired_credential", "expired"),
        (Refused(errors.ProviderMisconfigured(), "no_key"), "provider_misconfigured", "no_key"),
        (ValueError(SECRET), "provider_unavailable", "bug"),
    ],
)
async def test_refusals_are_counted_by_code_and_reason(
    clock: ManualClock, error: Exception, outcome: str, reason: str
) -> None:
    before = sample("verifications_total", outcome=outcome, reason=reason)
    with pytest.raises(errors.PlaymeshError):
        await raising(error, clock).verify({"ticket": SECRET})
    assert sample("verifications_total", outcome=outcome, reason=reason) == before + 1


async def test_who_gets_in_is_counted(clock: ManualClock) -> None:
    async def good() -> ExternalIdentity:
        return PLAYER

    before = sample("verifications_total", outcome="ok", reason="")
    assert await Guarded(Some(good), clock).verify({"ticket": SECRET}) is PLAYER
    assert sample("verifications_total", outcome="ok", reason="") == before + 1


@pytest.mark.parametrize("seconds", [0.25, 3.25])
async def test_defect_5_the_time_it_took_is_all_of_the_time(
    clock: ManualClock, seconds: float
) -> None:
    async def take_long() -> ExternalIdentity:
        clock.advance(seconds)
        return PLAYER

    before = sample("verification_seconds_sum")
    await Guarded(Some(take_long), clock).verify({"ticket": SECRET})
    assert sample("verification_seconds_sum") == pytest.approx(before + seconds)


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (Refused(errors.InvalidCredential(), "x"), "info"),
        (Refused(errors.ProviderUnavailable(), "x"), "warning"),
        (Refused(errors.ProviderMisconfigured(), "x"), "error"),
    ],
)
async def test_the_log_tells_whose_turn_it_is(
    clock: ManualClock, error: Refused, level: str
) -> None:
    with capture_logs() as logs, pytest.raises(errors.PlaymeshError):
        await raising(error, clock).verify({"ticket": SECRET})
    assert [line["log_level"] for line in logs] == [level]
