"""Every route of player_data against requests that no client of ours sends."""

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from joserfc.jwk import RSAKey

from services.player_data.handlers import routes
from tests.support import apps
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.records import RECORDS, SLOT, Player
from tests.support.servers import Answer, send

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = "Content-Type: application/json"
MERGE_PATCH_TYPE = "Content-Type: application/merge-patch+json"
FORM = "Content-Type: application/x-www-form-urlencoded"
MERGE_PATCH = "application/merge-patch+json"
LIST_PATTERN = "/v1/players/{player}/records"
RECORD_PATTERN = "/v1/players/{player}/records/{collection}/{key}"
VERSIONS_PATTERN = "/v1/players/{player}/records/{collection}/{key}/versions"
PLAYER_PATTERN = "/v1/players/{player}"
EXPORT_PATTERN = "/v1/players/{player}/export"
SUMMARY_PATTERN = "/v1/players/{player}/summary"
SET = ["/set-player-data", "//set-player-data"]
GET = ["/get-player-data", "//get-player-data"]
ROUTES = {
    ("DELETE", PLAYER_PATTERN),
    *((method, EXPORT_PATTERN) for method in ("GET", "HEAD")),
    *((method, SUMMARY_PATTERN) for method in ("GET", "HEAD")),
    *((method, "/v1/players/{player}/usage") for method in ("GET", "HEAD")),
    ("POST", "/v1/players/{player}/merge"),
    ("POST", "/v1/records/batch"),
    ("POST", RECORD_PATTERN + "/increment"),
    ("POST", RECORD_PATTERN + "/max"),
    *((method, VERSIONS_PATTERN + "/{version}") for method in ("GET", "HEAD")),
    ("POST", VERSIONS_PATTERN + "/{version}/restore"),
    *((method, LIST_PATTERN) for method in ("GET", "HEAD")),
    *((method, VERSIONS_PATTERN) for method in ("GET", "HEAD")),
    *((method, RECORD_PATTERN) for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE")),
    *((method, path) for method in ("GET", "POST") for path in (*SET, *GET)),
}

NOT_JSON: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "invalid_request"),
    "white space": (b" ", 400, "invalid_request"),
    "broken off": (b'{"a":', 400, "invalid_request"),
    "not UTF-8": (b'{"a":"\xff"}', 400, "invalid_request"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), 400, "invalid_request"),
    "byte order mark": (b"\xef\xbb\xbf{}", 400, "invalid_request"),
    "two values": (b"{}{}", 400, "invalid_request"),
    "single quotes": (b"{'a':1}", 400, "invalid_request"),
    "a trailing comma": (b"[1,]", 400, "invalid_request"),
    "a repeated member": (b'{"a":1,"a":1}', 400, "invalid_request"),
    "a repeated member deep down": (b'[{"b":{"a":1,"\\u0061":2}}]', 400, "invalid_request"),
    "NaN": (b'{"a":NaN}', 400, "invalid_request"),
    "infinity": (b"[-Infinity]", 400, "invalid_request"),
    "1e400": (b'{"a":1e400}', 400, "invalid_request"),
    "beyond 64 bits": (b"18446744073709551616", 400, "invalid_request"),
    "5,000 digits": (b"1" * 5000, 400, "invalid_request"),
    "a lone surrogate": (b'{"a":"\\ud800"}', 400, "invalid_request"),
    "a lone surrogate as a name": (b'{"\\udfff":1}', 400, "invalid_request"),
    "surrogates in UTF-8": (b'"\xed\xa0\x80"', 400, "invalid_request"),
    "a control character": (b'"\x00"', 400, "invalid_request"),
    "200,000 deep": (b"[" * 200_000, 400, "invalid_request"),
    "200,000 deep objects": (b'{"":' * 100_000, 400, "invalid_request"),
    "200,000 deep and closed": (b"[" * 200_000 + b"]" * 200_000, 400, "invalid_request"),
    "400 KB": (b'"' + b"x" * 400_000 + b'"', 413, "too_large"),
    "400 KB of small values": (b"[" + b"1," * 200_000 + b"1]", 413, "too_large"),
    "2 MiB": (b'"' + b"x" * 2**21 + b'"', 413, "too_large"),
}


def named(names: Mapping[str, object]) -> dict[str, bytes]:
    return {what: json.dumps({"player_name": name}).encode() for what, name in names.items()}


def fields(more: Mapping[str, Mapping[str, object]]) -> dict[str, bytes]:
    return {
        what: json.dumps({"player_name": "x", **values}).encode() for what, values in more.items()
    }


NOT_FIELDS = {
    "an array": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "no name": b"{}",
    "another name": b'{"PlayerName":"x"}',
    **named(
        {
            "name null": None,
            "name empty": "",
            "name a number": 1,
            "name false": False,
            "name a list": ["x"],
            "name an object": {},
            "name oversized": "x" * 1025,
            "name NUL": "a\x00b",
            "name a line feed": "a\nb",
            "name DEL": "\x7f",
        }
    ),
    **fields(
        {
            "a field that is a number": {"a": 1},
            "a field that is null": {"a": None},
            "a field that is an object": {"a": {}},
            "an empty field": {"a": ""},
            "an oversized field": {"a": "x" * 1025},
            "a field without a name": {"": "x"},
            "a field with a space": {"a b": "x"},
            "a field with a slash": {"a/b": "x"},
            "a field with NUL": {"a\x00": "x"},
            "a field outside ASCII": {"é": "x"},
            "a field of dots": {"..": "x"},
            "a field with a long name": {"a" * 129: "x"},
            "65 fields": {f"a{number}": "x" for number in range(64)},
        }
    ),
}
BAD_PAIRS = {
    "nothing": "",
    "an empty name": "player_name=",
    "no value": "player_name",
    "another name": "PlayerName=x",
    "a repeated name": "player_name=x&player_name=x",
    "a repeated field": "player_name=x&a=1&a=2",
    "an empty field": "player_name=x&a=",
    "an oversized name": "player_name=" + "x" * 1025,
    "NUL": "player_name=%00",
    "a line feed": "player_name=a%0Ab",
    "a field without a name": "player_name=x&=1",
    "a field with a slash": "player_name=x&a/b=1",
    "a field of dots": "player_name=x&..=1",
    "a field with a long name": f"player_name=x&{'a' * 129}=1",
}
BAD_NAMES = {
    "NUL": "a%00b",
    "a line feed": "a%0Ab",
    "DEL": "a%7F",
    "a slash": "a%2Fb",
    "a slash alone": "%2F",
    "a backslash": "a%5Cb",
    "dot": ".",
    "dots": "..",
    "an escaped dot": "%2E",
    "escaped dots": "%2e%2e",
    "dots behind a slash": "..%2F..",
    "129 characters": "a" * 129,
    "non-ASCII": "%C3%A9",
    "outside the plane": "%F0%9F%8E%AE",
    "not UTF-8": "%FF",
    "an escaped surrogate": "%ED%A0%80",
    "a space": "a%20b",
    "a plus": "a+b",
    "a star": "*",
    "a semicolon": "a;b",
    "an equals sign": "a=b",
    "a percent sign": "%25",
    "a broken escape": "%",
    "digits of another script": "%D9%A1",
}
BAD_QUERIES = [
    "collection=%00",
    "collection=..",
    "collection=a/b",
    "collection=a%20b",
    "collection=%C3%A9",
    f"collection={'a' * 129}",
    "collection=a&collection=a",
    "collection=a&prefix=%00",
    "collection=a&prefix=a/b",
    "collection=a&prefix=%25",
    f"collection=a&prefix={'a' * 129}",
    "collection=a&prefix=a&prefix=a",
    "collection=&prefix=a",
    "limit=1&limit=1",
    "limit=%00",
    "limit=0",
    "limit=101",
    "cursor=%00",
    "cursor=a&cursor=a",
    f"cursor={'A' * 513}",
    "unknown=1&unknown=1",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def player(
    tmp_path_factory: pytest.TempPathFactory, signing_key: RSAKey
) -> AsyncIterator[Player]:
    """One for all tests, since none of their requests may change anything."""
    clock = ManualClock()
    issuer = Issuer(clock, signing_key)
    async with apps.player_data(tmp_path_factory.mktemp("data"), issuer, clock) as data:
        player = Player(data, "a" * 32, issuer.token(sub="a" * 32))
        await player.put("kept")
        await player.call("POST", SET[0], json={"player_name": "kept"})
        yield player


async def ask(player: Player, line: str, *headers: str, body: bytes = b"") -> Answer:
    """A request as it stands; then a look whether anything has changed."""
    head = [f"{line} HTTP/1.1", f"Authorization: Bearer {player.token}", *headers]
    if not body:
        head.append("Content-Length: 0")
    before = (await player.get(RECORDS)).body
    answer = await send(player.data.url, "\r\n".join(head), body)
    assert (await player.get(RECORDS)).body == before
    return answer


def is_bad(answer: Answer) -> bool:
    return (answer.status, answer.code) == (400, "invalid_request")


def wrong_methods() -> Iterator[Any]:
    for pattern in sorted({path for _, path in ROUTES}):
        path = pattern.format(player="me", collection="saves", key="slot1", version="1")
        allowed = sorted(method for method, known in ROUTES if known == pattern)
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"):
            if method not in allowed:
                yield pytest.param(method, path, allowed, id=f"{method} {pattern}")


async def test_no_route_is_left_out() -> None:
    assert set(apps.route_table(routes)) == ROUTES


@pytest.mark.parametrize(("body", "status", "code"), NOT_JSON.values(), ids=NOT_JSON.keys())
async def test_a_value_must_be_json_that_every_parser_reads_alike(
    player: Player, body: bytes, status: int, code: str
) -> None:
    answer = await ask(player, f"PUT {SLOT}", JSON, body=body)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", MERGE_PATCH],
)
async def test_a_value_of_another_type_is_not_taken(player: Player, content_type: str) -> None:
    answer = await ask(player, f"PUT {SLOT}", f"Content-Type: {content_type}", body=b"1")
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
@pytest.mark.parametrize("place", ["collection", "key"])
async def test_a_name_that_is_not_allowed_is_a_bad_request(
    player: Player, method: str, name: str, place: str
) -> None:
    path = f"{name}/slot1" if place == "collection" else f"saves/{name}"
    assert is_bad(await ask(player, f"{method} {RECORDS}/{path}", JSON, body=b'"new"'))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        f"{RECORDS}//slot1",
        f"{RECORDS}/saves/",
        f"{RECORDS}/saves",
        f"{RECORDS}/saves/slot1/",
        f"{RECORDS}/saves/../saves/slot1",
        f"{RECORDS}/saves/slot1/version",
        f"/{SLOT}",
        SLOT.replace("/me/", "//"),
        SLOT.replace("/me/", "/../"),
        SLOT.replace("/me/", "/%00/"),
        SLOT.replace("/me/", "/%FF/"),
        SLOT.replace("/me/", f"/{'a' * 2000}/"),
        SLOT.replace("/v1/", "/V1/"),
        "/",
        "/v1",
        "/livez",
        "/metrics",
        "/login-as-guest",
        f"/{SET[1]}",
        f"{SET[0]}/",
    ],
)
async def test_an_unknown_path_is_not_found(player: Player, method: str, path: str) -> None:
    answer = await ask(player, f"{method} {path}", JSON, body=b'"new"')
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize(("method", "path", "allowed"), list(wrong_methods()))
async def test_another_method_is_not_allowed(
    player: Player, method: str, path: str, allowed: list[str]
) -> None:
    answer = await ask(player, f"{method} {path}")
    assert (answer.status, answer.headers["Allow"]) == (405, ",".join(allowed))
    assert method == "HEAD" or answer.code == "method_not_allowed"


@pytest.mark.parametrize("query", BAD_QUERIES)
async def test_a_wrong_parameter_of_a_list_is_a_bad_request(player: Player, query: str) -> None:
    assert is_bad(await ask(player, f"GET {RECORDS}?{query}"))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [case for case in NOT_JSON.values() if case[0]],
    ids=[name for name, case in NOT_JSON.items() if case[0]],
)
@pytest.mark.parametrize("path", SET)
async def test_fields_must_be_a_json_object(
    player: Player, path: str, body: bytes, status: int, code: str
) -> None:
    if code == "too_large" and len(body) < 2**19:
        status, code = 400, "invalid_request"  # a body of this size is read, and is no object
    answer = await ask(player, f"POST {path}", JSON, body=body)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize("body", NOT_FIELDS.values(), ids=NOT_FIELDS.keys())
@pytest.mark.parametrize("path", SET)
async def test_fields_must_be_strings_with_plain_names(
    player: Player, path: str, body: bytes
) -> None:
    assert is_bad(await ask(player, f"POST {path}", JSON, body=body))


@pytest.mark.parametrize("pairs", BAD_PAIRS.values(), ids=BAD_PAIRS.keys())
@pytest.mark.parametrize("path", SET)
async def test_a_wrong_query_is_a_bad_request(player: Player, path: str, pairs: str) -> None:
    assert is_bad(await ask(player, f"GET {path}?{pairs}"))


@pytest.mark.parametrize("pairs", BAD_PAIRS.values(), ids=BAD_PAIRS.keys())
@pytest.mark.parametrize("path", SET)
async def test_a_wrong_form_is_a_bad_request(player: Player, path: str, pairs: str) -> None:
    assert is_bad(await ask(player, f"POST {path}", FORM, body=pairs.encode()))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param(b"player_name=\xc3\xa9", 400, "invalid_request", id="not ASCII"),
        pytest.param(b"player_name=%FF", 400, "invalid_request", id="not UTF-8"),
        pytest.param(b"player_name=%ED%A0%80", 400, "invalid_request", id="a lone surrogate"),
        pytest.param(
            urlencode({"player_name": "x", **{f"a{n}": "x" for n in range(64)}}).encode(),
            400,
            "invalid_request",
            id="65 fields",
        ),
        pytest.param(b"player_name=" + b"x" * 2**21, 413, "too_large", id="2 MiB"),
    ],
)
@pytest.mark.parametrize("path", SET)
async def test_a_form_must_be_a_form(
    player: Player, path: str, body: bytes, status: int, code: str
) -> None:
    answer = await ask(player, f"POST {path}", FORM, body=body)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize("path", SET)
async def test_fields_of_another_type_are_not_taken(player: Player, path: str) -> None:
    answer = await ask(player, f"POST {path}", "Content-Type: text/plain", body=b"player_name=x")
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize("path", SET)
async def test_fields_of_a_post_are_not_taken_from_its_url(player: Player, path: str) -> None:
    assert is_bad(await ask(player, f"POST {path}?player_name=x"))


@pytest.mark.parametrize("path", GET)
@pytest.mark.parametrize("query", ["a=1&a=2", "player_name=x", "%00", "a=%FF"])
async def test_what_a_get_does_not_ask_for_is_ignored(
    player: Player, path: str, query: str
) -> None:
    assert (await ask(player, f"GET {path}?{query}")).status == 200


BODIES_OF = {
    f"PATCH {SLOT}": MERGE_PATCH_TYPE,
    f"POST {SLOT}/increment": JSON,
    f"POST {SLOT}/max": JSON,
    "POST /v1/records/batch": JSON,
}


@pytest.mark.parametrize(("body", "status", "code"), NOT_JSON.values(), ids=NOT_JSON.keys())
@pytest.mark.parametrize("line", BODIES_OF)
async def test_every_body_must_be_json_that_every_parser_reads_alike(
    player: Player, line: str, body: bytes, status: int, code: str
) -> None:
    if code == "too_large" and len(body) < 2**19 and "PATCH" not in line:
        status, code = 400, "invalid_request"  # a body of this size is read, and is no object
    answer = await ask(player, line, BODIES_OF[line], body=body)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize("kibibytes", [351, 399, 400, 401, 511])
@pytest.mark.parametrize("line", [f"PUT {SLOT}", f"PATCH {SLOT}", "POST /v1/records/batch"])
async def test_what_no_store_would_hold_is_too_large(
    player: Player, line: str, kibibytes: int
) -> None:
    value = b'"' + b"x" * (kibibytes * 1024 - 2) + b'"'
    if "batch" in line:
        value = b'{"writes":[{"collection":"saves","key":"slot1","value":' + value + b"}]}"
    content_type = MERGE_PATCH_TYPE if "PATCH" in line else JSON
    answer = await ask(player, line, content_type, body=value)
    assert (answer.status, answer.code) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "end", "body"),
    [
        ("POST", "/increment", b'{"by":1}'),
        ("POST", "/max", b'{"value":1}'),
        ("GET", "/versions", b""),
        ("GET", "/versions/1", b""),
        ("POST", "/versions/1/restore", b""),
    ],
)
@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
async def test_a_name_that_is_not_allowed_is_one_on_no_route(
    player: Player, name: str, method: str, end: str, body: bytes
) -> None:
    for path in (f"{name}/slot1", f"saves/{name}"):
        assert is_bad(await ask(player, f"{method} {RECORDS}/{path}{end}", JSON, body=body))


@pytest.mark.parametrize(
    "cursor",
    [
        ["b" * 32, "saves", "slot1"],
        ["a" * 32, "saves"],
        ["a" * 32, "saves", 1],
        ["a" * 32, "saves", "slot1", 1],
        {"player": "a" * 32},
        [],
        None,
        "a" * 32,
    ],
    ids=json.dumps,
)
async def test_a_cursor_that_no_list_of_the_player_has_given_is_a_bad_request(
    player: Player, cursor: object
) -> None:
    text = base64.urlsafe_b64encode(json.dumps(cursor).encode()).decode().rstrip("=")
    assert is_bad(await ask(player, f"GET {RECORDS}?cursor={text}"))


@pytest.mark.parametrize(
    "header",
    [
        'If-Match: "1',
        "If-Match: 1",
        'If-Match: "1"\r\nIf-None-Match: *',
        'If-None-Match: "1"',
        f"If-Match: {'x' * 1025}",
        'If-Match: "' + '1", "' * 400 + '1"',
        "Idempotency-Key: short",
        "Idempotency-Key: " + "a" * 129,
        "Idempotency-Key: " + "a" * 16 + " b",
        "Idempotency-Key: " + "a" * 16 + "\r\nIdempotency-Key: " + "a" * 16,
    ],
    ids=lambda header: header[:40],
)
@pytest.mark.parametrize(
    ("line", "body"),
    [
        (f"PUT {SLOT}", b'"new"'),
        (f"PATCH {SLOT}", b'"new"'),
        (f"DELETE {SLOT}", b""),
        (f"POST {SLOT}/increment", b'{"by":1}'),
        (f"POST {SLOT}/max", b'{"value":1}'),
        (f"POST {SLOT}/versions/1/restore", b""),
    ],
    ids=lambda one: str(one)[:60],
)
async def test_a_wrong_header_is_a_bad_request_on_every_write(
    player: Player, line: str, body: bytes, header: str
) -> None:
    content = [MERGE_PATCH_TYPE if "PATCH" in line else JSON] if body else []
    assert is_bad(await ask(player, line, *content, header, body=body))
