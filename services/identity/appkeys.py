"""What handlers find on the application."""

from aiohttp import web

from services.identity.accounts import Accounts
from services.identity.bans import Bans
from services.identity.erasures import Erasures, Exports
from services.identity.limits import LoginLimits
from services.identity.links import Links
from services.identity.logins import Logins
from services.identity.revocations import Revocations
from services.identity.service_clients import ServiceClients
from services.identity.sessions import Sessions
from services.identity.user_pool import PoolPlayers
from services.identity.well_known import WellKnown
from shared.auth.verifier import TokenVerifier

ACCOUNTS: web.AppKey[Accounts] = web.AppKey("ACCOUNTS", Accounts)
BANS: web.AppKey[Bans] = web.AppKey("BANS", Bans)
ERASURES: web.AppKey[Erasures] = web.AppKey("ERASURES", Erasures)
EXPORTS: web.AppKey[Exports] = web.AppKey("EXPORTS", Exports)
LINKS: web.AppKey[Links] = web.AppKey("LINKS", Links)
LIMITS: web.AppKey[LoginLimits] = web.AppKey("LIMITS", LoginLimits)
LOGINS: web.AppKey[Logins] = web.AppKey("LOGINS", Logins)
POOL_PLAYERS: web.AppKey[PoolPlayers] = web.AppKey("POOL_PLAYERS", PoolPlayers)
REVOCATIONS: web.AppKey[Revocations] = web.AppKey("REVOCATIONS", Revocations)
SERVICE_CLIENTS: web.AppKey[ServiceClients] = web.AppKey("SERVICE_CLIENTS", ServiceClients)
SESSIONS: web.AppKey[Sessions] = web.AppKey("SESSIONS", Sessions)
VERIFIER: web.AppKey[TokenVerifier] = web.AppKey("VERIFIER", TokenVerifier)
WELL_KNOWN: web.AppKey[WellKnown] = web.AppKey("WELL_KNOWN", WellKnown)
