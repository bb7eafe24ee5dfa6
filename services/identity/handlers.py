"""The ways in and the public documents: parse, call, render. Nobody is asked for a token."""

from http import HTTPStatus

from aiohttp import hdrs, web

from services.identity import wire
from services.identity.appkeys import (
    LOGINS,
    REVOCATIONS,
    SESSIONS,
    TRUSTED_PROXY_HOPS,
    WELL_KNOWN,
)
from shared.auth.middleware import public
from shared.http.addresses import client_address
from shared.http.bodies import Fields, read_object, read_parameters
from shared.http.drop_in import drop_in
from shared.http.responses import json_response
from shared.keys.ports import PublishedDocument

_IDEMPOTENCY_KEY = "Idempotency-Key"

_routes = web.RouteTableDef()


@_routes.post("/v1/guests")
@public
async def create_guest(request: web.Request) -> web.Response:
    fields = await read_object(request) if request.can_read_body else Fields({})
    login = await request.app[LOGINS].new_guest(
        address=_address(request),
        device=wire.read_device(fields),
        request=wire.read_keyed_request(request.headers.getall(_IDEMPOTENCY_KEY, []), fields),
    )
    return json_response(wire.render_new_guest(login), status=201)


@_routes.post("/v1/sessions")
@public
async def log_in(request: web.Request) -> web.Response:
    fields = await read_object(request)
    guest = wire.read_login(fields)
    login = await request.app[LOGINS].guest(
        guest.user_id,
        guest.secret,
        address=_address(request),
        device=wire.read_device(fields),
    )
    return json_response(wire.render_tokens(login.tokens), status=201)


@_routes.post("/v1/sessions/refresh")
@public
async def refresh(request: web.Request) -> web.Response:
    token = wire.read_refresh(await read_object(request))
    tokens = await request.app[SESSIONS].refresh(token)
    return json_response(wire.render_tokens(tokens))


@_routes.get("/.well-known/jwks.json")
@public
async def jwk_set(request: web.Request) -> web.Response:
    well_known = request.app[WELL_KNOWN]
    return _document(request, well_known.jwk_set(), f"public, max-age={well_known.max_age_seconds}")


@_routes.get("/.well-known/revocations.json")
@public
async def revocations(request: web.Request) -> web.Response:
    """What verifiers refuse though it has not expired: digests, which tell nobody an id."""
    return _document(request, request.app[REVOCATIONS].published(), "no-cache")


@_routes.get("/.well-known/openid-configuration")
@public
async def openid_configuration(request: web.Request) -> web.Response:
    well_known = request.app[WELL_KNOWN]
    return web.Response(
        body=well_known.openid_configuration,
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: f"public, max-age={well_known.max_age_seconds}"},
    )


@public
async def login_as_guest(request: web.Request) -> web.Response:
    fields = await read_parameters(request)
    guest = wire.read_optional_guest(fields)
    logins = request.app[LOGINS]
    if guest:
        login = await logins.guest(guest.user_id, guest.secret, address=_address(request))
    else:
        keys = request.headers.getall(_IDEMPOTENCY_KEY, [])
        login = await logins.new_guest(
            address=_address(request), request=wire.read_keyed_request(keys, fields)
        )
    return json_response(wire.render_drop_in_guest(login))


@public
async def refresh_access_token(request: web.Request) -> web.Response:
    token = wire.read_refresh(await read_parameters(request))
    tokens = await request.app[SESSIONS].refresh(token)
    return json_response(wire.render_drop_in(tokens))


routes = [
    *_routes,
    *drop_in("/login-as-guest", login_as_guest),
    *drop_in("/refresh-access-token", refresh_access_token),
]


def _address(request: web.Request) -> str:
    return client_address(request, request.app[TRUSTED_PROXY_HOPS])


def _document(
    request: web.Request, published: PublishedDocument, cache_control: str
) -> web.Response:
    response = web.Response(
        body=published.document,
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: cache_control},
    )
    response.etag = published.etag
    known = request.if_none_match or ()
    if any(tag.value in (published.etag, "*") for tag in known):
        response.set_status(HTTPStatus.NOT_MODIFIED)
        response.body = None
    return response
