"""Work that is repeated, whatever comes."""

import asyncio

from shared import errors
from shared.background import repeating


async def test_what_bad_weather_has_prevented_is_done_soon_after_however_rare_it_is() -> None:
    done = asyncio.Event()
    weather = iter([errors.Unavailable("rain")])

    async def work() -> None:
        for rain in weather:
            raise rain
        done.set()

    async with repeating("rare", work, lambda: 3600.0):
        await asyncio.wait_for(done.wait(), 10)


async def test_a_bug_does_not_end_the_repetition() -> None:
    done = asyncio.Event()
    bugs = iter([ZeroDivisionError()])

    async def work() -> None:
        for bug in bugs:
            raise bug
        done.set()

    async with repeating("buggy", work, lambda: 0.0):
        await asyncio.wait_for(done.wait(), 10)
