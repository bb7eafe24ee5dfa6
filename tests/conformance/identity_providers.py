"""The law of IdentityProvider."""

import asyncio
import traceback
from collections.abc import Mapping
from typing import Protocol

import pytest
from prometheus_client import REGISTRY, generate_latest
from structlog.testing import capture_logs

from services.identity.models import ExternalIdentity
from services.identity.ports import IdentityProvider
from shared import errors

Credential = Mapping[str, str]


class Stage(Protocol):
    """A platform under a test's control, and the player who comes from it."""

    provider: IdentityProvider
    external_id: tuple[str, str]

    def good(self) -> Credential:
        """Each time another one, of the same player."""
        ...

    def forged(self) -> Credential: ...

    def elsewhere(self) -> Credential:
        """Good, for another application."""
        ...

    def break_down(self) -> None: ...

    def talk_nonsense(self) -> None: ...


async def refusal(provider: IdentityProvider, credential: Credential) -> errors.PlaymeshError:
    with pytest.raises(errors.PlaymeshError) as caught:
        await provider.verify(credential)
    return caught.value


class IdentityProviderContract:
    """`stage` is a fixture of the subclass."""

    async def test_a_good_credential_names_the_same_player_each_time(self, stage: Stage) -> None:
        for _ in range(2):
            identity = await stage.provider.verify(stage.good())
            assert isinstance(identity, ExternalIdentity)
            assert (identity.provider, identity.external_id) == stage.external_id

    async def test_an_external_id_fits_where_it_is_kept(self, stage: Stage) -> None:
        provider, external_id = stage.external_id
        assert 0 < len(external_id) <= 256
        assert external_id.isprintable()
        assert "#" not in provider

    async def test_a_part_that_is_missing_or_empty_is_a_bad_request(self, stage: Stage) -> None:
        first = next(iter(stage.good()))
        for credential in ({}, {first: ""}):
            assert type(await refusal(stage.provider, credential)) is errors.InvalidRequest

    async def test_a_forged_credential_is_invalid(self, stage: Stage) -> None:
        refused = await refusal(stage.provider, stage.forged())
        assert type(refused) is errors.InvalidCredential

    @pytest.mark.parametrize(
        "text", ["x", "\0", "é", "🎮", "\ud800", "a b", "../..", "x" * 100_000]
    )
    async def test_garbage_is_invalid(self, stage: Stage, text: str) -> None:
        refused = await refusal(stage.provider, dict.fromkeys(stage.good(), text))
        assert type(refused) is errors.InvalidCredential

    async def test_another_application_s_credential_is_of_another_audience(
        self, stage: Stage
    ) -> None:
        refused = await refusal(stage.provider, stage.elsewhere())
        assert type(refused) is errors.WrongAudience

    async def test_a_platform_that_is_down_is_unavailable_and_says_when_to_come_back(
        self, stage: Stage
    ) -> None:
        stage.break_down()
        for _ in range(20):
            refused = await refusal(stage.provider, stage.good())
            assert isinstance(refused, errors.ProviderUnavailable)
            assert refused.retry_after >= 1

    async def test_a_platform_that_makes_no_sense_is_unavailable(self, stage: Stage) -> None:
        stage.talk_nonsense()
        refused = await refusal(stage.provider, stage.good())
        assert type(refused) is errors.ProviderUnavailable

    async def test_no_refusal_says_more_than_its_kind(self, stage: Stage) -> None:
        credentials = [stage.forged(), stage.elsewhere(), stage.good(), stage.good()]
        for number, credential in enumerate(credentials):
            if number == 2:
                stage.break_down()
            with capture_logs() as logs:
                refused = await refusal(stage.provider, credential)
            assert refused.detail is None
            assert refused.__cause__ is None
            assert refused.__context__ is None
            said = "".join(traceback.format_exception(refused)) + repr(logs)
            said += generate_latest(REGISTRY).decode()
            assert [part for part in credential.values() if part in said] == []


class SingleUseStage(Stage, Protocol):
    beside: IdentityProvider
    """The same platform in another process, on the same store."""


class SingleUseContract(IdentityProviderContract):
    """Of a platform whose clients get a new credential for each login.

    `stage` is a SingleUseStage.
    """

    async def test_a_credential_is_good_once(self, stage: Stage) -> None:
        credential = stage.good()
        await stage.provider.verify(credential)
        assert type(await refusal(stage.provider, credential)) is errors.ExpiredCredential

    async def test_a_credential_that_another_process_has_taken_is_taken_by_none(
        self, stage: SingleUseStage
    ) -> None:
        for first, second in ((stage.provider, stage.beside), (stage.beside, stage.provider)):
            credential = stage.good()
            await first.verify(credential)
            assert type(await refusal(second, credential)) is errors.ExpiredCredential

    async def test_of_50_at_once_at_two_processes_one_gets_in(self, stage: SingleUseStage) -> None:
        credential = stage.good()
        outcomes = await asyncio.gather(
            *(
                (stage.provider, stage.beside)[number % 2].verify(credential)
                for number in range(50)
            ),
            return_exceptions=True,
        )
        others = [one for one in outcomes if not isinstance(one, errors.ExpiredCredential)]
        assert [type(one) for one in others] == [ExternalIdentity]
