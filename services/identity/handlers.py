"""The ways in and the public documents: parse, call, render. Nobody is asked for a token."""

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from services.identity import wire
from services.identity.appkeys import (
    LIMITS,
    LOGINS,
    NONCES,
    REVOCATIONS,
    SESSIONS,
    VERIFIER,
    WELL_KNOWN,
)
from services.identity.logins import GuestLogin, PlatformLogin
from shared.auth.middleware import public
from shared.http.addresses import client_address
from shared.http.bodies import Fields, read_object, read_parameters
from shared.http.drop_in import drop_in
from shared.http.responses import json_response
from shared.keys.ports import PublishedDocument

_routes = web.RouteTableDef()


@_routes.post("/v1/guests")
@public
async def create_guest(request: web.Request) -> web.Response:
    fields = await read_object(request) if request.can_read_body else Fields({})
    login = await request.app[LOGINS].new_guest(
        address=client_address(request),
        device=wire.read_device(fields),
        request=wire.read_keyed_request(request.headers, fields),
    )
    return json_response(wire.render_new_guest(login), status=201)


@_routes.post("/v1/sessions")
@public
async def log_in(request: web.Request) -> web.Response:
    fields = await read_object(request)
    logins, address = request.app[LOGINS], client_address(request)
    device = wire.read_device(fields)
    login: GuestLogin | PlatformLogin
    match wire.read_login(fields):
        case wire.GuestCredential(user_id, secret):
            login = await logins.guest(user_id, secret, address=address, device=device)
        case wire.PlatformCredential(provider, parts):
            login = await logins.platform(provider, parts, address=address, device=device)
    return json_response(wire.render_tokens(login.tokens), status=201)


@_routes.post("/v1/nonces")
@public
async def new_nonce(request: web.Request) -> web.Response:
    request.app[LIMITS].attempt(client_address(request))
    return json_response(wire.render_nonce(request.app[NONCES].issue()), status=201)


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
        login = await logins.guest(guest.user_id, guest.secret, address=client_address(request))
    else:
        login = await logins.new_guest(
            address=client_address(request),
            request=wire.read_keyed_request(request.headers, fields),
        )
    return json_response(wire.render_drop_in_guest(login))


def login_with(
    provider: str, parts: Mapping[str, str], *, answered: str, detail: str | None = None
) -> Handler:
    """The drop-in login of a platform: `parts` are the names of what is sent, all of which must be,
    and of the parts of its credential. What is `answered` is the external id or, where that has
    more in front than the SDKs know, a `detail`.
    """

    @public
    async def log_in_with(request: web.Request) -> web.Response:
        fields = await read_parameters(request)
        credential = {part: wire.read_platform_token(fields, sent) for sent, part in parts.items()}
        mine = wire.read_link_token(fields)
        login = await request.app[LOGINS].platform(
            provider,
            credential,
            address=client_address(request),
            link_to=await request.app[VERIFIER].verify_player(mine) if mine is not None else None,
        )
        known = login.identity
        platform_id = known.details[detail] if detail else known.external_id
        return json_response(wire.render_drop_in_platform(login, {answered: platform_id}))

    return log_in_with


@public
async def refresh_access_token(request: web.Request) -> web.Response:
    token = wire.read_refresh(await read_parameters(request))
    tokens = await request.app[SESSIONS].refresh(token)
    return json_response(wire.render_drop_in(tokens))


routes = [
    *_routes,
    *drop_in("/login-as-guest", login_as_guest),
    *drop_in("/refresh-access-token", refresh_access_token),
    *drop_in(
        "/login-with-steam",
        login_with("steam", {"steam_auth_token": "ticket"}, answered="steam_id"),
    ),
    *drop_in(
        "/login-with-apple-id",
        login_with(
            "apple_drop_in", {"apple_auth_token": "id_token"}, answered="apple_id", detail="sub"
        ),
    ),
    *drop_in(
        "/login-with-facebook",
        login_with(
            "facebook",
            {
                "facebook_access_token": "access_token",
                "facebook_user_id": "facebook_user_id",
            },
            answered="facebook_id",
            detail="user_id",
        ),
    ),
    *drop_in(
        "/login-with-google-play",
        login_with(
            "google_play",
            {"google_play_auth_token": "server_auth_code"},
            answered="google_play_id",
            detail="player_id",
        ),
    ),
]


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
