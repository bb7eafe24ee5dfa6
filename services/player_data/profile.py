"""The drop-in player data: string fields of a player, kept as one ordinary record."""

from collections.abc import Mapping

from services.player_data.models import HISTORY, Precondition, RecordKey, check_size
from services.player_data.ports import RecordStore
from shared import errors, strict_json
from shared.clock import Clock
from shared.strict_json import JsonValue

COLLECTION = "profile"
KEY = "player"
_ATTEMPTS = 8


class Profiles:
    def __init__(self, store: RecordStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def get(self, player: str) -> Mapping[str, str]:
        """Raises NotFound where nothing was ever set."""
        record = await self._store.get(_key(player))
        if record is None:
            raise errors.NotFound("no player data has been set")
        return {
            name: text for name, text in _members(record.value).items() if isinstance(text, str)
        }

    async def set(self, player: str, fields: Mapping[str, str]) -> None:
        """Set these fields and leave the others, also while another device does the same.

        Raises TooLarge where all of them together are.
        """
        key = _key(player)
        for _ in range(_ATTEMPTS):
            record = await self._store.get(key)
            merged = {**(_members(record.value) if record else {}), **fields}
            precondition = Precondition.at(record.version) if record else Precondition.ABSENT
            try:
                await self._store.put(
                    key,
                    check_size(strict_json.dumps(merged)),
                    precondition=precondition,
                    keep=HISTORY,
                    now=self._clock.now(),
                )
            except errors.VersionConflict:
                continue
            return
        raise errors.Unavailable("the player data is being changed too often")


def _key(player: str) -> RecordKey:
    return RecordKey(player, COLLECTION, KEY)


def _members(value: str) -> Mapping[str, JsonValue]:
    """Not only strings: the record is an ordinary one, and somebody may have put more into it."""
    parsed = strict_json.loads(value.encode())
    return parsed if isinstance(parsed, Mapping) else {}
