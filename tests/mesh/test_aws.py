"""The same three processes on AWS's interfaces, with moto behind them."""

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import aiohttp
import pytest

from tests.support import aws
from tests.support.mesh import Mesh, running
from tests.support.mesh import run as run_module
from tests.support.players import Traffic, lost_promises


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with aws.moto() as url:
        yield url


@pytest.fixture(scope="module")
def dynamodb(moto: str) -> Iterator[str]:
    """DynamoDB Local, where its tests are wanted."""
    if aws.DYNAMODB_LOCAL is None:
        yield moto
        return
    with aws.dynamodb_local(Path(aws.DYNAMODB_LOCAL)) as url:
        yield url


@pytest.fixture
def environ(moto: str, dynamodb: str) -> dict[str, str]:
    return {**aws.environ(moto), "AWS_ENDPOINT_URL_DYNAMODB": dynamodb}


async def run(module: str, environ: Mapping[str, str]) -> str:
    ended = await run_module(module, environ)
    assert ended.code == 0, ended
    return ended.output


@pytest.fixture
async def mesh(tmp_path: Path, environ: dict[str, str]) -> AsyncIterator[Mesh]:
    await run("infra.aws_setup", environ)
    async with running(tmp_path / "data", environ) as mesh:
        yield mesh


async def operator_file(mesh: Mesh, environ: Mapping[str, str]) -> None:
    """Where the demo looks for the operator's secret."""
    async with aws.client("secretsmanager", environ["AWS_ENDPOINT_URL"]) as client:
        secret = await client.get_secret_value(SecretId="playmesh/service-clients")
    path = mesh.data_dir / "secrets" / "service-clients.json"
    path.parent.mkdir(parents=True)
    path.write_text(secret["SecretString"])


async def test_the_demo_plays_the_same_story(mesh: Mesh, environ: dict[str, str]) -> None:
    await operator_file(mesh, environ)
    await run("examples.demo", mesh.client_environ)
    assert not list(mesh.data_dir.glob("*.db"))


async def test_a_guest_that_is_asked_for_again_after_a_crash_is_the_same(mesh: Mesh) -> None:
    guests = []
    async with aiohttp.ClientSession(headers={"Idempotency-Key": "k" * 36}) as http:
        for _ in range(2):
            async with http.post(f"{mesh.identity.url}/v1/guests") as response:
                assert response.status == 201
                guest = await response.json()
            guests.append((guest["user_id"], guest["guest_secret"]))
            await mesh.identity.kill()
            await mesh.identity.start()
            await mesh.identity.ready()
    assert guests[0] == guests[1]


async def test_a_service_killed_in_traffic_loses_no_acknowledged_write(mesh: Mesh) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        traffic = Traffic(mesh, http)
        async with traffic.running():
            for victim in (mesh.identity, mesh.player_data):
                await traffic.more_acknowledged(40)
                await victim.kill()
                await victim.start()
                await victim.ready()
            await traffic.more_acknowledged(40)
        assert await lost_promises(mesh, http, traffic.players) == []


async def test_setting_up_again_leaves_everything_as_it_is(environ: dict[str, str]) -> None:
    await run("infra.aws_setup", environ)
    async with aws.client("secretsmanager", environ["AWS_ENDPOINT_URL"]) as client:
        before = await client.get_secret_value(SecretId="playmesh/refresh-key")
        output = await run("infra.aws_setup", environ)
        after = await client.get_secret_value(SecretId="playmesh/refresh-key")
    assert "secret playmesh/refresh-key: was there" in output
    assert "bucket playmesh-test: was there" in output
    assert "bucket playmesh-test-saves: was there" in output
    assert after["VersionId"] == before["VersionId"]


async def test_tables_cannot_be_deleted_and_can_be_had_back_as_of_any_moment(
    moto: str, environ: dict[str, str]
) -> None:
    """On moto alone: DynamoDB Local knows neither protection nor backups."""
    on_moto = {**environ, "AWS_ENDPOINT_URL_DYNAMODB": moto, "PLAYMESH_TABLE_PREFIX": "guarded-"}
    await run("infra.aws_setup", on_moto)
    async with aws.client("dynamodb", moto) as client:
        for name in ("accounts", "idempotency", "identities", "sessions", "records"):
            table = await client.describe_table(TableName=f"guarded-{name}")
            assert table["Table"]["DeletionProtectionEnabled"]
            backups = await client.describe_continuous_backups(TableName=f"guarded-{name}")
            recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
            assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"
