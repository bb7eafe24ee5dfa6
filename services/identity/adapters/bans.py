"""Bans as the text that stores keep, a JSON array; moments as milliseconds."""

from collections.abc import Iterable
from typing import Any

from services.identity.models import Ban
from shared import strict_json
from shared.clock import from_millis, to_millis


def render(bans: Iterable[Ban]) -> str:
    return strict_json.dumps(
        [
            {
                "scope": ban.scope,
                "reason": ban.reason,
                "since": to_millis(ban.since),
                "until": None if ban.until is None else to_millis(ban.until),
            }
            for ban in bans
        ]
    )


def read(text: str) -> tuple[Ban, ...]:
    entries: Any = strict_json.loads(text.encode())
    return tuple(
        Ban(
            scope=entry["scope"],
            reason=entry["reason"],
            since=from_millis(entry["since"]),
            until=None if entry["until"] is None else from_millis(entry["until"]),
        )
        for entry in entries
    )
