"""player_data's settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.player_data.collection_settings import read_collections
from services.player_data.collections import Collections
from shared.env import Env
from shared.settings import ServerSettings, TrustSettings


@dataclass(frozen=True, slots=True)
class Settings:
    server: ServerSettings
    trust: TrustSettings
    collections: Collections

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError with every fault."""
        env = Env(environ)
        settings = cls(
            server=ServerSettings.read(env, port=8082, admin_port=9082),
            trust=TrustSettings.read(env),
            collections=read_collections(env),
        )
        env.check()
        return settings
