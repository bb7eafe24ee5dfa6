"""Services and operators that may ask for service tokens (RFC 6749 section 4.4)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from services.identity.access_tokens import AccessTokens
from shared import errors
from shared.ids import digest, matches

_NOBODY = digest("nobody")


@dataclass(frozen=True, slots=True)
class ServiceClient:
    """`grants` says which scopes it may have at which audience.

    More than one secret holds while one is being replaced by another.
    """

    client_id: str
    secret_digests: tuple[bytes, ...] = field(repr=False)
    grants: Mapping[str, frozenset[str]]


class ServiceClientStore(Protocol):
    """The known clients; small, and read far more often than changed."""

    async def find(self, client_id: str) -> ServiceClient | None: ...


@dataclass(frozen=True, slots=True)
class ServiceToken:
    access_token: str = field(repr=False)
    expires_in: int
    scope: str


class ServiceClients:
    def __init__(self, store: ServiceClientStore, access_tokens: AccessTokens) -> None:
        self._store = store
        self._access_tokens = access_tokens

    async def issue(
        self, client_id: str, secret: str, *, audience: str, scope: str | None
    ) -> ServiceToken:
        """A token for `audience` with the scopes asked for, or all that are granted there.

        Raises InvalidClient, the same for an unknown client and a wrong secret, and Forbidden
        for an audience or a scope that is not granted.
        """
        client = await self._store.find(client_id)
        expected = client.secret_digests if client else (_NOBODY,)
        # A list: every digest is compared, whichever holds.
        holds = any([matches(secret, one) for one in expected])  # noqa: C419
        if client is None or not holds:
            raise errors.InvalidClient
        granted = client.grants.get(audience)
        if granted is None:
            raise errors.Forbidden("this client has no grant for that resource")
        wanted = frozenset(scope.split()) if scope else granted
        if not wanted <= granted:
            raise errors.Forbidden("a scope was asked for that is not granted")
        granted_scope = " ".join(sorted(wanted))
        token = self._access_tokens.for_service(client_id, audience=audience, scope=granted_scope)
        return ServiceToken(token, self._access_tokens.expires_in, granted_scope)
