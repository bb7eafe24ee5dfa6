"""Service tokens by client credentials (RFC 6749 section 4.4)."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call, claims_of, header_of, holds, without_request_id
from tests.support.clock import ManualClock
from tests.support.issuer import ISSUER
from tests.support.servers import Answer, send

START = 1767323045  # the manual clock's 2026-01-02T03:04:05Z
ROTATE = {"resource": "playmesh:keyrotator", "scope": "keys:rotate"}
CLIENTS = {
    "clients": [
        {"client_id": "other", "secrets": ["o" * 43], "grants": {"playmesh:other": ["a:b"]}},
        {
            "client_id": "support desk: tier+1%é",
            "secrets": ["new secret: 100%+é", "old"],
            "grants": {
                "playmesh:player_data": ["player_data:admin", "player_data:read"],
                "playmesh:identity": ["identity:admin"],
            },
        },
    ]
}
DESK, *SECRETS = "support desk: tier+1%é", "new secret: 100%+é", "old"
DATA = {"resource": "playmesh:player_data"}
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
FORM_HEAD = "POST /oauth2/token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded"


def operator_secret(data_dir: Path) -> str:
    document = json.loads((data_dir / "secrets" / "service-clients.json").read_text())
    (operator,) = document["clients"]
    assert operator["client_id"] == "operator"
    return str(operator["secrets"][0])


def basic(client_id: str, secret: str) -> dict[str, str]:
    """Both form-encoded before they are joined (RFC 6749 section 2.3.1)."""
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


async def ask(
    identity: RunningIdentity,
    form: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
) -> Answer:
    form = {"grant_type": "client_credentials", **form}
    return await call(identity.http, "POST", "/oauth2/token", data=form, headers=headers)


async def ask_desk(
    identity: RunningIdentity, form: Mapping[str, str], secret: str = SECRETS[0]
) -> Answer:
    return await ask(identity, {"client_id": DESK, "client_secret": secret, **form})


@pytest.fixture
def desk(tmp_path: Path) -> None:
    """The service clients of this installation, written before identity starts."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "service-clients.json").write_text(json.dumps(CLIENTS))


@pytest.mark.parametrize("authentication", ["basic", "post"])
async def test_the_operator_of_a_new_installation_gets_a_token(
    identity: RunningIdentity, tmp_path: Path, authentication: str
) -> None:
    secret = operator_secret(tmp_path)
    credential = {"client_id": "operator", "client_secret": secret}
    answer = (
        await ask(identity, ROTATE, basic("operator", secret))
        if authentication == "basic"
        else await ask(identity, {**ROTATE, **credential})
    )
    assert answer.status == 200
    assert answer.json() | {"access_token": ""} == {
        "access_token": "",
        "token_type": "Bearer",
        "expires_in": 900,
        "scope": "keys:rotate",
    }


async def test_a_service_token_says_exactly_what_the_contract_says(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    answer = await ask(identity, ROTATE, basic("operator", operator_secret(tmp_path)))
    token = answer.json()["access_token"]
    claims = claims_of(token)
    assert claims.pop("jti")
    assert claims == {
        "iss": ISSUER,
        "sub": "service:operator",
        "aud": "playmesh:keyrotator",
        "exp": START + 900,
        "nbf": START,
        "iat": START,
        "client_id": "operator",
        "scope": "keys:rotate",
    }
    assert header_of(token).keys() == {"typ", "alg", "kid"}
    assert header_of(token)["typ"] == "at+jwt"


async def test_a_service_token_holds_with_the_published_key(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    answer = await ask(identity, ROTATE, basic("operator", operator_secret(tmp_path)))
    keys = (await call(identity.http, "GET", "/.well-known/jwks.json")).json()
    assert holds(answer.json()["access_token"], keys)


async def test_no_two_installations_share_an_operator(tmp_path: Path, clock: ManualClock) -> None:
    secrets = set()
    for name in ("one", "two"):
        async with apps.identity(tmp_path / name, clock, QUICK_KEYS):
            secrets.add(operator_secret(tmp_path / name))
    assert len(secrets) == 2


async def test_the_operator_keeps_its_secret_over_a_restart(
    tmp_path: Path, clock: ManualClock
) -> None:
    secrets = []
    for _ in range(2):
        async with apps.identity(tmp_path, clock, QUICK_KEYS):
            secrets.append(operator_secret(tmp_path))
    assert secrets[0] == secrets[1]


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("authentication", ["basic", "post"])
async def test_each_secret_of_a_client_holds_whatever_its_characters(
    identity: RunningIdentity, authentication: str, secret: str
) -> None:
    answer = (
        await ask(identity, DATA, basic(DESK, secret))
        if authentication == "basic"
        else await ask_desk(identity, DATA, secret)
    )
    assert answer.status == 200
    assert claims_of(answer.json()["access_token"])["sub"] == f"service:{DESK}"


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        (None, "player_data:admin player_data:read"),
        ("player_data:read", "player_data:read"),
        ("player_data:read player_data:admin", "player_data:admin player_data:read"),
        ("player_data:read player_data:read", "player_data:read"),
    ],
)
async def test_a_token_carries_the_scopes_asked_for_or_all_that_are_granted(
    identity: RunningIdentity, scope: str | None, granted: str
) -> None:
    answer = await ask_desk(identity, DATA if scope is None else {**DATA, "scope": scope})
    assert answer.json()["scope"] == granted
    assert claims_of(answer.json()["access_token"])["scope"] == granted


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("resource", "scope"),
    [
        ("playmesh:player_data", "identity:admin"),
        ("playmesh:player_data", "player_data:read identity:admin"),
        ("playmesh:player_data", "PLAYER_DATA:READ"),
        ("playmesh:player_data", "*"),
        ("playmesh:identity", "player_data:admin"),
    ],
)
async def test_a_scope_that_is_not_granted_there_is_refused(
    identity: RunningIdentity, resource: str, scope: str
) -> None:
    answer = await ask_desk(identity, {"resource": resource, "scope": scope})
    assert (answer.status, answer.code) == (400, "invalid_scope")


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("resource", "scope"),
    [
        ("playmesh:keyrotator", "keys:rotate"),
        ("playmesh:other", "a:b"),
        ("gamebackend", "authenticated"),
        ("PLAYMESH:PLAYER_DATA", "player_data:read"),
        ("", "player_data:read"),
        ("x" * 129, "player_data:read"),
        ("playmesh:player_data\n", "player_data:read"),
    ],
)
async def test_a_resource_without_a_grant_is_no_target(
    identity: RunningIdentity, resource: str, scope: str
) -> None:
    answer = await ask_desk(identity, {"resource": resource, "scope": scope})
    assert (answer.status, answer.code) == (400, "invalid_target")


@pytest.mark.usefixtures("desk")
async def test_a_request_without_a_resource_has_no_target(identity: RunningIdentity) -> None:
    answer = await ask_desk(identity, {"scope": "player_data:read"})
    assert (answer.status, answer.code) == (400, "invalid_target")


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("scope", ["  ", 'player_data:"read"', "player_data:read\\", "lesé"])
async def test_a_scope_that_is_none_is_refused(identity: RunningIdentity, scope: str) -> None:
    answer = await ask_desk(identity, {**DATA, "scope": scope})
    assert (answer.status, answer.code) == (400, "invalid_scope")


def _header(raw: bytes, scheme: str = "Basic") -> dict[str, str]:
    return {"Authorization": f"{scheme} {base64.b64encode(raw).decode()}"}


REFUSED: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "unknown client": ({}, basic("nobody", "A" * 43)),
    "wrong secret by post": ({"client_id": "operator", "client_secret": "A" * 43}, {}),
    "unknown client by post": ({"client_id": "nobody", "client_secret": "A" * 43}, {}),
    "empty secret": ({}, _header(b"operator:")),
    "empty client": ({}, _header(b":secret")),
    "no colon": ({}, _header(b"operator")),
    "empty": ({}, {"Authorization": "Basic "}),
    "no value": ({}, {"Authorization": "Basic"}),
    "not base64": ({}, {"Authorization": "Basic !!!"}),
    "bad padding": ({}, {"Authorization": "Basic QQ"}),
    "not UTF-8": ({}, _header(b"operator:\xff")),
    "NUL": ({}, _header(b"operator\x00:x")),
    "another scheme": ({}, _header(b"operator:x", scheme="Bearer")),
    "an empty header": ({}, {"Authorization": ""}),
}


@pytest.mark.parametrize(("form", "headers"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_client_that_is_refused_is_not_told_why(
    identity: RunningIdentity, form: dict[str, str], headers: dict[str, str]
) -> None:
    wrong_secret = await ask(identity, ROTATE, basic("operator", "A" * 43))
    answer = await ask(identity, {**ROTATE, **form}, headers)
    assert (answer.status, answer.code) == (401, "invalid_client")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert without_request_id(answer) == without_request_id(wrong_secret)


@pytest.mark.parametrize("raw", [b"\xc3\xa9", b"\xff\xfe", b"QQ\xe9=="])
async def test_a_credential_outside_ascii_is_refused(identity: RunningIdentity, raw: bytes) -> None:
    head = (
        b"POST /oauth2/token HTTP/1.1\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n"
        b"Authorization: Basic " + raw
    )
    body = b"grant_type=client_credentials&resource=playmesh:keyrotator"
    answer = await send(identity.url, head, body)
    assert (answer.status, answer.code) == (401, "invalid_client")


async def test_a_wrong_header_is_not_mended_by_a_right_form(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    right = {"client_id": "operator", "client_secret": operator_secret(tmp_path)}
    answer = await ask(identity, {**ROTATE, **right}, basic("operator", "A" * 43))
    assert (answer.status, answer.code) == (401, "invalid_client")


@pytest.mark.parametrize(
    "grant", ["password", "refresh_token", "authorization_code", "CLIENT_CREDENTIALS"]
)
async def test_another_grant_is_not_offered(
    identity: RunningIdentity, tmp_path: Path, grant: str
) -> None:
    form = {**ROTATE, "grant_type": grant}
    answer = await ask(identity, form, basic("operator", operator_secret(tmp_path)))
    assert (answer.status, answer.code) == (400, "unsupported_grant_type")


async def test_without_a_trusted_cluster_no_assertion_is_taken(identity: RunningIdentity) -> None:
    form = {**ROTATE, "grant_type": JWT_BEARER, "assertion": "x.y.z"}
    answer = await ask(identity, form)
    assert (answer.status, answer.code) == (400, "unsupported_grant_type")


ERRORS: dict[str, tuple[dict[str, str], int, str]] = {
    "no grant type": ({"grant_type": ""}, 400, "invalid_request"),
    "another grant type": ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    "no client": ({"client_id": ""}, 400, "invalid_request"),
    "a wrong secret": ({"client_secret": "A" * 43}, 401, "invalid_client"),
    "no resource": ({"resource": ""}, 400, "invalid_target"),
    "another resource": ({"resource": "playmesh:other"}, 400, "invalid_target"),
    "another scope": ({"scope": "player_data:write"}, 400, "invalid_scope"),
}


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(("form", "status", "error"), ERRORS.values(), ids=ERRORS.keys())
async def test_an_error_is_one_of_oauth_and_a_problem_as_well(
    identity: RunningIdentity, form: dict[str, str], status: int, error: str
) -> None:
    answer = await ask_desk(identity, {**DATA, **form})
    body = answer.json()
    assert (answer.status, body["status"], body["error"]) == (status, status, error)
    assert body["error_description"]
    assert body["type"] == f"urn:playmesh:error:{error}"
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


async def test_a_description_has_no_character_that_oauth_forbids(identity: RunningIdentity) -> None:
    """What a client repeats is quoted, and may be anything."""
    answer = await send(identity.url, FORM_HEAD, b"%22%5C%C3%A9%0Ax=1&%22%5C%C3%A9%0Ax=1")
    body = answer.json()
    assert body["error"] == "invalid_request"
    assert body["error_description"] == "`x` is given more than once"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "multipart/form-data"])
async def test_a_body_that_is_no_form_is_a_bad_request(
    identity: RunningIdentity, content_type: str
) -> None:
    """RFC 6749 section 5.2 says 400 where HTTP alone would say 415."""
    head = f"POST /oauth2/token HTTP/1.1\r\nContent-Type: {content_type}"
    answer = await send(identity.url, head, b"{}")
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert answer.json()["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("header", "body", "status", "code"),
    [
        ("", b"a=" + b"x" * 100_000, 413, "too_large"),
        ("\r\nContent-Encoding: deflate", b"no deflate", 400, "invalid_request"),
    ],
    ids=["too large", "broken"],
)
async def test_a_body_that_cannot_be_read_is_an_invalid_request_too(
    identity: RunningIdentity, header: str, body: bytes, status: int, code: str
) -> None:
    answer = await send(identity.url, FORM_HEAD + header, body)
    assert (answer.status, answer.code) == (status, code)
    assert answer.json()["error"] == "invalid_request"


async def test_what_may_pass_has_no_name_in_oauth(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    """RFC 6749 section 5.2 has none: 503 and Retry-After say it, as everywhere in the mesh."""
    (tmp_path / "secrets" / "service-clients.json").write_bytes(b"{")
    answer = await ask(identity, ROTATE, basic("operator", "A" * 43))
    assert (answer.status, answer.code) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert "error" not in answer.json()


@pytest.mark.parametrize(
    ("form", "status"), [(ROTATE, 200), ({"resource": "gamebackend"}, 400), ({}, 400)]
)
async def test_no_answer_may_be_stored(
    identity: RunningIdentity, tmp_path: Path, form: dict[str, str], status: int
) -> None:
    answer = await ask(identity, form, basic("operator", operator_secret(tmp_path)))
    assert (answer.status, answer.headers["Cache-Control"]) == (status, "no-store")


DAMAGED: list[Any] = [
    b'{"clients":{}}',
    b'{"clients":[{"client_id":"operator","grants":{}}]}',
    b'{"clients":[{"client_id":"","secrets":[],"grants":{}}]}',
    b'{"clients":[{"client_id":7,"secrets":[],"grants":{}}]}',
    b'{"clients":[{"client_id":"operator","secrets":[],"grants":{}},{"client_id":"other"}]}',
    (
        b'{"clients":[{"client_id":"operator","secrets":[],"grants":{}},'
        b'{"client_id":"operator","secrets":[],"grants":{}}]}'
    ),
    *(
        b'{"clients":[{"client_id":"operator","service_account":%s,"grants":{}}]}' % account
        for account in (b"null", b'""', b"7", b'"game"', b'"game/chat/x"', b'"Game/chat"', b'"/"')
    ),
    (
        b'{"clients":[{"client_id":"a","service_account":"game/chat","grants":{}},'
        b'{"client_id":"b","service_account":"game/chat","grants":{}}]}'
    ),
    b"",
    b"{",
    b"[]",
    b"{}",
    b'{"clients":[{}]}',
    b'{"clients":[{"client_id":"operator"}]}',
    b'{"clients":[{"client_id":"operator","secrets":[1],"grants":{}}]}',
    b'{"clients":[{"client_id":"operator","secrets":[],"grants":[]}]}',
    b'{"clients":null}',
]


@pytest.mark.parametrize("document", DAMAGED)
async def test_a_damaged_list_of_clients_lets_nobody_in(
    identity: RunningIdentity, tmp_path: Path, document: bytes
) -> None:
    secret = operator_secret(tmp_path)
    (tmp_path / "secrets" / "service-clients.json").write_bytes(document)
    answer = await ask(identity, ROTATE, basic("operator", secret))
    assert (answer.status, answer.code) == (503, "unavailable")


async def test_a_client_that_was_taken_off_the_list_is_refused_at_once(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    secret = operator_secret(tmp_path)
    assert (await ask(identity, ROTATE, basic("operator", secret))).status == 200
    (tmp_path / "secrets" / "service-clients.json").write_text(json.dumps(CLIENTS))
    answer = await ask(identity, ROTATE, basic("operator", secret))
    assert (answer.status, answer.code) == (401, "invalid_client")


def write_secrets(data_dir: Path, *secrets: str) -> None:
    """By hand, as an operator does it while identity runs."""
    client = {"client_id": "chat", "secrets": secrets, "grants": {"playmesh:other": ["a:b"]}}
    document = json.dumps({"clients": [client]})
    (data_dir / "secrets" / "service-clients.json").write_text(document)


async def test_a_secret_is_replaced_without_a_gap(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    async def statuses() -> list[int]:
        """Of requests with the old secret and with the new one."""
        form = {"resource": "playmesh:other"}
        return [(await ask(identity, form, basic("chat", one))).status for one in ("old", "new")]

    write_secrets(tmp_path, "old")
    assert await statuses() == [200, 401]
    write_secrets(tmp_path, "old", "new")
    assert await statuses() == [200, 200]
    write_secrets(tmp_path, "new")
    assert await statuses() == [401, 200]
    write_secrets(tmp_path)
    assert await statuses() == [401, 401]


async def test_where_no_secret_is_left_no_word_is_one(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    """What unknown clients are compared with is nobody's secret."""
    write_secrets(tmp_path)
    answer = await ask(identity, {"resource": "playmesh:other"}, basic("chat", "nobody"))
    assert (answer.status, answer.code) == (401, "invalid_client")


async def test_the_operator_looks_after_accounts_and_keys_and_not_after_saves(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    document = json.loads((tmp_path / "secrets" / "service-clients.json").read_text())
    assert document["clients"][0]["grants"] == {
        "playmesh:keyrotator": ["keys:rotate"],
        "playmesh:identity": ["identity:admin"],
    }
    header = basic("operator", operator_secret(tmp_path))
    answer = await ask(identity, {"resource": "playmesh:identity"}, header)
    assert answer.json()["scope"] == "identity:admin"
    answer = await ask(identity, DATA, header)
    assert (answer.status, answer.code) == (400, "invalid_target")


@pytest.mark.parametrize(
    "client",
    [
        {"client_id": DESK, "secrets": "correct-horse", "grants": {"playmesh:other": ["a:b"]}},
        {"client_id": DESK, "secrets": ["c"], "grants": {"playmesh:other": "a:b"}},
        {"client_id": DESK, "secrets": [""], "grants": {"playmesh:other": ["a:b"]}},
        {"client_id": DESK, "secrets": None, "grants": {}},
    ],
    ids=["a word for secrets", "a word for scopes", "an empty secret", "no secrets"],
)
async def test_a_client_that_is_not_written_as_it_must_be_gets_nothing(
    tmp_path: Path, clock: ManualClock, client: dict[str, object]
) -> None:
    """A string in the place of a list would make each of its characters a valid secret."""
    (tmp_path / "secrets").mkdir()
    document = json.dumps({"clients": [client]})
    (tmp_path / "secrets" / "service-clients.json").write_text(document)
    async with apps.identity(tmp_path, clock) as identity:
        form = {"grant_type": "client_credentials", "resource": "playmesh:other"}
        answer = await ask_desk(identity, form, secret="c")
        assert (answer.status, answer.code) == (503, "unavailable")
