"""Where platforms tell of their players: parse, call, render. What they send proves who they are.

They are answered 200 only when it is done, since they tell again what was not taken.
"""

from dataclasses import replace

from aiohttp import web

from services.identity import provider_wire as wire
from services.identity.appkeys import DELETIONS, NOTICES, PLATFORM_EVENTS, PUBLIC_URL
from services.identity.models import Notice, NoticeKind
from shared import errors
from shared.auth.middleware import public
from shared.http.bodies import read_form, read_object
from shared.http.responses import json_response

routes = web.RouteTableDef()


@routes.post("/v1/providers/apple/notifications")
@public
async def apple_notification(request: web.Request) -> web.Response:
    sent = wire.read_payload(await read_object(request))
    await request.app[PLATFORM_EVENTS].take(await _read(request, "apple", sent))
    return web.Response()


@routes.post("/v1/providers/facebook/deauthorize")
@public
async def facebook_deauthorize(request: web.Request) -> web.Response:
    sent = wire.read_signed_request(await read_form(request))
    notice = await _read(request, "facebook", sent)
    await request.app[PLATFORM_EVENTS].take(replace(notice, kind=NoticeKind.REVOKED))
    return web.Response()


@routes.post("/v1/providers/facebook/deletion")
@public
async def facebook_deletion(request: web.Request) -> web.Response:
    sent = wire.read_signed_request(await read_form(request))
    notice = await _read(request, "facebook", sent)
    user_id = await request.app[PLATFORM_EVENTS].take(replace(notice, kind=NoticeKind.DELETED))
    code = request.app[DELETIONS].code(user_id)
    return json_response(wire.render_deletion(request.app[PUBLIC_URL], code))


@routes.get("/v1/deletions/{code}")
@public
async def deletion(request: web.Request) -> web.Response:
    """For whoever has the code; whose it is, is not told."""
    is_done = await request.app[DELETIONS].is_done(request.match_info["code"])
    return json_response(wire.render_status(is_done=is_done))


async def _read(request: web.Request, provider: str, sent: str) -> Notice:
    reader = request.app[NOTICES].get(provider)
    if reader is None:
        raise errors.NotFound("this platform is not on")
    return await reader.read(sent)
