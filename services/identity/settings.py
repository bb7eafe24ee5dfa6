"""identity's settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from services.identity.kubernetes_settings import KubernetesSettings
from shared.env import Env
from shared.settings import CacheSettings, ServerSettings, TrustSettings

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Settings:
    server: ServerSettings
    trust: TrustSettings
    caches: CacheSettings
    refresh_idle_ttl: timedelta
    refresh_absolute_ttl: timedelta
    refresh_grace: timedelta
    kubernetes: KubernetesSettings | None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError with every fault."""
        env = Env(environ)
        settings = cls(
            server=ServerSettings.read(env, port=8080, admin_port=9080),
            trust=TrustSettings.read(env),
            caches=CacheSettings.read(env),
            refresh_idle_ttl=env.duration(
                "REFRESH_IDLE_TTL", 7 * _DAY, minimum=_SECOND, maximum=366 * _DAY
            ),
            refresh_absolute_ttl=env.duration(
                "REFRESH_ABSOLUTE_TTL", 30 * _DAY, minimum=_SECOND, maximum=3660 * _DAY
            ),
            refresh_grace=env.duration(
                "REFRESH_GRACE", _MINUTE, minimum=timedelta(0), maximum=5 * _MINUTE
            ),
            kubernetes=KubernetesSettings.read(env),
        )
        if settings.refresh_idle_ttl > settings.refresh_absolute_ttl:
            env.fault("REFRESH_IDLE_TTL", "must not be longer than PLAYMESH_REFRESH_ABSOLUTE_TTL")
        env.check()
        return settings
