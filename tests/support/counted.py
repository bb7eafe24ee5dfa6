"""Stores whose calls are counted."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

from services.identity.stores import Stores


class Counted:
    """A store whose calls are counted."""

    def __init__(self, store: object, calls: Counter[str]) -> None:
        self._store = store
        self._calls = calls

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the store's
        attribute = getattr(self._store, name)
        return partial(self._count, name, attribute) if callable(attribute) else attribute

    def _count(
        self, name: str, method: Callable[..., Awaitable[object]], *args: object, **named: object
    ) -> Awaitable[object]:
        self._calls[name] += 1
        return method(*args, **named)


def counted(stores: Stores, calls: Counter[str]) -> Stores:
    """`calls` has the number of calls by the name of the method."""
    kept: dict[str, Any] = {
        field.name: Counted(getattr(stores, field.name), calls)
        for field in fields(stores)
        if field.name != "refresh_key"
    }
    return replace(stores, **kept)
