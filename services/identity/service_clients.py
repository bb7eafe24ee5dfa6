"""Services and operators that may ask for service tokens.

They prove who they are by a secret (RFC 6749 section 4.4), or by the token that a Kubernetes
cluster gives to a service account (RFC 7523 section 2.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from services.identity.access_tokens import AccessTokens
from services.identity.assertions import AssertionVerifier
from shared import errors
from shared.ids import digest, matches

_log = structlog.get_logger()
_NOBODY = digest("nobody")


@dataclass(frozen=True, slots=True)
class ServiceClient:
    """`grants` says which scopes it may have at which audience.

    More than one secret holds while one is being replaced by another. `service_account` is
    `<namespace>/<name>`; None: no assertion is taken.
    """

    client_id: str
    secret_digests: tuple[bytes, ...] = field(repr=False)
    grants: Mapping[str, frozenset[str]]
    service_account: str | None = None


class ServiceClientStore(Protocol):
    """The known clients; small, and read far more often than changed.

    No two of them have the same id, or the same service account. Nothing is kept from one read to
    the next, so that a change holds from the next request on. None: there is no such client.
    Raises Unavailable where the list cannot be read, or is damaged in any of its entries.
    """

    async def find(self, client_id: str) -> ServiceClient | None: ...

    async def find_by_service_account(self, service_account: str) -> ServiceClient | None:
        """`service_account` is `<namespace>/<name>`."""
        ...


@dataclass(frozen=True, slots=True)
class ServiceToken:
    access_token: str = field(repr=False)
    expires_in: int
    scope: str


class ServiceClients:
    """Without `assertions`, which trusts one cluster, no assertion is taken."""

    def __init__(
        self,
        store: ServiceClientStore,
        access_tokens: AccessTokens,
        assertions: AssertionVerifier | None = None,
    ) -> None:
        self._store = store
        self._access_tokens = access_tokens
        self._assertions = assertions

    async def by_secret(self, client_id: str, secret: str) -> ServiceClient:
        """Raises InvalidClient, the same for an unknown client and a wrong secret."""
        client = await self._store.find(client_id)
        expected = (client.secret_digests if client else ()) or (_NOBODY,)
        # A list: every digest is compared, whichever holds.
        holds = any([matches(secret, one) for one in expected])  # noqa: C419
        if client is None or not client.secret_digests or not holds:
            raise errors.InvalidClient
        return client

    async def by_assertion(self, assertion: str) -> ServiceClient:
        """Raises InvalidGrant, the same for a forged assertion and an account that is no client.

        UnsupportedGrantType where no cluster is trusted.
        """
        if self._assertions is None:
            raise errors.UnsupportedGrantType
        account = await self._assertions.service_account(assertion)
        client = await self._store.find_by_service_account(account)
        if client is None:
            _log.info("assertion.refused", reason="no such client", service_account=account)
            raise errors.InvalidGrant
        return client

    def issue(self, client: ServiceClient, *, audience: str, scope: str | None) -> ServiceToken:
        """A token for `audience` with the scopes asked for, or all that are granted there.

        Raises InvalidTarget and InvalidScope for what is not granted.
        """
        granted = client.grants.get(audience)
        if granted is None:
            raise errors.InvalidTarget("this client has no grant for that resource")
        wanted = frozenset(scope.split()) if scope else granted
        if not wanted <= granted:
            raise errors.InvalidScope("a scope was asked for that is not granted")
        granted_scope = " ".join(sorted(wanted))
        token = self._access_tokens.for_service(
            client.client_id, audience=audience, scope=granted_scope
        )
        return ServiceToken(token, self._access_tokens.expires_in, granted_scope)
