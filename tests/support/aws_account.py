"""Tables, secrets and a bucket of one's own in the account that AWS's variables name."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from infra.aws_setup import SECRETS, TABLES, set_up
from shared import aws
from shared.aws import AwsError, Client
from shared.dynamodb import TableDefinition
from shared.ids import new_id
from shared.settings import AwsSettings

_GONE = {"ResourceNotFoundException", "NoSuchBucket"}


@contextlib.contextmanager
def installation() -> Iterator[AwsSettings]:
    """What `make aws-setup` makes, under names that nobody else has, and none of it afterwards."""
    name = f"playmesh-test-{new_id()}"
    names = AwsSettings(table_prefix=f"{name}-", secret_prefix=f"{name}/", jwks_bucket=name)
    try:
        asyncio.run(set_up(names, saves_bucket(names), print))
        aws._session.cache_clear()
        yield names
    finally:
        aws._session.cache_clear()
        asyncio.run(_remove(names))


def saves_bucket(names: AwsSettings) -> str:
    return f"{names.jwks_bucket}-saves"


@contextlib.asynccontextmanager
async def client(service: str) -> AsyncIterator[Client]:
    """A client as the services have it."""
    aws._session.cache_clear()  # its locks are of the event loop of the test before
    async with aws.client(service) as opened:
        yield opened


async def empty(client: Client, prefix: str, *definitions: TableDefinition) -> None:
    """Delete all items: in an account a new table takes longer than a test."""
    for definition in definitions:
        table = prefix + definition.name
        keys = [key["AttributeName"] for key in definition.schema["KeySchema"]]
        pages = client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        async for page in pages:
            for item in page["Items"]:
                await client.delete_item(TableName=table, Key={name: item[name] for name in keys})


@contextlib.asynccontextmanager
async def new_secret(client: Client, names: AwsSettings) -> AsyncIterator[str]:
    """The name of a secret without a value."""
    secret_id = names.secret(new_id())
    await client.create_secret(Name=secret_id)
    try:
        yield secret_id
    finally:
        await _remove_secret(client, secret_id)


async def _remove(names: AwsSettings) -> None:
    async with (
        aws.client("dynamodb") as tables,
        aws.client("secretsmanager") as secrets,
        aws.client("s3") as s3,
    ):
        for definition in TABLES:
            with _unless_gone():
                await _remove_table(tables, names.table_prefix + definition.name)
        for name in SECRETS:
            await _remove_secret(secrets, names.secret(name))
        for bucket in (names.jwks_bucket, saves_bucket(names)):
            with _unless_gone():
                await _remove_bucket(s3, bucket)


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    try:
        yield
    except AwsError as error:
        if error.code not in _GONE:
            raise


async def _remove_table(client: Client, table: str) -> None:
    await aws.attempt(client.describe_table, TableName=table)
    await client.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})
    await aws.attempt(client.update_table, TableName=table, DeletionProtectionEnabled=False)
    await client.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})
    await aws.attempt(client.delete_table, TableName=table)


async def _remove_secret(client: Client, secret_id: str) -> None:
    with _unless_gone():
        await aws.attempt(client.delete_secret, SecretId=secret_id, ForceDeleteWithoutRecovery=True)


async def _remove_bucket(client: Client, bucket: str) -> None:
    """With every version of its objects."""
    await aws.attempt(client.list_object_versions, Bucket=bucket)
    async for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        objects = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        for each in objects:
            await aws.attempt(
                client.delete_object, Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"]
            )
    await aws.attempt(client.delete_bucket, Bucket=bucket)
