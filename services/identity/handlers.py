"""identity's routes: parse, call, render."""

from http import HTTPStatus

from aiohttp import hdrs, web

from services.identity import wire
from services.identity.appkeys import LOGINS, SESSIONS, WELL_KNOWN
from shared.http.bodies import Fields, read_object, read_parameters
from shared.http.drop_in import drop_in
from shared.http.responses import json_response

_IDEMPOTENCY_KEY = "Idempotency-Key"

_routes = web.RouteTableDef()


@_routes.post("/v1/guests")
async def create_guest(request: web.Request) -> web.Response:
    fields = await read_object(request) if request.can_read_body else Fields({})
    login = await request.app[LOGINS].new_guest(
        device=wire.read_device(fields),
        request=wire.read_keyed_request(request.headers.getall(_IDEMPOTENCY_KEY, []), fields),
    )
    return json_response(wire.render_new_guest(login), status=201)


@_routes.post("/v1/sessions")
async def log_in(request: web.Request) -> web.Response:
    fields = await read_object(request)
    guest = wire.read_login(fields)
    login = await request.app[LOGINS].guest(
        guest.user_id, guest.secret, device=wire.read_device(fields)
    )
    return json_response(wire.render_tokens(login.tokens), status=201)


@_routes.post("/v1/sessions/refresh")
async def refresh(request: web.Request) -> web.Response:
    token = wire.read_refresh(await read_object(request))
    tokens = await request.app[SESSIONS].refresh(token)
    return json_response(wire.render_tokens(tokens))


@_routes.get("/.well-known/jwks.json")
async def jwk_set(request: web.Request) -> web.Response:
    well_known = request.app[WELL_KNOWN]
    published = well_known.jwk_set()
    response = _cacheable(published.document, well_known.max_age_seconds)
    response.etag = published.etag
    known = request.if_none_match or ()
    if any(tag.value in (published.etag, "*") for tag in known):
        response.set_status(HTTPStatus.NOT_MODIFIED)
        response.body = None
    return response


@_routes.get("/.well-known/openid-configuration")
async def openid_configuration(request: web.Request) -> web.Response:
    well_known = request.app[WELL_KNOWN]
    return _cacheable(well_known.openid_configuration, well_known.max_age_seconds)


async def login_as_guest(request: web.Request) -> web.Response:
    fields = await read_parameters(request)
    guest = wire.read_optional_guest(fields)
    logins = request.app[LOGINS]
    if guest:
        login = await logins.guest(guest.user_id, guest.secret)
    else:
        keys = request.headers.getall(_IDEMPOTENCY_KEY, [])
        login = await logins.new_guest(request=wire.read_keyed_request(keys, fields))
    return json_response(wire.render_drop_in_guest(login))


async def refresh_access_token(request: web.Request) -> web.Response:
    token = wire.read_refresh(await read_parameters(request))
    tokens = await request.app[SESSIONS].refresh(token)
    return json_response(wire.render_drop_in(tokens))


routes = [
    *_routes,
    *drop_in("/login-as-guest", login_as_guest),
    *drop_in("/refresh-access-token", refresh_access_token),
]


def _cacheable(document: bytes, max_age: int) -> web.Response:
    return web.Response(
        body=document,
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: f"public, max-age={max_age}"},
    )
