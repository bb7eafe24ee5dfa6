"""An account's identities as the text that stores keep, a JSON array; moments as milliseconds."""

from collections.abc import Iterable
from typing import Any

from services.identity.models import LinkedIdentity
from shared import strict_json
from shared.clock import from_millis, to_millis


def render(identities: Iterable[LinkedIdentity]) -> str:
    return strict_json.dumps(
        [
            {
                "provider": one.provider,
                "external_id": one.external_id,
                "linked_at": to_millis(one.linked_at),
            }
            for one in identities
        ]
    )


def read(text: str, user_id: str) -> tuple[LinkedIdentity, ...]:
    entries: Any = strict_json.loads(text.encode())
    return tuple(
        LinkedIdentity(
            provider=entry["provider"],
            external_id=entry["external_id"],
            user_id=user_id,
            linked_at=from_millis(entry["linked_at"]),
        )
        for entry in entries
    )
