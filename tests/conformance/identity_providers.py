"""The law of IdentityProvider."""

import asyncio
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import pytest
from prometheus_client import REGISTRY, generate_latest
from structlog.testing import capture_logs

from services.identity.models import ExternalIdentity
from services.identity.ports import IdentityProvider
from shared import errors
from tests.support.clock import ManualClock
from tests.support.fakes.fake import Fake
from tests.support.overheard import Overheard

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
        for credential in ({}, {first: ""}, {"unknown": "x"}):
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


class HttpStage(Stage, Protocol):
    fake: Fake
    clock: ManualClock

    @property
    def sends_once(self) -> bool:
        """What a client has is used up by being sent, whether that is answered or not."""
        ...

    def credential(self, scenario: str = "ok") -> Credential:
        """Each time another one."""
        ...


class HttpContract(IdentityProviderContract):
    """Of a platform that is asked over HTTP for each login. `stage` is an HttpStage."""

    @pytest.mark.parametrize(
        ("trouble", "calls"),
        [
            ("http429", 2),
            ("http500", 2),
            ("http503", 2),
            ("redirect", 1),
            ("html200", 1),
            ("cut", 1),
            ("twice", 1),
            ("huge", 1),
            ("list", 1),
        ],
    )
    async def test_what_is_no_answer_is_unavailable_and_asked_for_again_only_where_it_may_help(
        self, stage: HttpStage, trouble: str, calls: int
    ) -> None:
        refused = await refusal(stage.provider, stage.credential(trouble))
        assert isinstance(refused, errors.ProviderUnavailable)
        assert refused.retry_after >= 1
        assert stage.fake.requests == (1 if stage.sends_once else calls)

    @pytest.mark.parametrize("trouble", ["slow", "reset", "brokenoff"])
    async def test_what_was_not_answered_is_asked_again_unless_it_may_be_used_up_by_now(
        self, stage: HttpStage, trouble: str
    ) -> None:
        refused = await refusal(stage.provider, stage.credential(trouble))
        once = stage.sends_once
        assert type(refused) is (errors.ExpiredCredential if once else errors.ProviderUnavailable)
        assert stage.fake.requests == (1 if once else 2)

    async def test_while_a_platform_is_down_it_is_left_alone_and_asked_again_after_a_pause(
        self, stage: HttpStage
    ) -> None:
        stage.break_down()
        *_, refused = [await refusal(stage.provider, stage.good()) for _ in range(6)]
        assert isinstance(refused, errors.ProviderUnavailable)
        assert (refused.retry_after, stage.fake.requests) == (10, 5)
        stage.fake.scenario = None
        stage.clock.advance(10)
        await stage.provider.verify(stage.good())


class KeyedStage(HttpStage, Protocol):
    secret: str
    """The setting of our key, which the fake's `secret` is."""
    pauses: list[float]
    """Between calls."""
    open: Callable[..., IdentityProvider]
    """With these settings, which are all."""

    def set_secret(self, secret: str) -> None:
        """Over there."""
        ...


LEAKY = "ok slow cut html200 reset brokenoff http401 http404 http503 redirect huge nobody"


class KeyedContract(HttpContract):
    """Of a platform that we have a key or a secret for. `stage` is a KeyedStage."""

    async def test_a_key_in_a_file_is_replaced_without_a_restart(
        self, stage: KeyedStage, tmp_path: Path
    ) -> None:
        file = tmp_path / "key"
        settings = stage.fake.settings(stage.fake.url)
        file.write_text(f"{settings.pop(stage.secret)}\n")
        provider = stage.open(**settings, **{f"{stage.secret}_FILE": str(file)})
        await provider.verify(stage.good())
        stage.set_secret("another-key")
        assert type(await refusal(provider, stage.good())) is errors.ProviderMisconfigured
        file.write_text("another-key")
        await provider.verify(stage.good())

    async def test_where_nobody_listens_it_is_tried_twice_and_nothing_is_used_up(
        self, stage: KeyedStage
    ) -> None:
        provider = stage.open(**stage.fake.settings("http://127.0.0.1:1"))
        refused = await refusal(provider, stage.good())
        assert isinstance(refused, errors.ProviderUnavailable)
        assert [0.2 <= pause <= 0.5 for pause in stage.pauses] == [True]

    @pytest.mark.parametrize("scenario", LEAKY.split())
    async def test_neither_our_key_nor_a_credential_leaks(
        self, stage: KeyedStage, overheard: Overheard, scenario: str
    ) -> None:
        """Either may be in a URL, if the platform will have it so: so no URL may be anywhere."""
        provider, credential = stage.provider, stage.credential(scenario)
        settings = stage.fake.settings(stage.fake.url)
        if scenario == "nobody":
            provider = stage.open(**stage.fake.settings("http://127.0.0.1:1"))
        said = await overheard.during(provider.verify(credential))
        if scenario == "ok":
            credential = {name: value for name, value in credential.items() if name != "user_id"}
        for secret in (settings[stage.secret], *credential.values(), "CANARY", "127.0.0.1:"):
            assert [text for text in [*said, repr(provider)] if secret in text] == []
