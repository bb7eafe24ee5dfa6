"""Logs as events with fields, on standard output; secrets never among them."""

import logging
import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

import structlog
from aiohttp.http_exceptions import HttpProcessingError

_SECRET_NAMES = (
    "token",
    "secret",
    "password",
    "authorization",
    "cookie",
    "credential",
    "ticket",
    "idempotency",  # a new guest's key gives its secret again
)
_REDACTED = "[redacted]"


def configure_logging(*, level: str, form: str, service: str) -> None:
    """Send structlog's and the standard library's events through the same processors."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _service_name(service),
        redact,
    ]
    final = _console() if form == "console" else _json()
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.INFO), force=True)
    logging.getLogger("aiohttp.server").addFilter(_MalformedRequests())


def redact(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The last line of defence: blanks every field whose name says that it holds a secret."""
    for name in event:
        if _is_secret(name):
            event[name] = _REDACTED
    return event


@lru_cache(maxsize=1024)  # the names of fields are few, and this is asked for each of every line
def _is_secret(name: str) -> bool:
    return any(secret in name.lower() for secret in _SECRET_NAMES)


class _MalformedRequests(logging.Filter):
    """aiohttp logs a request that it cannot parse with its first line, query string included."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.exc_info = None
            record.msg, record.args = "malformed request: %s", (type(error).__name__,)
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


def _json() -> list[structlog.typing.Processor]:
    # Without the locals that structlog adds to a traceback by default: they hold tokens.
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]


def _console() -> list[structlog.typing.Processor]:
    # The plain traceback: where rich is installed, structlog's default shows locals as well.
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]


def _service_name(service: str) -> structlog.typing.Processor:
    def add(
        _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    return add
