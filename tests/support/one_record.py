"""A record as a single client sees it over HTTP, for histories of many clients."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

State = tuple[int, str | None]
"""The last version, and the value as JSON text; None where there is no record."""
NOTHING: State = (0, None)
NUMBER, HIGHEST = "n", "top"
"""The members of a value that `add` and `max` change."""


@dataclass(frozen=True, slots=True)
class Ask:
    """`kind` is get, put, delete, add, max or merge.

    `only_if` is a version, `any` where there must be one, `none` where there must be nothing.
    """

    kind: str
    argument: Any = None
    only_if: int | str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a conflict `version` and `value` are those of what is stored."""

    status: int
    version: int | None = None
    value: str | None = None


def text(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def apply(state: State, ask: Ask) -> tuple[State, Answer]:
    version, value = state
    current = Answer(0, version, value) if value is not None else Answer(0)
    if not _admits(ask.only_if, state):
        return state, Answer(412, current.version, current.value)
    if ask.kind in ("get", "delete", "merge") and value is None:
        return state, Answer(404)
    if ask.kind == "get":
        return state, Answer(200, version, value)
    if ask.kind == "delete":
        return (version + 1, None), Answer(204)
    after = text(_made(json.loads(value) if value else {}, ask))
    if ask.kind != "put" and after == value:
        return state, Answer(200, version, value)
    return (version + 1, after), Answer(200 if value else 201, version + 1, after)


def _admits(only_if: int | str | None, state: State) -> bool:
    version, value = state
    match only_if:
        case None:
            return True
        case "none":
            return value is None
        case "any":
            return value is not None
        case _:
            return value is not None and version == only_if


def _made(value: Mapping[str, Any], ask: Ask) -> Mapping[str, Any]:
    match ask.kind:
        case "add":
            return {**value, NUMBER: value.get(NUMBER, 0) + ask.argument}
        case "max":
            return {**value, HIGHEST: max(value.get(HIGHEST, ask.argument), ask.argument)}
        case "merge":
            merged = {**value, **ask.argument}
            return {name: one for name, one in merged.items() if one is not None}
        case _:
            return dict(ask.argument)
