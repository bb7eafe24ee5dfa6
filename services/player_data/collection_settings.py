"""Collections as an operator describes them, in a JSON file."""

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from services.player_data.collections import Access, Collection, Collections, Merge
from services.player_data.models import HISTORY, check_name
from services.player_data.schemas import schema_check
from shared import errors, strict_json
from shared.env import Env

_NAME = "COLLECTIONS_FILE"
_LARGEST = 1024 * 1024
_MEMBERS = {"access", "history", "merge", "schema"}
_LONGEST_HISTORY = 100
E = TypeVar("E", bound=enum.Enum)


def read_collections(env: Env) -> Collections:
    """Without a file every collection is private, and keeps ten versions."""
    file = env.text(_NAME, "")
    if not file:
        return Collections()
    try:
        return _read(strict_json.loads(_content(Path(file))))
    except OSError as error:
        env.fault(_NAME, f"cannot be read: {error.strerror}")
    except (ValueError, errors.InvalidRequest) as error:
        env.fault(_NAME, str(error))
    return Collections()


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"has more than {_LARGEST} bytes")
    return content


def _read(document: Any) -> Collections:  # noqa: ANN401 - whatever the file holds
    members = _members(document, "the file", {"collections", "others"})
    named = _members(members.get("collections", {}), "`collections`", None)
    return Collections(
        {check_name(name, "collection"): _collection(name, one) for name, one in named.items()},
        _collection("others", members.get("others", {})),
    )


def _collection(name: str, description: Any) -> Collection:  # noqa: ANN401 - as above
    members = _members(description, f"`{name}`", _MEMBERS)
    access = _choice(name, members, Access.PRIVATE)
    merge = _choice(name, members, Merge.NEWER)
    history = members.get("history", HISTORY)
    if type(history) is not int or not 0 <= history <= _LONGEST_HISTORY:
        raise ValueError(f"`{name}`: history must be a whole number from 0 to {_LONGEST_HISTORY}")
    check = schema_check(name, members["schema"]) if "schema" in members else None
    return Collection(access, history, merge, check)


def _choice(name: str, members: Mapping[str, Any], default: E) -> E:
    kind = type(default)
    member = kind.__name__.lower()
    known = [str(one.value) for one in kind]
    value = members.get(member, default.value)
    if value not in known:
        raise ValueError(f"`{name}`: {member} must be one of {', '.join(known)}")
    return kind(value)


def _members(value: Any, what: str, known: set[str] | None) -> Mapping[str, Any]:  # noqa: ANN401
    unknown = set(value) - known if isinstance(value, Mapping) and known is not None else set()
    if unknown:
        raise ValueError(f"{what} has the unknown member `{min(unknown)}`")
    if isinstance(value, Mapping):
        return value
    raise ValueError(f"{what} must be a JSON object")
