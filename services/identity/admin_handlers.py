"""What operators do, with a service token of the scope `identity:admin`: parse, call, render."""

from http import HTTPStatus

from aiohttp import web

from services.identity import account_wire as wire
from services.identity.appkeys import ACCOUNTS, BANS, RECOVERIES, SESSIONS
from services.identity.models import ENDED_BY_OPERATOR
from shared import errors
from shared.auth.middleware import require_scope
from shared.http.bodies import Fields, read_object
from shared.http.responses import json_response

ADMIN = "identity:admin"
_PLAYER = "/v1/admin/players/{user_id}"
_IDENTITY = "/v1/admin/identities/{provider}/{external_id}"

routes = web.RouteTableDef()


@routes.get(_PLAYER)
@require_scope(ADMIN)
async def player(request: web.Request) -> web.Response:
    return await _player(request, wire.read_user_id(request.match_info))


@routes.post(f"{_PLAYER}/ban")
@require_scope(ADMIN)
async def ban(request: web.Request) -> web.Response:
    user_id, asked = (
        wire.read_user_id(request.match_info),
        wire.read_ban(await read_object(request)),
    )
    await request.app[BANS].ban(user_id, reason=asked.reason, until=asked.until, scope=asked.scope)
    return await _player(request, user_id)


@routes.post(f"{_PLAYER}/unban")
@require_scope(ADMIN)
async def unban(request: web.Request) -> web.Response:
    user_id = wire.read_user_id(request.match_info)
    scope = wire.read_scope(await _optional_object(request))
    await request.app[BANS].unban(user_id, scope=scope)
    return await _player(request, user_id)


@routes.post(f"{_PLAYER}/revoke-sessions")
@require_scope(ADMIN)
async def revoke_sessions(request: web.Request) -> web.Response:
    """The player may log in again: to keep somebody out, ban."""
    user_id = wire.read_user_id(request.match_info)
    await request.app[SESSIONS].end_all(user_id, reason=ENDED_BY_OPERATOR)
    return await _player(request, user_id)


@routes.post(f"{_PLAYER}/recover")
@require_scope(ADMIN)
async def recover(request: web.Request) -> web.Response:
    """Of who was given up for another account, and is not erased yet."""
    user_id = wire.read_user_id(request.match_info)
    await request.app[RECOVERIES].recover(user_id)
    return await _player(request, user_id)


@routes.get(_IDENTITY)
@require_scope(ADMIN)
async def identity_ban(request: web.Request) -> web.Response:
    found = await request.app[BANS].find_identity(*wire.read_identity(request.match_info))
    return json_response(wire.render_identity_ban(found))


@routes.post(f"{_IDENTITY}/ban")
@require_scope(ADMIN)
async def ban_identity(request: web.Request) -> web.Response:
    asked = wire.read_ban(await read_object(request))
    banned = await request.app[BANS].ban_identity(
        *wire.read_identity(request.match_info), reason=asked.reason, until=asked.until
    )
    return json_response(wire.render_identity_ban(banned))


@routes.post(f"{_IDENTITY}/unban")
@require_scope(ADMIN)
async def unban_identity(request: web.Request) -> web.Response:
    await request.app[BANS].unban_identity(*wire.read_identity(request.match_info))
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def _optional_object(request: web.Request) -> Fields:
    return await read_object(request) if request.can_read_body else Fields({})


async def _player(request: web.Request, user_id: str) -> web.Response:
    account = await request.app[ACCOUNTS].find(user_id)
    if account is None:
        raise errors.NotFound("there is no such account")
    sessions = await request.app[SESSIONS].living(user_id)
    return json_response(wire.render_player(account, sessions))
