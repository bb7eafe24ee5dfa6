"""Secrets Manager as AWS has it, around moto's."""

import asyncio
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from shared.aws import Client


class HonouredTokens:
    """Moto takes another value for a version that exists; AWS refuses it, and so does this.

    The same value again is taken without a change, as by AWS.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._one_at_a_time = asyncio.Lock()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        return getattr(self._client, name)

    async def put_secret_value(self, **parameters: Any) -> Mapping[str, Any]:  # noqa: ANN401 - boto3's
        version = parameters["ClientRequestToken"]
        async with self._one_at_a_time:
            stored = await self._stored(parameters["SecretId"], version)
            if stored is None:
                answer: Mapping[str, Any] = await self._client.put_secret_value(**parameters)
                return answer
        if stored["SecretString"] != parameters["SecretString"]:
            refusal = {"Error": {"Code": "ResourceExistsException", "Message": "another value"}}
            raise ClientError(refusal, "PutSecretValue")
        return {"VersionId": version}

    async def _stored(self, secret_id: str, version: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = await self._client.get_secret_value(
                SecretId=secret_id, VersionId=version
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            return None
        return found
