"""player_data's settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.player_data.collection_settings import read_collections
from services.player_data.collections import Collections
from services.player_data.usage import Quota
from shared.env import Env
from shared.settings import ServerSettings, TrustSettings

_MEBIBYTE = 1024 * 1024
_MOST = 10**12 - 1


@dataclass(frozen=True, slots=True)
class Settings:
    server: ServerSettings
    trust: TrustSettings
    collections: Collections
    quota: Quota

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError with every fault."""
        env = Env(environ)
        settings = cls(
            server=ServerSettings.read(env, port=8082, admin_port=9082),
            trust=TrustSettings.read(env),
            collections=read_collections(env),
            quota=_read_quota(env),
        )
        env.check()
        return settings


def _read_quota(env: Env) -> Quota:
    """Of either 0 is none."""
    records = env.integer("QUOTA_RECORDS", 10_000, minimum=0, maximum=_MOST)
    size = env.integer("QUOTA_BYTES", 64 * _MEBIBYTE, minimum=0, maximum=_MOST)
    return Quota(records or None, size or None)
