"""Routes that unchanged SDKs call: GET or POST, with one slash or two before the path."""

from aiohttp import web
from aiohttp.typedefs import Handler


def drop_in(path: str, handler: Handler) -> list[web.RouteDef]:
    """No redirect to the single slash: the SDKs follow none. No HEAD: a GET may create."""
    return [
        route
        for spelling in (path, f"/{path}")
        for route in (
            web.get(spelling, handler, allow_head=False),
            web.post(spelling, handler),
        )
    ]
