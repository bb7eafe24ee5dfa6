"""A player's own account and sessions, for the player's token: parse, call, render."""

from http import HTTPStatus

from aiohttp import web

from services.identity import account_wire as wire
from services.identity.appkeys import (
    ACCOUNTS,
    CONFLICTS,
    ERASURES,
    EXPORTS,
    LINKS,
    LOGINS,
    SESSIONS,
)
from services.identity.conflicts import CURRENT
from services.identity.models import IDENTITY_REMOVED, SIGNED_OUT, SessionKey
from services.identity.wire import read_device, read_platform, render_tokens
from shared import errors
from shared.auth.claims import Claims
from shared.auth.middleware import CLAIMS, require_player
from shared.http.addresses import client_address
from shared.http.bodies import read_object
from shared.http.responses import json_response, json_stream

routes = web.RouteTableDef()


@routes.get("/v1/sessions")
@require_player()
async def list_sessions(request: web.Request) -> web.Response:
    claims = request[CLAIMS]
    sessions = await request.app[SESSIONS].living(claims.subject)
    return json_response(wire.render_sessions(sessions, claims.session_id))


@routes.delete("/v1/sessions")
@require_player()
async def end_other_sessions(request: web.Request) -> web.Response:
    claims = request[CLAIMS]
    await request.app[SESSIONS].end_all(claims.subject, reason=SIGNED_OUT, but=claims.session_id)
    return web.Response(status=HTTPStatus.NO_CONTENT)


@routes.delete("/v1/sessions/current")
@require_player()
async def log_out(request: web.Request) -> web.Response:
    await request.app[SESSIONS].end(_own_session(request[CLAIMS]), reason=SIGNED_OUT)
    return web.Response(status=HTTPStatus.NO_CONTENT)


@routes.delete("/v1/sessions/{session_id}")
@require_player()
async def end_session(request: web.Request) -> web.Response:
    key = wire.read_session_key(request.match_info, request[CLAIMS].subject)
    await request.app[SESSIONS].end(key, reason=SIGNED_OUT)
    return web.Response(status=HTTPStatus.NO_CONTENT)


@routes.get("/v1/account")
@require_player()
async def account(request: web.Request) -> web.Response:
    found = await request.app[ACCOUNTS].get(request[CLAIMS].subject)
    if found is None:
        raise errors.NotFound("there is no such account")
    return json_response(wire.render_account(found))


@routes.post("/v1/account/guest-secret")
@require_player()
async def new_guest_secret(request: web.Request) -> web.Response:
    guest = await request.app[ACCOUNTS].new_guest_secret(request[CLAIMS].subject)
    return json_response(wire.render_secret(guest))


@routes.post("/v1/account/identities")
@require_player()
async def link(request: web.Request) -> web.Response:
    """The scope `authenticated` is in the next access token."""
    asked = read_platform(await read_object(request))
    account = await request.app[LOGINS].link(
        request[CLAIMS].subject, asked.provider, asked.parts, address=client_address(request)
    )
    return json_response(wire.render_account(account))


@routes.post("/v1/account/identities/resolve")
@require_player()
async def resolve(request: web.Request) -> web.Response:
    """200: the account that has the identity now; 201: the tokens of a session where it was."""
    fields = await read_object(request)
    conflicts, user_id = request.app[CONFLICTS], request[CLAIMS].subject
    token, address = wire.read_conflict_token(fields), client_address(request)
    if wire.read_keep(fields) == CURRENT:
        account = await conflicts.keep_current(user_id, token, address=address)
        return json_response(wire.render_account(account))
    tokens = await conflicts.keep_existing(
        user_id, token, address=address, device=read_device(fields)
    )
    return json_response(render_tokens(tokens), status=HTTPStatus.CREATED)


@routes.delete("/v1/account/identities/{provider}")
@require_player()
async def unlink(request: web.Request) -> web.Response:
    """The player's other sessions that began with it end."""
    provider, claims = wire.read_provider(request.match_info), request[CLAIMS]
    account = await request.app[LINKS].unlink(claims.subject, provider)
    await request.app[SESSIONS].end_all(
        claims.subject, reason=IDENTITY_REMOVED, but=claims.session_id, provider=provider
    )
    return json_response(wire.render_account(account))


@routes.delete("/v1/account")
@require_player()
async def erase(request: web.Request) -> web.Response:
    """204: everything is removed; 202: it will be, whatever happens, and nobody gets in now."""
    is_done = await request.app[ERASURES].request(request[CLAIMS].subject)
    return web.Response(status=HTTPStatus.NO_CONTENT if is_done else HTTPStatus.ACCEPTED)


@routes.get("/v1/account/export")
@require_player()
async def export(request: web.Request) -> web.StreamResponse:
    """Everything that is held of the player, as one JSON document.

    It is sent while it is read. Where that fails on the way the answer breaks off, and is no
    JSON: half an export must not pass for a whole one.
    """
    exports, user_id = request.app[EXPORTS], request[CLAIMS].subject
    with exports.turn(user_id):
        held = await exports.own(user_id)
        document = wire.render_export(held, exports.others(user_id))
        return await json_stream(request, document, filename="playmesh-export.json")


def _own_session(claims: Claims) -> SessionKey:
    if claims.session_id is None:  # of a service's token, which does not get here
        raise errors.NotFound("there is no such session")
    return SessionKey(claims.subject, claims.session_id)
