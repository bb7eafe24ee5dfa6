"""What takes an erasure back as the text that stores keep, a JSON object; moments as millis."""

from typing import Any

from services.identity.models import Undo
from shared import strict_json
from shared.clock import from_millis, to_millis


def render(undo: Undo) -> str:
    return strict_json.dumps(
        {
            "until": to_millis(undo.until),
            "provider": undo.provider,
            "external_id": undo.external_id,
            "taken_by": undo.taken_by,
        }
    )


def read(text: str) -> Undo:
    entry: Any = strict_json.loads(text.encode())
    return Undo(
        until=from_millis(entry["until"]),
        provider=entry["provider"],
        external_id=entry["external_id"],
        taken_by=entry["taken_by"],
    )
