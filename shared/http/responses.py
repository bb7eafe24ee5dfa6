"""Answers with a JSON body."""

from aiohttp import web

from shared import strict_json


def json_response(body: object, *, status: int = 200) -> web.Response:
    return web.Response(
        text=strict_json.dumps(body), status=status, content_type="application/json"
    )
