"""What handlers find on the application."""

from aiohttp import web

from services.keyrotator.rotator import Rotator

ROTATOR: web.AppKey[Rotator] = web.AppKey("ROTATOR", Rotator)
