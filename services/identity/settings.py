"""identity's settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from services.identity.kubernetes_settings import KubernetesSettings
from services.identity.providers.settings import ProviderSettings
from shared.auth.jwt_claims import LEEWAY
from shared.env import Env
from shared.http.client import is_tamper_proof
from shared.settings import CacheSettings, LimitSettings, ServerSettings, TrustSettings

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_SHORTEST_INACTIVITY = 7 * _DAY
"""Longer than a day, by which it may be behind, and any token's life; and no slip of the pen."""


@dataclass(frozen=True, slots=True)
class Settings:
    server: ServerSettings
    trust: TrustSettings
    caches: CacheSettings
    limits: LimitSettings
    refresh_idle_ttl: timedelta
    refresh_absolute_ttl: timedelta
    refresh_grace: timedelta
    single_session: bool
    guest_inactive_after: timedelta | None
    player_data_url: str
    public_url: str

    @property
    def token_lifetime(self) -> timedelta:
        """So long after somebody was kept out a token may be taken at most, by any two clocks.

        Once LEEWAY is the verifier's. Twice it is how far apart two clocks are: whose the token
        has and the verifier's, and whose the moment has and those of who acts on it. The minute is
        for a request that was under way.
        """
        return self.trust.access_token_ttl + 3 * LEEWAY + _MINUTE

    kubernetes: KubernetesSettings | None
    providers: ProviderSettings

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError with every fault."""
        env = Env(environ)
        trust = TrustSettings.read(env)
        inactive = env.duration(
            "GUEST_INACTIVE_AFTER", timedelta(0), minimum=timedelta(0), maximum=3660 * _DAY
        )
        settings = cls(
            server=ServerSettings.read(env, port=8080, admin_port=9080),
            trust=trust,
            caches=CacheSettings.read(env),
            limits=LimitSettings.read(env),
            refresh_idle_ttl=env.duration(
                "REFRESH_IDLE_TTL", 7 * _DAY, minimum=_SECOND, maximum=366 * _DAY
            ),
            refresh_absolute_ttl=env.duration(
                "REFRESH_ABSOLUTE_TTL", 30 * _DAY, minimum=_SECOND, maximum=3660 * _DAY
            ),
            refresh_grace=env.duration(
                "REFRESH_GRACE", _MINUTE, minimum=timedelta(0), maximum=5 * _MINUTE
            ),
            single_session=env.flag("SINGLE_SESSION", default=False),
            guest_inactive_after=inactive or None,
            player_data_url=env.url("PLAYER_DATA_URL", "http://127.0.0.1:8082"),
            public_url=env.url("PUBLIC_URL", trust.issuer),
            kubernetes=KubernetesSettings.read(env),
            providers=ProviderSettings.read(env),
        )
        if settings.guest_inactive_after and inactive < _SHORTEST_INACTIVITY:
            env.fault("GUEST_INACTIVE_AFTER", "must be 0 (never) or at least 7d")
        if not trust.allow_http and not is_tamper_proof(settings.player_data_url):
            env.fault(
                "PLAYER_DATA_URL",
                "must be https, or http to this machine;"
                f" {env.prefix}ALLOW_HTTP=true says that the network between is trusted",
            )
        if settings.refresh_idle_ttl > settings.refresh_absolute_ttl:
            env.fault("REFRESH_IDLE_TTL", "must not be longer than PLAYMESH_REFRESH_ABSOLUTE_TTL")
        env.check()
        return settings
