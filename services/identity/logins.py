"""Ways in: a new guest, a guest who comes back, and whom a platform confirms."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.identity.access_tokens import AccessTokens
from services.identity.accounts import Accounts, NewGuest
from services.identity.conflicts import Conflicts
from services.identity.grants import Grants
from services.identity.idempotency import Idempotency, KeyedRequest
from services.identity.limits import LoginLimits
from services.identity.links import Links
from services.identity.models import Account, ExternalIdentity
from services.identity.ports import IdentityProvider
from services.identity.sessions import IssuedTokens, Sessions
from shared import errors
from shared.ids import new_id

_NEW_GUEST = "new guest"


@dataclass(frozen=True, slots=True)
class GuestLogin:
    tokens: IssuedTokens
    guest_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PlatformLogin:
    """`link_conflict`: it was to be linked to another account than the one of `tokens`."""

    tokens: IssuedTokens
    identity: ExternalIdentity
    link_conflict: bool = False


class Logins:
    def __init__(
        self,
        accounts: Accounts,
        idempotency: Idempotency,
        sessions: Sessions,
        access_tokens: AccessTokens,
        limits: LoginLimits,
        links: Links,
        conflicts: Conflicts,
        grants: Grants,
        providers: Mapping[str, IdentityProvider],
    ) -> None:
        self._links = links
        self._conflicts = conflicts
        self._grants = grants
        self._providers = providers
        self._limits = limits
        self._accounts = accounts
        self._idempotency = idempotency
        self._sessions = sessions
        self._access_tokens = access_tokens

    async def new_guest(
        self, *, address: str, device: str | None = None, request: KeyedRequest | None = None
    ) -> GuestLogin:
        """A repetition of `request` gets the same guest, in a session of its own.

        So it repairs a crash on the way, which leaves without a `request` an account that nobody
        knows of: harmless. Raises IdempotencyKeyReused, TooManyRequests.
        """
        self._access_tokens.require_key()  # first: a guest that cannot be made does not count
        self._limits.creation(address, idempotency_key=request.key if request else None)
        guest = await (self._guest_of(request) if request else self._accounts.create_guest())
        return GuestLogin(await self._sessions.open(guest.account, device=device), guest.secret)

    async def guest(
        self, user_id: str, secret: str, *, address: str, device: str | None = None
    ) -> GuestLogin:
        """Raises InvalidCredential, TooManyRequests; Banned only where the secret holds."""
        self._limits.attempt(address)
        self._access_tokens.require_key()
        try:
            account = await self._accounts.authenticate_guest(user_id, secret)
        except errors.InvalidCredential:
            self._limits.failed(user_id)
            raise
        self._limits.proven(user_id)
        return GuestLogin(await self._sessions.open(account, device=device), secret)

    async def platform(
        self,
        provider: str,
        credential: Mapping[str, str],
        *,
        address: str,
        device: str | None = None,
        link_to: str | None = None,
    ) -> PlatformLogin:
        """Who has an account gets in; who has none gets one.

        `link_to` is the account of a player who wants the identity linked to it. If it is another
        account's already, the player gets into that one, and is told so. Raises TooManyRequests,
        Banned, what `IdentityProvider.verify` raises, and, to link, what `Links.link` raises.
        """
        self._limits.attempt(address)
        self._access_tokens.require_key()
        identity = await self._confirmed(provider, credential, address)
        key, former = (identity.provider, identity.external_id), identity.former
        conflict = False
        try:
            account = await (
                self._links.link(link_to, *key, former=former)
                if link_to
                else self._links.account_of(*key, former=former)
            )
        except errors.AlreadyLinked:
            account, conflict = await self._links.account_of(*key, former=former), True
        self._limits.proven(account.user_id)
        await self._grants.keep(identity)
        tokens = await self._sessions.open(account, device=device, provider=identity.provider)
        return PlatformLogin(tokens, identity, link_conflict=conflict)

    async def link(
        self, user_id: str, provider: str, credential: Mapping[str, str], *, address: str
    ) -> Account:
        """One more way in for a player. Raises as `platform` and `Conflicts.link` do."""
        self._limits.attempt(address)
        identity = await self._confirmed(provider, credential, address)
        try:
            account = await self._conflicts.link(user_id, identity)
        except errors.AlreadyLinked:
            await self._grants.keep(identity)  # whoever's it will be
            raise
        await self._grants.keep(identity)
        return account

    async def _confirmed(
        self, provider: str, credential: Mapping[str, str], address: str
    ) -> ExternalIdentity:
        asked = self._providers.get(provider)
        if asked is None:
            known = ", ".join(["guest", *sorted(self._providers)])
            raise errors.InvalidRequest(f"`provider` must be one of {known}")
        if "password" in credential:
            self._limits.password(credential.get("username", ""), address)
        return await asked.verify(credential)

    async def _guest_of(self, request: KeyedRequest) -> NewGuest:
        """First who it is, then the account: a repetition takes up whatever was done before."""
        user_id = await self._idempotency.claim(_NEW_GUEST, request, result=new_id())
        secret = self._idempotency.secret(_NEW_GUEST, request, user_id)
        try:
            return await self._accounts.create_guest_once(user_id, secret)
        except errors.InvalidCredential:
            raise errors.IdempotencyKeyReused(
                "the guest of this Idempotency-Key has another secret by now"
            ) from None
