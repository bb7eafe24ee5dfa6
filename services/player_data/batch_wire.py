"""Changes and batches as JSON."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from services.player_data import changes
from services.player_data.changes import LARGEST_NUMBER
from services.player_data.models import (
    LARGEST_PAGE,
    MOST_WRITES,
    Change,
    Precondition,
    Record,
    RecordKey,
    Written,
    check_name,
)
from services.player_data.records import Asked
from services.player_data.wire import (
    describe_conflict,
    describe_violations,
    render_record,
    written_names,
)
from shared import errors, strict_json
from shared.http.problems import STATUS
from shared.strict_json import JsonValue

MOST_READS = 100
_LONGEST_PATH = 256
_DEEPEST_PATH = 16
_POINTER = re.compile(r"(/([^~/]|~[01])*)*")
_OPERATIONS = ("put", "merge", "delete", "increment", "max")
_NAMES = {"collection", "key"}
_PRECONDITIONS = {"if_match", "if_none_match"}
_MEMBERS = {*_NAMES, *_PRECONDITIONS, "op", "value", "by", "path"}
Body = Mapping[str, Any]


def read_increment(body: JsonValue) -> Change:
    """`{"by": 5}`, and `path` where the number is a member of the record."""
    members = read_members(body, "the body", {"by", "path"})
    return changes.add(_whole(members, "by"), _path(members))


def read_maximum(body: JsonValue) -> Change:
    """`{"value": 4711}`, and `path` as in `read_increment`."""
    members = read_members(body, "the body", {"value", "path"})
    return changes.raise_to(_number(members, "value"), _path(members))


def read_batch(body: JsonValue) -> tuple[str, str, Sequence[Body]]:
    """Whose records, and the `reads` or the `writes`."""
    members = read_members(body, "the body", {"player", "reads", "writes"})
    player = members.get("player", "me")
    if not isinstance(player, str):
        raise errors.InvalidRequest("`player` must be a user id, or `me`")
    found = [kind for kind in ("reads", "writes") if kind in members]
    if len(found) != 1:
        raise errors.InvalidRequest("send `reads` or `writes`")
    entries = members[found[0]]
    most = MOST_READS if found[0] == "reads" else MOST_WRITES
    if not isinstance(entries, list) or not 1 <= len(entries) <= most:
        raise errors.InvalidRequest(f"`{found[0]}` must be a list of 1 to {most}")
    known = _NAMES if found[0] == "reads" else _MEMBERS
    what = f"every one of `{found[0]}`"
    return player, found[0], [read_members(one, what, known) for one in entries]


def read_keys(entries: Sequence[Body], player: str) -> list[RecordKey]:
    return [_key(one, player) for one in entries]


def read_writes(entries: Sequence[Body], player: str) -> list[Asked]:
    writes = [_write(one, player) for one in entries]
    if len({one.key for one in writes}) != len(writes):
        raise errors.InvalidRequest("a record is named twice")
    return writes


def render_read(records: Iterable[Record | None]) -> str:
    """In the order of the request, null for what there is not."""
    found = (render_record(one) if one else "null" for one in records)
    return '{"records":[' + ",".join(found) + "]}"


def render_written(written: Iterable[Written]) -> str:
    """Records as they are answered alone; of what was deleted its names and `deleted`."""
    results = (
        render_record(one.record) if one.record else strict_json.dumps(written_names(one))
        for one in written
    )
    return '{"results":[' + ",".join(results) + "]}"


def describe_failures(error: errors.BatchFailed) -> Mapping[str, object]:
    """Current records with their values as long as these have LARGEST_PAGE characters together."""
    failures: list[Mapping[str, object]] = []
    left = LARGEST_PAGE
    for place, failure in sorted(error.failures.items()):
        about = {
            "index": place,
            **_names(error.subjects, place),
            "code": failure.code,
            "status": STATUS[type(failure)],
            "detail": failure.detail or failure.title,
        }
        failures.append({**about, **_more(failure, left)})
        if isinstance(failure, errors.VersionConflict) and isinstance(failure.current, Record):
            left -= len(failure.current.value)
    return {"failures": failures}


def _names(subjects: Sequence[object], place: int) -> Mapping[str, object]:
    key = subjects[place] if place < len(subjects) else None
    return {"collection": key.collection, "key": key.key} if isinstance(key, RecordKey) else {}


def _more(failure: errors.PlaymeshError, largest: int) -> Mapping[str, object]:
    match failure:
        case errors.VersionConflict():
            return describe_conflict(failure, largest=largest)
        case errors.InvalidValue():
            return describe_violations(failure)
        case _:
            return {}


def _write(entry: Body, player: str) -> Asked:
    return Asked(_key(entry, player), _change(entry), _precondition(entry))


def _change(entry: Body) -> str | Change:
    match entry.get("op", "put"):
        case "put":
            return changes.put(_value(entry))
        case "merge":
            return changes.merge(_value(entry))
        case "delete":
            return changes.delete
        case "increment":
            return changes.add(_whole(entry, "by"), _path(entry))
        case "max":
            return changes.raise_to(_number(entry, "value"), _path(entry))
        case _:
            raise errors.InvalidRequest(f"`op` must be one of {', '.join(_OPERATIONS)}")


def _precondition(entry: Body) -> Precondition:
    if "if_match" in entry and "if_none_match" in entry:
        raise errors.InvalidRequest("send `if_match` or `if_none_match`, not both")
    if "if_none_match" in entry:
        if entry["if_none_match"] != "*":
            raise errors.InvalidRequest('`if_none_match` must be "*"')
        return Precondition.ABSENT
    match entry.get("if_match"):
        case None if "if_match" not in entry:
            return Precondition.ALWAYS
        case "*":
            return Precondition.EXISTS
        case int(version) if not isinstance(version, bool) and 1 <= version < 2**63:
            return Precondition.at(version)
        case _:
            raise errors.InvalidRequest('`if_match` must be a version, or "*"')


def _key(entry: Body, player: str) -> RecordKey:
    return RecordKey(player, _name(entry, "collection"), _name(entry, "key"))


def _name(entry: Body, name: str) -> str:
    text = entry.get(name)
    if not isinstance(text, str):
        raise errors.InvalidRequest(f"`{name}` is missing, or no string")
    return check_name(text, name)


def _value(entry: Body) -> JsonValue:
    if "value" not in entry:
        raise errors.InvalidRequest("`value` is missing")
    value: JsonValue = entry["value"]
    return value


def _whole(members: Body, name: str) -> int:
    number = members.get(name)
    if isinstance(number, bool) or not isinstance(number, int) or abs(number) > LARGEST_NUMBER:
        raise errors.InvalidRequest(f"`{name}` must be a whole number up to {LARGEST_NUMBER}")
    return number


def _number(members: Body, name: str) -> int | float:
    number = members.get(name)
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or abs(number) > LARGEST_NUMBER
    ):
        raise errors.InvalidRequest(f"`{name}` must be a number up to {LARGEST_NUMBER}")
    return number


def _path(members: Body) -> list[str]:
    """A JSON Pointer (RFC 6901) through members of objects; none is the record itself."""
    path = members.get("path", "")
    if path == "":
        return []
    if not isinstance(path, str) or len(path) > _LONGEST_PATH or not _POINTER.fullmatch(path):
        raise errors.InvalidRequest("`path` must be a JSON Pointer such as /wallet/gold")
    names = path[1:].split("/")
    if len(names) > _DEEPEST_PATH:
        raise errors.InvalidRequest(f"`path` leads at most {_DEEPEST_PATH} members deep")
    return [name.replace("~1", "/").replace("~0", "~") for name in names]


def read_members(value: JsonValue, what: str, known: Collection[str]) -> Body:
    """Also of what is not known: a precondition with a slip of the pen must not be left out."""
    if not isinstance(value, Mapping):
        raise errors.InvalidRequest(f"{what} must be a JSON object")
    if not value.keys() <= set(known):
        raise errors.InvalidRequest(f"{what} may have {', '.join(sorted(known))} and nothing else")
    return value
