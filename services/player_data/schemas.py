"""JSON Schema (2020-12) for the values of a collection."""

import itertools
from collections.abc import Iterable
from typing import Any

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from services.player_data.collections import Check
from shared import errors, strict_json
from shared.strict_json import JsonValue

_MOST_VIOLATIONS = 10
_LONGEST_DETAIL = 200
_LARGEST_LOOKED_THROUGH = 4096
"""Characters of a value of which all violations are found. They take 30 µs each, and a large value
may have one at every second character.
"""
_MASK = "the value"


def schema_check(name: str, schema: Any) -> Check:  # noqa: ANN401 - whatever the file holds
    """It raises InvalidValue with the violations. Raises ValueError for what is no schema.

    Nothing is fetched: a `$ref` leads to a place in the same schema. A `pattern` is matched in
    linear time, and so has neither lookaround nor backreferences.
    """
    try:
        validator = Draft202012Validator(
            schema, offline=True, pattern_options=RegexOptions(), mask=_MASK
        )
    except ValidationError as error:
        raise ValueError(f"`{name}`: the schema is none: {error.message}") from None

    def check(value: JsonValue) -> None:
        if not validator.is_valid(value):
            raise errors.InvalidValue([_violation(one) for one in _errors(validator, value)])

    return check


def _errors(validator: Draft202012Validator, value: JsonValue) -> Iterable[ValidationError]:
    """The first ones; of a large value the first one."""
    if len(strict_json.dumps(value)) <= _LARGEST_LOOKED_THROUGH:
        return itertools.islice(validator.iter_errors(value), _MOST_VIOLATIONS)
    try:
        validator.validate(value)
    except ValidationError as error:
        return [error]
    return []


def _violation(error: ValidationError) -> dict[str, str]:
    """Where, as a JSON Pointer, which rule, and what the validator says of it, in short."""
    names = (str(name).replace("~", "~0").replace("/", "~1") for name in error.instance_path)
    return {
        "path": "".join(f"/{name}" for name in names),
        "rule": error.kind.name,
        "detail": error.message[:_LONGEST_DETAIL],
    }
