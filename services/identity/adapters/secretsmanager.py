"""What identity keeps in AWS Secrets Manager: the refresh key and the service clients."""

import binascii
from base64 import b64decode

from services.identity.adapters.client_document import find_client
from services.identity.service_clients import ServiceClient
from shared import errors
from shared.aws import AwsError, Client, call

_KEY_BYTES = 32


async def load_refresh_key(client: Client, secret_id: str) -> bytes:
    """The key of all refresh tokens and Idempotency-Keys, kept in base64.

    Losing it ends every session.
    """
    try:
        key = b64decode(await _read(client, secret_id), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _KEY_BYTES:
        raise errors.Unavailable(f"the secret {secret_id} is damaged")
    return key


class SecretsManagerServiceClientStore:
    """One secret with the whole list; a change holds from the next request for a token on."""

    def __init__(self, client: Client, secret_id: str) -> None:
        self._client = client
        self._secret_id = secret_id

    async def find(self, client_id: str) -> ServiceClient | None:
        document = await _read(self._client, self._secret_id)
        try:
            return find_client(document.encode(), client_id)
        except ValueError as error:
            raise errors.Unavailable(str(error)) from None


async def _read(client: Client, secret_id: str) -> str:
    try:
        secret = await call(client.get_secret_value, SecretId=secret_id, VersionStage="AWSCURRENT")
    except AwsError as error:
        raise errors.Unavailable(f"cannot read the secret {secret_id}: {error.code}") from error
    text: str = secret["SecretString"]
    return text
