"""What a process says of AWS at start, and how it waits where waiting helps."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import aiohttp
import pytest

from tests.support import aws
from tests.support.fakes.steam import APP_ID, IDENTITY, SteamFake, ticket
from tests.support.faulty_aws import Fault, FaultyAws
from tests.support.mesh import FAST, Mesh, Service, run

STEAM_KEY = "CANARY0123456789ABCDEF0123456789"
SERVICES = ("identity", "keyrotator", "player_data")


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """An AWS where everything is as it should be in eu-west-1."""
    with aws.moto() as url:
        ended = asyncio.run(run("infra.aws_setup", aws.environ(url)))
        assert ended.code == 0, ended
        yield url


@pytest.fixture
def environ(tmp_path: Path, moto: str) -> dict[str, str]:
    process = {
        "PLAYMESH_DATA_DIR": str(tmp_path),
        "PLAYMESH_PORT": "0",
        "PLAYMESH_ADMIN_PORT": "0",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return {**aws.environ(moto), **process}


@pytest.fixture
async def faulty(moto: str, environ: dict[str, str]) -> AsyncIterator[FaultyAws]:
    faulty = FaultyAws(moto)
    async with faulty.serving() as url:
        environ["AWS_ENDPOINT_URL"] = url
        yield faulty


async def faults(service: str, environ: Mapping[str, str], *arguments: str) -> list[str]:
    """What the service ends with: one line each, and no trace of a stack anywhere."""
    ended = await run(f"services.{service}", environ, *arguments)
    assert ended.code == 64, ended
    assert "Traceback" not in ended.output + ended.errors
    assert "aws.failed" not in ended.output
    return ended.errors.splitlines()


def told(lines: list[str], *beginnings: str) -> None:
    """Each line has its beginning, and there is no other."""
    assert len(lines) == len(beginnings), lines
    for beginning in beginnings:
        assert any(line.startswith(beginning) for line in lines), (beginning, lines)


async def test_everything_that_is_missing_is_named_in_one_go(environ: dict[str, str]) -> None:
    nowhere = {
        **environ,
        "PLAYMESH_TABLE_PREFIX": "nobody-",
        "PLAYMESH_SECRET_PREFIX": "nobody/",
        "PLAYMESH_JWKS_BUCKET": "nobody",
    }
    told(
        await faults("identity", nowhere),
        "table nobody-accounts in eu-west-1 does not exist: make aws-setup",
        "table nobody-idempotency in eu-west-1 does not exist",
        "table nobody-identities in eu-west-1 does not exist",
        "table nobody-identity-bans in eu-west-1 does not exist",
        "table nobody-grants in eu-west-1 does not exist",
        "table nobody-sessions in eu-west-1 does not exist",
        "secret nobody/service-clients in eu-west-1 does not exist",
        "secret nobody/refresh-key in eu-west-1 does not exist",
        "secret nobody/key-ring in eu-west-1 does not exist",
        "s3://nobody/.well-known/jwks.json in eu-west-1 does not exist",
    )
    told(
        await faults("keyrotator", nowhere),
        "secret nobody/key-ring in eu-west-1 does not exist",
        "s3://nobody/.well-known/jwks.json in eu-west-1 does not exist",
        "s3://nobody/.well-known/openid-configuration in eu-west-1 does not exist",
    )
    told(
        await faults("player_data", nowhere),
        "table nobody-records in eu-west-1 does not exist",
        "table nobody-record-versions in eu-west-1 does not exist",
        "table nobody-receipts in eu-west-1 does not exist",
    )


async def test_an_index_that_is_missing_is_named_and_setting_up_again_makes_it(
    environ: dict[str, str], moto: str
) -> None:
    """As after an update, of tables that were there before."""
    older = {**environ, "PLAYMESH_TABLE_PREFIX": "older-"}
    ended = await run("infra.aws_setup", older)
    assert ended.code == 0, ended
    async with aws.client("dynamodb", moto) as client:
        for table, index in (("accounts", "by-mark"), ("sessions", "by-end")):
            await client.update_table(
                TableName=f"older-{table}",
                GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": index}}],
            )
    told(
        await faults("identity", older),
        "index by-mark of table older-accounts in eu-west-1 does not exist: make aws-setup makes",
        "index by-end of table older-sessions in eu-west-1 does not exist: make aws-setup makes",
    )
    ended = await run("infra.aws_setup", older)
    assert ended.code == 0, ended
    async with started(older, "identity") as (identity,):
        assert (await run("services.keyrotator", environ, "--once")).code == 0
        await identity.ready()


async def test_one_pass_of_keyrotator_names_it_as_well(environ: dict[str, str]) -> None:
    missing = {**environ, "PLAYMESH_SECRET_PREFIX": "nobody/"}
    told(await faults("keyrotator", missing, "--once"), "secret nobody/key-ring in eu-west-1")


async def test_in_the_wrong_region_the_region_is_named(environ: dict[str, str]) -> None:
    elsewhere = {**environ, "AWS_REGION": "eu-central-1"}
    told(
        await faults("player_data", elsewhere),
        "table playmesh-records in eu-central-1 does not exist: make aws-setup makes it, or"
        " AWS_REGION is the wrong one",
        "table playmesh-record-versions in eu-central-1 does not exist",
        "table playmesh-receipts in eu-central-1 does not exist",
    )


async def test_without_a_region_the_variable_is_named(environ: dict[str, str]) -> None:
    del environ["AWS_ENDPOINT_URL"]
    nowhere = {**environ, "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_CONFIG_FILE": "none"}
    told(await faults("player_data", nowhere), "AWS_REGION is not set")


async def test_every_permission_that_is_denied_is_named(
    environ: dict[str, str], faulty: FaultyAws
) -> None:
    writes = ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems")
    denied = ("GetItem", "Query", "Scan", *writes)
    faulty.refusals = {
        **{f"dynamodb:{name}": "AccessDeniedException" for name in denied},
        "secretsmanager:GetSecretValue": "AccessDeniedException",
        "secretsmanager:UpdateSecretVersionStage": "AccessDeniedException",
        "s3:GetObject": "AccessDenied",
        "s3:PutObject": "AccessDenied",
    }
    place = "in eu-west-1: access denied"
    told(
        await faults("identity", environ),
        f"dynamodb:GetItem on table playmesh-accounts {place} (not dynamodb:GetItem)",
        f"dynamodb:PutItem on table playmesh-accounts {place}",
        f"dynamodb:UpdateItem on table playmesh-accounts {place}",
        f"dynamodb:Scan on table playmesh-accounts {place}",
        f"dynamodb:Query on index by-mark of table playmesh-accounts {place}",
        f"dynamodb:UpdateItem on table playmesh-idempotency {place}",
        f"dynamodb:GetItem on table playmesh-identities {place}",
        f"dynamodb:PutItem on table playmesh-identities {place}",
        f"dynamodb:UpdateItem on table playmesh-identities {place}",
        f"dynamodb:DeleteItem on table playmesh-identities {place}",
        f"dynamodb:GetItem on table playmesh-identity-bans {place}",
        f"dynamodb:UpdateItem on table playmesh-identity-bans {place}",
        f"dynamodb:DeleteItem on table playmesh-identity-bans {place}",
        f"dynamodb:GetItem on table playmesh-grants {place}",
        f"dynamodb:UpdateItem on table playmesh-grants {place}",
        f"dynamodb:DeleteItem on table playmesh-grants {place}",
        f"dynamodb:GetItem on table playmesh-sessions {place}",
        f"dynamodb:PutItem on table playmesh-sessions {place}",
        f"dynamodb:UpdateItem on table playmesh-sessions {place}",
        f"dynamodb:Query on table playmesh-sessions {place}",
        f"dynamodb:BatchWriteItem on table playmesh-sessions {place}",
        f"dynamodb:Query on index by-end of table playmesh-sessions {place}",
        f"secretsmanager:GetSecretValue on secret playmesh/service-clients {place}",
        f"secretsmanager:GetSecretValue on secret playmesh/refresh-key {place}",
        f"secretsmanager:GetSecretValue on secret playmesh/key-ring {place}",
        f"s3:GetObject on s3://playmesh-test/.well-known/jwks.json {place}, to it or to"
        " s3:ListBucket on the bucket",
    )
    told(
        await faults("keyrotator", environ),
        f"secretsmanager:GetSecretValue on secret playmesh/key-ring {place}",
        f"secretsmanager:UpdateSecretVersionStage on secret playmesh/key-ring {place}",
        f"s3:GetObject on s3://playmesh-test/.well-known/jwks.json {place}",
        f"s3:PutObject on s3://playmesh-test/.well-known/jwks.json {place}",
        f"s3:GetObject on s3://playmesh-test/.well-known/openid-configuration {place}",
        f"s3:PutObject on s3://playmesh-test/.well-known/openid-configuration {place}",
    )
    told(
        await faults("player_data", environ),
        f"dynamodb:GetItem on table playmesh-records {place}",
        f"dynamodb:UpdateItem on table playmesh-records {place}",
        f"dynamodb:Query on table playmesh-records {place}",
        f"dynamodb:BatchWriteItem on table playmesh-records {place}",
        f"dynamodb:TransactWriteItems on table playmesh-records {place}",
        f"dynamodb:PutItem on table playmesh-record-versions {place}",
        f"dynamodb:Query on table playmesh-record-versions {place}",
        f"dynamodb:BatchWriteItem on table playmesh-record-versions {place}",
        f"dynamodb:GetItem on table playmesh-receipts {place}",
        f"dynamodb:PutItem on table playmesh-receipts {place}",
        f"dynamodb:Query on table playmesh-receipts {place}",
        f"dynamodb:BatchWriteItem on table playmesh-receipts {place}",
    )


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("ExpiredTokenException", "expired"),
        ("UnrecognizedClientException", "not known to AWS"),
        ("InvalidSignatureException", "the secret key or this machine's clock is wrong"),
    ],
)
async def test_credentials_that_do_not_hold_are_one_line_that_says_where_they_come_from(
    environ: dict[str, str], faulty: FaultyAws, code: str, reason: str
) -> None:
    faulty.refusals = {"*": code}
    told(
        await faults("identity", environ),
        f"AWS credentials: {reason} ({code}); AWS looks for them in AWS_ACCESS_KEY_ID",
    )


async def test_without_credentials_it_says_so(environ: dict[str, str], tmp_path: Path) -> None:
    nobody = {
        **environ,
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }
    told(await faults("identity", nobody), "AWS credentials: none found (NoCredentialsError)")


async def test_a_profile_that_there_is_not_is_named(
    environ: dict[str, str], tmp_path: Path
) -> None:
    nobody = {**environ, "AWS_PROFILE": "nobody", "AWS_CONFIG_FILE": str(tmp_path / "none")}
    (line,) = await faults("player_data", nobody)
    assert "nobody" in line


async def test_a_damaged_refresh_key_is_named(environ: dict[str, str], moto: str) -> None:
    async with aws.client("secretsmanager", moto) as client:
        await client.create_secret(Name="damaged/refresh-key", SecretString="bm8ga2V5")
        await client.create_secret(Name="damaged/key-ring")
        await client.create_secret(Name="damaged/service-clients")
    damaged = {**environ, "PLAYMESH_SECRET_PREFIX": "damaged/"}
    told(
        await faults("identity", damaged),
        "secret damaged/refresh-key is damaged",
        "secret damaged/service-clients in eu-west-1 does not exist",
    )


def steam(url: str, secret_id: str) -> dict[str, str]:
    return {
        "PLAYMESH_PROVIDERS": "steam",
        "PLAYMESH_STEAM_URL": url,
        "PLAYMESH_STEAM_APP_IDS": APP_ID,
        "PLAYMESH_STEAM_IDENTITY": IDENTITY,
        "PLAYMESH_STEAM_KEY_SECRET_ID": secret_id,
    }


async def test_a_platform_s_key_that_is_missing_denied_or_none_is_named(
    environ: dict[str, str], moto: str
) -> None:
    nowhere = "http://127.0.0.1:9"
    missing = await faults("identity", {**environ, **steam(nowhere, "game/steam-key")})
    told(missing, "secret game/steam-key in eu-west-1 does not exist: whoever has the platform's")
    async with aws.client("secretsmanager", moto) as client:
        await client.create_secret(Name="game/two-lines", SecretString="CANARY\nCANARY")
    (line,) = await faults("identity", {**environ, **steam(nowhere, "game/two-lines")})
    assert line == "secret game/two-lines holds no key: one line of visible ASCII"


async def test_with_a_platform_s_key_from_secrets_manager_players_get_in(
    environ: dict[str, str], moto: str
) -> None:
    async with aws.client("secretsmanager", moto) as client:
        await client.create_secret(Name="game/the-key", SecretString=STEAM_KEY)
    async with SteamFake(STEAM_KEY).serving() as url:
        with_steam = {**environ, **steam(url, "game/the-key")}
        assert (await run("services.keyrotator", environ, "--once")).code == 0
        async with started(with_steam, "identity") as (identity,), aiohttp.ClientSession() as http:
            await identity.ready()
            sent = {"provider": "steam", "credential": {"ticket": ticket("ok")}}
            statuses = []
            for _ in range(2):
                async with http.post(f"{identity.url}/v1/sessions", json=sent) as response:
                    statuses.append(response.status)
            assert statuses == [201, 401]
            assert STEAM_KEY not in repr(identity.events)


@contextlib.asynccontextmanager
async def started(environ: Mapping[str, str], *names: str) -> AsyncIterator[list[Service]]:
    services = [Service(name, {**FAST, **environ}) for name in names]
    try:
        for service in services:
            await service.start()
        yield services
    finally:
        for service in services:
            with contextlib.suppress(AssertionError, ProcessLookupError):
                await service.kill()


async def probes(service: Service) -> tuple[int, int, str]:
    """The status of liveness, that of readiness, and why."""
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{service.admin_url}/livez") as alive:
            pass
        async with http.get(f"{service.admin_url}/readyz") as ready:
            return alive.status, ready.status, await ready.text()


async def test_the_mesh_waits_for_an_endpoint_that_is_down_and_comes_up_with_it(
    environ: dict[str, str], moto: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    down = {**environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    mesh = Mesh(tmp_path, {**FAST, **down})
    try:
        await mesh.identity.start()
        mesh.point_to_identity()
        await asyncio.gather(mesh.keyrotator.start(), mesh.player_data.start())
        for service in mesh.services:
            alive, ready, reason = await probes(service)
            assert (alive, ready) == (200, 503)
            assert "in eu-west-1: EndpointConnectionError" in reason
        async with FaultyAws(moto).serving(port):
            ended = time.perf_counter()
            await asyncio.gather(*(service.ready() for service in mesh.services))
            assert time.perf_counter() - ended < 10
            assert await mesh.stop() == [0, 0, 0]
    finally:
        for service in mesh.services:
            if service._process and service._process.returncode is None:
                await service.kill()


@pytest.mark.parametrize("fault", [Fault.THROTTLE, Fault.HANG])
async def test_bad_weather_is_waited_for(
    environ: dict[str, str], faulty: FaultyAws, fault: Fault
) -> None:
    faulty.plan = lambda _number: fault
    async with started(environ, "identity") as (identity,):
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{identity.url}/v1/guests") as response,
        ):
            assert response.status == 503
            assert response.headers["Retry-After"]
        assert (await probes(identity))[:2] == (200, 503)
        assert not any("exception" in event for event in identity.events)
        faulty.plan = lambda _number: None
        ended = time.perf_counter()
        assert (await run("services.keyrotator", environ, "--once")).code == 0
        await identity.ready()
        assert time.perf_counter() - ended < 10


async def test_what_is_missing_after_the_bad_weather_ends_the_process_then(
    environ: dict[str, str], faulty: FaultyAws
) -> None:
    faulty.plan = lambda _number: Fault.FAIL
    async with started({**environ, "PLAYMESH_TABLE_PREFIX": "nobody-"}, "player_data") as (
        player_data,
    ):
        faulty.plan = lambda _number: None
        assert player_data._process
        assert await asyncio.wait_for(player_data._process.wait(), 10) == 64


async def test_one_pass_in_bad_weather_may_be_tried_again(
    environ: dict[str, str], faulty: FaultyAws
) -> None:
    faulty.plan = lambda _number: Fault.FAIL
    assert (await run("services.keyrotator", environ, "--once")).code == 75


async def test_credentials_that_expire_later_are_one_line_for_each_call_and_503(
    environ: dict[str, str], faulty: FaultyAws
) -> None:
    assert (await run("services.keyrotator", environ, "--once")).code == 0
    async with started(environ, "identity") as (identity,), aiohttp.ClientSession() as http:
        await identity.ready()
        faulty.refusals = {"*": "ExpiredTokenException"}
        before = len(identity.events)
        for _ in range(3):
            async with http.post(f"{identity.url}/v1/guests") as response:
                assert response.status == 503
                assert response.headers["Retry-After"]
        faulty.refusals = {}
        await identity.stop()
    events = identity.events[before:]
    assert not any("exception" in event for event in events)
    failed = [event for event in events if event["event"] == "aws.failed"]
    assert [event["code"] for event in failed if event["operation"] == "put_item"] == [
        "ExpiredTokenException"
    ] * 3
