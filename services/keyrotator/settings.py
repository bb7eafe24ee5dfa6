"""keyrotator's settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from shared.env import Env
from shared.settings import KeySettings, ServerSettings, TrustSettings

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Settings:
    server: ServerSettings
    trust: TrustSettings
    keys: KeySettings
    rotation_period: timedelta
    rotation_interval: timedelta
    rotation_slack: timedelta

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError with every fault."""
        env = Env(environ)
        settings = cls(
            server=ServerSettings.read(env, port=8081, admin_port=9081),
            trust=TrustSettings.read(env),
            keys=KeySettings.read(env),
            rotation_period=env.duration(
                "ROTATION_PERIOD",
                timedelta(days=7),
                minimum=10 * _SECOND,
                maximum=timedelta(days=366),
            ),
            rotation_interval=env.duration(
                "ROTATION_INTERVAL",
                timedelta(seconds=60),
                minimum=_SECOND,
                maximum=timedelta(days=1),
            ),
            rotation_slack=env.duration(
                "ROTATION_SLACK",
                timedelta(seconds=60),
                minimum=_SECOND,
                maximum=timedelta(days=1),
            ),
        )
        env.check()
        return settings
