"""identity's composition root."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import timedelta

import structlog
from aiohttp import web

from services.identity import (
    account_handlers,
    account_wire,
    admin_handlers,
    cognito_handlers,
    cognito_wire,
    handlers,
    oauth_handlers,
    provider_handlers,
)
from services.identity.access_tokens import AccessTokens
from services.identity.accounts import Accounts
from services.identity.adapters.kubernetes import cluster_keys
from services.identity.adapters.player_data import HttpPlayerData
from services.identity.appkeys import (
    ACCOUNTS,
    BANS,
    CONFLICTS,
    DELETIONS,
    ERASURES,
    EXPORTS,
    LIMITS,
    LINKS,
    LOGINS,
    NONCES,
    NOTICES,
    PLATFORM_EVENTS,
    POOL_PLAYERS,
    PUBLIC_URL,
    RECOVERIES,
    REVOCATIONS,
    SERVICE_CLIENTS,
    SESSIONS,
    VERIFIER,
    WELL_KNOWN,
)
from services.identity.assertions import AssertionVerifier
from services.identity.bans import Bans
from services.identity.conflicts import Conflicts
from services.identity.deletions import Deletions
from services.identity.erasures import Erasures, Exports
from services.identity.grants import Grants
from services.identity.idempotency import Idempotency
from services.identity.kubernetes_settings import KubernetesSettings
from services.identity.limits import LoginLimits
from services.identity.links import Links
from services.identity.logins import Logins
from services.identity.nonces import Nonces
from services.identity.platform_events import PlatformEvents
from services.identity.ports import PlayerDataHolder, PlayerDataSummaries
from services.identity.providers.settings import Providers, open_providers
from services.identity.recoveries import Recoveries
from services.identity.refresh_tokens import RefreshTokens
from services.identity.revocations import Revocations
from services.identity.sealing import Seals
from services.identity.service_clients import ServiceClients
from services.identity.sessions import SessionLimits, Sessions
from services.identity.settings import Settings
from services.identity.stores import Stores, open_secrets, open_stores
from services.identity.user_pool import PoolPlayers
from services.identity.well_known import WellKnown
from shared import errors
from shared.auth.claims import service_audience
from shared.auth.jwt_claims import LEEWAY
from shared.auth.middleware import authenticate
from shared.auth.verifier import Expectations, TokenVerifier
from shared.background import repeating
from shared.clock import Clock, SystemClock
from shared.http.addresses import TRUSTED_PROXY_HOPS
from shared.http.app import new_app
from shared.http.client import new_session
from shared.http.server import serve
from shared.ids import jitter
from shared.keys.documents import render_openid_configuration
from shared.keys.signer import Signer, SignerPolicy
from shared.keys.stores import KeyStores, open_key_stores
from shared.start_check import StartCheck

_log = structlog.get_logger()
_LARGEST_BODY = 64 * 1024
_FIRST_KEY_POLL = 0.2
_LIST_EVERY = 2.0
"""Seconds; with a verifier's 3 s and their time-outs, less than 10 in all."""
_ERASE_EVERY = 10.0
_FIRST_ERASURES = 1.0
_END_RECOVERIES_EVERY = 3600.0
_CLOCK = SystemClock()
_KEPT_AFTER_EXPIRY = timedelta(days=1)
_MOST_AT_ONCE = 1000


@contextlib.asynccontextmanager
async def open_app(
    settings: Settings, stores: Stores, signer: Signer, clock: Clock
) -> AsyncIterator[web.Application]:
    """The public application.

    Whoever runs it keeps `signer` and REVOCATIONS fresh, and ERASURES going.
    """
    access_tokens = AccessTokens(
        signer=signer,
        issuer=settings.trust.issuer,
        audience=settings.trust.audience,
        ttl=settings.trust.access_token_ttl,
        clock=clock,
    )
    idempotency = Idempotency(stores.idempotency, stores.refresh_key, clock)
    nonces = Nonces(stores.refresh_key, clock)
    seals = Seals(stores.refresh_key, clock)
    async with (
        new_session() as http,
        open_providers(settings.providers, idempotency, nonces, seals, clock) as providers,
    ):
        player_data = HttpPlayerData(
            http, settings.player_data_url, access_tokens, allow_http=settings.trust.allow_http
        )
        app = _create_app(
            settings,
            stores,
            signer,
            access_tokens,
            idempotency,
            seals,
            [player_data],
            player_data,
            providers,
            clock,
        )
        app[NONCES] = nonces
        yield app


def _create_app(
    settings: Settings,
    stores: Stores,
    signer: Signer,
    access_tokens: AccessTokens,
    idempotency: Idempotency,
    seals: Seals,
    holders: Collection[PlayerDataHolder],
    summaries: PlayerDataSummaries,
    providers: Providers,
    clock: Clock,
) -> web.Application:
    accounts = Accounts(stores.accounts, clock)
    lives = SessionLimits(
        idle=settings.refresh_idle_ttl,
        absolute=settings.refresh_absolute_ttl,
        grace=settings.refresh_grace,
        single=settings.single_session,
    )
    refresh_tokens = RefreshTokens(stores.refresh_key)
    sessions = Sessions(stores.sessions, accounts, access_tokens, refresh_tokens, lives, clock)
    lifetime = settings.token_lifetime
    revocations = Revocations(stores.sessions, stores.accounts, lifetime, clock)
    app = new_app(
        largest_body=_LARGEST_BODY,
        describe={
            errors.ActionRequired: cognito_wire.describe_action_required,
            errors.AlreadyLinked: account_wire.describe_already_linked,
            errors.Banned: account_wire.describe_banned,
            errors.SessionEnded: account_wire.describe_session_ended,
        },
    )
    app[ACCOUNTS] = accounts
    app[BANS] = Bans(accounts, stores.identity_bans, clock)
    grants = Grants(stores.grants, stores.identities, seals, providers.takers)
    app[LINKS] = links = Links(stores.identities, accounts, app[BANS], grants, clock)
    app[ERASURES] = Erasures(
        stores.accounts, accounts, stores.sessions, links, holders, lifetime, clock
    )
    app[EXPORTS] = Exports(accounts, stores.sessions, holders)
    limits = LoginLimits(logins=settings.limits.logins, guests=settings.limits.guests, clock=clock)
    app[LIMITS] = limits
    app[CONFLICTS] = conflicts = Conflicts(
        links,
        accounts,
        sessions,
        idempotency,
        limits,
        seals,
        summaries,
        lifetime,
        clock,
    )
    app[LOGINS] = Logins(
        accounts,
        idempotency,
        sessions,
        access_tokens,
        limits,
        links,
        conflicts,
        grants,
        providers.ways_in,
    )
    app[RECOVERIES] = Recoveries(stores.identities, accounts, links, sessions, clock)
    app[NOTICES] = providers.notices
    app[PLATFORM_EVENTS] = PlatformEvents(links, sessions, app[ERASURES], grants, clock)
    app[DELETIONS] = Deletions(accounts, idempotency, seals)
    app[PUBLIC_URL] = settings.public_url
    if providers.user_pool is not None:
        pool = providers.user_pool
        app[POOL_PLAYERS] = PoolPlayers(pool, stores.identities, sessions, limits)
        app.add_routes(cognito_handlers.routes)
    app[REVOCATIONS] = revocations
    app[SESSIONS] = sessions
    app[TRUSTED_PROXY_HOPS] = settings.limits.trusted_proxy_hops
    assertions = _trust_cluster(app, settings.kubernetes, clock) if settings.kubernetes else None
    app[SERVICE_CLIENTS] = ServiceClients(stores.service_clients, access_tokens, assertions)
    app[WELL_KNOWN] = WellKnown(
        openid_configuration=render_openid_configuration(settings.trust.issuer),
        published=lambda: signer.published,
        max_age=settings.caches.jwks_max_age,
    )
    for part in (handlers, account_handlers, admin_handlers, oauth_handlers, provider_handlers):
        app.add_routes(part.routes)
    expectations = Expectations(
        issuer=settings.trust.issuer,
        player_audience=settings.trust.audience,
        service_audience=service_audience("identity"),
        longest_lifetime=settings.trust.access_token_ttl,
    )
    # With the keys and the list that are here already, rather than over HTTP from itself.
    app[VERIFIER] = verifier = TokenVerifier(signer, expectations, clock, revocations)
    app.middlewares.append(authenticate(verifier))
    return app


def _trust_cluster(
    app: web.Application, settings: KubernetesSettings, clock: Clock
) -> AssertionVerifier:
    """Keeps the cluster's keys fresh while `app` runs; its trouble makes nobody else wait."""
    keys = cluster_keys(settings, clock)

    async def keep_fresh(_app: web.Application) -> AsyncIterator[None]:
        async with keys.running():
            yield

    app.cleanup_ctx.append(keep_fresh)
    return AssertionVerifier(keys, settings.issuer, settings.audience, clock)


def new_signer(settings: Settings, keys: KeyStores, clock: Clock) -> Signer:
    policy = SignerPolicy(
        known_after=settings.caches.jwks_max_age + settings.trust.jwks_ttl,
        token_lifetime=settings.trust.access_token_ttl + LEEWAY,
    )
    return Signer(keys.ring, keys.jwk_set, policy, clock)


async def run(settings: Settings, clock: Clock = _CLOCK) -> None:
    check = StartCheck()
    async with (
        open_stores(settings.server, check) as stores,
        open_secrets(settings.providers.secrets, check, clock),
        open_key_stores(settings.server, settings.caches, check) as keys,
        check.passing(),
    ):
        signer = new_signer(settings, keys, clock)

        def checked(work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
            async def once_ready() -> None:
                if not check.not_ready():
                    await work()

            return once_ready

        def delay() -> float:
            refresh = settings.caches.key_refresh.total_seconds()
            return _FIRST_KEY_POLL if signer.not_ready() else refresh

        # Soon after a start, since the end before may have been a crash.
        delays = itertools.chain([_FIRST_ERASURES], itertools.repeat(_ERASE_EVERY))

        def erasures_delay() -> float:
            return next(delays) * jitter(0.2)

        def recoveries_delay() -> float:
            return _END_RECOVERIES_EVERY * jitter(0.2)

        async with (
            # Without a signing key no login begins, so none gets stuck on what is not there yet.
            repeating("signer.refresh", checked(signer.refresh), delay),
            open_app(settings, stores, signer, clock) as app,
            repeating("revocations", checked(app[REVOCATIONS].refresh), lambda: _LIST_EVERY),
            repeating("erasures", checked(app[ERASURES].tick), erasures_delay, at_start=False),
            repeating(
                "recoveries",
                checked(app[ERASURES].end_recoveries),
                recoveries_delay,
                at_start=False,
            ),
        ):
            await serve(app, settings.server, ready=[check.not_ready, signer.not_ready])


async def run_once(settings: Settings, *, erase_again: bool, clock: Clock = _CLOCK) -> None:
    """Maintenance, for a CronJob or a scheduled task. Raises Unavailable: try again."""
    check = StartCheck()
    async with (
        open_stores(settings.server, check) as stores,
        open_secrets(settings.providers.secrets, check, clock),
        open_key_stores(settings.server, settings.caches, check) as keys,
    ):
        await check.look()
        signer = new_signer(settings, keys, clock)
        await signer.refresh()
        async with open_app(settings, stores, signer, clock) as app:
            await maintain(settings, stores, app[ERASURES], clock, erase_again=erase_again)


async def maintain(
    settings: Settings, stores: Stores, erasures: Erasures, clock: Clock, *, erase_again: bool
) -> None:
    """All that time makes superfluous is removed, and what was left half-done is done."""
    expired = 0
    while removed := await stores.sessions.delete_expired(
        clock.now() - _KEPT_AFTER_EXPIRY, limit=_MOST_AT_ONCE
    ):
        expired += removed
    inactive = 0
    if settings.guest_inactive_after is not None:
        inactive = await erasures.remove_inactive_guests(settings.guest_inactive_after)
    await erasures.end_recoveries()
    await erasures.tick()
    again = await erasures.erase_again() if erase_again else 0
    _log.info("maintained", expired_sessions=expired, inactive_guests=inactive, erased_again=again)
