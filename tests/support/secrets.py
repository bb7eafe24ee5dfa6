"""Secrets Manager as AWS has it, around moto's."""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from shared.aws import Client


class HonouredTokens:
    """A version that is stored already is not stored again.

    AWS knows a write that is sent twice by its token; moto stores it anew, and takes the stage
    AWSCURRENT from the first version in doing so.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        return getattr(self._client, name)

    async def put_secret_value(self, **parameters: Any) -> Mapping[str, Any]:  # noqa: ANN401 - boto3's
        version = parameters["ClientRequestToken"]
        try:
            await self._client.get_secret_value(SecretId=parameters["SecretId"], VersionId=version)
        except ClientError:
            answer: Mapping[str, Any] = await self._client.put_secret_value(**parameters)
            return answer
        return {"VersionId": version}
