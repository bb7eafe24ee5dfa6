"""A platform's key: from the environment, or from a file or a secret that is replaced under us."""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Protocol

import structlog

from services.identity.providers.shape import Refused, unavailable
from shared import errors
from shared.clock import Clock, SystemClock
from shared.env import Env
from shared.start_check import StartError

_log = structlog.get_logger()
# What may be the value of a header: any other would be an exception that quotes it.
_SECRET = re.compile(r"[\x21-\x7e]{1,512}")
_ASKED_EVERY = 60.0
_ASKED_AGAIN_AFTER = 1.0
"""Where it was never known. In seconds."""

Ask = Callable[[], Awaitable[str]]
"""What a secret of Secrets Manager says now. Raises StartError where trying again will not help,
Unavailable in bad weather."""


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


class ManagedSecret:
    """Of Secrets Manager, asked once a minute at most. While it cannot be read, the last one holds.

    It is `open`ed before it is read.
    """

    def __init__(self, secret_id: str) -> None:
        self.secret_id = secret_id
        self._ask: Ask = _not_open
        self._clock: Clock = SystemClock()
        self._asking = asyncio.Lock()
        self._ask_at = -math.inf
        self._last: str | None = None
        self._is_missing = False

    def open(self, ask: Ask, clock: Clock) -> None:
        self._ask, self._clock = ask, clock

    async def load(self) -> None:
        """Raises StartError and Unavailable, as a probe does."""
        secret = (await self._ask()).strip()
        if not _SECRET.fullmatch(secret):
            raise StartError(f"secret {self.secret_id} holds no key: one line of visible ASCII")
        self._last, self._ask_at = secret, self._clock.monotonic() + _ASKED_EVERY

    async def read(self) -> str:
        async with self._asking:  # by one for all who come meanwhile
            if self._clock.monotonic() >= self._ask_at:
                await self._load()
        if self._last is not None:
            return self._last
        if self._is_missing:
            raise Refused(errors.ProviderMisconfigured(), "no_key")
        raise unavailable("key")

    async def _load(self) -> None:
        try:
            await self.load()
        except (StartError, errors.Unavailable) as error:
            self._is_missing = isinstance(error, StartError)
            _log.warning("provider.key_unreadable", secret=self.secret_id, error=str(error))
            pause = _ASKED_EVERY if self._last else _ASKED_AGAIN_AFTER
            self._ask_at = self._clock.monotonic() + pause


async def _not_open() -> str:
    raise errors.Unavailable("the secret is not open")


def managed_secrets(settings: object) -> Iterator[ManagedSecret]:
    """Wherever they are in a platform's settings."""
    if isinstance(settings, ManagedSecret):
        yield settings
    elif is_dataclass(settings):
        for each in fields(settings):
            yield from managed_secrets(getattr(settings, each.name))


def read_secret(env: Env, name: str) -> Secret:
    """`<name>` or, for a file, `<name>_FILE`, both usable at start; or `<name>_SECRET_ID`, for one
    of Secrets Manager, which is looked at when there is a client. One of the three.
    """
    value, file = env.text(name, ""), env.text(f"{name}_FILE", "")
    if secret_id := env.text(f"{name}_SECRET_ID", ""):
        if value or file:
            env.fault(f"{name}_SECRET_ID", f"must not be set together with {env.prefix}{name}")
        if env.text("BACKEND", "") != "aws":
            env.fault(f"{name}_SECRET_ID", f"needs {env.prefix}BACKEND=aws")
        return ManagedSecret(secret_id)
    if value and file:
        env.fault(name, f"must not be set together with {env.prefix}{name}_FILE")
    elif file and _read(Path(file)) is None:
        env.fault(f"{name}_FILE", "cannot be read, or holds no key")
    elif value and not _SECRET.fullmatch(value):
        env.fault(name, "is no key: one line of visible ASCII")
    elif not value and not file:
        env.fault(name, f"must be set, or {env.prefix}{name}_FILE, or {env.prefix}{name}_SECRET_ID")
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
