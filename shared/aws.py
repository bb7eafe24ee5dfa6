"""AWS: the only importer of aioboto3. Client lifetimes, deadlines, one table of error codes.

Region, endpoint and credentials come from AWS's own variables (AWS_REGION, AWS_ENDPOINT_URL, a
profile, a task or pod role); nothing of it is a setting of ours.
"""

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aioboto3
import aiohttp
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError

from shared import errors
from shared.start_check import StartError

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
    """A refusal of AWS in our words: `kind` says which, `response` has what came with it.

    Where AWS could not be asked at all, `code` is the name of the error that says why.
    """

    def __init__(
        self, kind: type[errors.PlaymeshError], code: str, response: Mapping[str, Any]
    ) -> None:
        super().__init__(code)
        self.kind = kind
        self.code = code
        self.response = response

    @property
    def message(self) -> str:
        """AWS's own, which names the resource and the permission that is missing.

        The first line: where a signature is wrong, the others hold what was signed.
        """
        message = self.response.get("Error", {}).get("Message") or str(self.__cause__ or "")
        return str(message).partition("\n")[0]


@contextlib.asynccontextmanager
async def client(service: str, **options: str) -> AsyncIterator[Client]:
    """A client of `dynamodb`, `s3` or `secretsmanager`: one for the life of the process.

    `options` are those of boto3's `client`; tests say there what AWS's variables say otherwise.
    Raises StartError where AWS's variables or files make no sense, Unavailable where who gives
    out credentials cannot be asked.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            if not (options.get("region_name") or _session().region_name):
                raise StartError("AWS_REGION is not set, and no profile names a region")
            opened = await stack.enter_async_context(
                _session().client(service, config=_CONFIG, **options)
            )
        except CredentialRetrievalError as error:
            raise errors.Unavailable(str(error)) from error
        except (BotoCoreError, ValueError) as error:
            raise StartError(f"AWS's settings: {error}") from error
        yield opened


@functools.cache
def _session() -> aioboto3.Session:
    # One for all clients: what it reads and the credentials that it fetches are theirs as well.
    # Of the two variables that name a region in AWS's tools, boto3 reads AWS_DEFAULT_REGION alone.
    region = os.environ.get("AWS_REGION") or None  # noqa: TID251 - AWS's own
    return aioboto3.Session(region_name=region)


async def call(
    operation: Callable[..., Awaitable[Mapping[str, Any]]], **parameters: object
) -> Mapping[str, Any]:
    """Call a client's operation, all its attempts within five seconds.

    Raises AwsError for what an adapter may expect (see `_CODES`) and Unavailable for everything
    else; the log has the code. After either, a write may have happened: the reply may be what
    was lost.
    """
    try:
        return await attempt(operation, **parameters)
    except AwsError as error:
        if error.kind is not errors.Unavailable:
            raise
        name = getattr(operation, "__name__", "?")
        _log.error("aws.failed", operation=name, code=error.code, error=error.message)
        raise errors.Unavailable("the store cannot answer at the moment") from error.__cause__


async def attempt(
    operation: Callable[..., Awaitable[Mapping[str, Any]]], **parameters: object
) -> Mapping[str, Any]:
    """As `call`, but AwsError says all that goes wrong, and the log nothing."""
    try:
        async with asyncio.timeout(_DEADLINE):
            return await operation(**parameters)
    except ClientError as error:
        response: Mapping[str, Any] = error.response
        code = str(response.get("Error", {}).get("Code", ""))
        raise AwsError(_CODES.get(code, errors.Unavailable), code, response) from error
    except (BotoCoreError, TimeoutError, OSError) as error:
        raise AwsError(errors.Unavailable, type(error).__name__, {}) from error


async def chunks(body: Client, size: int) -> AsyncIterator[bytes]:
    """The body of an object, in pieces of at most `size` bytes, each within five seconds.

    Raises Unavailable where it breaks off.
    """
    while True:
        try:
            async with asyncio.timeout(_DEADLINE):
                chunk: bytes = await body.read(size)
        except (BotoCoreError, aiohttp.ClientError, TimeoutError, OSError) as error:
            _log.error("aws.failed", operation="read", code=type(error).__name__)
            raise errors.Unavailable("the store cannot answer at the moment") from error
        if not chunk:
            return
        yield chunk


async def is_known_region(client: Client) -> bool:
    """Whether AWS had such a region when botocore was made; an endpoint of one's own needs none."""
    session, region = _session(), client.meta.region_name
    if region not in client.meta.endpoint_url:
        return True
    return any(
        [
            region in await session.get_available_regions("dynamodb", partition_name=partition)
            for partition in session.get_available_partitions()
        ]
    )
