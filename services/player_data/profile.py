"""The drop-in player data: string fields of a player, kept as one ordinary record."""

from collections.abc import Mapping

from services.player_data.changes import put
from services.player_data.collections import Caller
from services.player_data.models import Blob, Record, RecordKey
from services.player_data.records import Asked, KeyedRequest, Records
from shared import errors, strict_json
from shared.strict_json import JsonValue

COLLECTION = "profile"
KEY = "player"


class Profiles:
    def __init__(self, records: Records) -> None:
        self._records = records

    async def get(self, caller: Caller) -> Mapping[str, str]:
        """Raises NotFound where nothing was ever set."""
        try:
            record = await self._records.get(caller, _key(caller))
        except errors.NotFound:
            raise errors.NotFound("no player data has been set") from None
        return {
            name: text for name, text in _members(record.value).items() if isinstance(text, str)
        }

    async def set(
        self, caller: Caller, fields: Mapping[str, str], request: KeyedRequest | None = None
    ) -> None:
        """Set these fields and leave the others, also while another device does the same.

        Raises TooLarge where all of them together are.
        """

        def merge(current: Record | None) -> str:
            return put({**(_members(current.value) if current else {}), **fields})

        await self._records.write(caller, Asked(_key(caller), merge), request)


def _key(caller: Caller) -> RecordKey:
    return RecordKey(caller.subject, COLLECTION, KEY)


def _members(value: str) -> Mapping[str, JsonValue]:
    """Not only strings: the record is an ordinary one, and somebody may have put more into it."""
    if Blob.of(value):
        return {}
    parsed = strict_json.loads(value.encode())
    return parsed if isinstance(parsed, Mapping) else {}
