"""A platform's key in Secrets Manager, with moto behind it, and the platform that asks for it."""

from collections.abc import AsyncIterator, Callable

import pytest

from services.identity.adapters.secretsmanager import platform_key
from services.identity.ports import IdentityProvider
from services.identity.providers.guarded import Guarded
from services.identity.providers.secret import ManagedSecret
from shared import errors
from shared.aws import Client
from shared.ids import new_id
from shared.start_check import StartError
from tests.support import aws
from tests.support.clock import ManualClock
from tests.support.fakes.steam import IDENTITY, PLAYER, SteamFake, ticket
from tests.support.faulty_aws import Fault, FaultyAws
from tests.support.platforms import connected, read

KEY, NEXT_KEY = "CANARY0123456789", "CANARY9876543210"
MINUTE = 60


@pytest.fixture
def faulty(moto: str) -> FaultyAws:
    return FaultyAws(moto)


@pytest.fixture
async def client(faulty: FaultyAws) -> AsyncIterator[Client]:
    async with faulty.serving() as url, aws.client("secretsmanager", url) as client:
        yield client


@pytest.fixture
def secret_id() -> str:
    """Of a secret that there is not yet."""
    return f"{new_id()}/steam-key"


@pytest.fixture
def fake() -> SteamFake:
    return SteamFake(KEY)


@pytest.fixture
async def steam(
    client: Client, secret_id: str, fake: SteamFake, clock: ManualClock
) -> AsyncIterator[IdentityProvider]:
    async with fake.serving() as url, connected(clock, []) as connections:
        settings = read(
            BACKEND="aws",
            PROVIDERS="steam",
            STEAM_URL=url,
            STEAM_APP_IDS="480",
            STEAM_IDENTITY=IDENTITY,
            STEAM_KEY_SECRET_ID=secret_id,
        )
        for secret in settings.secrets:
            secret.open(platform_key(client, secret.secret_id), clock)
        (platform,) = settings.platforms.values()
        yield Guarded(platform.open(connections), clock)


async def code(steam: IdentityProvider, number: int) -> str:
    try:
        identity = await steam.verify({"ticket": ticket("ok", n=number)})
    except errors.PlaymeshError as refused:
        return refused.code
    assert identity.external_id == PLAYER
    return "ok"


async def test_a_rotated_secret_is_used_without_a_restart(
    client: Client, secret_id: str, steam: IdentityProvider, fake: SteamFake, clock: ManualClock
) -> None:
    await client.create_secret(Name=secret_id, SecretString=f"{KEY}\n")
    assert await code(steam, 1) == "ok"
    await client.put_secret_value(SecretId=secret_id, SecretString=NEXT_KEY)
    assert await code(steam, 2) == "ok"
    fake.secret = NEXT_KEY
    assert await code(steam, 3) == "provider_misconfigured"
    clock.advance(MINUTE)
    assert await code(steam, 4) == "ok"


async def test_while_secrets_manager_is_down_the_last_key_holds(
    client: Client, secret_id: str, steam: IdentityProvider, faulty: FaultyAws, clock: ManualClock
) -> None:
    await client.create_secret(Name=secret_id, SecretString=KEY)
    assert await code(steam, 1) == "ok"
    faulty.plan = lambda _number: Fault.FAIL
    clock.advance(MINUTE)
    assert await code(steam, 2) == "ok"


async def test_a_key_that_was_never_read_is_unavailable_while_secrets_manager_is_down(
    client: Client, secret_id: str, steam: IdentityProvider, faulty: FaultyAws, clock: ManualClock
) -> None:
    await client.create_secret(Name=secret_id, SecretString=KEY)
    faulty.plan = lambda _number: Fault.FAIL
    assert await code(steam, 1) == "provider_unavailable"
    faulty.plan = lambda _number: None
    clock.advance(1)
    assert await code(steam, 2) == "ok"


@pytest.mark.parametrize("value", [None, {"SecretBinary": b"\x00key"}, {"SecretString": "a b"}])
async def test_a_secret_that_holds_no_key_is_our_fault(
    client: Client, secret_id: str, steam: IdentityProvider, value: dict[str, object] | None
) -> None:
    if value:
        await client.create_secret(Name=secret_id, **value)
    assert await code(steam, 1) == "provider_misconfigured"


@pytest.fixture
def opened(client: Client, clock: ManualClock) -> Callable[[str], ManagedSecret]:
    def opened(secret_id: str) -> ManagedSecret:
        secret = ManagedSecret(secret_id)
        secret.open(platform_key(client, secret_id), clock)
        return secret

    return opened


async def test_it_is_found_by_its_name_and_by_its_arn(
    client: Client, secret_id: str, opened: Callable[[str], ManagedSecret]
) -> None:
    made = await client.create_secret(Name=secret_id, SecretString=KEY)
    assert [await opened(one).read() for one in (secret_id, made["ARN"])] == [KEY, KEY]


async def test_one_that_there_is_not_is_named_and_no_setup_makes_it(
    secret_id: str, opened: Callable[[str], ManagedSecret]
) -> None:
    with pytest.raises(StartError, match=f"secret {secret_id} in eu-west-1 does not") as missing:
        await opened(secret_id).load()
    assert "aws-setup" not in str(missing.value)
