"""How much is kept of a player, for who has to choose between two, and beside what is allowed."""

from collections.abc import Sequence

from services.player_data.collections import Caller
from services.player_data.models import CollectionSummary
from services.player_data.ports import RecordStore
from services.player_data.usage import Quota, Usage
from shared import errors
from shared.clock import Clock


class Summaries:
    def __init__(self, store: RecordStore, quota: Quota, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._quota = quota

    async def of(self, player: str) -> Sequence[CollectionSummary]:
        """Empty of a player that was never heard of."""
        return await self._store.summary(player)

    async def usage(self, caller: Caller, player: str) -> tuple[Usage, Quota]:
        """The sum of it, and how much it may be. Raises NotFound."""
        if not caller.is_service and caller.subject != player:
            raise errors.NotFound("there is no such player")
        return await self._store.usage(player, now=self._clock.now()), self._quota
