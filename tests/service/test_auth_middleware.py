"""What a service gets that adds `trust` to its application, and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from shared import errors
from shared.auth.claims import Claims
from shared.auth.jwk_set import VerificationKey
from shared.auth.middleware import (
    CLAIMS,
    REVOCATIONS,
    authenticate,
    public,
    require_player,
    require_scope,
    trust,
)
from shared.auth.revocations import render, session_mark, subject_mark
from shared.auth.verifier import Expectations, TokenVerifier
from shared.http.app import new_app
from tests.support.clock import ManualClock
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, ec_key, revocations_beside
from tests.support.servers import Answer, send, serving

CHAT = "playmesh:chat"


async def hello(request: web.Request) -> web.Response:
    return web.Response(text=request[CLAIMS].subject)


@public
async def about(request: web.Request) -> web.Response:
    return web.Response(text="known" if request.get(CLAIMS) else "unknown")


@require_scope("chat:admin")
async def administrate(request: web.Request) -> web.Response:
    return web.Response(text=request[CLAIMS].subject)


@require_player()
async def play(request: web.Request) -> web.Response:
    return web.Response(text=request[CLAIMS].subject)


@require_player("authenticated")
async def buy(request: web.Request) -> web.Response:
    return web.Response(text=request[CLAIMS].subject)


async def bans(request: web.Request) -> web.Response:
    return web.Response(text=" ".join(sorted(request[CLAIMS].bans)))


def trusting(
    app: web.Application,
    jwks_url: str,
    clock: ManualClock,
    *,
    issuer_url: str = ISSUER,
    fail_closed: bool = False,
) -> None:
    """Trust in the issuer that serves this JWK Set."""
    trust(
        app,
        issuer=issuer_url,
        service="chat",
        jwks_url=jwks_url,
        revocations_url=revocations_beside(jwks_url),
        revocations_fail_closed=fail_closed,
        clock=clock,
    )


def chat_service(
    app: web.Application, jwks_url: str, clock: ManualClock, *, fail_closed: bool = False
) -> web.Application:
    app.router.add_get("/hello", hello)
    app.router.add_get("/about", about)
    app.router.add_get("/play", play)
    app.router.add_get("/bans", bans)
    app.router.add_post("/buy", buy)
    app.router.add_post("/admin", administrate)
    trusting(app, jwks_url, clock, fail_closed=fail_closed)
    return app


@pytest.fixture
async def chat(issuer: Issuer, clock: ManualClock) -> AsyncIterator[str]:
    async with (
        issuer.serving() as jwks_url,
        serving(chat_service(web.Application(), jwks_url, clock)) as url,
    ):
        yield url


@pytest.fixture
async def mesh_chat(issuer: Issuer, clock: ManualClock) -> AsyncIterator[str]:
    """The same service on the mesh's own application: with request ids."""
    async with (
        issuer.serving() as jwks_url,
        serving(chat_service(new_app(largest_body=1000), jwks_url, clock)) as url,
    ):
        yield url


def admin_token(issuer: Issuer, scope: str = "chat:admin") -> str:
    return issuer.service_token("identity", audience=CHAT, scope=scope)


async def get(url: str, path: str, *authorization: str, method: str = "GET") -> Answer:
    lines = [f"{method} {path} HTTP/1.1", *(f"Authorization: {value}" for value in authorization)]
    return await send(url, "\r\n".join(lines))


# Players


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "bEaReR ", "Bearer   ", ""])
async def test_a_player_is_known_by_a_token_after_bearer_in_any_case_or_bare(
    chat: str, issuer: Issuer, scheme: str
) -> None:
    answer = await get(chat, "/hello", scheme + issuer.token())
    assert (answer.status, answer.body) == (200, issuer.claims()["sub"].encode())


HEADERS = {
    "no header": [],
    "empty": [""],
    "scheme alone": ["Bearer"],
    "garbage": ["\x80\xff garbage"],
    "no token": ["Bearer garbage"],
    "another scheme": ["Basic dXNlcjpwYXNz"],
    "another scheme with a token": ["DPoP <token>"],
    "two tokens": ["Bearer <token> <token>"],
    "a list": ["Bearer <token>, Bearer <token>"],
    "a list without spaces": ["<token>,<token>"],
    "two headers": ["Bearer <token>", "Bearer <token>"],
    "two headers and one of them empty": ["Bearer <token>", ""],
    "scheme twice": ["Bearer Bearer <token>"],
    "a tab": ["Bearer\t<token>"],
    "parameter": ['Bearer token="<token>"'],
    "percent": ["Bearer%20<token>"],
    "expired": ["Bearer <expired>"],
    "of a stranger": ["Bearer <stranger>"],
    "for others": ["Bearer <other audience>"],
    "of another type": ["Bearer <other type>"],
    "huge": ["Bearer " + "A" * 8000],
}


def filled(authorization: str, issuer: Issuer) -> str:
    issued = issuer.claims()["iat"]
    tokens = {
        "<token>": issuer.token(),
        "<expired>": issuer.token(iat=issued - 2000, exp=issued - 1100),
        "<stranger>": issuer.token(key=ec_key("key-1")),
        "<other audience>": issuer.token(aud="other"),
        "<other type>": issuer.token({"typ": "JWT"}),
    }
    for name, token in tokens.items():
        authorization = authorization.replace(name, token)
    return authorization


@pytest.mark.parametrize("case", HEADERS)
async def test_without_one_good_token_the_answer_is_401_and_tells_nothing_of_the_reason(
    mesh_chat: str, issuer: Issuer, case: str
) -> None:
    answer = await get(mesh_chat, "/hello", *(filled(value, issuer) for value in HEADERS[case]))
    assert answer.status == 401
    assert answer.headers.getall("WWW-Authenticate") == ['Bearer error="invalid_token"']
    assert answer.headers["Content-Type"] == "application/problem+json; charset=utf-8"
    assert answer.json() == {
        "type": "urn:playmesh:error:invalid_token",
        "title": "The access token is missing or not valid",
        "status": 401,
        "detail": "The access token is missing or not valid",
        "request_id": answer.headers["X-Request-Id"],
    }


async def test_all_refusals_are_the_same_bytes_but_for_the_request_id(
    mesh_chat: str, issuer: Issuer
) -> None:
    bodies = set()
    for values in HEADERS.values():
        answer = await get(mesh_chat, "/hello", *(filled(value, issuer) for value in values))
        bodies.add(answer.body.replace(answer.headers["X-Request-Id"].encode(), b""))
    assert len(bodies) == 1


async def test_an_application_of_any_kind_refuses_in_the_same_form(chat: str) -> None:
    answer = await get(chat, "/hello")
    assert (answer.status, answer.code) == (401, "invalid_token")
    assert answer.json()["request_id"] is None


async def test_a_token_in_the_query_is_no_token(chat: str, issuer: Issuer) -> None:
    assert (await get(chat, f"/hello?access_token={issuer.token()}")).status == 401


async def test_a_token_in_a_cookie_is_no_token(chat: str, issuer: Issuer) -> None:
    answer = await send(chat, f"GET /hello HTTP/1.1\r\nCookie: Authorization={issuer.token()}")
    assert answer.status == 401


async def test_head_needs_a_token_as_get_does(chat: str, issuer: Issuer) -> None:
    assert (await get(chat, "/hello", method="HEAD")).status == 401
    assert (await get(chat, "/hello", issuer.token(), method="HEAD")).status == 200


# Public routes and routes that are none


@pytest.mark.parametrize("authorization", [[], ["Bearer garbage"], ["Bearer a", "Bearer b"]])
async def test_on_a_public_route_no_token_is_looked_at(chat: str, authorization: list[str]) -> None:
    answer = await get(chat, "/about", *authorization)
    assert (answer.status, answer.body) == (200, b"unknown")


async def test_on_a_public_route_a_good_token_makes_nobody_known(chat: str, issuer: Issuer) -> None:
    assert (await get(chat, "/about", issuer.token())).body == b"unknown"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/hello/", 404), ("DELETE", "/hello", 405)],
)
async def test_what_is_not_there_is_not_there_for_anybody(
    chat: str, issuer: Issuer, method: str, path: str, status: int
) -> None:
    assert (await get(chat, path, method=method)).status == status
    assert (await get(chat, path, issuer.token(), method=method)).status == status


# Services


async def test_a_service_with_the_scope_passes(chat: str, issuer: Issuer) -> None:
    token = admin_token(issuer, scope="chat:read chat:admin")
    answer = await get(chat, "/admin", f"Bearer {token}", method="POST")
    assert (answer.status, answer.body) == (200, b"service:identity")


async def test_a_player_is_refused_where_a_scope_is_required_whatever_its_scopes(
    chat: str, issuer: Issuer
) -> None:
    token = issuer.token(scope="chat:admin")
    answer = await get(chat, "/admin", f"Bearer {token}", method="POST")
    assert (answer.status, answer.code) == (403, "forbidden")
    assert answer.json()["detail"] == "a service token with the scope chat:admin is required"


@pytest.mark.parametrize("scope", ["chat", "chat:admins", "CHAT:ADMIN", "chat:read", "chat:admin,"])
async def test_a_service_without_the_scope_is_refused(
    chat: str, issuer: Issuer, scope: str
) -> None:
    token = admin_token(issuer, scope=scope)
    answer = await get(chat, "/admin", f"Bearer {token}", method="POST")
    assert (answer.status, answer.code) == (403, "forbidden")


async def test_a_service_is_refused_on_a_player_s_route(chat: str, issuer: Issuer) -> None:
    answer = await get(chat, "/hello", f"Bearer {admin_token(issuer)}")
    assert (answer.status, answer.code) == (403, "forbidden")
    assert answer.json()["detail"] == "a player's token is required"


async def test_a_token_for_another_service_is_no_token(chat: str, issuer: Issuer) -> None:
    token = issuer.service_token("identity", audience="playmesh:other", scope="chat:admin")
    assert (await get(chat, "/admin", f"Bearer {token}", method="POST")).status == 401


async def test_without_a_token_a_service_s_route_is_401_not_403(chat: str) -> None:
    assert (await get(chat, "/admin", method="POST")).status == 401


# Players, said aloud


async def test_a_player_passes_where_a_player_is_required(chat: str, issuer: Issuer) -> None:
    assert (await get(chat, "/play", issuer.token())).body == issuer.claims()["sub"].encode()


async def test_a_player_with_the_scope_passes_where_it_is_required(
    chat: str, issuer: Issuer
) -> None:
    token = issuer.token(scope="guest authenticated")
    assert (await get(chat, "/buy", token, method="POST")).status == 200


@pytest.mark.parametrize("scope", ["guest", "authenticated:", "AUTHENTICATED", "unauthenticated"])
async def test_a_player_without_the_scope_is_refused(chat: str, issuer: Issuer, scope: str) -> None:
    answer = await get(chat, "/buy", issuer.token(scope=scope), method="POST")
    assert (answer.status, answer.code) == (403, "forbidden")
    assert answer.json()["detail"] == "a player's token with the scope authenticated is required"


@pytest.mark.parametrize(("method", "path"), [("GET", "/play"), ("POST", "/buy")])
async def test_a_service_is_refused_where_a_player_is_required_whatever_its_scopes(
    chat: str, issuer: Issuer, method: str, path: str
) -> None:
    token = admin_token(issuer, scope="authenticated chat:admin")
    answer = await get(chat, path, token, method=method)
    assert (answer.status, answer.code) == (403, "forbidden")
    assert (await get(chat, path, method=method)).status == 401


# Keys


async def test_while_the_issuer_was_never_reached_the_answer_is_503_with_retry_after(
    issuer: Issuer, clock: ManualClock
) -> None:
    issuer.status = 503
    async with (
        issuer.serving() as jwks_url,
        serving(chat_service(web.Application(), jwks_url, clock)) as url,
    ):
        answer = await get(url, "/hello", f"Bearer {issuer.token()}")
    assert (answer.status, answer.code) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert "WWW-Authenticate" not in answer.headers


async def test_while_nobody_listens_at_the_issuer_the_answer_is_503(
    issuer: Issuer, clock: ManualClock
) -> None:
    async with issuer.serving() as jwks_url:
        pass
    async with serving(chat_service(web.Application(), jwks_url, clock)) as url:
        assert (await get(url, "/hello", issuer.token())).status == 503
        assert (await get(url, "/about")).status == 200


async def test_a_warm_service_serves_on_while_the_issuer_is_down(
    chat: str, issuer: Issuer, clock: ManualClock
) -> None:
    assert (await get(chat, "/hello", issuer.token())).status == 200
    issuer.status = 503
    clock.advance(3600)
    assert (await get(chat, "/hello", issuer.token())).status == 200


async def test_a_rotated_key_is_accepted_with_its_first_token(
    chat: str, issuer: Issuer, clock: ManualClock
) -> None:
    assert (await get(chat, "/hello", issuer.token())).status == 200
    issuer.key = ec_key("key-2")
    issuer.published.append(issuer.key)
    clock.advance(30)
    assert (await get(chat, "/hello", issuer.token())).status == 200


async def test_a_hundred_first_requests_at_once_cost_the_issuer_one(
    chat: str, issuer: Issuer
) -> None:
    headers = {"Authorization": f"Bearer {issuer.token()}"}
    async with aiohttp.ClientSession(chat, headers=headers) as session:

        async def status() -> int:
            async with session.get("/hello") as response:
                return response.status

        assert await asyncio.gather(*(status() for _ in range(100))) == [200] * 100
    assert issuer.requests == 1


async def test_documents_are_looked_for_at_the_issuer_s_well_known_places(
    issuer: Issuer, clock: ManualClock
) -> None:
    well_known = web.Application()

    async def serve_set(_request: web.Request) -> web.Response:
        return web.Response(body=issuer.jwk_set())

    async def serve_revocations(_request: web.Request) -> web.Response:
        return web.Response(body=render([session_mark("ended")]))

    well_known.router.add_get("/.well-known/jwks.json", serve_set)
    well_known.router.add_get("/.well-known/revocations.json", serve_revocations)
    async with serving(well_known) as issuer_url:
        app = web.Application()
        app.router.add_get("/hello", hello)
        trust(app, issuer=issuer_url, service="chat", clock=clock)
        async with serving(app) as url:
            assert (await get(url, "/hello", issuer.token(iss=issuer_url))).status == 200
            assert (await get(url, "/hello", issuer.token())).status == 401
            assert app[REVOCATIONS].refuses([session_mark("ended")])


# What was taken back

MARKS = {
    "its session has ended": session_mark("session-1"),
    "its player is banned": subject_mark("0123456789abcdef0123456789abcdef"),
}


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
async def test_a_token_is_refused_with_the_first_list_that_names_it_and_not_when_none_does(
    issuer: Issuer, clock: ManualClock, mark: str
) -> None:
    token = issuer.token()
    async with issuer.serving() as jwks_url:
        app = chat_service(web.Application(), jwks_url, clock)
        async with serving(app) as url:
            for revoked, status in ((set[str](), 200), ({mark}, 401), (set[str](), 200)):
                issuer.revoked = revoked
                clock.advance(4)
                await app[REVOCATIONS].tick()
                assert (await get(url, "/hello", token)).status == status
                assert (await get(url, "/about", token)).status == 200


async def test_a_list_that_is_there_at_the_start_counts_for_the_first_request(
    issuer: Issuer, clock: ManualClock
) -> None:
    issuer.revoked = {session_mark("session-1")}
    async with (
        issuer.serving() as jwks_url,
        serving(chat_service(new_app(largest_body=1000), jwks_url, clock)) as url,
    ):
        answer = await get(url, "/hello", issuer.token())
        other = await get(url, "/hello", "garbage")
    assert (answer.status, answer.code) == (401, "invalid_token")
    assert answer.headers["WWW-Authenticate"] == other.headers["WWW-Authenticate"]
    ids = [one.headers["X-Request-Id"].encode() for one in (answer, other)]
    assert answer.body.replace(ids[0], b"") == other.body.replace(ids[1], b"")


async def test_while_the_list_cannot_be_fetched_tokens_hold(
    issuer: Issuer, clock: ManualClock
) -> None:
    issuer.revocations_status = 503
    async with (
        issuer.serving() as jwks_url,
        serving(chat_service(web.Application(), jwks_url, clock)) as url,
    ):
        clock.advance(3600)
        assert (await get(url, "/hello", issuer.token())).status == 200


async def test_fail_closed_nobody_is_let_in_while_the_list_is_not_known(
    issuer: Issuer, clock: ManualClock
) -> None:
    issuer.revocations_status = 503
    async with issuer.serving() as jwks_url:
        app = chat_service(web.Application(), jwks_url, clock, fail_closed=True)
        async with serving(app) as url:
            answer = await get(url, "/hello", issuer.token())
            assert (answer.status, answer.code) == (503, "unavailable")
            assert answer.headers["Retry-After"] in ("3", "4")
            admin = await get(url, "/admin", admin_token(issuer), method="POST")
            assert admin.status == 503
            assert (await get(url, "/hello", "garbage")).status == 401
            assert (await get(url, "/about")).status == 200

            issuer.revocations_status = 200
            clock.advance(4)
            await app[REVOCATIONS].tick()
            assert (await get(url, "/hello", issuer.token())).status == 200

            issuer.revocations_status = 503
            clock.advance(30.1)
            await app[REVOCATIONS].tick()
            assert (await get(url, "/hello", issuer.token())).status == 503


async def test_a_request_never_fetches_the_list(
    chat: str, issuer: Issuer, clock: ManualClock
) -> None:
    clock.advance(3600)
    for _ in range(10):
        assert (await get(chat, "/hello", issuer.token())).status == 200
    assert issuer.revocations_requests == 1


async def test_a_handler_sees_what_the_player_is_kept_out_of(chat: str, issuer: Issuer) -> None:
    assert (await get(chat, "/bans", issuer.token(bans=["ranked", "chat"]))).body == b"chat ranked"
    assert (await get(chat, "/bans", issuer.token())).body == b""


# Whatever fails


class BrokenKeys:
    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    async def key(self, key_id: str) -> VerificationKey | None:  # noqa: ARG002 - the port's
        raise self.failure


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (errors.Unavailable(), 503),
        (errors.NotFound(), 503),
        (LookupError("a bug"), 503),
        (TimeoutError(), 503),
    ],
)
async def test_a_failure_during_verification_lets_nobody_through(
    issuer: Issuer, clock: ManualClock, failure: Exception, status: int
) -> None:
    reached: list[Claims | None] = []

    async def handler(request: web.Request) -> web.Response:
        reached.append(request.get(CLAIMS))
        return web.Response()

    expectations = Expectations(
        issuer=ISSUER,
        player_audience=AUDIENCE,
        service_audience=CHAT,
        longest_lifetime=clock.now() - clock.now(),
    )
    app = new_app(largest_body=1000)
    app.router.add_get("/hello", handler)
    app.middlewares.append(authenticate(TokenVerifier(BrokenKeys(failure), expectations, clock)))
    async with serving(app) as url:
        answer = await get(url, "/hello", issuer.token())
    assert answer.status == status
    assert reached == []
    assert b"a bug" not in answer.body


async def test_the_answer_never_shows_the_token(mesh_chat: str, issuer: Issuer) -> None:
    token = issuer.token(aud="other")
    answer = await get(mesh_chat, "/hello", f"Bearer {token}")
    shown = answer.body.decode() + json.dumps(dict(answer.headers))
    assert not any(part in shown for part in token.split("."))


def drops_attributes(handler: Handler) -> Handler:
    """A decorator as people write them: without functools.wraps."""

    async def wrapped(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    return wrapped


async def test_a_decorator_around_require_scope_does_not_open_the_route(
    issuer: Issuer, clock: ManualClock
) -> None:
    async def wipe(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="wiped")

    app = web.Application()
    app.router.add_post("/wipe", drops_attributes(require_scope("chat:admin")(wipe)))
    async with issuer.serving() as jwks_url:
        trusting(app, jwks_url, clock)
        async with serving(app) as url, aiohttp.ClientSession(url) as http:
            for token in (
                issuer.token(),
                issuer.token(scope="chat:admin"),
                issuer.service_token("x", audience="playmesh:chat", scope="chat:read"),
            ):
                headers = {"Authorization": f"Bearer {token}"}
                async with http.post("/wipe", headers=headers) as response:
                    assert response.status == 403


async def buy_anything(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="bought")


async def statuses(issuer: Issuer, clock: ManualClock, handler: Handler) -> dict[str, int]:
    """What a route of this handler answers, by who asks."""
    app = web.Application()
    app.router.add_post("/buy", handler)
    tokens = {
        "guest": issuer.token(scope="guest"),
        "player": issuer.token(scope="authenticated"),
        "service": admin_token(issuer, scope="authenticated"),
        "nobody": "garbage",
    }
    async with issuer.serving() as jwks_url:
        trusting(app, jwks_url, clock)
        async with serving(app) as url:
            return {
                name: (await get(url, "/buy", token, method="POST")).status
                for name, token in tokens.items()
            }


AUTHENTICATED = require_player("authenticated")


@pytest.mark.parametrize(
    "handler",
    [
        AUTHENTICATED(buy_anything),
        drops_attributes(AUTHENTICATED(buy_anything)),
        AUTHENTICATED(drops_attributes(buy_anything)),
        drops_attributes(drops_attributes(AUTHENTICATED(drops_attributes(buy_anything)))),
        AUTHENTICATED(public(buy_anything)),
        AUTHENTICATED(require_player()(buy_anything)),
        require_player()(AUTHENTICATED(buy_anything)),
    ],
)
async def test_in_whatever_order_require_player_lets_in_whom_it_should_and_nobody_else(
    issuer: Issuer, clock: ManualClock, handler: Handler
) -> None:
    assert await statuses(issuer, clock, handler) == {
        "guest": 403,
        "player": 200,
        "service": 403,
        "nobody": 401,
    }


@pytest.mark.parametrize(
    "handler",
    [
        AUTHENTICATED(require_scope("authenticated")(buy_anything)),
        require_scope("authenticated")(AUTHENTICATED(buy_anything)),
        require_player()(require_scope("authenticated")(buy_anything)),
        require_scope("authenticated")(require_player()(buy_anything)),
    ],
)
async def test_a_route_for_players_and_for_services_alone_is_for_nobody(
    issuer: Issuer, clock: ManualClock, handler: Handler
) -> None:
    answers = await statuses(issuer, clock, handler)
    assert answers == {"guest": 403, "player": 403, "service": 403, "nobody": 401}


async def test_a_public_route_that_requires_a_player_is_for_all_players(
    issuer: Issuer, clock: ManualClock
) -> None:
    answers = await statuses(issuer, clock, require_player()(public(buy_anything)))
    assert answers == {"guest": 200, "player": 200, "service": 403, "nobody": 401}


@pytest.mark.parametrize("guard", [require_player(), AUTHENTICATED, require_scope("authenticated")])
async def test_public_around_a_guard_opens_nothing(
    issuer: Issuer, clock: ManualClock, guard: Callable[[Handler], Handler]
) -> None:
    answers = await statuses(issuer, clock, public(guard(buy_anything)))
    assert set(answers.values()) == {500}


@pytest.mark.parametrize("issuer_url", ["", "id.example.com", "ftp://id.example.com", "https://"])
def test_an_issuer_that_is_no_url_is_refused_at_once(issuer_url: str) -> None:
    with pytest.raises(ValueError, match="issuer must be an http or https URL"):
        trust(web.Application(), issuer=issuer_url, service="chat")


GOOD = "https://id.example.com"


@pytest.mark.parametrize("name", ["jwks_url", "revocations_url"])
@pytest.mark.parametrize("url", ["id.example.com", "ftp://id.example.com", "https://"])
def test_a_place_that_is_no_url_is_refused_at_once(name: str, url: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be an http or https URL"):
        place(GOOD, name, url)


def place(issuer_url: str, name: str, url: str | None, *, allow_http: bool = False) -> None:
    urls = {name: url}
    trust(
        web.Application(),
        issuer=issuer_url,
        service="chat",
        jwks_url=urls.get("jwks_url", f"{GOOD}/keys"),
        revocations_url=urls.get("revocations_url", f"{GOOD}/revoked"),
        allow_http=allow_http,
    )


@pytest.mark.parametrize("name", ["jwks_url", "revocations_url"])
@pytest.mark.parametrize(
    ("issuer_url", "url"),
    [
        ("http://id.example.com", None),
        ("http://identity:8080", None),
        (GOOD, "http://id.example.com/document"),
        (GOOD, "http://10.0.0.1/document"),
    ],
)
def test_what_would_come_over_plain_http_is_refused_at_once_unless_that_is_said(
    name: str, issuer_url: str, url: str | None
) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be https, .* allow_http=True"):
        place(issuer_url, name, url)
    place(issuer_url, name, url, allow_http=True)


@pytest.mark.parametrize("name", ["jwks_url", "revocations_url"])
@pytest.mark.parametrize(
    ("issuer_url", "url"),
    [
        (GOOD, None),
        ("http://127.0.0.1:8080", None),
        ("http://[::1]:8080", None),
        ("http://localhost:8080", None),
        ("http://id.example.com", "https://cdn.example.com/document"),
    ],
)
def test_documents_may_come_over_https_from_anywhere_and_over_http_from_this_machine(
    name: str, issuer_url: str, url: str | None
) -> None:
    place(issuer_url, name, url)


async def test_an_issuer_may_be_given_with_a_slash_at_its_end(
    issuer: Issuer, clock: ManualClock
) -> None:
    app = web.Application()
    app.router.add_get("/", greet)
    async with issuer.serving() as jwks_url:
        trusting(app, jwks_url, clock, issuer_url=f"{ISSUER}/")
        async with (
            serving(app) as url,
            aiohttp.ClientSession(url) as http,
            http.get("/", headers={"Authorization": issuer.token()}) as response,
        ):
            assert response.status == 200


async def greet(request: web.Request) -> web.StreamResponse:
    return web.Response(text=request[CLAIMS].subject)
