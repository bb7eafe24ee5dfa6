"""What ends a start, and what is waited for."""

import asyncio

import pytest

from shared import errors
from shared.start_check import StartCheck, StartError


class Weather:
    """A probe that fails until it is told otherwise."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls = 0

    async def __call__(self) -> None:
        self.calls += 1
        if self.error:
            raise self.error


async def test_without_anything_to_look_at_all_is_well() -> None:
    assert StartCheck().not_ready() is None


async def test_before_anybody_has_looked_it_is_not_ready() -> None:
    check = StartCheck()
    check.add([Weather()])
    assert check.not_ready()
    await check.look()
    assert check.not_ready() is None


async def test_every_fault_is_told_once_and_in_order() -> None:
    check = StartCheck()
    rain = Weather(errors.Unavailable("rain"))
    check.add(map(Weather, [StartError("b"), StartError("a", "c"), None, StartError("b")]))
    check.add([rain])
    with pytest.raises(StartError) as caught:
        await check.look()
    assert caught.value.faults == ("b", "a", "c")


async def test_what_has_answered_well_is_not_asked_again() -> None:
    check = StartCheck()
    good, rain = Weather(), Weather(errors.Unavailable("rain"))
    check.add([good, rain])
    await check.look()
    assert check.not_ready() == "rain"
    rain.error = None
    await check.look()
    assert check.not_ready() is None
    assert (good.calls, rain.calls) == (1, 2)


async def test_a_bug_is_no_bad_weather() -> None:
    check = StartCheck()
    check.add([Weather(ZeroDivisionError())])
    with pytest.raises(ZeroDivisionError):
        await check.look()


async def test_a_fault_before_the_block_keeps_it_from_running() -> None:
    check = StartCheck()
    check.add([Weather(StartError("missing"))])
    with pytest.raises(StartError):
        async with check.passing():
            raise AssertionError("it runs")


async def test_a_fault_after_the_bad_weather_ends_the_block() -> None:
    check = StartCheck()
    probe = Weather(errors.Unavailable("rain"))
    check.add([probe])

    async def serve() -> None:
        async with check.passing():
            probe.error = StartError("missing")
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await asyncio.wait({serving}, timeout=10)
    assert serving.done()
    with pytest.raises(StartError, match="missing"):
        await serving


async def test_an_error_of_the_block_is_the_one_that_is_told() -> None:
    check = StartCheck()
    check.add([Weather(errors.Unavailable("rain"))])
    with pytest.raises(OSError, match="port"):
        async with check.passing():
            raise OSError("port")
