"""A platform's key: from the environment, or from a file that is replaced under us."""

import asyncio
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from services.identity.providers.shape import Refused
from shared import errors
from shared.env import Env

_log = structlog.get_logger()
# What may be the value of a header: any other would be an exception that quotes it.
_SECRET = re.compile(r"[\x21-\x7e]{1,512}")


class Secret(Protocol):
    async def read(self) -> str:
        """What it is now. Raises Refused where that was never known."""
        ...


@dataclass(frozen=True, slots=True)
class FixedSecret:
    value: str = field(repr=False)

    async def read(self) -> str:
        return self.value


class SecretFile:
    """Read each time, as a new secret need not wait for a restart. While it cannot be, the last
    one holds: whoever replaces a file may have it empty for a moment.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: str | None = None

    async def read(self) -> str:
        secret = await asyncio.to_thread(_read, self._path)
        if secret is None:
            _log.warning("provider.key_unreadable", file=self._path.name)
        self._last = secret or self._last
        if self._last is None:
            raise Refused(errors.ProviderMisconfigured(), "no_key")
        return self._last


def read_secret(env: Env, name: str) -> Secret:
    """`<name>` or, for a file, `<name>_FILE`: one of the two, and usable at start."""
    value, file = env.text(name, ""), env.text(f"{name}_FILE", "")
    if value and file:
        env.fault(name, f"must not be set together with {env.prefix}{name}_FILE")
    elif file and _read(Path(file)) is None:
        env.fault(f"{name}_FILE", "cannot be read, or holds no key")
    elif value and not _SECRET.fullmatch(value):
        env.fault(name, "is no key: one line of visible ASCII")
    elif not value and not file:
        env.fault(name, f"must be set, or {env.prefix}{name}_FILE")
    return SecretFile(Path(file)) if file else FixedSecret(value)


def read_optional_secret(env: Env, name: str) -> Secret | None:
    """As `read_secret`; None where neither is set."""
    is_set = env.text(name, "") or env.text(f"{name}_FILE", "")
    return read_secret(env, name) if is_set else None


def _read(path: Path) -> str | None:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, ValueError):
        return None
    return text if _SECRET.fullmatch(text) else None
