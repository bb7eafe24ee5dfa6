"""A player's way through a user pool of moto's, which is somebody else's idea of Cognito.

It takes any code, and more than that; what Cognito refuses is for the fake.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from services.identity.providers.cognito import CognitoPlatform
from services.identity.providers.connections import Connections
from services.identity.providers.guarded import Guarded
from services.identity.providers.guarded_pool import GuardedPool
from services.identity.sealing import Seals
from shared import errors
from shared.aws import Client
from shared.clock import SystemClock
from shared.http.client import new_session
from tests.support import aws
from tests.support.platforms import read

PASSWORD = "Passw0rd!-of-robin"


@dataclass
class Pool:
    pool_id: str
    admin: Client
    provider: Guarded
    players: GuardedPool

    async def log_in(self, **credential: str) -> str:
        """Whose it is."""
        return (await self.provider.verify(credential)).external_id

    async def subject(self, username: str) -> str:
        user = await self.admin.admin_get_user(UserPoolId=self.pool_id, Username=username)
        attributes = {one["Name"]: one["Value"] for one in user["UserAttributes"]}
        return str(attributes["sub"])


@pytest.fixture(params=[False, True], ids=["public client", "client with a secret"])
async def pool(moto: str, request: pytest.FixtureRequest) -> AsyncIterator[Pool]:
    clock = SystemClock()  # which is moto's
    # A call that needs no credentials does not say its region, and moto assumes this one.
    region = "us-east-1"
    async with aws.client("cognito-idp", moto, region) as admin, new_session() as session:
        made = await admin.create_user_pool(PoolName="players", AutoVerifiedAttributes=["email"])
        pool_id = made["UserPool"]["Id"]
        client = await admin.create_user_pool_client(
            UserPoolId=pool_id,
            ClientName="game",
            GenerateSecret=request.param,
            ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"],
        )
        connections = Connections(session, clock, Seals(lambda: b"k" * 32, clock))
        platform = _open(connections, moto, pool_id, client["UserPoolClient"])
        yield Pool(pool_id, admin, Guarded(platform, clock), GuardedPool(platform, clock))
        await asyncio.gather(*(keys.close() for keys in connections._keys))


def _open(
    connections: Connections, url: str, pool_id: str, client: Mapping[str, Any]
) -> CognitoPlatform:
    secret = client.get("ClientSecret")
    (settings,) = read(
        PROVIDERS="cognito",
        COGNITO_URL=url,
        COGNITO_JWKS_URL=f"{url}/{pool_id}/.well-known/jwks.json",
        COGNITO_USER_POOL_ID=pool_id,
        COGNITO_CLIENT_IDS=client["ClientId"],
        **({"COGNITO_CLIENT_SECRET": secret} if secret else {}),
    ).platforms.values()
    platform = settings.open(connections)
    assert isinstance(platform, CognitoPlatform)
    return platform


async def test_sign_up_confirm_log_in(pool: Pool) -> None:
    assert await pool.players.sign_up("robin", PASSWORD, "robin@example.com") is False
    await pool.players.confirm_sign_up("robin", "123456")
    subject = await pool.subject("robin")
    assert await pool.log_in(username="robin", password=PASSWORD) == f"{pool.pool_id}:{subject}"


async def test_a_first_password_is_replaced_on_the_way_in(pool: Pool) -> None:
    await pool.admin.admin_create_user(
        UserPoolId=pool.pool_id, Username="robin", TemporaryPassword="Temp0rary!"
    )
    with pytest.raises(errors.ActionRequired) as caught:
        await pool.log_in(username="robin", password="Temp0rary!")
    assert caught.value.challenge == "NEW_PASSWORD_REQUIRED"
    assert caught.value.token
    await pool.log_in(challenge_token=caught.value.token, new_password=PASSWORD)
    await pool.log_in(username="robin", password=PASSWORD)


async def test_a_forgotten_password(pool: Pool) -> None:
    await _robin(pool)
    await pool.players.forgot_password("robin")
    await pool.players.reset_password("robin", "123456", "An0ther-Passw0rd!")
    await pool.log_in(username="robin", password="An0ther-Passw0rd!")


async def test_a_sign_out(pool: Pool) -> None:
    await _robin(pool)
    with pytest.raises(errors.InvalidCredential):
        await pool.log_in(username="robin", password="wr0ng-Passw0rd!")
    token = await _access_token(pool)
    assert (await pool.players.whose(token)).external_id.startswith(pool.pool_id)
    await pool.players.sign_out(token)


async def _robin(pool: Pool) -> None:
    await pool.players.sign_up("robin", PASSWORD, "robin@example.com")
    await pool.players.confirm_sign_up("robin", "123456")


async def _access_token(pool: Pool) -> str:
    """As a client that talks to the pool itself gets it."""
    platform = pool.provider._platform
    assert isinstance(platform, CognitoPlatform)
    answer = await platform.pool.initiate("robin", PASSWORD)
    result = answer["AuthenticationResult"]
    assert isinstance(result, Mapping)
    return str(result["AccessToken"])
