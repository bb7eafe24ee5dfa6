"""player_data's settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from services.player_data.collection_settings import read_collections
from services.player_data.collections import Collections
from services.player_data.usage import Quota
from shared.env import Env
from shared.settings import ServerSettings, TrustSettings

_MEBIBYTE = 1024 * 1024
_MOST = 10**12 - 1


@dataclass(frozen=True, slots=True)
class BlobSettings:
    """`largest` is in bytes. `bucket` is empty where all is kept in the data folder.

    `within` is how long one may be on its way, in either direction.
    """

    bucket: str
    largest: int
    within: timedelta

    @classmethod
    def read(cls, env: Env, *, in_aws: bool) -> "BlobSettings":
        return cls(
            bucket=env.required("SAVES_BUCKET") if in_aws else "",
            # In base64, as an export has it, the largest one is within what identity takes.
            largest=env.integer("LARGEST_SAVE", 5 * _MEBIBYTE, minimum=1024, maximum=8 * _MEBIBYTE),
            within=env.duration(
                "SAVE_TIMEOUT",
                timedelta(minutes=5),
                minimum=timedelta(seconds=1),
                maximum=timedelta(hours=1),
            ),
        )


@dataclass(frozen=True, slots=True)
class Settings:
    server: ServerSettings
    trust: TrustSettings
    collections: Collections
    quota: Quota
    blobs: BlobSettings

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises SettingsError with every fault."""
        env = Env(environ)
        server = ServerSettings.read(env, port=8082, admin_port=9082)
        settings = cls(
            server=server,
            trust=TrustSettings.read(env),
            collections=read_collections(env),
            quota=_read_quota(env),
            blobs=BlobSettings.read(env, in_aws=server.aws is not None),
        )
        env.check()
        return settings


def _read_quota(env: Env) -> Quota:
    """Of either 0 is none."""
    records = env.integer("QUOTA_RECORDS", 10_000, minimum=0, maximum=_MOST)
    size = env.integer("QUOTA_BYTES", 64 * _MEBIBYTE, minimum=0, maximum=_MOST)
    return Quota(records or None, size or None)
