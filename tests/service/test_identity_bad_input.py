"""Every route of identity against requests that no client of ours sends."""

import copy
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from services.identity import (
    account_handlers,
    cognito_handlers,
    handlers,
    oauth_handlers,
    provider_handlers,
)
from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.clock import ManualClock
from tests.support.fakes.cognito import POOL_ALONE
from tests.support.servers import send

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

SECRET = "A" * 43
LOGIN = {
    "provider": "guest",
    "credential": {"user_id": "0" * 32, "guest_secret": SECRET},
    "device": {"name": "phone"},
}
TOKEN_REQUEST = {
    "grant_type": "client_credentials",
    "client_id": "operator",
    "client_secret": SECRET,
    "resource": "playmesh:keyrotator",
    "scope": "keys:rotate",
}
GUEST = {"user_id": "0" * 32, "guest_secret": SECRET}
REFRESH = {"refresh_token": "r1.x"}
APPLE = {"apple_auth_token": "e30.e30.x"}
STEAM = {"steam_auth_token": "00"}
GOOGLE_PLAY = {"google_play_auth_token": "4/0A"}
COGNITO = {"username": "robin", "password": SECRET, "signin": "True"}
FACEBOOK = {"facebook_access_token": "EAA", "facebook_user_id": "1"}

NOTIFICATIONS = "/v1/providers/apple/notifications"
SIGNED_REQUEST = {"signed_request": "x.e30"}
OF_PLATFORMS: dict[str, Mapping[str, Any]] = {
    NOTIFICATIONS: {"payload": "e30.e30.x"},
    "/v1/providers/facebook/deauthorize": SIGNED_REQUEST,
    "/v1/providers/facebook/deletion": SIGNED_REQUEST,
}
"""What platforms send is longer than what clients do."""

TAKES_JSON: dict[str, Mapping[str, Any]] = {
    "/v1/guests": {"device": {"name": "phone"}},
    "/v1/sessions": LOGIN,
    "/v1/sessions/refresh": REFRESH,
    "/v1/cognito/sign-up": {"username": "robin", "password": SECRET, "email": "a@example.com"},
    "/v1/cognito/confirm": {"username": "robin", "code": "123456"},
    "/v1/cognito/resend": {"username": "robin"},
    "/v1/cognito/forgot-password": {"username": "robin"},
    "/v1/cognito/reset-password": {
        "username": "robin",
        "code": "123456",
        "new_password": SECRET,
    },
    "/v1/cognito/sign-out": {"access_token": "e30.e30.x"},
    "/login-with-cognito": COGNITO,
    "//login-with-cognito": COGNITO,
    "/login-as-guest": GUEST,
    "//login-as-guest": GUEST,
    "/login-with-apple-id": APPLE,
    "//login-with-apple-id": APPLE,
    "/login-with-facebook": FACEBOOK,
    "//login-with-facebook": FACEBOOK,
    "/login-with-steam": STEAM,
    "//login-with-steam": STEAM,
    "/login-with-google-play": GOOGLE_PLAY,
    "//login-with-google-play": GOOGLE_PLAY,
    "/refresh-access-token": REFRESH,
    "//refresh-access-token": REFRESH,
}
TAKES_FORM: dict[str, Mapping[str, str]] = {
    "/oauth2/token": TOKEN_REQUEST,
    **{path: GUEST for path in TAKES_JSON if "guest" in path and "v1" not in path},
    **{path: APPLE for path in TAKES_JSON if "apple" in path},
    **{path: COGNITO for path in TAKES_JSON if "login-with-cognito" in path},
    **{path: FACEBOOK for path in TAKES_JSON if "facebook" in path},
    **{path: STEAM for path in TAKES_JSON if "steam" in path},
    **{path: GOOGLE_PLAY for path in TAKES_JSON if "google-play" in path},
    **{path: REFRESH for path in TAKES_JSON if "access-token" in path},
}
TAKES_QUERY = {
    path: values
    for path, values in TAKES_FORM.items()
    if path != "/oauth2/token" and "cognito" not in path
}
TAKES_JSON[NOTIFICATIONS] = OF_PLATFORMS[NOTIFICATIONS]
TAKES_FORM |= {path: values for path, values in OF_PLATFORMS.items() if path != NOTIFICATIONS}
TAKES_NO_BODY = "/v1/nonces"
OF_A_POOL = [(path, name) for path in TAKES_JSON if "cognito" in path for name in TAKES_JSON[path]]
TAKES_NOTHING = [
    "/.well-known/jwks.json",
    "/.well-known/openid-configuration",
    "/.well-known/revocations.json",
]

NOT_AN_OBJECT: dict[str, tuple[bytes, int, str]] = {
    "broken off": (b'{"a":', 400, "invalid_request"),
    "not UTF-8": (b'{"a":"\xff"}', 400, "invalid_request"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), 400, "invalid_request"),
    "byte order mark": (b"\xef\xbb\xbf{}", 400, "invalid_request"),
    "two values": (b"{}{}", 400, "invalid_request"),
    "an array": (b"[]", 400, "invalid_request"),
    "a string": (b'"x"', 400, "invalid_request"),
    "null": (b"null", 400, "invalid_request"),
    "a repeated member": (b'{"a":1,"a":1}', 400, "invalid_request"),
    "NaN": (b'{"a":NaN}', 400, "invalid_request"),
    "infinity": (b'{"a":1e400}', 400, "invalid_request"),
    "5,000 digits": (b'{"a":' + b"1" * 5000 + b"}", 400, "invalid_request"),
    "a lone surrogate": (b'{"a":"\\ud800"}', 400, "invalid_request"),
    "60,000 deep": (b"[" * 60_000, 400, "invalid_request"),
    "200,000 deep": (b"[" * 200_000, 413, "too_large"),
    "2 MiB": (b" " * 2**21, 413, "too_large"),
}

WRONG_TEXTS: dict[str, object] = {
    "missing": ...,
    "null": None,
    "empty": "",
    "a number": 1,
    "a boolean": True,
    "false": False,
    "zero": 0,
    "a list": ["x"],
    "an object": {"x": "x"},
    "oversized": "A" * 1100,
    "NUL": "A\x00B",
    "a line feed": "A\nB",
    "DEL": "A\x7fB",
}
WRONG_OBJECTS: dict[str, object] = {
    "a string": "x",
    "empty text": "",
    "a number": 1,
    "false": False,
    "a list": [{}],
}
OPTIONAL = ("missing", "null", "empty")


def changed(body: Mapping[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy of `body` with another value at the dotted `path`; `...` takes it out."""
    result: dict[str, Any] = copy.deepcopy(dict(body))
    *parents, last = path.split(".")
    inner = result
    for name in parents:
        inner = inner[name]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return result


def oversized(route: str) -> str:
    return "A" * (8200 if route in OF_PLATFORMS else 1100)


def wrong_json() -> Iterator[Any]:
    required = [
        ("/v1/sessions", LOGIN, "provider"),
        ("/v1/sessions", LOGIN, "credential.user_id"),
        ("/v1/sessions", LOGIN, "credential.guest_secret"),
        *((path, body, name) for path, body in TAKES_QUERY.items() for name in body),
        *((path, TAKES_JSON[path], name) for path, name in OF_A_POOL if name != "email"),
        ("/v1/sessions/refresh", REFRESH, "refresh_token"),
        (NOTIFICATIONS, TAKES_JSON[NOTIFICATIONS], "payload"),
    ]
    optional = [(path, TAKES_JSON[path], "device.name") for path in ("/v1/guests", "/v1/sessions")]
    optional += [(path, TAKES_JSON[path], name) for path, name in OF_A_POOL if name == "email"]
    for route, body, field in [*required, *optional]:
        for name, wrong in {**WRONG_TEXTS, "oversized": oversized(route)}.items():
            # Another platform's token may well be that long.
            value = "A" * 8193 if (field, name) == ("access_token", "oversized") else wrong
            if (route, body, field) in required or name not in OPTIONAL:
                yield pytest.param(route, changed(body, field, value), id=f"{route} {field} {name}")
    for route, body, field in [
        ("/v1/sessions", LOGIN, "credential"),
        ("/v1/sessions", LOGIN, "device"),
        ("/v1/guests", TAKES_JSON["/v1/guests"], "device"),
    ]:
        for name, value in WRONG_OBJECTS.items():
            yield pytest.param(route, changed(body, field, value), id=f"{route} {field} {name}")
    for value in (..., None, {}):
        yield pytest.param("/v1/sessions", changed(LOGIN, "credential", value))
    for provider in ("steam", "GUEST", "guest "):
        yield pytest.param("/v1/sessions", changed(LOGIN, "provider", provider))


def wrong_pairs() -> Iterator[Any]:
    """Queries and form bodies in which one parameter is wrong.

    A wrong `resource` is an error of its own, which test_identity_oauth.py asks for.
    """
    for route, values in TAKES_FORM.items():
        for field in sorted(values.keys() - {"resource"}):
            others = {name: value for name, value in values.items() if name != field}
            wrong = {
                "repeated": urlencode([*values.items(), (field, values[field])]),
                "oversized": urlencode({**others, field: oversized(route)}),
                "NUL": urlencode({**others, field: "A\x00"}),
                "a line feed": urlencode({**others, field: "A\n"}),
            }
            if field != "scope":
                wrong["missing"] = urlencode(others)
                wrong["empty"] = urlencode({**others, field: ""})
            for name, pairs in wrong.items():
                yield pytest.param(route, pairs, id=f"{route} {field} {name}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def identity(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningIdentity]:
    """One for all tests, since none of their requests may change anything."""
    environ = {**QUICK_KEYS, **POOL_ALONE}
    async with apps.identity(tmp_path_factory.mktemp("data"), ManualClock(), environ) as running:
        yield running


def declared_routes() -> set[tuple[str, str]]:
    """Those that take no token."""
    routes = [
        *handlers.routes,
        *cognito_handlers.routes,
        *oauth_handlers.routes,
        *provider_handlers.routes,
    ]
    return set(apps.route_table(routes))


ROUTES = {
    *(("POST", path) for path in (*TAKES_JSON, *TAKES_FORM, TAKES_NO_BODY)),
    *(("GET", path) for path in (*TAKES_QUERY, *TAKES_NOTHING)),
    *(("HEAD", path) for path in TAKES_NOTHING),
    *((method, "/v1/deletions/{code}") for method in ("GET", "HEAD")),
}


def wrong_methods() -> Iterator[Any]:
    taken = ROUTES | set(apps.route_table(account_handlers.routes))
    for path in sorted({path for _, path in ROUTES}):
        patterns = (path, "/v1/sessions/{session_id}" if "sessions/" in path else path)
        allowed = sorted({method for method, known in taken if known in patterns})
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"):
            if method not in allowed:
                filled = path.format(code="00")
                yield pytest.param(method, filled, allowed, id=f"{method} {filled}")


def post(path: str, content_type: str) -> str:
    return f"POST {path} HTTP/1.1\r\nContent-Type: {content_type}"


async def test_no_route_is_left_out() -> None:
    assert declared_routes() == ROUTES


@pytest.mark.parametrize(
    ("body", "status", "code"), NOT_AN_OBJECT.values(), ids=NOT_AN_OBJECT.keys()
)
@pytest.mark.parametrize("path", TAKES_JSON)
async def test_a_body_must_be_a_json_object(
    identity: RunningIdentity, path: str, body: bytes, status: int, code: str
) -> None:
    answer = await send(identity.url, post(path, JSON), body)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(("path", "body"), list(wrong_json()))
async def test_a_wrong_member_of_a_body_is_a_bad_request(
    identity: RunningIdentity, path: str, body: Mapping[str, object]
) -> None:
    answer = await send(identity.url, post(path, JSON), json.dumps(body).encode())
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize(("path", "pairs"), list(wrong_pairs()))
async def test_a_wrong_parameter_of_a_form_is_a_bad_request(
    identity: RunningIdentity, path: str, pairs: str
) -> None:
    # One more field, since a form without any is no body at all.
    answer = await send(identity.url, post(path, FORM), f"unknown=1&{pairs}".encode())
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("path", "pairs"), [case for case in wrong_pairs() if case.values[0] in TAKES_QUERY]
)
async def test_a_wrong_parameter_of_a_query_is_a_bad_request(
    identity: RunningIdentity, path: str, pairs: str
) -> None:
    answer = await send(identity.url, f"GET {path}?{pairs} HTTP/1.1")
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param(b"a=\xff", 400, "invalid_request", id="not ASCII"),
        pytest.param(b"a=%FF", 400, "invalid_request", id="not UTF-8"),
        pytest.param(b"a=%ED%A0%80", 400, "invalid_request", id="a lone surrogate"),
        pytest.param(b"&".join(b"%d=" % n for n in range(65)), 400, "invalid_request", id="65"),
        pytest.param(b"a=" + b"x" * 2**21, 413, "too_large", id="2 MiB"),
    ],
)
@pytest.mark.parametrize("path", TAKES_FORM)
async def test_a_form_must_be_a_form(
    identity: RunningIdentity, path: str, body: bytes, status: int, code: str
) -> None:
    answer = await send(identity.url, post(path, FORM), body)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        *((path, "text/plain") for path in TAKES_JSON),
        *((path, "multipart/form-data; boundary=x") for path in TAKES_JSON),
        *((path, FORM) for path in TAKES_JSON if path not in TAKES_FORM),
    ],
)
async def test_another_kind_of_body_is_not_taken(
    identity: RunningIdentity, path: str, content_type: str
) -> None:
    answer = await send(identity.url, post(path, content_type), b"{}")
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/sessions/refresh"])
async def test_a_body_must_be_there(identity: RunningIdentity, path: str) -> None:
    answer = await send(identity.url, f"POST {path} HTTP/1.1\r\nContent-Length: 0")
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize(("method", "path", "allowed"), list(wrong_methods()))
async def test_another_method_is_not_allowed(
    identity: RunningIdentity, method: str, path: str, allowed: list[str]
) -> None:
    answer = await send(identity.url, f"{method} {path} HTTP/1.1")
    assert (answer.status, answer.headers["Allow"]) == (405, ",".join(allowed))
    assert method == "HEAD" or answer.code == "method_not_allowed"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/v1",
        "/v1/guests/",
        "/V1/guests",
        "//v1/guests",
        "/v1/../v1/guests",
        "/v1/%67uests%00",
        "/v1/sessions/refresh/again",
        "///login-as-guest",
        "/login-as-guest/",
        "/LOGIN-AS-GUEST",
        "/.well-known/",
        "/.well-known/../secrets/refresh.key",
        "/livez",
        "/readyz",
        "/metrics",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_path_is_not_found(
    identity: RunningIdentity, method: str, path: str
) -> None:
    answer = await send(identity.url, f"{method} {path} HTTP/1.1")
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize("path", TAKES_NOTHING)
async def test_parameters_that_nobody_asked_for_are_ignored(
    identity: RunningIdentity, path: str
) -> None:
    assert (await send(identity.url, f"GET {path}?a=1&a=2&%00 HTTP/1.1")).status == 200


@pytest.mark.parametrize("body", NOT_AN_OBJECT)
async def test_a_body_that_nobody_asked_for_is_not_looked_at(
    identity: RunningIdentity, body: str
) -> None:
    answer = await send(identity.url, f"POST {TAKES_NO_BODY} HTTP/1.1", NOT_AN_OBJECT[body][0])
    assert answer.status == 201
