"""Verified claims on every request: what a service adds to trust the mesh's tokens.

    app = web.Application()
    app.router.add_get("/hello", hello)       # a player's token is required by default
    trust(app, issuer="https://id.example.com", service="chat")
    web.run_app(app)

In a handler, `request[CLAIMS].subject` is the player's user id. `@public` opens a route,
`@require_scope("chat:admin")` keeps it for services, `@require_player("authenticated")` for players
who are known by more than a guest's secret.
"""

import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from shared import errors
from shared.auth import jwk_set, revocations
from shared.auth.claims import Claims, service_audience
from shared.auth.jwks_client import JwksClient
from shared.auth.revocations_client import RevocationList
from shared.auth.verifier import Expectations, TokenVerifier
from shared.clock import Clock, SystemClock
from shared.http.client import Document, fetch, is_tamper_proof, new_session
from shared.http.problems import from_error

H = TypeVar("H", bound=Callable[..., Awaitable[web.StreamResponse]])
Check = Callable[[Claims], bool]

CLAIMS: web.RequestKey[Claims] = web.RequestKey("CLAIMS", Claims)
JWKS_CLIENT: web.AppKey[JwksClient] = web.AppKey("JWKS_CLIENT", JwksClient)
REVOCATIONS: web.AppKey[RevocationList] = web.AppKey("REVOCATIONS", RevocationList)

_ACCESS = "__playmesh_access__"
_PLAYER_REQUIRED = "a player's token is required"
_BEARER = re.compile(r"(?:bearer +)?([^\s,]+)", re.IGNORECASE)


def public(handler: H) -> H:
    """Nobody is asked for a token, and none is looked at."""
    setattr(handler, _ACCESS, None)
    return handler


def require_scope(scope: str) -> Callable[[Handler], Handler]:
    """Only a service whose token carries `scope` passes; a player gets 403."""
    return _require(
        lambda claims: claims.is_service and scope in claims.scopes,
        f"a service token with the scope {scope} is required",
    )


def require_player(scope: str | None = None) -> Callable[[Handler], Handler]:
    """Only a player passes, and with `scope` only one whose token carries it; others get 403."""
    if scope is None:
        return _require(_is_player, _PLAYER_REQUIRED)
    return _require(
        lambda claims: _is_player(claims) and scope in claims.scopes,
        f"a player's token with the scope {scope} is required",
    )


def require_player_or_scope(*scopes: str) -> Callable[[Handler], Handler]:
    """Any player passes, and a service whose token carries one of `scopes`; others get 403."""
    return _require(
        lambda claims: _is_player(claims) or not claims.scopes.isdisjoint(scopes),
        f"a player's token, or a service token with the scope {' or '.join(scopes)}, is required",
    )


def _require(check: Check, detail: str) -> Callable[[Handler], Handler]:
    """The check is in the handler itself: whatever is wrapped around it, nobody gets past it."""

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not check(request[CLAIMS]):
                return from_error(request, errors.Forbidden(detail))
            return await handler(request)

        setattr(guarded, _ACCESS, _anybody)
        return guarded

    return decorate


def _anybody(_claims: Claims) -> bool:
    return True


def _is_player(claims: Claims) -> bool:
    return not claims.is_service


def authenticate(
    verifier: TokenVerifier,
) -> Middleware:
    """Middleware that lets nothing through without a verified token, unless it is `public`.

    It answers its own refusals, so it needs no other middleware around it.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.match_info.http_exception is not None:  # no such route, no such method
            return await handler(request)
        check: Check | None = getattr(request.match_info.handler, _ACCESS, _is_player)
        if check is not None:
            try:
                claims = await verifier.verify(_token(request))
            except errors.PlaymeshError as error:
                return from_error(request, error)
            if not check(claims):
                return from_error(request, errors.Forbidden(_PLAYER_REQUIRED))
            request[CLAIMS] = claims
        return await handler(request)

    return middleware


def trust(
    app: web.Application,
    *,
    issuer: str,
    service: str,
    audience: str = "gamebackend",
    jwks_url: str | None = None,
    jwks_ttl: timedelta = timedelta(seconds=300),
    revocations_url: str | None = None,
    revocations_fail_closed: bool = False,
    allow_http: bool = False,
    access_token_ttl: timedelta = timedelta(seconds=900),
    clock: Clock | None = None,
) -> None:
    """Make `app` accept the tokens of `issuer`: players', and services' meant for `service`.

    Fetches the JWK Set from `jwks_url` and the revocations from `revocations_url` (default: the
    issuer's well-known places) while the application runs. Until the first set has come, requests
    get 503 with Retry-After; with `revocations_fail_closed` also while the revocations are not
    known. Raises ValueError where a URL is none, or where a document would come over plain http
    from another machine; `allow_http` says that the network between is trusted.
    """
    clock = clock or SystemClock()
    issuer = issuer.rstrip("/")
    jwks_url = jwks_url or f"{issuer}/.well-known/jwks.json"
    revocations_url = revocations_url or f"{issuer}/.well-known/revocations.json"
    _check_url("issuer", issuer)
    for name, url in (("jwks_url", jwks_url), ("revocations_url", revocations_url)):
        _check_url(name, url)
        if not allow_http and not is_tamper_proof(url):
            raise ValueError(
                f"{name} must be https, or http to this machine; it is {url!r}."
                " allow_http=True says that the network between is trusted"
            )

    async def fetch_set() -> Document:
        async with new_session() as session:
            return await fetch(session, jwks_url, largest=jwk_set.LARGEST_DOCUMENT)

    async def fetch_revocations(etag: str | None) -> Document | None:
        async with new_session() as session:
            return await fetch(
                session, revocations_url, largest=revocations.LARGEST_DOCUMENT, etag=etag
            )

    client = JwksClient(fetch_set, ttl=jwks_ttl.total_seconds(), clock=clock)
    revoked = RevocationList(fetch_revocations, clock=clock, fail_closed=revocations_fail_closed)
    expectations = Expectations(
        issuer=issuer,
        player_audience=audience,
        service_audience=service_audience(service),
        longest_lifetime=access_token_ttl,
    )

    async def keep_fresh(_app: web.Application) -> AsyncIterator[None]:
        async with client.running(), revoked.running():
            yield

    app[JWKS_CLIENT] = client
    app[REVOCATIONS] = revoked
    app.middlewares.append(authenticate(TokenVerifier(client, expectations, clock, revoked)))
    app.cleanup_ctx.append(keep_fresh)


def _check_url(name: str, url: str) -> None:
    if not re.match(r"https?://[^/?#]", url):
        raise ValueError(f"{name} must be an http or https URL; it is {url!r}")


def _token(request: web.Request) -> str:
    """The token, also without the scheme: the drop-in SDKs send it bare."""
    values = request.headers.getall(hdrs.AUTHORIZATION, [])
    match = _BEARER.fullmatch(values[0].strip()) if len(values) == 1 else None
    if match is None:
        raise errors.InvalidToken
    return match[1]
