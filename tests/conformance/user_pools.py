"""The law of UserPool, as far as all that stand in for one keep to it."""

from typing import Protocol

import pytest

from services.identity.ports import IdentityProvider, UserPool
from shared import errors

PASSWORD = "Passw0rd!-of-robin"
OTHER_PASSWORD = "An0ther-Passw0rd!"


class Stage(Protocol):
    """A user pool without players, and the way in of those that it will have."""

    pool: UserPool
    provider: IdentityProvider
    code: str
    """The one that it sends to everybody."""

    async def access_token(self, username: str, password: str) -> str:
        """As a client gets it that talks to the pool itself."""
        ...


class UserPoolContract:
    """`stage` is a fixture of the subclass."""

    async def log_in(self, stage: Stage, password: str = PASSWORD) -> str:
        """Whose external id it is."""
        credential = {"username": "robin", "password": password}
        return (await stage.provider.verify(credential)).external_id

    async def sign_up(self, stage: Stage) -> None:
        await stage.pool.sign_up("robin", PASSWORD, "robin@example.com")
        await stage.pool.confirm_sign_up("robin", stage.code)

    async def test_who_signs_up_confirms_before_the_first_login(self, stage: Stage) -> None:
        assert await stage.pool.sign_up("robin", PASSWORD, "robin@example.com") is False
        with pytest.raises(errors.ActionRequired) as caught:
            await self.log_in(stage)
        assert caught.value.challenge == "CONFIRM_SIGN_UP"
        await stage.pool.confirm_sign_up("robin", stage.code)
        assert await self.log_in(stage) == await self.log_in(stage)

    async def test_a_wrong_password_does_not_log_in(self, stage: Stage) -> None:
        await self.sign_up(stage)
        with pytest.raises(errors.InvalidCredential):
            await self.log_in(stage, OTHER_PASSWORD)

    async def test_a_taken_name_stays_whose_it_is(self, stage: Stage) -> None:
        await self.sign_up(stage)
        assert await stage.pool.sign_up("robin", OTHER_PASSWORD, "other@example.com") is False
        await self.log_in(stage)

    async def test_a_weak_password_is_refused(self, stage: Stage) -> None:
        with pytest.raises(errors.WeakPassword):
            await stage.pool.sign_up("robin", "weak", None)

    async def test_a_forgotten_password_is_replaced(self, stage: Stage) -> None:
        await self.sign_up(stage)
        await stage.pool.forgot_password("robin")
        await stage.pool.reset_password("robin", stage.code, OTHER_PASSWORD)
        await self.log_in(stage, OTHER_PASSWORD)
        with pytest.raises(errors.InvalidCredential):
            await self.log_in(stage)

    async def test_whose_a_token_is_may_be_asked_again(self, stage: Stage) -> None:
        await self.sign_up(stage)
        token = await stage.access_token("robin", PASSWORD)
        first, second = [await stage.pool.whose(token) for _ in range(2)]
        assert first.external_id == second.external_id == await self.log_in(stage)

    async def test_a_player_signs_out(self, stage: Stage) -> None:
        await self.sign_up(stage)
        await stage.pool.sign_out(await stage.access_token("robin", PASSWORD))


class StrictUserPoolContract(UserPoolContract):
    """What the real pool does as well, and not all that stand in for it."""

    async def test_a_sign_out_twice_is_as_once(self, stage: Stage) -> None:
        await self.sign_up(stage)
        token = await stage.access_token("robin", PASSWORD)
        for _ in range(2):
            await stage.pool.sign_out(token)

    async def test_a_mail_to_nobody_is_no_error(self, stage: Stage) -> None:
        await stage.pool.forgot_password("nobody")
        await stage.pool.resend_code("nobody")

    async def test_a_code_of_nobody_s_is_a_wrong_one(self, stage: Stage) -> None:
        for asked in (
            stage.pool.confirm_sign_up("nobody", stage.code),
            stage.pool.reset_password("nobody", stage.code, PASSWORD),
        ):
            with pytest.raises(errors.InvalidCode):
                await asked

    async def test_a_code_that_was_not_sent_is_a_wrong_one(self, stage: Stage) -> None:
        await self.sign_up(stage)
        with pytest.raises(errors.InvalidCode):
            await stage.pool.reset_password("robin", "000000", OTHER_PASSWORD)
        await self.log_in(stage)
