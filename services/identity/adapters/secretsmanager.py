"""What identity keeps in AWS Secrets Manager: the refresh key and the service clients.

And what operators keep there: keys of platforms.
"""

import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable

from services.identity.adapters.client_document import find_client, find_service_account
from services.identity.service_clients import ServiceClient
from shared import errors
from shared.aws import AwsError, Client, call
from shared.aws_check import ask
from shared.start_check import StartError

_KEY_BYTES = 32
_CURRENT = "AWSCURRENT"


class SecretsManagerRefreshKey:
    """The key of all refresh tokens and Idempotency-Keys, kept in base64.

    Losing it ends every session.
    """

    def __init__(self, client: Client, secret_id: str) -> None:
        self._client = client
        self._secret_id = secret_id
        self._key: bytes | None = None

    def __call__(self) -> bytes:
        if self._key is None:
            raise errors.Unavailable("the key of the refresh tokens is not known yet")
        return self._key

    async def load(self) -> None:
        """Raises StartError and Unavailable, as a probe does."""
        document = await _ask(self._client, self._secret_id)
        try:
            key = b64decode(document, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != _KEY_BYTES:
            raise StartError(f"secret {self._secret_id} is damaged: it holds no key of 32 bytes")
        self._key = key


class SecretsManagerServiceClientStore:
    """One secret with the whole list; a change holds from the next request for a token on."""

    def __init__(self, client: Client, secret_id: str) -> None:
        self._client = client
        self._secret_id = secret_id

    async def probe(self) -> None:
        await _ask(self._client, self._secret_id)

    async def find(self, client_id: str) -> ServiceClient | None:
        return await self._find(find_client, client_id)

    async def find_by_service_account(self, service_account: str) -> ServiceClient | None:
        return await self._find(find_service_account, service_account)

    async def _find(
        self, find: Callable[[bytes, str], ServiceClient | None], name: str
    ) -> ServiceClient | None:
        try:
            secret = await call(
                self._client.get_secret_value, SecretId=self._secret_id, VersionStage=_CURRENT
            )
        except AwsError as error:
            raise errors.Unavailable(
                f"cannot read the secret {self._secret_id}: {error.code}"
            ) from error
        try:
            return find(secret["SecretString"].encode(), name)
        except ValueError as error:
            raise errors.Unavailable(str(error)) from None


def platform_key(client: Client, secret_id: str) -> Callable[[], Awaitable[str]]:
    """What a secret says now, by its name or ARN. Raises StartError and Unavailable."""

    async def read() -> str:
        missing = "whoever has the platform's key makes it, or AWS_REGION is the wrong one"
        return await _ask(client, secret_id, missing=missing)

    return read


async def _ask(client: Client, secret_id: str, *, missing: str = "") -> str:
    secret = await ask(
        client,
        "get_secret_value",
        f"secret {secret_id}",
        missing=missing,
        SecretId=secret_id,
        VersionStage=_CURRENT,
    )
    return str(secret.get("SecretString", ""))
