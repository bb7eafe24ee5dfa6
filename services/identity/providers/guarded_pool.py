"""A user pool as the rest of identity sees it: in time, counted, and without a leak."""

from collections.abc import Awaitable
from typing import TypeVar

from services.identity.models import ExternalIdentity
from services.identity.providers.cognito import CognitoPlatform
from services.identity.providers.guarded import guarded
from shared.clock import Clock

_NAME = "cognito_pool"
_BUDGET = 12.0  # some operations have ten seconds alone
T = TypeVar("T")


class GuardedPool:
    """The law of UserPool."""

    def __init__(self, platform: CognitoPlatform, clock: Clock, *, budget: float = _BUDGET) -> None:
        self._platform = platform
        self._pool = platform.pool
        self._clock = clock
        self._budget = budget

    async def sign_up(self, username: str, password: str, email: str | None) -> bool:
        return await self._guarded(self._pool.sign_up(username, password, email))

    async def confirm_sign_up(self, username: str, code: str) -> None:
        await self._guarded(self._pool.confirm_sign_up(username, code))

    async def resend_code(self, username: str) -> None:
        await self._guarded(self._pool.resend_code(username))

    async def forgot_password(self, username: str) -> None:
        await self._guarded(self._pool.forgot_password(username))

    async def reset_password(self, username: str, code: str, password: str) -> None:
        await self._guarded(self._pool.reset_password(username, code, password))

    async def whose(self, access_token: str) -> ExternalIdentity:
        return await self._guarded(self._platform.whose(access_token))

    async def sign_out(self, access_token: str) -> None:
        await self._guarded(self._pool.sign_out(access_token))

    async def _guarded(self, call: Awaitable[T]) -> T:
        async def ask() -> T:
            return await call

        return await guarded(_NAME, ask, self._clock, budget=self._budget)
