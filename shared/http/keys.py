"""What the edge keeps on a request."""

from aiohttp import web

REQUEST_ID: web.RequestKey[str] = web.RequestKey("REQUEST_ID", str)
