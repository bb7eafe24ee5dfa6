"""From environment to exit code: what is the same in every service's `__main__`."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

import structlog

from shared import errors
from shared.env import SettingsError
from shared.settings import ServerSettings
from shared.start_check import StartError
from shared.telemetry import configure_logging

S = TypeVar("S")

OK = 0
USAGE = 64  # EX_USAGE: settings or surroundings are wrong, trying again will not help
TEMPORARY = 75  # EX_TEMPFAIL: try again later

_log = structlog.get_logger()


def run(
    service: str,
    read_settings: Callable[[Mapping[str, str]], S],
    server: Callable[[S], ServerSettings],
    main: Callable[[S], Coroutine[Any, Any, int | None]],
) -> int:
    """Read the settings, start logging, run `main`; the answer is the exit code."""
    try:
        settings = read_settings(os.environ)  # noqa: TID251 - the edge: read once, here
    except SettingsError as error:
        return _wrong(error.faults)
    options = server(settings)
    configure_logging(level=options.log_level, form=options.log_format, service=service)
    try:
        return asyncio.run(main(settings)) or OK
    except StartError as error:
        return _wrong(error.faults)
    except errors.Unavailable as error:
        _log.error("start.failed", reason=str(error))
        return TEMPORARY
    except OSError as error:
        _log.error("start.failed", reason=error.strerror or str(error))
        return USAGE


def _wrong(faults: Iterable[str]) -> int:
    for fault in faults:
        print(fault, file=sys.stderr)  # noqa: T201 - for people, also before logging is configured
    return USAGE
