"""What handlers find on the application."""

from aiohttp import web

from services.identity.logins import Logins
from services.identity.service_clients import ServiceClients
from services.identity.sessions import Sessions
from services.identity.well_known import WellKnown

LOGINS: web.AppKey[Logins] = web.AppKey("LOGINS", Logins)
SESSIONS: web.AppKey[Sessions] = web.AppKey("SESSIONS", Sessions)
SERVICE_CLIENTS: web.AppKey[ServiceClients] = web.AppKey("SERVICE_CLIENTS", ServiceClients)
WELL_KNOWN: web.AppKey[WellKnown] = web.AppKey("WELL_KNOWN", WellKnown)
