"""What handlers find on the application."""

from collections.abc import Mapping

from aiohttp import web

from services.identity.accounts import Accounts
from services.identity.bans import Bans
from services.identity.conflicts import Conflicts
from services.identity.deletions import Deletions
from services.identity.erasures import Erasures, Exports
from services.identity.limits import LoginLimits
from services.identity.links import Links
from services.identity.logins import Logins
from services.identity.nonces import Nonces
from services.identity.platform_events import PlatformEvents
from services.identity.ports import NoticeReader
from services.identity.recoveries import Recoveries
from services.identity.revocations import Revocations
from services.identity.service_clients import ServiceClients
from services.identity.sessions import Sessions
from services.identity.user_pool import PoolPlayers
from services.identity.well_known import WellKnown
from shared.auth.verifier import TokenVerifier

ACCOUNTS: web.AppKey[Accounts] = web.AppKey("ACCOUNTS", Accounts)
BANS: web.AppKey[Bans] = web.AppKey("BANS", Bans)
CONFLICTS: web.AppKey[Conflicts] = web.AppKey("CONFLICTS", Conflicts)
DELETIONS: web.AppKey[Deletions] = web.AppKey("DELETIONS", Deletions)
ERASURES: web.AppKey[Erasures] = web.AppKey("ERASURES", Erasures)
EXPORTS: web.AppKey[Exports] = web.AppKey("EXPORTS", Exports)
LINKS: web.AppKey[Links] = web.AppKey("LINKS", Links)
LIMITS: web.AppKey[LoginLimits] = web.AppKey("LIMITS", LoginLimits)
LOGINS: web.AppKey[Logins] = web.AppKey("LOGINS", Logins)
NONCES: web.AppKey[Nonces] = web.AppKey("NONCES", Nonces)
NOTICES: web.AppKey[Mapping[str, NoticeReader]] = web.AppKey("NOTICES")
PLATFORM_EVENTS: web.AppKey[PlatformEvents] = web.AppKey("PLATFORM_EVENTS", PlatformEvents)
POOL_PLAYERS: web.AppKey[PoolPlayers] = web.AppKey("POOL_PLAYERS", PoolPlayers)
PUBLIC_URL: web.AppKey[str] = web.AppKey("PUBLIC_URL", str)
RECOVERIES: web.AppKey[Recoveries] = web.AppKey("RECOVERIES", Recoveries)
REVOCATIONS: web.AppKey[Revocations] = web.AppKey("REVOCATIONS", Revocations)
SERVICE_CLIENTS: web.AppKey[ServiceClients] = web.AppKey("SERVICE_CLIENTS", ServiceClients)
SESSIONS: web.AppKey[Sessions] = web.AppKey("SESSIONS", Sessions)
VERIFIER: web.AppKey[TokenVerifier] = web.AppKey("VERIFIER", TokenVerifier)
WELL_KNOWN: web.AppKey[WellKnown] = web.AppKey("WELL_KNOWN", WellKnown)
