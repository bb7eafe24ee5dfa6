"""keyrotator's routes, for services with the scope `keys:rotate`."""

from aiohttp import web

from services.keyrotator import wire
from services.keyrotator.appkeys import ROTATOR
from shared.auth.middleware import require_scope
from shared.http.responses import json_response

routes = web.RouteTableDef()


@routes.get("/v1/keys")
@require_scope("keys:rotate")
async def list_keys(request: web.Request) -> web.Response:
    ring = await request.app[ROTATOR].ring()
    return json_response(wire.render_ring(ring))


@routes.post("/v1/keys/rotate")
@require_scope("keys:rotate")
async def rotate(request: web.Request) -> web.Response:
    """202: the rotation is under way; the old key signs until the new one is known everywhere."""
    outlook = await request.app[ROTATOR].request_rotation()
    return json_response(wire.render_outlook(outlook), status=202)


@routes.post("/v1/keys/{kid}/revoke")
@require_scope("keys:rotate")
async def revoke(request: web.Request) -> web.Response:
    """202: the key is withdrawn; verifiers refuse it when they have fetched the set again."""
    outlook = await request.app[ROTATOR].revoke(request.match_info["kid"])
    return json_response(wire.render_revocation(outlook), status=202)
