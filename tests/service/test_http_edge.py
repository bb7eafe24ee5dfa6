"""The edge of every service: hostile requests get a precise problem, never a 500."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NoReturn

import aiohttp
import pytest
import structlog
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from shared import errors
from shared.http.app import new_app
from shared.http.bodies import (
    Fields,
    read_form,
    read_json,
    read_object,
    read_parameters,
    read_query,
)
from shared.http.client import Document, fetch, new_session
from shared.http.drop_in import drop_in
from shared.http.responses import json_response, json_stream
from shared.http.server import admin_app
from tests.support.servers import Answer, send, serving

LARGEST_BODY = 1024 * 1024
SECRET = "hunter2hunter2"
FORM = "application/x-www-form-urlencoded"

FAILURES: Mapping[str, Callable[[], Exception]] = {
    "bug": lambda: LookupError(SECRET),
    "not-found": lambda: errors.NotFound("there is no such item"),
    "conflict": lambda: errors.VersionConflict(current=7),
    "unavailable": lambda: errors.Unavailable(retry_after=30),
    "client": errors.InvalidClient,
    "refresh": errors.InvalidRefreshToken,
    "reused": errors.RefreshTokenReused,
    "often": lambda: errors.TooManyRequests(retry_after=5),
    "timeout": lambda: TimeoutError(SECRET),
    "gone": lambda: web.HTTPGone(text=SECRET),
}


async def echo(request: web.Request) -> web.Response:
    return json_response(await read_json(request))


def echo_fields(
    read: Callable[[web.Request], Awaitable[Fields]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(request: web.Request) -> web.Response:
        fields = await read(request)
        return json_response({name: fields.text(name, longest=8) for name in fields.names()})

    return handler


async def query(request: web.Request) -> Fields:
    return read_query(request)


async def fail(request: web.Request) -> NoReturn:
    failure = FAILURES[request.match_info["name"]]()
    raise failure


async def stream(request: web.Request) -> web.StreamResponse:
    async def document() -> AsyncIterator[bytes]:
        for part in (b"[1,", b"2,", b"3]"):
            yield part

    return await json_stream(request, document(), filename="numbers.json")


@pytest.fixture
async def edge() -> AsyncIterator[str]:
    app = new_app(
        largest_body=LARGEST_BODY,
        describe={errors.VersionConflict: lambda error: {"current": error.current}},
    )
    app.router.add_post("/json", echo)
    app.router.add_post("/object", echo_fields(read_object))
    app.router.add_post("/form", echo_fields(read_form))
    app.router.add_get("/query", echo_fields(query))
    app.add_routes(drop_in("/sdk", echo_fields(read_parameters)))
    app.router.add_get("/fail/{name}", fail)
    app.router.add_get("/stream", stream)
    async with serving(app) as url:
        yield url


async def post(
    url: str, path: str, body: bytes, *, content_type: str = "application/json", more: str = ""
) -> Answer:
    return await send(url, f"POST {path} HTTP/1.1\r\nContent-Type: {content_type}{more}", body)


async def get(url: str, path: str, more: str = "") -> Answer:
    return await send(url, f"GET {path} HTTP/1.1{more}")


def detail(answer: Answer) -> str:
    assert answer.code == "invalid_request"
    return str(answer.json()["detail"])


# Streams


async def test_a_document_is_sent_while_it_is_read(edge: str) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{edge}/stream") as response:
        assert await response.json() == [1, 2, 3]
        assert response.headers["Content-Disposition"] == 'attachment; filename="numbers.json"'


async def test_head_is_answered_without_a_document(edge: str) -> None:
    """It would be what the connection's next request is answered: somebody else's, at a proxy."""
    answer = await send(edge, "HEAD /stream HTTP/1.1")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"] == "application/json"


# JSON bodies


async def test_a_json_body_is_read_and_answered(edge: str) -> None:
    answer = await post(edge, "/json", '{"name": "Zoë 🎮", "list": [1, null]}'.encode())
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.body == '{"name":"Zoë 🎮","list":[1,null]}'.encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"[" * 200_000, "it is nested too deeply", id="brackets"),
        pytest.param(b'{"a":' * 100_000, "it is nested too deeply", id="braces"),
        pytest.param(b"[" * 980 + b"]" * 980, "it is nested too deeply", id="deep"),
        pytest.param(
            b"[" * 900 + rb'"\u0041"' + b"]" * 900, "it is nested too deeply", id="deep-escape"
        ),
        pytest.param(b'"\xff\xfe"', "it is not UTF-8", id="not-utf-8"),
        pytest.param(b'"\xed\xa0\x80"', "it is not UTF-8", id="surrogate-bytes"),
        pytest.param(b"\xff\xfe{\x00}\x00", "it is not UTF-8", id="utf-16"),
        pytest.param(b"9" * 5000, "a number is too large", id="5000-digits"),
        pytest.param(b"-" + b"9" * 5000, "a number is too large", id="negative-5000-digits"),
        pytest.param(b"1e400", "a number is too large", id="1e400"),
        pytest.param(b'{"a": NaN}', "NaN is not JSON", id="nan"),
        pytest.param(b"[-Infinity]", "-Infinity is not JSON", id="infinity"),
        pytest.param(rb'"\ud800"', "it contains a lone surrogate", id="lone-surrogate"),
        pytest.param(rb'{"\udfff": 1}', "it contains a lone surrogate", id="surrogate-name"),
        pytest.param(
            b'{"a": 1, "a": 2}', "an object has two members of the same name", id="same-name"
        ),
        pytest.param(b'{"a": ', "Expecting value at character 6", id="broken-off"),
        pytest.param(b"", "Expecting value at character 0", id="empty"),
        pytest.param(b"a=b", "Expecting value at character 0", id="form"),
        pytest.param(b"\x00", "Expecting value at character 0", id="nul"),
    ],
)
async def test_a_hostile_json_body_is_a_400_that_says_why(
    edge: str, body: bytes, reason: str
) -> None:
    answer = await post(edge, "/json", body)
    assert answer.status == 400
    assert detail(answer) == f"the body is not valid JSON: {reason}"


async def test_a_missing_content_type_counts_as_json(edge: str) -> None:
    assert (await send(edge, "POST /json HTTP/1.1", b"[1]")).body == b"[1]"


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
async def test_json_may_have_parameters_and_any_case(edge: str, content_type: str) -> None:
    assert (await post(edge, "/json", b"[1]", content_type=content_type)).body == b"[1]"


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "text/json", "multipart/form-data"],
)
async def test_another_content_type_is_415(edge: str, content_type: str) -> None:
    answer = await post(edge, "/json", b"[1]", content_type=content_type)
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


async def test_a_body_of_the_largest_size_is_read(edge: str) -> None:
    body = b"[1]".ljust(LARGEST_BODY)
    assert (await post(edge, "/json", body)).status == 200


@pytest.mark.parametrize("size", [LARGEST_BODY + 1, 2 * LARGEST_BODY])
async def test_a_larger_body_is_413(edge: str, size: int) -> None:
    answer = await post(edge, "/json", b"[1]".ljust(size))
    assert (answer.status, answer.code) == (413, "too_large")


async def test_a_larger_body_in_chunks_is_413(edge: str) -> None:
    chunk = b"%x\r\n%b\r\n" % (LARGEST_BODY + 1, b" " * (LARGEST_BODY + 1))
    answer = await chunked(edge, chunk + b"0\r\n\r\n")
    assert (answer.status, answer.code) == (413, "too_large")


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_the_size_of_a_compressed_body_is_that_of_its_content(
    edge: str, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    body = compress(b"[1]".ljust(20 * LARGEST_BODY))
    assert len(body) < LARGEST_BODY
    answer = await post(edge, "/json", body, more=f"\r\nContent-Encoding: {encoding}")
    assert (answer.status, answer.code) == (413, "too_large")


async def test_a_compressed_body_is_read(edge: str) -> None:
    body = gzip.compress(b"[1]")
    assert (await post(edge, "/json", body, more="\r\nContent-Encoding: gzip")).body == b"[1]"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_is_not_compressed_as_it_says_is_400(edge: str, encoding: str) -> None:
    answer = await post(edge, "/json", b"[1]", more=f"\r\nContent-Encoding: {encoding}")
    assert answer.status == 400


async def chunked(url: str, chunks: bytes) -> Answer:
    target = URL(url)
    reader, writer = await asyncio.open_connection(target.host, target.port)
    head = b"POST /json HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTransfer-Encoding: chunked"
    try:
        writer.write(head + b"\r\n\r\n" + chunks)
        raw = await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
    first, _, body = raw.partition(b"\r\n\r\n")
    answer = Answer(int(first.split(b" ")[1]), _headers(first), body)
    assert body.count(b"HTTP/1.1") == 0
    return answer


def _headers(head: bytes) -> CIMultiDict[str]:
    headers = CIMultiDict[str]()
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        headers.add(name, value)
    return headers


async def test_a_body_in_chunks_is_read(edge: str) -> None:
    assert (await chunked(edge, b"2\r\n[1\r\n1\r\n]\r\n0\r\n\r\n")).body == b"[1]"


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("path", ["/json", "/form"])
async def test_a_client_that_goes_away_amid_its_body_is_no_error_of_ours(
    edge: str, path: str, framing: str
) -> None:
    target = URL(edge)
    content_type = FORM if path == "/form" else "application/json"
    with structlog.testing.capture_logs() as lines:
        reader, writer = await asyncio.open_connection(target.host, target.port)
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: test\r\n{framing}\r\n"
            f"Content-Type: {content_type}\r\n\r\n2\r\n[1\r\n".encode()
        )
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    assert [(line["event"], line["status"]) for line in lines] == [("request", 400)]


# Objects, forms, queries


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"null", b"7"])
async def test_a_body_that_must_be_an_object_is_one(edge: str, body: bytes) -> None:
    answer = await post(edge, "/object", body)
    assert answer.status == 400
    assert detail(answer) == "the body must be a JSON object"


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ('""', "is missing"),
        ("null", "is missing"),
        ("7", "must be a string"),
        ("true", "must be a string"),
        ('["a"]', "must be a string"),
        ('"123456789"', "is longer than 8 characters"),
        (r'"a\nb"', "contains a control character"),
        (r'"a\u0000"', "contains a control character"),
        (r'"a\u007f"', "contains a control character"),
    ],
)
async def test_a_field_that_is_no_text_is_a_400_that_names_it(
    edge: str, value: str, fault: str
) -> None:
    answer = await post(edge, "/object", f'{{"name": {value}}}'.encode())
    assert answer.status == 400
    assert detail(answer) == f"`name` {fault}"


@pytest.mark.parametrize("value", ["12345678", "Zoë 🎮", "a b", " "])
async def test_a_field_may_be_any_text_that_fits(edge: str, value: str) -> None:
    answer = await post(edge, "/object", f'{{"name": "{value}"}}'.encode())
    assert answer.json() == {"name": value}


async def test_a_form_is_read(edge: str) -> None:
    answer = await post(edge, "/form", b"a=1&b=Zo%C3%AB+x", content_type=FORM)
    assert answer.json() == {"a": "1", "b": "Zoë x"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"a=%ff", id="not UTF-8"),
        pytest.param(b"a=\xc3\xab", id="not ASCII"),
        pytest.param(b"&".join(b"a%d=1" % n for n in range(65)), id="65 fields"),
        pytest.param(b"a=1&a=1", id="the same field twice"),
        pytest.param(b"a=%00", id="a control character"),
    ],
)
async def test_a_hostile_form_is_400(edge: str, body: bytes) -> None:
    answer = await post(edge, "/form", body, content_type=FORM)
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_what_is_no_form_is_415(edge: str, content_type: str) -> None:
    answer = await post(edge, "/form", b"a=1", content_type=content_type)
    assert answer.status == 415


async def test_a_query_is_read(edge: str) -> None:
    assert (await get(edge, "/query?a=1&b=Zo%C3%AB")).json() == {"a": "1", "b": "Zoë"}


@pytest.mark.parametrize("query", ["a=1&a=2", "a=%00", "a=%0a", "a=123456789", "a="])
async def test_a_hostile_query_is_400(edge: str, query: str) -> None:
    answer = await get(edge, f"/query?{query}")
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize(
    "query", ["a=%ff", "a=%", "a=%zz", "%ff=1", "a=%ed%a0%80", "&&&", "=", ";"]
)
async def test_no_query_is_a_500(edge: str, query: str) -> None:
    assert (await get(edge, f"/query?{query}")).status in (200, 400)


async def test_a_query_beyond_ascii_is_no_500(edge: str) -> None:
    assert (await send(edge, b"GET /query?a=\xff\xed\xa0\x80 HTTP/1.1")).status in (200, 400)


@pytest.mark.parametrize("path", ["/sdk", "//sdk"])
async def test_a_drop_in_route_takes_a_query_a_form_or_json_with_one_slash_or_two(
    edge: str, path: str
) -> None:
    answers = [
        await get(edge, f"{path}?a=1"),
        await post(edge, path, b"a=1", content_type=FORM),
        await post(edge, path, b'{"a": "1"}'),
    ]
    assert [answer.json() for answer in answers] == [{"a": "1"}] * 3


async def test_a_drop_in_route_takes_a_post_without_a_body(edge: str) -> None:
    assert (await send(edge, "POST /sdk HTTP/1.1")).json() == {}


async def test_a_drop_in_route_refuses_a_post_with_its_parameters_in_the_url(edge: str) -> None:
    answer = await post(edge, "/sdk?a=1", b"{}")
    assert answer.status == 400
    assert "not in its URL" in detail(answer)


# Errors


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("not-found", 404, "not_found"),
        ("conflict", 412, "version_conflict"),
        ("unavailable", 503, "unavailable"),
        ("client", 401, "invalid_client"),
        ("refresh", 401, "invalid_refresh_token"),
        ("reused", 401, "refresh_reused"),
        ("often", 429, "too_many_requests"),
        ("gone", 410, "http_error"),
        ("bug", 500, "internal_error"),
        ("timeout", 500, "internal_error"),
    ],
)
async def test_an_error_is_a_problem_with_its_status_and_code(
    edge: str, name: str, status: int, code: str
) -> None:
    answer = await get(edge, f"/fail/{name}")
    assert (answer.status, answer.code) == (status, code)
    body = answer.json()
    assert body["status"] == status
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert body["title"]
    assert body["detail"]


@pytest.mark.parametrize("name", ["bug", "timeout", "gone"])
async def test_an_unexpected_error_shows_no_detail(edge: str, name: str) -> None:
    answer = await get(edge, f"/fail/{name}")
    shown = answer.body.decode() + str(answer.headers)
    assert SECRET not in shown
    assert "Traceback" not in shown
    assert "Error" not in shown


async def test_a_bug_is_in_the_log_with_its_traceback(edge: str) -> None:
    with structlog.testing.capture_logs() as lines:
        await get(edge, "/fail/bug")
    (failure,) = [line for line in lines if line["event"] == "request.failed"]
    assert failure["log_level"] == "error"
    assert failure["exc_info"]


async def test_the_detail_of_an_expected_error_is_shown(edge: str) -> None:
    assert (await get(edge, "/fail/not-found")).json()["detail"] == "there is no such item"


async def test_a_service_may_add_members_to_its_problems(edge: str) -> None:
    assert (await get(edge, "/fail/conflict")).json()["current"] == 7


@pytest.mark.parametrize(
    ("name", "header", "value"),
    [
        ("unavailable", "Retry-After", "30"),
        ("client", "WWW-Authenticate", 'Basic realm="playmesh"'),
        ("refresh", "WWW-Authenticate", "Bearer"),
        ("reused", "WWW-Authenticate", "Bearer"),
        ("often", "Retry-After", "5"),
    ],
)
async def test_an_error_tells_in_its_headers_what_to_do(
    edge: str, name: str, header: str, value: str
) -> None:
    assert (await get(edge, f"/fail/{name}")).headers[header] == value


async def test_an_unknown_path_is_a_404_problem(edge: str) -> None:
    answer = await get(edge, "/nowhere")
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize(("path", "allowed"), [("/json", "POST"), ("/query", "GET,HEAD")])
async def test_a_wrong_method_is_a_405_problem_that_names_the_right_ones(
    edge: str, path: str, allowed: str
) -> None:
    answer = await send(edge, f"DELETE {path} HTTP/1.1")
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize("path", ["/%00", "/%ff", "/..%2f..%2fetc%2fpasswd", "/a" * 3000])
async def test_a_hostile_path_is_no_500(edge: str, path: str) -> None:
    assert (await get(edge, path)).status in (400, 404)


async def test_an_unknown_expectation_is_417(edge: str) -> None:
    assert (await post(edge, "/json", b"[1]", more="\r\nExpect: the-unexpected")).status == 417


# What every answer has


@pytest.mark.parametrize("given", ["abc", "A-Z_a.z-09", "x" * 64])
async def test_a_request_id_is_echoed(edge: str, given: str) -> None:
    answer = await get(edge, "/query", f"\r\nX-Request-Id: {given}")
    assert answer.headers.getall("X-Request-Id") == [given]


@pytest.mark.parametrize(
    "given", ["", "x" * 65, "a b", "a,b", "é", "<script>", "a;b", '"a"', "a\tb"]
)
async def test_a_hostile_request_id_is_replaced(edge: str, given: str) -> None:
    answer = await get(edge, "/query", f"\r\nX-Request-Id: {given}")
    (request_id,) = answer.headers.getall("X-Request-Id")
    assert len(bytes.fromhex(request_id)) == 16


async def test_two_requests_have_different_ids(edge: str) -> None:
    ids = {(await get(edge, "/query")).headers["X-Request-Id"] for _ in range(10)}
    assert len(ids) == 10


@pytest.mark.parametrize("path", ["/query", "/nowhere", "/fail/bug"])
async def test_every_answer_may_be_read_by_any_page_and_is_kept_by_no_cache(
    edge: str, path: str
) -> None:
    headers = (await get(edge, path)).headers
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "ETag" in headers["Access-Control-Expose-Headers"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "playmesh"
    assert "Access-Control-Allow-Credentials" not in headers


@pytest.mark.parametrize("path", ["/json", "/query", "/nowhere"])
async def test_a_preflight_is_answered_for_any_path(edge: str, path: str) -> None:
    answer = await send(
        edge,
        f"OPTIONS {path} HTTP/1.1\r\nOrigin: https://game.test\r\n"
        "Access-Control-Request-Method: PUT\r\n"
        "Access-Control-Request-Headers: authorization,if-match",
    )
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "If-Match" in answer.headers["Access-Control-Allow-Headers"]
    assert answer.headers["Access-Control-Max-Age"] == "86400"


async def test_an_options_request_that_is_no_preflight_is_405(edge: str) -> None:
    assert (await send(edge, "OPTIONS /json HTTP/1.1")).status == 405


# The admin listener


@pytest.fixture
def reasons() -> list[str]:
    return []


@pytest.fixture
async def admin(reasons: list[str]) -> AsyncIterator[str]:
    checks = [lambda: None, lambda: reasons[0] if reasons else None]
    async with serving(admin_app(checks)) as url:
        yield url


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_a_healthy_process_is_alive_and_ready(admin: str, path: str) -> None:
    answer = await get(admin, path)
    assert (answer.status, answer.body) == (200, b"ok\n")


async def test_a_process_that_is_not_ready_says_why_and_is_alive(
    admin: str, reasons: list[str]
) -> None:
    reasons.append("no signing key yet")
    answer = await get(admin, "/readyz")
    assert (answer.status, answer.body) == (503, b"no signing key yet\n")
    assert (await get(admin, "/livez")).status == 200


async def test_all_reasons_are_given() -> None:
    async with serving(admin_app([lambda: "first", lambda: None, lambda: "second"])) as url:
        assert (await get(url, "/readyz")).body == b"first\nsecond\n"


async def test_a_request_is_measured_by_its_route_not_by_its_path(edge: str, admin: str) -> None:
    await get(edge, "/fail/not-found?secret=1")
    await get(edge, f"/{SECRET}")
    await send(edge, "PROPFIND /query HTTP/1.1")
    answer = await get(admin, "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    metrics = answer.body.decode()
    assert 'http_route="/fail/{name}"' in metrics
    assert 'http_route="(none)"' in metrics
    assert 'http_request_method="_OTHER"' in metrics
    assert SECRET not in metrics
    assert "PROPFIND" not in metrics


# Calls to others


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with new_session() as session:
        yield session


@pytest.fixture
async def other() -> AsyncIterator[str]:
    """Somebody else's server: answers as its path says."""
    stop_hanging = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        match request.match_info["name"]:
            case "ok":
                return web.Response(body=b"x" * 100)
            case "headers":
                return json_response(dict(request.headers))
            case "redirect":
                raise web.HTTPFound("/ok")
            case "cookie":
                response = web.Response(text=request.headers.get(hdrs.COOKIE, ""))
                response.set_cookie("a", "b")
                return response
            case "broken":
                stream = web.StreamResponse(headers={hdrs.CONTENT_LENGTH: "100"})
                await stream.prepare(request)
                await stream.write(b"x")
                assert request.transport
                request.transport.close()
                return stream
            case "gone":
                assert request.transport
                request.transport.close()
                return web.Response()
            case "hanging":
                await stop_hanging.wait()
        raise web.HTTPInternalServerError

    app = web.Application()
    app.router.add_get("/{name}", answer)
    async with serving(app) as url:
        yield url
        stop_hanging.set()


async def test_the_body_of_a_200_is_fetched(session: aiohttp.ClientSession, other: str) -> None:
    assert (await fetch(session, f"{other}/ok", largest=100)).body == b"x" * 100


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ok", "127.0.0.1/ok answered more than 99 bytes"),
        ("redirect", "127.0.0.1/redirect answered 302"),
        ("error", "127.0.0.1/error answered 500"),
        ("broken", "127.0.0.1/broken cannot be reached: ClientPayloadError"),
        ("gone", "127.0.0.1/gone cannot be reached: ServerDisconnectedError"),
    ],
)
async def test_anything_else_is_unavailable_and_shows_nothing_of_the_query(
    session: aiohttp.ClientSession, other: str, name: str, reason: str
) -> None:
    with pytest.raises(errors.Unavailable) as caught:
        await fetch(session, f"{other}/{name}?key={SECRET}", largest=99)
    assert str(caught.value) == reason
    # Not in a traceback either: aiohttp's own errors show the whole URL.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


async def test_who_hangs_is_given_up_without_a_word_of_the_query(other: str) -> None:
    impatient = aiohttp.ClientTimeout(total=0.05)
    async with aiohttp.ClientSession(timeout=impatient) as session:
        with pytest.raises(
            errors.Unavailable, match=r"^127\.0\.0\.1/hanging cannot be reached: \w+$"
        ):
            await fetch(session, f"{other}/hanging?key={SECRET}", largest=99)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/?key=", "http://nowhere.invalid/?key=", "no-url?key=", "ftp://a/?key="],
)
async def test_who_cannot_be_reached_is_unavailable_without_a_word_of_the_query(
    session: aiohttp.ClientSession, url: str
) -> None:
    with pytest.raises(errors.Unavailable) as caught:
        await fetch(session, url + SECRET, largest=99)
    assert SECRET not in str(caught.value)


async def test_no_cookie_is_kept(session: aiohttp.ClientSession, other: str) -> None:
    by_name = other.replace("127.0.0.1", "localhost")  # for a number none would be kept anyway
    for _ in range(2):
        assert (await fetch(session, f"{by_name}/cookie", largest=99)).body == b""


async def test_a_call_says_who_calls_and_asks_for_no_compression(
    session: aiohttp.ClientSession, other: str
) -> None:
    sent = (await fetch(session, f"{other}/headers", largest=9999)).body
    assert b'"User-Agent":"playmesh"' in sent
    assert b'"Accept-Encoding":"identity"' in sent


async def conditional(request: web.Request) -> web.Response:
    """A document of two states: `"1"` to who does not have it yet, 304 to who does."""
    if request.headers.get("If-None-Match") == '"1"':
        return web.Response(status=304)
    return web.Response(body=b"first", headers={"ETag": '"1"', "Cache-Control": "max-age=7"})


async def test_a_document_comes_with_the_tag_by_which_it_is_not_sent_again(
    session: aiohttp.ClientSession,
) -> None:
    app = web.Application()
    app.router.add_get("/", conditional)
    async with serving(app) as url:
        first = Document(b"first", 7, '"1"')
        assert await fetch(session, url, largest=99) == first
        assert await fetch(session, url, largest=99, etag=None) == first
        assert await fetch(session, url, largest=99, etag='"0"') == first
        assert await fetch(session, url, largest=99, etag='"1"') is None


async def test_not_modified_is_no_answer_to_who_has_nothing(session: aiohttp.ClientSession) -> None:
    async def not_modified(_request: web.Request) -> web.Response:
        return web.Response(status=304)

    app = web.Application()
    app.router.add_get("/", not_modified)
    async with serving(app) as url:
        with pytest.raises(errors.Unavailable, match="answered 304"):
            await fetch(session, url, largest=99)
        with pytest.raises(errors.Unavailable, match="answered 304"):
            await fetch(session, url, largest=99, etag=None)


@pytest.mark.parametrize(
    ("header", "etag"),
    [
        ('"7"', '"7"'),
        ('W/"7"', 'W/"7"'),
        ('""', '""'),
        ("7", None),
        ("", None),
        ('"\x80"', None),
        ('"a b"', None),
        ('"a", "b"', None),
        (f'"{"x" * 257}"', None),
    ],
)
async def test_only_an_entity_tag_that_may_be_sent_back_is_kept(
    session: aiohttp.ClientSession, header: str, etag: str | None
) -> None:
    async def tagged(_request: web.Request) -> web.Response:
        return web.Response(headers={"ETag": header})

    app = web.Application()
    app.router.add_get("/", tagged)
    async with serving(app) as url:
        assert (await fetch(session, url, largest=99)).etag == etag


async def test_what_comes_while_too_much_is_under_way_is_refused_before_its_body_is_read() -> None:
    gate, entered = asyncio.Event(), asyncio.Event()

    async def wait(_request: web.Request) -> web.Response:
        entered.set()
        await gate.wait()
        return web.Response()

    app = new_app(largest_body=1024, most_under_way=1)
    app.router.add_post("/", wait)
    async with serving(app) as url, aiohttp.ClientSession(url) as http:
        first = asyncio.create_task(http.post("/"))
        await entered.wait()
        answer = await send(url, "POST / HTTP/1.1\r\nContent-Length: 1000")
        assert (answer.status, answer.code) == (503, "unavailable")
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        gate.set()
        assert (await first).status == 200
        async with http.post("/") as again:
            assert again.status == 200
