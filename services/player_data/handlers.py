"""player_data's routes: parse, call, render.

Those of a player's records are for players, and for services with a scope; those of a whole player
are for services alone.
"""

import functools
from http import HTTPStatus

from aiohttp import web

from services.player_data import batch_wire, blob_handlers, blob_wire, changes, merge_wire, wire
from services.player_data.appkeys import (
    AS_OF,
    BLOBS,
    ERASURE,
    EXPORT,
    MERGING,
    PROFILES,
    RECORDS,
    SUMMARIES,
)
from services.player_data.collections import Caller
from services.player_data.models import Change, Precondition, RecordKey, Written
from services.player_data.records import Asked, KeyedRequest, resolve_player
from shared import errors, strict_json
from shared.auth.middleware import CLAIMS, require_player_or_scope, require_scope
from shared.http.bodies import read_json, read_parameters
from shared.http.drop_in import drop_in
from shared.http.idempotency import read_idempotency_key
from shared.http.responses import json_response, json_stream
from shared.strict_json import JsonValue

_routes = web.RouteTableDef()

_PLAYER = "/v1/players/{player}"
_EXPORT = "/v1/players/{player}/export"
_MERGE = "/v1/players/{player}/merge"
_SUMMARY = "/v1/players/{player}/summary"
_USAGE = "/v1/players/{player}/usage"
_LIST = "/v1/players/{player}/records"
_RECORD = "/v1/players/{player}/records/{collection}/{key}"
_BATCH = "/v1/records/batch"
_MERGE_PATCH = "application/merge-patch+json"

_READ = "player_data:read"
_WRITE = "player_data:write"
_reading = require_player_or_scope(_READ)
_writing = require_player_or_scope(_WRITE)


@_routes.get(_LIST)
@_reading
async def list_records(request: web.Request) -> web.Response:
    """What there is, or, `as_of` a moment and for services alone, what there was."""
    caller = _caller(request)
    player = resolve_player(request.match_info["player"], caller)
    asked = wire.read_listing(request, player)
    if asked.as_of is not None:
        past = await request.app[AS_OF].page(
            caller,
            player,
            asked.as_of,
            collection=asked.collection,
            after=asked.after,
            limit=asked.limit,
        )
        return web.json_response(text=wire.render_past(past, asked.as_of))
    page = await request.app[RECORDS].list(
        caller,
        player,
        collection=asked.collection,
        prefix=asked.prefix,
        after=asked.after,
        limit=asked.limit,
    )
    return web.json_response(text=wire.render_page(page))


@_routes.get(_USAGE)
@_reading
async def get_usage(request: web.Request) -> web.Response:
    """What the player has and may have: current records, and the bytes of their values."""
    caller = _caller(request)
    player = resolve_player(request.match_info["player"], caller)
    used, quota = await request.app[SUMMARIES].usage(caller, player)
    return json_response(wire.render_usage(used, quota))


@_routes.get(_RECORD)
@_reading
async def get_record(request: web.Request) -> web.StreamResponse:
    """The record as JSON; of a blob its bytes."""
    caller = _caller(request)
    record = await request.app[RECORDS].get(caller, _key(request))
    headers = wire.record_headers(record)
    if wire.is_not_modified(request.headers, record):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    if record.blob:
        return await blob_handlers.answer(request, caller, record, record.blob)
    return web.json_response(text=wire.render_record(record), headers=headers)


@_routes.put(_RECORD)
@_writing
async def put_record(request: web.Request) -> web.Response:
    """JSON, or by its media type a blob."""
    if blob_wire.is_blob(request):
        return await _put_blob(request)
    try:
        value = await read_json(request)
    except web.HTTPRequestEntityTooLarge:
        raise errors.TooLarge("a larger value is sent as application/octet-stream") from None
    return await _write(request, changes.put(value), value)


@_routes.patch(_RECORD)
@_writing
async def merge_into_record(request: web.Request) -> web.Response:
    patch = await read_json(request, media_type=_MERGE_PATCH)
    return await _write(request, changes.merge(patch), patch)


@_routes.delete(_RECORD)
@_writing
async def delete_record(request: web.Request) -> web.Response:
    return await _write(request, changes.delete)


@_routes.post(_RECORD + "/increment")
@_writing
async def increment(request: web.Request) -> web.Response:
    body = await read_json(request)
    return await _write(request, batch_wire.read_increment(body), body)


@_routes.post(_RECORD + "/max")
@_writing
async def raise_to(request: web.Request) -> web.Response:
    body = await read_json(request)
    return await _write(request, batch_wire.read_maximum(body), body)


@_routes.get(_RECORD + "/versions")
@_reading
async def list_versions(request: web.Request) -> web.Response:
    versions = await request.app[RECORDS].versions(_caller(request), _key(request))
    return web.json_response(text=wire.render_versions(versions))


@_routes.get(_RECORD + "/versions/{version}")
@_reading
async def get_version(request: web.Request) -> web.StreamResponse:
    caller, number = _caller(request), wire.read_version(request.match_info)
    record = await request.app[RECORDS].version(caller, _key(request), number)
    if record.blob:
        return await blob_handlers.answer(request, caller, record, record.blob)
    return web.json_response(text=wire.render_record(record))


@_routes.post(_RECORD + "/versions/{version}/restore")
@_writing
async def restore_version(request: web.Request) -> web.Response:
    written = await request.app[BLOBS].restore(
        _caller(request),
        _key(request),
        wire.read_version(request.match_info),
        wire.read_precondition(request.headers),
        _keyed(request),
    )
    return _answer(written)


@_routes.post(_BATCH)
@require_player_or_scope(_READ, _WRITE)
async def batch(request: web.Request) -> web.Response:
    """Reads, or writes of which all are done or none."""
    body = await read_json(request)
    caller, records = _caller(request), request.app[RECORDS]
    asked, kind, entries = batch_wire.read_batch(body)
    scope = _READ if kind == "reads" else _WRITE
    if caller.is_service and scope not in request[CLAIMS].scopes:
        raise errors.Forbidden(f"a service token with the scope {scope} is required")
    player = resolve_player(asked, caller)
    if kind == "reads":
        found = await records.read_all(caller, batch_wire.read_keys(entries, player))
        return web.json_response(text=batch_wire.render_read(found))
    writes = batch_wire.read_writes(entries, player)
    try:
        written = await records.write_all(caller, writes, _keyed(request, body))
    except errors.BatchFailed as failed:
        subjects = [one.key for one in writes]
        raise errors.BatchFailed(failures=failed.failures, subjects=subjects) from None
    return web.json_response(text=batch_wire.render_written(written))


@_routes.delete(_PLAYER)
@require_scope("player_data:erase")
async def erase_player(request: web.Request) -> web.Response:
    """204 when nothing is left, also of a player without records; 202 when to ask again."""
    if await request.app[ERASURE].step(wire.read_player(request.match_info)):
        return web.Response(status=HTTPStatus.NO_CONTENT)
    return json_response({"done": False}, status=HTTPStatus.ACCEPTED)


@_routes.get(_EXPORT)
@require_scope("player_data:export")
async def export_player(request: web.Request) -> web.StreamResponse:
    """A page of about 1 MiB at most, `{"records": [], "versions": [], "cursor": null}` the last.

    Besides, it has up to 5 MiB of blobs, or one that is larger, in base64.

    `records` are the current ones as GET answers them, `versions` the earlier ones as theirs, also
    of records that were deleted. Either list of the whole is those of all pages, one after the
    other; a page before the last may have none of either.
    """
    player = wire.read_player(request.match_info)
    page = await request.app[EXPORT].page(player, wire.read_position(request, player))
    if blob_wire.has_content(page):
        opened = functools.partial(request.app[BLOBS].read, player)
        parts = blob_wire.export_parts(page, opened)
        return await json_stream(request, parts, filename="player_data.json")
    return web.json_response(text=wire.render_export(page))


@_routes.get(_SUMMARY)
@require_scope("player_data:summary")
async def summarize_player(request: web.Request) -> web.Response:
    """Of the current records, by collection and in all: how many, bytes, the last change."""
    summary = await request.app[SUMMARIES].of(wire.read_player(request.match_info))
    return json_response(wire.render_summary(summary))


@_routes.post(_MERGE)
@require_scope("player_data:merge")
async def merge_players(request: web.Request) -> web.Response:
    """A page of the records of the player in `from`, taken over into this one's."""
    target = wire.read_player(request.match_info)
    asked = merge_wire.read(await read_json(request), target)
    step = await request.app[MERGING].step(
        asked.source,
        target,
        after=asked.after,
        by=request[CLAIMS].subject,
        dry_run=asked.dry_run,
    )
    return json_response(merge_wire.render(step, asked.source, target))


async def set_player_data(request: web.Request) -> web.Response:
    fields = await read_parameters(request)
    await request.app[PROFILES].set(
        _caller(request), wire.read_profile(fields), _keyed(request, fields.canonical())
    )
    return json_response("Successfully updated player data")


async def get_player_data(request: web.Request) -> web.Response:
    caller = _caller(request)
    fields = await request.app[PROFILES].get(caller)
    return json_response(wire.render_profile(caller.subject, fields))


routes = [
    *_routes,
    *drop_in("/set-player-data", set_player_data),
    *drop_in("/get-player-data", get_player_data),
]


async def _write(
    request: web.Request, change: str | Change, content: JsonValue = None
) -> web.Response:
    asked = Asked(_key(request), change, wire.read_precondition(request.headers))
    keyed = _keyed(request, content)
    return _answer(await request.app[RECORDS].write(_caller(request), asked, keyed))


async def _put_blob(request: web.Request) -> web.Response:
    caller, key = _caller(request), _key(request)
    precondition = wire.read_precondition(request.headers)
    # A repetition is answered as the first request was, whatever is there by now.
    at_once = Precondition.ALWAYS if read_idempotency_key(request.headers) else precondition
    blob = await blob_handlers.receive(request, caller, key, at_once)
    keyed = _keyed(request, wire.describe_blob(blob))
    return _answer(await request.app[BLOBS].write(caller, key, blob, precondition, keyed))


def _answer(written: Written) -> web.Response:
    record = written.record
    if record is None:
        return web.Response(status=HTTPStatus.NO_CONTENT)
    return web.json_response(
        text=wire.render_record(record),
        status=HTTPStatus.CREATED if written.created else HTTPStatus.OK,
        headers=wire.record_headers(record),
    )


def _caller(request: web.Request) -> Caller:
    claims = request[CLAIMS]
    return Caller(claims.subject, claims.is_service)


def _key(request: web.Request) -> RecordKey:
    player = resolve_player(request.match_info["player"], _caller(request))
    return wire.read_key(request.match_info, player)


def _keyed(request: web.Request, content: JsonValue = None) -> KeyedRequest | None:
    key = read_idempotency_key(request.headers)
    if key is None:
        return None
    conditions = [request.headers.getall(name, []) for name in ("If-Match", "If-None-Match")]
    asked = [request.method, request.path, conditions, content]
    return KeyedRequest(key, strict_json.canonical(asked))
