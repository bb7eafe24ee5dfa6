"""player_data's routes: parse, call, render.

Every one asks for a player's token, but for those of a whole player, which are for services.
"""

from http import HTTPStatus

from aiohttp import web

from services.player_data import changes, wire
from services.player_data.appkeys import ERASURE, EXPORT, PROFILES, RECORDS
from services.player_data.models import Change, RecordKey
from services.player_data.records import resolve_player
from shared.auth.middleware import CLAIMS, require_scope
from shared.http.bodies import read_json, read_parameters
from shared.http.drop_in import drop_in
from shared.http.responses import json_response

_routes = web.RouteTableDef()

_PLAYER = "/v1/players/{player}"
_EXPORT = "/v1/players/{player}/export"
_LIST = "/v1/players/{player}/records"
_RECORD = "/v1/players/{player}/records/{collection}/{key}"
_VERSIONS = "/v1/players/{player}/records/{collection}/{key}/versions"


@_routes.get(_LIST)
async def list_records(request: web.Request) -> web.Response:
    player = resolve_player(request.match_info["player"], request[CLAIMS].subject)
    asked = wire.read_listing(request, player)
    page = await request.app[RECORDS].list(
        player,
        collection=asked.collection,
        prefix=asked.prefix,
        after=asked.after,
        limit=asked.limit,
    )
    return web.json_response(text=wire.render_page(page))


@_routes.get(_RECORD)
async def get_record(request: web.Request) -> web.Response:
    record = await request.app[RECORDS].get(_key(request))
    headers = wire.record_headers(record)
    if wire.is_not_modified(request.headers, record):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return web.json_response(text=wire.render_record(record), headers=headers)


@_routes.put(_RECORD)
async def put_record(request: web.Request) -> web.Response:
    return await _write(request, changes.put(await read_json(request)))


@_routes.delete(_RECORD)
async def delete_record(request: web.Request) -> web.Response:
    return await _write(request, changes.delete)


@_routes.get(_VERSIONS)
async def list_versions(request: web.Request) -> web.Response:
    versions = await request.app[RECORDS].versions(_key(request))
    return web.json_response(text=wire.render_versions(versions))


@_routes.delete(_PLAYER)
@require_scope("player_data:erase")
async def erase_player(request: web.Request) -> web.Response:
    """204 when nothing is left, also of a player without records; 202 when to ask again."""
    if await request.app[ERASURE].step(wire.read_player(request.match_info)):
        return web.Response(status=HTTPStatus.NO_CONTENT)
    return json_response({"done": False}, status=HTTPStatus.ACCEPTED)


@_routes.get(_EXPORT)
@require_scope("player_data:export")
async def export_player(request: web.Request) -> web.Response:
    """A page of about 1 MiB at most, `{"records": [], "versions": [], "cursor": null}` the last.

    `records` are the current ones as GET answers them, `versions` the earlier ones as theirs, also
    of records that were deleted. Either list of the whole is those of all pages, one after the
    other; a page before the last may have none of either.
    """
    player = wire.read_player(request.match_info)
    page = await request.app[EXPORT].page(player, wire.read_position(request, player))
    return web.json_response(text=wire.render_export(page))


async def set_player_data(request: web.Request) -> web.Response:
    fields = wire.read_profile(await read_parameters(request))
    await request.app[PROFILES].set(request[CLAIMS].subject, fields)
    return json_response("Successfully updated player data")


async def get_player_data(request: web.Request) -> web.Response:
    player = request[CLAIMS].subject
    return json_response(wire.render_profile(player, await request.app[PROFILES].get(player)))


routes = [
    *_routes,
    *drop_in("/set-player-data", set_player_data),
    *drop_in("/get-player-data", get_player_data),
]


async def _write(request: web.Request, change: str | Change) -> web.Response:
    written = await request.app[RECORDS].write(
        _key(request),
        change,
        wire.read_precondition(request.headers),
        by=request[CLAIMS].subject,
    )
    record = written.record
    if record is None:
        return web.Response(status=HTTPStatus.NO_CONTENT)
    status = HTTPStatus.CREATED if written.created else HTTPStatus.OK
    return web.json_response(
        text=wire.render_record(record), status=status, headers=wire.record_headers(record)
    )


def _key(request: web.Request) -> RecordKey:
    player = resolve_player(request.match_info["player"], request[CLAIMS].subject)
    return wire.read_key(request.match_info, player)
