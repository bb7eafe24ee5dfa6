"""Which platforms let players in, and how each is reached."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from services.identity.idempotency import Idempotency
from services.identity.nonces import Nonces
from services.identity.ports import GrantTaker, IdentityProvider, NoticeReader, UserPool
from services.identity.providers import oidc_settings
from services.identity.providers.cognito import CognitoPlatform, CognitoSettings
from services.identity.providers.connections import Connections, open_connections
from services.identity.providers.discord import DiscordSettings
from services.identity.providers.facebook import FacebookSettings
from services.identity.providers.game_center import GameCenterSettings
from services.identity.providers.google_play import GooglePlaySettings
from services.identity.providers.guarded import Guarded, GuardedGrants, GuardedNotices
from services.identity.providers.guarded_pool import GuardedPool
from services.identity.providers.meta_quest import MetaQuestSettings
from services.identity.providers.secret import ManagedSecret, managed_secrets
from services.identity.providers.shape import Platform, SendsNotices, TakesGrants
from services.identity.providers.steam import SteamSettings
from services.identity.sealing import Seals
from shared.clock import Clock
from shared.env import Env


class PlatformSettings(Protocol):
    def open(self, connections: Connections) -> Platform: ...


PLATFORMS: Mapping[str, Callable[[Env], PlatformSettings]] = {
    "apple": oidc_settings.read_apple,
    "apple_drop_in": oidc_settings.read_apple_drop_in,
    "cognito": CognitoSettings.read,
    "discord": DiscordSettings.read,
    "eos": oidc_settings.read_eos,
    "epic": oidc_settings.read_epic,
    "facebook": FacebookSettings.read,
    "facebook_limited": oidc_settings.read_facebook_limited,
    "game_center": GameCenterSettings.read,
    "google": oidc_settings.read_google,
    "google_play": GooglePlaySettings.read,
    "meta_quest": MetaQuestSettings.read,
    "steam": SteamSettings.read,
    "twitch": oidc_settings.read_twitch,
}


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """By the names that clients call them. None are on unless they are named."""

    platforms: Mapping[str, PlatformSettings] = field(default_factory=dict)

    @property
    def secrets(self) -> list[ManagedSecret]:
        return [one for settings in self.platforms.values() for one in managed_secrets(settings)]

    @classmethod
    def read(cls, env: Env) -> "ProviderSettings":
        """A platform that is on and lacks what it needs is a fault: without an audience, say,
        everybody's tokens would do.
        """
        readers: dict[str, Callable[[Env], PlatformSettings]] = {}
        for name in env.texts("PROVIDERS"):
            if name in PLATFORMS:
                readers[name] = PLATFORMS[name]
            else:
                env.fault("PROVIDERS", f"must be of {', '.join(PLATFORMS)}; one is {name!r}")
        for name in env.texts("OIDC_PROVIDERS"):
            if oidc_settings.is_issuer_name(name):
                readers[f"oidc_{name}"] = oidc_settings.read_issuer(name)
            else:
                env.fault("OIDC_PROVIDERS", f"must be names such as my_issuer; one is {name!r}")
        return cls({name: read(env) for name, read in readers.items()})


@dataclass(frozen=True, slots=True)
class Providers:
    """`ways_in` by the names that clients call them; of them those that want something back when
    a player goes, and those that tell us of their players. `user_pool` is there where one of them
    has players of its own.
    """

    ways_in: Mapping[str, IdentityProvider]
    takers: Mapping[str, GrantTaker]
    notices: Mapping[str, NoticeReader]
    user_pool: UserPool | None


@contextlib.asynccontextmanager
async def open_providers(
    settings: ProviderSettings,
    idempotency: Idempotency,
    nonces: Nonces,
    seals: Seals,
    clock: Clock,
) -> AsyncIterator[Providers]:
    """For as long as the block runs."""
    async with open_connections(idempotency, nonces, seals, clock) as connections:
        platforms = [one.open(connections) for one in settings.platforms.values()]
        pools = [GuardedPool(one, clock) for one in platforms if isinstance(one, CognitoPlatform)]
        async with connections.running():
            yield Providers(
                {one.name: Guarded(one, clock) for one in platforms},
                {
                    one.name: GuardedGrants(one.name, one)
                    for one in platforms
                    if isinstance(one, TakesGrants)
                },
                {
                    one.name: GuardedNotices(one.name, one)
                    for one in platforms
                    if isinstance(one, SendsNotices)
                },
                pools[0] if pools else None,
            )
