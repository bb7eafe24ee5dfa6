"""How many blobs are on their way at once, and for how long."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from services.player_data.collections import Caller
from shared import errors

_PAUSE = 5


class Transfers:
    """At most `most` at once, `most_of_one` of them of one player; `within` seconds each.

    A service may have as many as there are. `patience` is for how many seconds nothing may come.
    """

    def __init__(self, *, most: int, most_of_one: int, within: float, patience: float) -> None:
        self.within = within
        self.patience = min(patience, within)
        self._most = most
        self._most_of_one = most_of_one
        self._under_way: Counter[str] = Counter()

    @contextlib.contextmanager
    def one(self, caller: Caller) -> Iterator[None]:
        """Raises TooManyRequests where it is one too many of the player's, and Unavailable."""
        who = caller.subject
        if not caller.is_service and self._under_way[who] >= self._most_of_one:
            raise errors.TooManyRequests("too many blobs are under way", retry_after=_PAUSE)
        if self._under_way.total() >= self._most:
            raise errors.Unavailable("too many blobs are under way", retry_after=_PAUSE)
        self._under_way[who] += 1
        try:
            yield
        finally:
            self._under_way[who] -= 1
            self._under_way += Counter()  # forgets who has none
