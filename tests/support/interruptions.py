"""A process that dies, a request or reply that gets lost, or what others do, at a call of a test's
choice.
"""

import enum
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


class Crash(BaseException):
    """The process is gone: nothing in the code may catch it."""


class When(enum.Enum):
    BEFORE = "killed before the call"
    AFTER = "killed after the call"
    DROPPED = "the request is lost"
    LOST = "the reply is lost"
    TWICE = "the reply is lost and the call sent again"


@dataclass
class Interruption:
    """Counts the calls named `operations` and does to the `at`-th what `when` says.

    `loss` is what a caller gets to see when a request or its reply is lost.
    """

    operations: frozenset[str]
    at: int = 0
    when: When = When.BEFORE
    loss: Callable[[], Exception] = OSError
    calls: int = field(default=0, init=False)

    def around(self, target: object) -> Any:  # noqa: ANN401 - whatever it is given
        return _Interrupted(target, self)

    async def call(
        self, operation: Callable[..., Awaitable[object]], *args: object, **named: object
    ) -> object:
        self.calls += 1
        if self.calls != self.at:
            return await operation(*args, **named)
        if self.when is When.BEFORE:
            raise Crash
        if self.when is When.DROPPED:
            raise self.loss()
        await operation(*args, **named)
        if self.when is When.AFTER:
            raise Crash
        if self.when is When.LOST:
            raise self.loss()
        return await operation(*args, **named)


class _Interrupted:
    def __init__(self, target: object, interruption: Interruption) -> None:
        self._target = target
        self._interruption = interruption

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the target's
        attribute = getattr(self._target, name)
        if name not in self._interruption.operations:
            return attribute
        return functools.partial(self._interruption.call, attribute)


class Late:
    """Something happens before the first call of one name."""

    def __init__(self, target: object, name: str, happens: Callable[[], Awaitable[None]]) -> None:
        self._target = target
        self._name = name
        self._happens: Callable[[], Awaitable[None]] | None = happens

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the target's
        attribute = getattr(self._target, name)
        if name != self._name:
            return attribute

        async def late(*args: object) -> object:
            happens, self._happens = self._happens, None
            if happens:
                await happens()
            return await attribute(*args)

        return late
