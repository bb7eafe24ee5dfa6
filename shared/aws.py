"""AWS: the only importer of aioboto3. Client lifetimes, deadlines, one table of error codes.

Region, endpoint and credentials come from AWS's own variables (AWS_REGION, AWS_ENDPOINT_URL, a
profile, a task or pod role); nothing of it is a setting of ours.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aioboto3
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared import errors

Client = Any
"""A client of boto3: it is made at run time, and nothing of it has types."""

_log = structlog.get_logger()
_DEADLINE = 5.0
_CONFIG = Config(
    connect_timeout=1,
    read_timeout=2,
    # Four: with a fifth of all calls throttled, three let 98 of 100 requests of two calls through.
    retries={"mode": "standard", "total_max_attempts": 4},
    max_pool_connections=64,
    # What we send is built by adapters; what is wrong with it, AWS tells as well.
    parameter_validation=False,
)

# Error codes that mean something to an adapter; every other one is Unavailable.
_CODES: Mapping[str, type[errors.PlaymeshError]] = {
    "ConditionalCheckFailedException": errors.VersionConflict,  # DynamoDB
    "TransactionCanceledException": errors.VersionConflict,  # DynamoDB
    "PreconditionFailed": errors.VersionConflict,  # S3, If-Match or If-None-Match
    "ConditionalRequestConflict": errors.VersionConflict,  # S3, two writers at once
    "InvalidParameterException": errors.VersionConflict,  # Secrets Manager, the stage has moved
    "NoSuchKey": errors.NotFound,  # S3
    "ResourceNotFoundException": errors.NotFound,  # Secrets Manager; a table, for DynamoDB
    "UnknownOperationException": errors.NotFound,  # DynamoDB Local, what it does not have
    "ResourceInUseException": errors.AlreadyExists,  # DynamoDB, a table
    "ResourceExistsException": errors.AlreadyExists,  # Secrets Manager, a secret
    "BucketAlreadyOwnedByYou": errors.AlreadyExists,  # S3
    "ValidationException": errors.InvalidRequest,  # DynamoDB; an item's size is among its reasons
}


class AwsError(Exception):
    """A refusal of AWS in our words: `kind` says which, `response` has what came with it."""

    def __init__(
        self, kind: type[errors.PlaymeshError], code: str, response: Mapping[str, Any]
    ) -> None:
        super().__init__(code)
        self.kind = kind
        self.code = code
        self.response = response


@contextlib.asynccontextmanager
async def client(service: str, **options: str) -> AsyncIterator[Client]:
    """A client of `dynamodb`, `s3` or `secretsmanager`: one for the life of the process.

    `options` are those of boto3's `client`; tests say there what AWS's variables say otherwise.
    """
    async with _session().client(service, config=_CONFIG, **options) as opened:
        yield opened


@functools.cache
def _session() -> aioboto3.Session:
    # One for all clients: what it reads and the credentials that it fetches are theirs as well.
    return aioboto3.Session()


async def call(
    operation: Callable[..., Awaitable[Mapping[str, Any]]], **parameters: object
) -> Mapping[str, Any]:
    """Call a client's operation, all its attempts within five seconds.

    Raises AwsError for what an adapter may expect (see `_CODES`) and Unavailable for everything
    else; the log has the code. After either, a write may have happened: the reply may be what
    was lost.
    """
    try:
        async with asyncio.timeout(_DEADLINE):
            return await operation(**parameters)
    except ClientError as error:
        response: Mapping[str, Any] = error.response
        code = str(response.get("Error", {}).get("Code", ""))
        kind = _CODES.get(code)
        if kind is not None:
            raise AwsError(kind, code, response) from error
        _report(operation, code, error)
        raise errors.Unavailable("the store cannot answer at the moment") from error
    except (BotoCoreError, TimeoutError, OSError) as error:
        _report(operation, type(error).__name__, error)
        raise errors.Unavailable("the store cannot answer at the moment") from error


def _report(operation: object, code: str, error: Exception) -> None:
    # AWS's message names the resource and the permission that is missing.
    _log.error(
        "aws.failed", operation=getattr(operation, "__name__", "?"), code=code, error=str(error)
    )
