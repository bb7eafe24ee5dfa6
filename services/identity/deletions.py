"""Codes for whoever has asked at a platform for all that we have of them to be deleted.

A code says nothing to anybody but us, and nothing is kept for it: whose it is, is sealed in it. For
somebody whom we do not know it looks the same.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode

from services.identity.accounts import Accounts
from services.identity.sealing import Seals
from shared import errors
from shared.ids import new_id

_PURPOSE = "deletion"
_LONGEST = 512


class Deletions:
    def __init__(self, accounts: Accounts, seals: Seals) -> None:
        self._accounts = accounts
        self._seals = seals

    def code(self, user_id: str | None) -> str:
        """Letters and digits alone. None where we know nobody. Raises Unavailable."""
        sealed = self._seals.seal(_PURPOSE, {"user_id": user_id or new_id()})
        return urlsafe_b64decode(sealed).hex()

    async def is_done(self, code: str) -> bool:
        """Whether all is deleted that was asked for. Raises NotFound, Unavailable."""
        account = await self._accounts.find(self._user_id(code))
        return account is None or account.erasure is None

    def _user_id(self, code: str) -> str:
        try:
            sealed = urlsafe_b64encode(bytes.fromhex(code[: _LONGEST + 1])).decode()
        except ValueError:
            sealed = ""
        content = self._seals.open(_PURPOSE, sealed) if len(code) <= _LONGEST else None
        user_id = content.get("user_id") if content else None
        if not isinstance(user_id, str):
            raise errors.NotFound("there is no such code")
        return user_id
