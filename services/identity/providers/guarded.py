"""A platform as the rest of identity sees it: in time, counted, and without a leak."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import structlog
from prometheus_client import Counter, Histogram

from services.identity.models import ExternalIdentity, Notice
from services.identity.providers.shape import (
    Platform,
    Refused,
    SendsNotices,
    TakesGrants,
    unavailable,
)
from shared import errors
from shared.clock import Clock

T = TypeVar("T")

_log = structlog.get_logger()
_BUDGET = 10.0
_VERIFICATIONS = Counter(
    "playmesh_provider_verifications",
    "What platforms have said of credentials: ok, or the error's code and which check it was.",
    ("provider", "outcome", "reason"),
)
_SECONDS = Histogram(
    "playmesh_provider_verification_seconds",
    "How long it took.",
    ("provider",),
    buckets=(0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class Guarded:
    """The law of IdentityProvider, for whatever a platform's file does."""

    def __init__(self, platform: Platform, clock: Clock, *, budget: float = _BUDGET) -> None:
        self._platform = platform
        self._clock = clock
        self._budget = budget

    @property
    def name(self) -> str:
        return self._platform.name

    async def verify(self, credential: Mapping[str, str]) -> ExternalIdentity:
        async def verify() -> ExternalIdentity:
            return await self._platform.verify(credential)

        return await guarded(self.name, verify, self._clock, budget=self._budget)


class GuardedGrants:
    """The law of GrantTaker."""

    def __init__(self, name: str, platform: TakesGrants, *, budget: float = _BUDGET) -> None:
        self._name = name
        self._platform = platform
        self._budget = budget

    async def revoke(self, grant: str) -> None:
        async def revoke() -> None:
            await self._platform.revoke(grant)

        outcome = await _outcome(self._name, revoke, self._budget)
        if isinstance(outcome, Refused):
            _report("provider.not_revoked", self._name, outcome)
            raise outcome.error


class GuardedNotices:
    """The law of NoticeReader."""

    def __init__(self, name: str, platform: SendsNotices, *, budget: float = _BUDGET) -> None:
        self._name = name
        self._platform = platform
        self._budget = budget

    async def read(self, sent: str) -> Notice:
        async def read() -> Notice:
            return await self._platform.read_notice(sent)

        outcome = await _outcome(self._name, read, self._budget)
        if isinstance(outcome, Notice):
            return outcome
        _report("provider.notice_refused", self._name, outcome)
        raise outcome.error


async def guarded(name: str, ask: Callable[[], Awaitable[T]], clock: Clock, *, budget: float) -> T:
    """What a platform answers within `budget` seconds. Raises no error but that of a Refused."""
    began = clock.monotonic()
    try:
        outcome = await _outcome(name, ask, budget)
    finally:
        _SECONDS.labels(name).observe(clock.monotonic() - began)
    if not isinstance(outcome, Refused):
        _VERIFICATIONS.labels(name, "ok", "").inc()
        return outcome
    _VERIFICATIONS.labels(name, outcome.error.code, outcome.reason).inc()
    _report("provider.refused", name, outcome)
    # Here, and not where it was caught: so it has no context that somebody could print.
    raise outcome.error


async def _outcome(name: str, ask: Callable[[], Awaitable[T]], budget: float) -> T | Refused:
    try:
        async with asyncio.timeout(budget):
            return await ask()
    except Refused as refused:
        return refused
    except errors.Unavailable as error:  # of a platform's keys, or of ours
        return unavailable("keys", retry_after=error.retry_after)
    except TimeoutError:
        return unavailable("too_slow")
    except Exception as error:  # noqa: BLE001 - a bug must let nobody in, nor leak
        # Neither the message nor the lines of a traceback: they may quote the credential.
        _log.error(
            "provider.failed", provider=name, error=type(error).__name__, where=_where(error)
        )
        return unavailable("bug")


def _report(event: str, name: str, refused: Refused) -> None:
    match refused.error:
        case errors.ProviderMisconfigured():
            log = _log.error
        case errors.Unavailable():
            log = _log.warning
        case _:
            log = _log.info
    log(event, provider=name, code=refused.error.code, reason=refused.reason)


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
