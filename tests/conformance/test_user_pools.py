"""The contract of user pools, for our own stand-in of Cognito and for moto's.

moto takes any code and forgives more than Cognito does; what is refused is for ours.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest

from services.identity.idempotency import Idempotency
from services.identity.nonces import Nonces
from services.identity.ports import IdentityProvider, UserPool
from services.identity.providers.cognito import CognitoPlatform
from services.identity.providers.connections import Connections
from services.identity.providers.guarded import Guarded
from services.identity.providers.guarded_pool import GuardedPool
from services.identity.sealing import Seals
from shared import errors
from shared.aws import Client
from shared.clock import SystemClock
from shared.http.client import new_session
from tests.conformance.user_pools import PASSWORD, StrictUserPoolContract, UserPoolContract
from tests.support import aws
from tests.support.clock import ManualClock
from tests.support.fakes import cognito
from tests.support.fakes.cognito import CognitoFake
from tests.support.platforms import connected, read, refresh_key, remembering


@dataclass
class CognitoStage:
    platform: CognitoPlatform
    provider: IdentityProvider
    pool: UserPool
    code: str = cognito.CODE

    async def access_token(self, username: str, password: str) -> str:
        answer = await self.platform.pool.initiate(username, password)
        result = answer["AuthenticationResult"]
        assert isinstance(result, Mapping)
        return str(result["AccessToken"])


def staged(connections: Connections, **variables: str) -> CognitoStage:
    (settings,) = read(PROVIDERS="cognito", **variables).platforms.values()
    platform, clock = settings.open(connections), connections.clock
    assert isinstance(platform, CognitoPlatform)
    return CognitoStage(platform, Guarded(platform, clock), GuardedPool(platform, clock))


class TestFake(StrictUserPoolContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock) -> AsyncIterator[CognitoStage]:
        fake = CognitoFake(clock)
        fake.users.clear()
        async with fake.serving() as url, connected(clock, []) as connections:
            yield staged(
                connections,
                COGNITO_URL=url,
                COGNITO_JWKS_URL=f"{url}/keys",
                COGNITO_USER_POOL_ID=cognito.POOL,
                COGNITO_CLIENT_IDS=cognito.CLIENT,
            )


@dataclass
class MotoPool:
    pool_id: str
    admin: Client
    stage: CognitoStage


@pytest.fixture(params=[False, True], ids=["public client", "client with a secret"])
async def moto_pool(moto: str, request: pytest.FixtureRequest) -> AsyncIterator[MotoPool]:
    clock = SystemClock()  # which is moto's
    # A call that needs no credentials does not say its region, and moto assumes this one.
    region = "us-east-1"
    async with (
        aws.client("cognito-idp", moto, region) as admin,
        new_session() as session,
        remembering() as store,
    ):
        made = await admin.create_user_pool(PoolName="players", AutoVerifiedAttributes=["email"])
        pool_id = made["UserPool"]["Id"]
        client = await admin.create_user_pool_client(
            UserPoolId=pool_id,
            ClientName="game",
            GenerateSecret=request.param,
            ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"],
        )
        secret = client["UserPoolClient"].get("ClientSecret")
        connections = Connections(
            session,
            Idempotency(store, refresh_key, clock),
            Nonces(refresh_key, clock),
            Seals(refresh_key, clock),
            clock,
        )
        stage = staged(
            connections,
            COGNITO_URL=moto,
            COGNITO_JWKS_URL=f"{moto}/{pool_id}/.well-known/jwks.json",
            COGNITO_USER_POOL_ID=pool_id,
            COGNITO_CLIENT_IDS=client["UserPoolClient"]["ClientId"],
            **({"COGNITO_CLIENT_SECRET": secret} if secret else {}),
        )
        yield MotoPool(pool_id, admin, stage)
        await asyncio.gather(*(keys.close() for keys in connections._keys))


class TestMoto(UserPoolContract):
    @pytest.fixture
    async def stage(self, moto_pool: MotoPool) -> CognitoStage:
        return moto_pool.stage

    async def test_the_external_id_is_the_pool_s_and_the_player_s(
        self, stage: CognitoStage, moto_pool: MotoPool
    ) -> None:
        await self.sign_up(stage)
        user = await moto_pool.admin.admin_get_user(UserPoolId=moto_pool.pool_id, Username="robin")
        subject = {one["Name"]: one["Value"] for one in user["UserAttributes"]}["sub"]
        assert await self.log_in(stage) == f"{moto_pool.pool_id}:{subject}"

    async def test_a_first_password_is_replaced_on_the_way_in(
        self, stage: CognitoStage, moto_pool: MotoPool
    ) -> None:
        await moto_pool.admin.admin_create_user(
            UserPoolId=moto_pool.pool_id, Username="robin", TemporaryPassword="Temp0rary!"
        )
        with pytest.raises(errors.ActionRequired) as caught:
            await self.log_in(stage, "Temp0rary!")
        asked = caught.value
        assert (asked.challenge, asked.token is None) == ("NEW_PASSWORD_REQUIRED", False)
        answer = {"challenge_token": str(asked.token), "new_password": PASSWORD}
        await stage.provider.verify(answer)
        await self.log_in(stage)
