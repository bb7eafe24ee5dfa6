"""What AWS answers, in our words."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
import structlog
from botocore.exceptions import ClientError, EndpointConnectionError

from shared import errors
from shared.aws import AwsError, call


def refusing(error: BaseException) -> Any:  # noqa: ANN401 - boto3's
    async def operation(**_: object) -> Mapping[str, Any]:
        raise error

    return operation


def refusal(code: str) -> ClientError:
    response = {"Error": {"Code": code, "Message": f"about {code}"}, "Item": {"a": {"N": "1"}}}
    return ClientError(response, "PutItem")


async def test_a_code_of_the_table_comes_with_its_kind_and_its_response() -> None:
    with pytest.raises(AwsError) as refused:
        await call(refusing(refusal("ConditionalCheckFailedException")))
    assert refused.value.kind is errors.VersionConflict
    assert refused.value.response["Item"] == {"a": {"N": "1"}}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (refusal("AccessDeniedException"), "AccessDeniedException"),
        (refusal("ThrottlingException"), "ThrottlingException"),
        (EndpointConnectionError(endpoint_url="http://nowhere"), "EndpointConnectionError"),
        (TimeoutError(), "TimeoutError"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
async def test_everything_else_is_bad_weather_and_the_log_has_the_code(
    error: Exception, code: str
) -> None:
    with structlog.testing.capture_logs() as logs, pytest.raises(errors.Unavailable):
        await call(refusing(error))
    assert [log["code"] for log in logs] == [code]


async def test_a_caller_that_goes_away_is_no_bad_weather() -> None:
    with pytest.raises(asyncio.CancelledError):
        await call(refusing(asyncio.CancelledError()))


async def test_the_log_has_the_first_line_of_a_message_alone() -> None:
    """Where a signature is wrong the others hold what was signed, session token included."""
    response = {"Error": {"Code": "InvalidSignatureException", "Message": "wrong\n\ntoken:abc"}}
    error = ClientError(response, "PutItem")
    with structlog.testing.capture_logs() as logs, pytest.raises(errors.Unavailable):
        await call(refusing(error))
    assert [log["error"] for log in logs] == ["wrong"]
