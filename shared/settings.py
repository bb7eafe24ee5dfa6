"""The settings that mean the same in every service. Each service composes what it needs."""

from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from shared.env import Env
from shared.http.client import is_tamper_proof
from shared.limits import RateLimit

_SECOND = timedelta(seconds=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """The names of what is kept in AWS; region, endpoint and credentials are AWS's own."""

    table_prefix: str
    secret_prefix: str
    jwks_bucket: str

    def secret(self, name: str) -> str:
        return self.secret_prefix + name

    @classmethod
    def read(cls, env: Env) -> "AwsSettings":
        if find_spec("aioboto3") is None:
            env.fault("BACKEND", "aws needs what is in locks/aws.txt: make setup installs it")
        return cls(
            table_prefix=env.text("TABLE_PREFIX", "playmesh-"),
            secret_prefix=env.text("SECRET_PREFIX", "playmesh/"),
            jwks_bucket=env.required("JWKS_BUCKET"),
        )


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where a process listens, keeps its data and how it logs. Port 0 takes a free one.

    `aws` is None where all is kept in `data_dir`.
    """

    aws: AwsSettings | None
    data_dir: Path
    host: str
    port: int
    admin_port: int
    log_level: str
    log_format: str

    @classmethod
    def read(cls, env: Env, *, port: int, admin_port: int) -> "ServerSettings":
        backend = env.choice("BACKEND", "embedded", ("embedded", "aws"))
        return cls(
            aws=AwsSettings.read(env) if backend == "aws" else None,
            data_dir=env.path("DATA_DIR", ".playmesh"),
            host=env.text("HOST", "127.0.0.1"),
            port=env.integer("PORT", port, minimum=0, maximum=65535),
            admin_port=env.integer("ADMIN_PORT", admin_port, minimum=0, maximum=65535),
            log_level=env.choice("LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
            log_format=env.choice("LOG_FORMAT", "json", ("json", "console")),
        )


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """Whose tokens are trusted, and where is fetched what verifying them takes.

    `allow_http`: the operator trusts the network on which that comes over plain http.
    `revocations_fail_closed`: nobody is let in while it is not known what was taken back.
    """

    issuer: str
    jwks_url: str
    revocations_url: str
    revocations_fail_closed: bool
    allow_http: bool
    audience: str
    access_token_ttl: timedelta
    jwks_ttl: timedelta

    @classmethod
    def read(cls, env: Env) -> "TrustSettings":
        issuer = env.url("ISSUER", "http://127.0.0.1:8080")
        allow_http = env.flag("ALLOW_HTTP", default=False)

        def well_known(name: str, document: str) -> str:
            url = env.url(name, f"{issuer}/.well-known/{document}")
            if not allow_http and not is_tamper_proof(url):
                env.fault(
                    name,
                    "must be https, or http to this machine (it follows from ISSUER if not set);"
                    f" {env.prefix}ALLOW_HTTP=true says that the network between is trusted",
                )
            return url

        return cls(
            issuer=issuer,
            jwks_url=well_known("JWKS_URL", "jwks.json"),
            revocations_url=well_known("REVOCATIONS_URL", "revocations.json"),
            revocations_fail_closed=env.flag("REVOCATIONS_FAIL_CLOSED", default=False),
            allow_http=allow_http,
            audience=env.text("AUDIENCE", "gamebackend"),
            access_token_ttl=env.duration(
                "ACCESS_TOKEN_TTL", timedelta(seconds=900), minimum=60 * _SECOND, maximum=_HOUR
            ),
            jwks_ttl=env.duration(
                "JWKS_TTL", timedelta(seconds=300), minimum=_SECOND, maximum=_HOUR
            ),
        )


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """How long identity keeps keys: keyrotator must know, since it waits for these caches."""

    jwks_max_age: timedelta
    key_refresh: timedelta

    @property
    def jwks_max_age_seconds(self) -> int:
        return int(self.jwks_max_age.total_seconds())

    @classmethod
    def read(cls, env: Env) -> "CacheSettings":
        return cls(
            jwks_max_age=env.duration(
                "JWKS_MAX_AGE", timedelta(seconds=60), minimum=_SECOND, maximum=_HOUR
            ),
            key_refresh=env.duration(
                "KEY_REFRESH", timedelta(seconds=60), minimum=_SECOND, maximum=_HOUR
            ),
        )


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """How often one address may log in and make guests; `trusted_proxy_hops` is whose word counts.

    That many proxies stand before us on every way in, and each appends to X-Forwarded-For.
    """

    trusted_proxy_hops: int
    logins: RateLimit
    guests: RateLimit

    @classmethod
    def read(cls, env: Env) -> "LimitSettings":
        logins = env.integer("LOGINS_PER_SECOND", 10, minimum=0, maximum=10_000)
        guests = env.integer("GUESTS_PER_HOUR", 20, minimum=0, maximum=1_000_000)
        return cls(
            trusted_proxy_hops=env.integer("TRUSTED_PROXY_HOPS", 0, minimum=0, maximum=8),
            # Behind one address of a carrier there are many players, who come in waves.
            logins=RateLimit(burst=10 * logins, per_second=logins),
            guests=RateLimit(burst=guests, per_second=guests / _HOUR.total_seconds()),
        )
