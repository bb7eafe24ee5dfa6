"""What handlers find on the application."""

from aiohttp import web

from services.player_data.profile import Profiles
from services.player_data.records import Records

RECORDS: web.AppKey[Records] = web.AppKey("RECORDS", Records)
PROFILES: web.AppKey[Profiles] = web.AppKey("PROFILES", Profiles)
