"""JSON without surprises: what two parsers could read in two ways is refused.

Python's own parser takes the last of two equal member names, reads NaN and Infinity, turns
1e400 into infinity, and leaves lone surrogates that fail much later, when they are encoded.
RFC 8259 section 8 and RFC 7493 section 2 call all of these non-interoperable.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

JsonValue: TypeAlias = (
    Mapping[str, "JsonValue"] | Sequence["JsonValue"] | str | int | float | bool | None
)

# Without a limit of its own, what is parsed here may be too deep to be written: the parser and
# the writer give up at different depths, and both at others on another stack.
_DEEPEST = 100


def loads(raw: bytes) -> JsonValue:
    """Parse UTF-8 JSON. Raises ValueError with a reason that is safe to show."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    try:
        value: JsonValue = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None
    if text.count("[") + text.count("{") > _DEEPEST and _is_too_deep(value):
        raise ValueError("it is nested too deeply")
    if "\\u" in text and _has_lone_surrogate(value):
        raise ValueError("it contains a lone surrogate")
    return value


def dumps(value: object) -> str:
    """Compact JSON, unicode as it is. `value` must come from `loads` or be built of its types."""
    return _ENCODER.encode(value)


def canonical(value: object) -> str:
    """The same text for equal values, whatever the order of their members."""
    return _CANONICAL_ENCODER.encode(value)


def _is_too_deep(value: JsonValue) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return any(isinstance(node, dict | list) for node in level)


def _children(value: JsonValue) -> Iterable[JsonValue]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _has_lone_surrogate(value: JsonValue) -> bool:
    try:
        dumps(value).encode()
    except UnicodeEncodeError:
        return True
    return False


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(members)
    if len(result) != len(members):
        raise ValueError("an object has two members of the same name")
    return result


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


def _int(text: str) -> int:
    # Beyond 64 bits other languages read another number, or none.
    number = int(text) if len(text) <= 20 else None  # noqa: PLR2004 - digits of 2**64
    if number is None or not -(2**63) <= number < 2**64:
        raise ValueError("a number is too large")
    return number


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant
)
# Made once: json.dumps() with arguments of one's own makes an encoder for each call.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_CANONICAL_ENCODER = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, sort_keys=True
)
