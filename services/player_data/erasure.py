"""What is kept of a player, removed for good."""

from services.player_data.ports import BlobStore, RecordStore

_AT_ONCE = 500
"""Items of a step, so that it takes a second or two at the most."""


class Erasure:
    def __init__(self, store: RecordStore, contents: BlobStore) -> None:
        self._store = store
        self._contents = contents

    async def step(self, player: str) -> bool:
        """Whether nothing is left; until then there is another step to take.

        What the player writes meanwhile may stay. So there is an erasure once more, when no access
        token of the player is good any longer.
        """
        # Contents last: what is left of the records is read until then.
        return await self._store.erase(player, limit=_AT_ONCE) and await self._contents.erase(
            player, limit=_AT_ONCE
        )
