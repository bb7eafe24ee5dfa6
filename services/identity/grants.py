"""What platforms want back when a player goes: kept sealed, given back, and then forgotten.

Whoever has a grant can do no more with it than end it, and find out whether it has ended; but it is
the player's, so it lies in no store in clear.
"""

from collections.abc import Mapping

import structlog
from prometheus_client import Counter

from services.identity.models import ExternalIdentity, Grant
from services.identity.ports import GrantStore, GrantTaker, IdentityStore
from services.identity.sealing import Seals
from shared import errors

_PURPOSE = "grant"
_log = structlog.get_logger()
_GRANTS = Counter(
    "playmesh_provider_grants",
    "What platforms want back: kept, given_back, abandoned, or why an attempt came to nothing.",
    ("provider", "outcome"),
)


class Grants:
    """`takers` are by the provider in the identity. Every method raises Unavailable."""

    def __init__(
        self,
        store: GrantStore,
        identities: IdentityStore,
        seals: Seals,
        takers: Mapping[str, GrantTaker],
    ) -> None:
        self._store = store
        self._identities = identities
        self._seals = seals
        self._takers = takers

    async def keep(self, identity: ExternalIdentity) -> None:
        """What came with a login or a link, once the identity is the player's."""
        if identity.grant is None:
            return
        key = identity.provider, identity.external_id
        sealed = self._seals.seal(_PURPOSE, {"grant": identity.grant})
        await self._store.put(Grant(*key, sealed))
        _GRANTS.labels(identity.provider, "kept").inc()
        # Whoever has taken the identity from the account meanwhile may have looked too early.
        if await self._identities.find(*key) is None:
            await self.abandon(*key)

    async def give_back(self, provider: str, external_id: str) -> None:
        """Revoke it at the platform, then forget it. Where there is none nothing happens.

        Raises ProviderMisconfigured, and Unavailable also where the platform is not on.
        """
        found = await self._store.find(provider, external_id)
        if found is None:
            return
        grant = self._open(found)
        if grant is not None:
            await self._revoke(provider, grant)
        await self._store.delete(found)
        _GRANTS.labels(provider, "given_back" if grant is not None else "abandoned").inc()

    async def abandon(self, provider: str, external_id: str) -> None:
        """Give it back if the platform takes it now, and forget it in any case."""
        try:
            await self.give_back(provider, external_id)
        except (errors.ProviderUnavailable, errors.ProviderMisconfigured) as error:
            await self.forget(provider, external_id)
            _GRANTS.labels(provider, "abandoned").inc()
            _log.warning("grant.abandoned", provider=provider, reason=error.code)

    async def forget(self, provider: str, external_id: str) -> None:
        """For one that the platform itself has ended."""
        found = await self._store.find(provider, external_id)
        if found is not None:
            await self._store.delete(found)

    async def _revoke(self, provider: str, grant: str) -> None:
        taker = self._takers.get(provider)
        if taker is None:
            _GRANTS.labels(provider, errors.ProviderUnavailable.code).inc()
            raise errors.ProviderUnavailable("the platform is not on")
        try:
            await taker.revoke(grant)
        except (errors.ProviderUnavailable, errors.ProviderMisconfigured) as error:
            _GRANTS.labels(provider, error.code).inc()
            raise

    def _open(self, grant: Grant) -> str | None:
        content = self._seals.open(_PURPOSE, grant.sealed)
        value = content.get("grant") if content else None
        if not isinstance(value, str):
            # With another key than today's: nobody will ever read it.
            _log.error("grant.unreadable", provider=grant.provider)
            return None
        return value
