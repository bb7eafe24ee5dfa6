"""Which answers of AWS end a start, and what is said of them."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    UnauthorizedSSOTokenError,
)

from shared import errors
from shared.aws_check import ask
from shared.start_check import StartError

PLACE = "table playmesh-accounts in eu-west-1"


class Answering:
    """A client whose one operation ends with `error`."""

    def __init__(self, error: Exception, *, region: str = "eu-west-1", endpoint: str = "") -> None:
        self.meta = SimpleNamespace(
            region_name=region,
            endpoint_url=endpoint or f"https://dynamodb.{region}.amazonaws.com",
            service_model=SimpleNamespace(service_name="dynamodb"),
            method_to_api_mapping={"get_item": "GetItem"},
        )
        self._error = error

    async def get_item(self, **_: object) -> Mapping[str, Any]:
        raise self._error


def refusal(
    code: str, message: str = "because", *, status: int = 400, operation: str = "GetItem"
) -> ClientError:
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, operation)


async def fault(client: Answering) -> str:
    with pytest.raises(StartError) as caught:
        await ask(client, "get_item", "table playmesh-accounts")
    (line,) = caught.value.faults
    return line


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            refusal("AccessDeniedException", "no policy allows it"),
            f"dynamodb:GetItem on {PLACE}: access denied (no policy allows it)",
        ),
        (
            refusal("ResourceNotFoundException"),
            f"{PLACE} does not exist",
        ),
        (
            refusal("ValidationException", "The table does not have the specified index: by-x"),
            f"{PLACE} does not exist: make aws-setup makes it",
        ),
        (refusal("PermanentRedirect"), f"{PLACE} is in another region"),
        (
            refusal("ValidationException", "the key does not match"),
            f"dynamodb:GetItem on {PLACE}: ValidationException (the key does not match)",
        ),
        (NoCredentialsError(), "AWS credentials: none found (NoCredentialsError); AWS looks for"),
        (UnauthorizedSSOTokenError(), "AWS credentials: expired (UnauthorizedSSOTokenError)"),
        (
            refusal("AccessDenied", "not you", operation="AssumeRoleWithWebIdentity"),
            "AWS credentials: AssumeRoleWithWebIdentity is refused (AccessDenied: not you)",
        ),
    ],
)
async def test_what_trying_again_will_not_help_is_one_line(error: Exception, told: str) -> None:
    assert (await fault(Answering(error))).startswith(told)


@pytest.mark.parametrize(
    "error",
    [
        refusal("ThrottlingException"),
        refusal("ValidationException", "Cannot read from backfilling global secondary index: x"),
        refusal("ProvisionedThroughputExceededException"),
        refusal("TooMany", status=429),
        refusal("InternalServerError", status=500),
        refusal("SlowDown", status=503),
        refusal("ServiceUnavailable", status=503, operation="AssumeRoleWithWebIdentity"),
        EndpointConnectionError(endpoint_url="https://dynamodb.eu-west-1.amazonaws.com"),
        ConnectTimeoutError(endpoint_url="https://dynamodb.eu-west-1.amazonaws.com"),
        TimeoutError(),
        ConnectionResetError(),
    ],
    ids=str,
)
async def test_what_may_pass_by_itself_is_bad_weather(error: Exception) -> None:
    with pytest.raises(errors.Unavailable, match=f"dynamodb:GetItem on {PLACE}: "):
        await ask(Answering(error), "get_item", "table playmesh-accounts")


async def test_a_region_that_there_is_not_is_no_outage() -> None:
    error = EndpointConnectionError(endpoint_url="https://dynamodb.eu-wset-1.amazonaws.com")
    told = await fault(Answering(error, region="eu-wset-1"))
    assert told.startswith("AWS_REGION is eu-wset-1, which is no region")


async def test_an_endpoint_of_ones_own_may_have_any_region() -> None:
    error = EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
    with pytest.raises(errors.Unavailable):
        await ask(
            Answering(error, region="here", endpoint="http://127.0.0.1:1"), "get_item", "a table"
        )


async def test_a_refusal_that_shows_the_permission_is_a_success() -> None:
    client = Answering(refusal("ConditionalCheckFailedException"))
    assert await ask(client, "get_item", "a table", passes=["ConditionalCheckFailed"]) == {}


async def test_of_a_message_only_the_first_line_is_told() -> None:
    """Where a signature is wrong the others hold what was signed, session token included."""
    error = refusal("ValidationException", "wrong\n\nx-amz-security-token:abc")
    assert "abc" not in await fault(Answering(error))
