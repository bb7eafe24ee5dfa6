"""What a write makes of the record that is there: values, and functions of the current one."""

from collections.abc import Callable, Mapping, Sequence

from services.player_data.models import Blob, Change, Record, check_size
from shared import errors, strict_json
from shared.strict_json import JsonValue

LARGEST_NUMBER = 2**53 - 1
"""Beyond it clients that read numbers as doubles see another one (RFC 8259 section 6)."""


def put(value: JsonValue) -> str:
    """Raises TooLarge."""
    return check_size(strict_json.dumps(value))


def parse(value: str) -> JsonValue:
    """The JSON that a record holds. Raises Conflict of a blob."""
    if Blob.of(value):
        raise errors.Conflict("the record is a blob, which is read and replaced as a whole")
    return strict_json.loads(value.encode())


def delete(current: Record | None) -> None:
    """Raises NotFound."""
    if current is None:
        raise errors.NotFound("there is no such record")


def merge(patch: JsonValue) -> Change:
    """JSON Merge Patch (RFC 7396) of the record that is there.

    It raises NotFound, TooLarge, and Conflict of a blob.
    """

    def change(current: Record | None) -> str:
        if current is None:
            raise errors.NotFound("there is no such record")
        return put(_merged(parse(current.value), patch))

    return change


def add(amount: int, path: Sequence[str] = ()) -> Change:
    """Add to a whole number: the record itself, or what `path` leads to through its members.

    What is not there counts as 0. It raises Conflict where something else is there.
    """

    def increased(found: JsonValue) -> JsonValue:
        if found is None:
            found = 0
        if isinstance(found, bool) or not isinstance(found, int):
            raise errors.Conflict("what is there is no whole number")
        if abs(found + amount) > LARGEST_NUMBER:
            raise errors.Conflict(f"the number would be beyond {LARGEST_NUMBER}")
        return found + amount

    return _changed_at(path, increased)


def raise_to(value: float, path: Sequence[str] = ()) -> Change:
    """Set a number unless one that is as high is there, which changes nothing; as `add`."""

    def highest(found: JsonValue) -> JsonValue:
        if found is None:
            return value
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise errors.Conflict("what is there is no number")
        return max(found, value)

    return _changed_at(path, highest)


def _changed_at(path: Sequence[str], change: Callable[[JsonValue], JsonValue]) -> Change:
    def of_record(current: Record | None) -> str:
        value = parse(current.value) if current else None
        return put(_replaced(value, path, change))

    return of_record


def _replaced(
    value: JsonValue, path: Sequence[str], change: Callable[[JsonValue], JsonValue]
) -> JsonValue:
    if not path:
        return change(value)
    name, *rest = path
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise errors.Conflict("what the path leads through is no object")
    return {**value, name: _replaced(value.get(name), rest, change)}


def _merged(value: JsonValue, patch: JsonValue) -> JsonValue:
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(value) if isinstance(value, Mapping) else {}
    for name, change in patch.items():
        if change is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), change)
    return merged
