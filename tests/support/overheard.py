"""All that is said anywhere while a platform is asked: whoever reads along must learn no secret."""

import asyncio
import traceback
from collections.abc import Awaitable

import pytest
from prometheus_client import REGISTRY, generate_latest
from structlog.testing import capture_logs

from shared import errors


class Overheard:
    def __init__(
        self, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        self._capsys = capsys
        self._caplog = caplog

    async def during(self, call: Awaitable[object]) -> list[str]:
        """What comes of the call, its traceback, logs, metrics and what is printed.

        A refusal must have no other exception behind it: not only hidden from a traceback.
        """
        self._caplog.set_level(0)
        with capture_logs() as logs:
            (outcome,) = await asyncio.gather(call, return_exceptions=True)
        said = [repr(outcome), repr(logs), generate_latest(REGISTRY).decode()]
        said += self._capsys.readouterr()
        # The fake's own server is logged by its requests; ours is the client.
        said += [
            line.getMessage() for line in self._caplog.records if line.name != "aiohttp.access"
        ]
        if isinstance(outcome, errors.PlaymeshError):
            said += ["".join(traceback.format_exception(outcome)), str(outcome.detail)]
            assert outcome.__context__ is None
            assert outcome.__cause__ is None
        return said
