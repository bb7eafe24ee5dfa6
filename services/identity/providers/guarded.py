"""A platform as the rest of identity sees it: in time, counted, and without a leak."""

import asyncio
import traceback
from collections.abc import Mapping
from pathlib import Path

import structlog
from prometheus_client import Counter, Histogram

from services.identity.models import ExternalIdentity
from services.identity.providers.shape import Platform, Refused, unavailable
from shared import errors
from shared.clock import Clock

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
        began = self._clock.monotonic()
        try:
            outcome = await self._outcome(credential)
        finally:
            _SECONDS.labels(self.name).observe(self._clock.monotonic() - began)
        if isinstance(outcome, ExternalIdentity):
            _VERIFICATIONS.labels(self.name, "ok", "").inc()
            return outcome
        self._report(outcome)
        # Here, and not where it was caught: so it has no context that somebody could print.
        raise outcome.error

    async def _outcome(self, credential: Mapping[str, str]) -> ExternalIdentity | Refused:
        try:
            async with asyncio.timeout(self._budget):
                return await self._platform.verify(credential)
        except Refused as refused:
            return refused
        except errors.Unavailable as error:  # of a platform's keys, or of ours
            return unavailable("keys", retry_after=error.retry_after)
        except TimeoutError:
            return unavailable("too_slow")
        except Exception as error:  # noqa: BLE001 - a bug must let nobody in, nor leak
            # Neither the message nor the lines of a traceback: they may quote the credential.
            _log.error(
                "provider.failed",
                provider=self.name,
                error=type(error).__name__,
                where=_where(error),
            )
            return unavailable("bug")

    def _report(self, refused: Refused) -> None:
        _VERIFICATIONS.labels(self.name, refused.error.code, refused.reason).inc()
        match refused.error:
            case errors.ProviderMisconfigured():
                log = _log.error
            case errors.Unavailable():
                log = _log.warning
            case _:
                log = _log.info
        log(
            "provider.refused",
            provider=self.name,
            code=refused.error.code,
            reason=refused.reason,
        )


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
