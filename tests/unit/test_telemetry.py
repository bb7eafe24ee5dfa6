"""What a process writes to its log, and what never gets there."""

import json
import sys
from functools import cache
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from shared.telemetry import redact

ROOT = Path(__file__).parents[2]
SECRET = "hunter2hunter2"

# Logging is configured for a whole process, so it is configured in one of its own.
PROGRAM = f"""
import asyncio, logging, sys
import structlog
from aiohttp import web
from shared.http.app import new_app
from shared.http.responses import json_response
from shared.telemetry import configure_logging
from tests.support.servers import send, serving

configure_logging(level=sys.argv[2], form=sys.argv[1], service="demo")
log, standard = structlog.get_logger(), logging.getLogger("some.library")

def events():
    log.info("structured", user="u-1", refresh_token="{SECRET}")
    log.debug("details")
    standard.info("from %s", "a library")
    standard.debug("details of a library")
    log.info("injected", text='two\\nlines\\x1b[31m and "quotes"')
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        log.info("in context")
        standard.warning("in context of a library")

def failures():
    password = "{SECRET}"
    for report in (log.exception, standard.exception):
        try:
            raise LookupError("no such thing")
        except LookupError:
            report("failed")

async def hello(request):
    return json_response({{}})

async def fail(request):
    password = request.query["secret"]
    raise LookupError("a bug")

MALFORMED = [
    "GET /?secret={SECRET} HTTP/9.9x",
    "GET /?secret={SECRET} and more HTTP/1.1",
    "GET /?secret={SECRET}",
    "GET http://[?secret={SECRET} HTTP/1.1",
    "GET /?secret={SECRET}" + "x" * 10000 + " HTTP/1.1",
    "GET /?secret={SECRET} HTTP/1.1\\r\\nContent-Length: +3",
    "GET /?secret={SECRET} HTTP/1.1\\r\\nBad Header: {SECRET}",
    "GET /?secret={SECRET} HTTP/1.1\\r\\nA: {SECRET}\\x00",
    "GET /?secret={SECRET} HTTP/1.1\\r\\nA: {SECRET}" + "x" * 10000,
    "POST /?secret={SECRET} HTTP/1.1\\r\\nTransfer-Encoding: {SECRET}",
    "G@T /?secret={SECRET} HTTP/1.1",
]

async def requests():
    app = new_app(largest_body=1000)
    app.router.add_get("/hello", hello)
    app.router.add_get("/fail", fail)
    async with serving(app) as url:
        await send(url, "GET /hello?secret={SECRET} HTTP/1.1\\r\\nX-Request-Id: r-2")
        await send(url, "GET /fail?secret={SECRET} HTTP/1.1\\r\\nX-Request-Id: r-3")
        await send(url, "GET /nowhere?secret={SECRET} HTTP/1.1")
        for head in MALFORMED:
            log.info("sending")
            await send(url, head)

events()
failures()
asyncio.run(requests())
"""


@cache
def log_of(form: str, level: str) -> str:
    done = run(  # noqa: S603 - a program of ours
        [sys.executable, "-c", PROGRAM, form, level],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=30,
        text=True,
    )
    assert not done.stderr
    return done.stdout


def events(name: str, level: str = "info") -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log_of("json", level).splitlines()]
    return [line for line in lines if line["event"] == name]


def event(name: str, level: str = "info") -> dict[str, Any]:
    (only,) = events(name, level)
    return only


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "refresh_token",
        "SECRET",
        "client_secret",
        "Password",
        "Authorization",
        "cookie",
        "Idempotency-Key",
        "idempotency_key",
    ],
)
def test_a_field_whose_name_says_secret_is_blanked(name: str) -> None:
    assert redact(None, "info", {name: SECRET}) == {name: "[redacted]"}


def test_other_fields_are_left_as_they_are() -> None:
    fields = {"event": "session.started", "key_id": "k-1", "status": 200}
    assert redact(None, "info", dict(fields)) == fields


@pytest.mark.parametrize("name", ["structured", "from a library", "in context", "failed"])
def test_every_line_is_an_event_with_level_time_and_service(name: str) -> None:
    for line in events(name):
        assert line["service"] == "demo"
        assert line["level"] in ("info", "warning", "error")
        assert line["timestamp"].endswith("Z")


def test_fields_stay_fields() -> None:
    assert event("structured")["user"] == "u-1"


@pytest.mark.parametrize("name", ["in context", "in context of a library"])
def test_the_context_is_in_the_lines_of_ours_and_of_libraries(name: str) -> None:
    assert event(name)["request_id"] == "r-1"


def test_a_value_cannot_break_out_of_its_line() -> None:
    assert event("injected")["text"] == 'two\nlines\x1b[31m and "quotes"'


@pytest.mark.parametrize("name", ["details", "structured", "from a library"])
def test_what_is_below_the_level_is_left_out(name: str) -> None:
    assert events(name, level="warning") == []


def test_our_own_details_are_there_on_request() -> None:
    assert event("details", level="debug")["level"] == "debug"


def test_the_details_of_libraries_are_never_there() -> None:
    assert events("details of a library", level="debug") == []


def test_a_failure_has_its_traceback_whoever_reports_it() -> None:
    reports = events("failed")
    assert len(reports) == 2
    for report in reports:
        (error,) = report["exception"]
        assert (error["exc_type"], error["exc_value"]) == ("LookupError", "no such thing")
        assert error["frames"][-1]["name"] == "failures"


def test_a_request_leaves_a_line_without_its_query() -> None:
    line = next(line for line in events("request") if line["request_id"] == "r-2")
    assert (line["method"], line["path"], line["status"]) == ("GET", "/hello", 200)


def test_a_bug_in_a_handler_leaves_a_traceback_with_the_request_id() -> None:
    line = event("request.failed")
    assert line["request_id"] == "r-3"
    assert line["exception"][0]["exc_value"] == "a bug"


def test_a_malformed_request_leaves_a_warning_that_names_the_fault_only() -> None:
    lines = log_of("json", "info").splitlines()
    malformed = [json.loads(line) for line in lines if "malformed request" in line]
    assert len(malformed) == 9  # HTTP/0.9 is answered, a bad method not worth a line
    for line in malformed:
        assert line.keys() == {"event", "level", "timestamp", "service"}
        assert line["level"] == "warning"


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("level", ["debug", "info", "warning"])
def test_no_secret_is_in_the_log_whatever_went_wrong(form: str, level: str) -> None:
    log = log_of(form, level)
    assert "request.failed" in log
    assert SECRET not in log


def test_on_a_console_a_line_is_for_people() -> None:
    (line,) = [line for line in log_of("console", "info").splitlines() if "structured" in line]
    assert "[info     ] structured" in line
    assert "user=u-1" in line
    assert "\x1b" not in log_of("console", "info")
