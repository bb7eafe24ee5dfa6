"""`make aws-setup`: the tables, the buckets and the secrets that the services expect.

It may be run again at any time: what is there stays as it is, and what it did is printed. Names
come from PLAYMESH_TABLE_PREFIX, PLAYMESH_SECRET_PREFIX, PLAYMESH_JWKS_BUCKET and
PLAYMESH_SAVES_BUCKET, the account and the region from AWS's own variables.
"""

import asyncio
import os
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping

from services.identity.adapters import dynamodb as identity
from services.identity.adapters.client_document import first_document
from services.player_data.adapters import dynamodb as player_data
from shared import aws, dynamodb, errors
from shared.aws import AwsError, Client, attempt, call
from shared.env import Env, SettingsError
from shared.ids import new_key
from shared.process import OK, TEMPORARY, USAGE
from shared.settings import AwsSettings
from shared.start_check import StartError

TABLES = (
    identity.ACCOUNTS,
    identity.IDEMPOTENCY,
    identity.IDENTITIES,
    identity.IDENTITY_BANS,
    identity.GRANTS,
    identity.SESSIONS,
    *player_data.TABLES,
)
_PAUSES = (2.0, 4.0, 8.0, 16.0, 30.0, None)
"""Between the attempts to enable backups, in seconds."""
# A secret without a first value is filled by the service that owns it.
SECRETS: Mapping[str, Callable[[], str] | None] = {
    "key-ring": None,
    "refresh-key": lambda: b64encode(new_key()).decode(),
    "service-clients": lambda: first_document().decode(),
}


async def set_up(names: AwsSettings, saves_bucket: str, tell: Callable[[str], None]) -> None:
    async with (
        aws.client("dynamodb") as tables,
        aws.client("secretsmanager") as secrets,
        aws.client("s3") as s3,
    ):
        for definition in TABLES:
            await dynamodb.create_table(tables, names.table_prefix, definition)
            protected = await _protect(tables, names.table_prefix + definition.name)
            state = "protected" if protected else "NOT protected: no backups here"
            tell(f"table {names.table_prefix}{definition.name}: ready, {state}")
        for name, first_value in SECRETS.items():
            made = await _create_secret(secrets, names.secret(name), first_value)
            tell(f"secret {names.secret(name)}: {'made' if made else 'was there'}")
        # What was published can be had back; what a player had is gone when it is erased.
        for bucket, versioned in ((names.jwks_bucket, True), (saves_bucket, False)):
            made = await _create_bucket(s3, bucket, versioned=versioned)
            tell(f"bucket {bucket}: {'made' if made else 'was there'}")


async def _protect(client: Client, table: str) -> bool:
    """Neither a wrong command nor a wrong program loses players: no deletion, and a way back.

    False where there is no way back: DynamoDB Local keeps no backups.
    """
    described = await call(client.describe_table, TableName=table)
    if not described["Table"].get("DeletionProtectionEnabled"):
        await call(client.update_table, TableName=table, DeletionProtectionEnabled=True)
        await client.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})
    for pause in _PAUSES:
        try:
            await attempt(
                client.update_continuous_backups,
                TableName=table,
                PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
            )
        except AwsError as error:
            if error.code == "UnknownOperationException":
                return False
            if error.code != "ContinuousBackupsUnavailableException" or not pause:
                raise
            await asyncio.sleep(pause)  # backups of a new table come a while after the table
        else:
            return True
    return False


async def _create_secret(
    client: Client, secret_id: str, first_value: Callable[[], str] | None
) -> bool:
    value = {"SecretString": first_value()} if first_value else {}
    try:
        await call(client.create_secret, Name=secret_id, **value)
    except AwsError as error:
        if error.kind is not errors.AlreadyExists:
            raise
        return False
    return True


async def _create_bucket(client: Client, bucket: str, *, versioned: bool) -> bool:
    """Private."""
    region = client.meta.region_name
    # AWS wants every region to be named but its oldest.
    place = (
        {}
        if region == "us-east-1"
        else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    )
    made = True
    try:
        await call(client.create_bucket, Bucket=bucket, **place)
    except AwsError as error:
        if error.kind is not errors.AlreadyExists:
            raise
        made = False
    if versioned:
        await call(
            client.put_bucket_versioning,
            Bucket=bucket,
            VersioningConfiguration={"Status": "Enabled"},
        )
    await call(
        client.put_public_access_block,
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )
    return made


def main() -> int:
    env = Env(os.environ)  # noqa: TID251 - the edge: read once, here
    names, saves_bucket = AwsSettings.read(env), env.required("SAVES_BUCKET")
    try:
        env.check()
        asyncio.run(set_up(names, saves_bucket, print))
    except (SettingsError, StartError) as error:
        print(error, file=sys.stderr)
        return USAGE
    except (AwsError, errors.Unavailable) as error:
        print(f"aws-setup: {error.__cause__ or error}", file=sys.stderr)
        return TEMPORARY
    return OK


if __name__ == "__main__":
    sys.exit(main())
