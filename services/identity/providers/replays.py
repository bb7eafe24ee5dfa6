"""Credentials that were used, so that nobody uses them again: what all processes remember."""

from services.identity.idempotency import Idempotency
from services.identity.providers.shape import Refused, unavailable
from shared import errors


class Replays:
    """Those of one `scope`: a credential of another one is another."""

    def __init__(self, idempotency: Idempotency, scope: str) -> None:
        self._idempotency = idempotency
        self._scope = f"credential of {scope}"

    async def claim(self, credential: str) -> None:
        """Use it up, for longer than it holds. Raises Refused where it was used, in any process.

        After it was found good, so that only what a platform has confirmed is stored. While the
        store cannot say, nobody gets in.
        """
        try:
            is_first = await self._idempotency.use_up(self._scope, credential)
        except errors.Unavailable as error:
            raise unavailable("store", retry_after=error.retry_after) from None
        if not is_first:
            raise Refused(errors.ExpiredCredential(), "replayed")
