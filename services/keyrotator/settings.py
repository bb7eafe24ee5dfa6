"""keyrotator's settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from services.keyrotator.rotation import RotationPolicy
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
    policy: RotationPolicy
    rotation_interval: timedelta

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError with every fault."""
        env = Env(environ)
        trust, caches = TrustSettings.read(env), CacheSettings.read(env)
        settings = cls(
            server=ServerSettings.read(env, port=8081, admin_port=9081),
            trust=trust,
            caches=caches,
            policy=_read_policy(env, trust, caches),
            rotation_interval=env.duration(
                "ROTATION_INTERVAL", _MINUTE, minimum=_SECOND, maximum=_DAY
            ),
        )
        env.check()
        return settings


def _read_policy(env: Env, trust: TrustSettings, caches: CacheSettings) -> RotationPolicy:
    policy = RotationPolicy.from_caches(
        period=env.duration("ROTATION_PERIOD", 7 * _DAY, minimum=_SECOND, maximum=366 * _DAY),
        algorithm=env.choice("SIGNING_ALG", "RS256", ("RS256", "ES256")),
        jwks_max_age=caches.jwks_max_age,
        jwks_ttl=trust.jwks_ttl,
        key_refresh=caches.key_refresh,
        slack=env.duration("ROTATION_SLACK", _MINUTE, minimum=_SECOND, maximum=_DAY),
        access_token_ttl=trust.access_token_ttl,
    )
    if policy.period < policy.publish_lead:
        env.fault(
            "ROTATION_PERIOD",
            f"must be at least the {policy.publish_lead} that caches need to learn of a key"
            " (JWKS_MAX_AGE + JWKS_TTL + KEY_REFRESH + ROTATION_SLACK)",
        )
    return policy
