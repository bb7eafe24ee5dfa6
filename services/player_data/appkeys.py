"""What handlers find on the application."""

from aiohttp import web

from services.player_data.as_of import AsOf
from services.player_data.blobs import Blobs
from services.player_data.erasure import Erasure
from services.player_data.export import Export
from services.player_data.merging import Merging
from services.player_data.profile import Profiles
from services.player_data.records import Records
from services.player_data.summary import Summaries
from services.player_data.transfers import Transfers

RECORDS: web.AppKey[Records] = web.AppKey("RECORDS", Records)
PROFILES: web.AppKey[Profiles] = web.AppKey("PROFILES", Profiles)
ERASURE: web.AppKey[Erasure] = web.AppKey("ERASURE", Erasure)
EXPORT: web.AppKey[Export] = web.AppKey("EXPORT", Export)
MERGING: web.AppKey[Merging] = web.AppKey("MERGING", Merging)
SUMMARIES: web.AppKey[Summaries] = web.AppKey("SUMMARIES", Summaries)
AS_OF: web.AppKey[AsOf] = web.AppKey("AS_OF", AsOf)
BLOBS: web.AppKey[Blobs] = web.AppKey("BLOBS", Blobs)
UPLOADS: web.AppKey[Transfers] = web.AppKey("UPLOADS", Transfers)
DOWNLOADS: web.AppKey[Transfers] = web.AppKey("DOWNLOADS", Transfers)
