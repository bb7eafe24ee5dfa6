"""What a write makes of the record that is there."""

from services.player_data.models import Record, check_size
from shared import errors, strict_json
from shared.strict_json import JsonValue


def put(value: JsonValue) -> str:
    """Raises TooLarge."""
    return check_size(strict_json.dumps(value))


def delete(current: Record | None) -> None:
    """Raises NotFound."""
    if current is None:
        raise errors.NotFound("there is no such record")
