"""JSON Schema (2020-12) for the values of a collection."""

import itertools
from typing import Any

from jsonschema_rs import Draft202012Validator, ValidationError

from services.player_data.collections import Check
from shared import errors
from shared.strict_json import JsonValue

_MOST_VIOLATIONS = 10
_LONGEST_DETAIL = 200


def schema_check(name: str, schema: Any) -> Check:  # noqa: ANN401 - whatever the file holds
    """It raises InvalidValue with the violations. Raises ValueError for what is no schema.

    Nothing is fetched: a `$ref` leads to a place in the same schema.
    """
    try:
        validator = Draft202012Validator(schema, offline=True)
    except ValidationError as error:
        raise ValueError(f"`{name}`: the schema is none: {error.message}") from None

    def check(value: JsonValue) -> None:
        found = list(itertools.islice(validator.iter_errors(value), _MOST_VIOLATIONS))
        if found:
            raise errors.InvalidValue([_violation(one) for one in found])

    return check


def _violation(error: ValidationError) -> dict[str, str]:
    """Where, as a JSON Pointer, which rule, and what the validator says of it, in short."""
    names = (str(name).replace("~", "~0").replace("/", "~1") for name in error.instance_path)
    return {
        "path": "".join(f"/{name}" for name in names),
        "rule": error.kind.name,
        "detail": error.message[:_LONGEST_DETAIL],
    }
