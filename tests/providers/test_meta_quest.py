"""Meta Quest: a nonce that is validated once, and the id that is the same over all apps of ours."""

import asyncio
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest
from structlog.testing import capture_logs

from services.identity.models import ExternalIdentity
from services.identity.ports import IdentityProvider
from shared import errors
from shared.env import SettingsError
from tests.providers.conftest import Open
from tests.support.clock import ManualClock
from tests.support.fakes.meta_quest import (
    APP_ID,
    FRIEND,
    ORG_ID,
    PLAYER,
    SCOPED,
    VALIDATE_PATH,
    MetaQuestFake,
    nonce,
)
from tests.support.platforms import read

SECRET = "CANARY6789abcdef0123456789abcdef"
ID_PATH = f"/{PLAYER}"


@pytest.fixture
def fake() -> MetaQuestFake:
    return MetaQuestFake(SECRET)


@pytest.fixture
async def url(fake: MetaQuestFake) -> AsyncIterator[str]:
    async with fake.serving() as url:
        yield url


@pytest.fixture
def variables(url: str) -> dict[str, str]:
    return {
        "PROVIDERS": "meta_quest",
        "META_QUEST_URL": url,
        "META_QUEST_ORG_ID": ORG_ID,
        "META_QUEST_APP_ID": APP_ID,
        "META_QUEST_APP_SECRET": SECRET,
    }


@pytest.fixture
def quest(open_provider: Open, variables: dict[str, str]) -> IdentityProvider:
    return open_provider(**variables)


async def login(quest: IdentityProvider, sent: str, user_id: str = PLAYER) -> ExternalIdentity:
    return await quest.verify({"user_id": user_id, "nonce": sent})


async def refusal(
    quest: IdentityProvider, sent: str, user_id: str = PLAYER
) -> tuple[errors.PlaymeshError, str]:
    """And its reason."""
    with capture_logs() as logs, pytest.raises(errors.PlaymeshError) as caught:
        await login(quest, sent, user_id)
    return caught.value, str(logs[-1]["reason"])


async def outcome(quest: IdentityProvider, sent: str, user_id: str = PLAYER) -> tuple[str, str]:
    """Code and reason."""
    refused, reason = await refusal(quest, sent, user_id)
    return refused.code, reason


# Who it is


async def test_a_good_nonce_names_the_player_of_our_organisation(quest: IdentityProvider) -> None:
    assert await login(quest, nonce()) == ExternalIdentity(
        "meta_quest", f"{ORG_ID}:{SCOPED}", {"user_id": PLAYER}
    )


async def test_a_nonce_of_somebody_else_is_invalid(
    quest: IdentityProvider, fake: MetaQuestFake
) -> None:
    assert await outcome(quest, nonce(), FRIEND) == ("invalid_credential", "not_valid")
    assert fake.paths == [VALIDATE_PATH]


async def test_an_organisation_s_id_that_a_client_sends_counts_for_nothing(
    quest: IdentityProvider,
) -> None:
    credential = {"user_id": PLAYER, "nonce": nonce(), "org_scoped_id": "7", "org_id": "7"}
    assert (await quest.verify(credential)).external_id == f"{ORG_ID}:{SCOPED}"


@pytest.mark.parametrize("fields", [{"org": "0"}, {"without": "org_scoped_id"}])
async def test_where_our_app_may_not_see_ids_it_is_our_fault_and_nobody_is_the_same_player(
    quest: IdentityProvider, fields: dict[str, str]
) -> None:
    """Everybody's would be the same one: nothing, or zero."""
    assert await outcome(quest, nonce("ok", **fields)) == (
        "provider_misconfigured",
        "no_org_scoped_id",
    )


# What is sent


async def test_the_nonce_is_validated_in_a_body_and_the_player_asked_about_by_id(
    quest: IdentityProvider, fake: MetaQuestFake
) -> None:
    sent = nonce(odd="a+b&c%20/|")
    await login(quest, sent)
    token = f"OC|{APP_ID}|{SECRET}"
    assert fake.paths == [VALIDATE_PATH, ID_PATH]
    assert fake.forms == [{"access_token": token, "nonce": sent, "user_id": PLAYER}]
    assert fake.queries == [{}, {"access_token": token, "fields": "org_scoped_id"}]


@pytest.mark.parametrize(
    "user_id",
    ["0", "01", "-1", "1.5", "me", "../me", "1/2", "1?fields=id", "1\n", " 1", "1\u0661", "1" * 21],
)
async def test_what_is_no_id_is_in_no_path_and_meta_is_not_asked(
    quest: IdentityProvider, fake: MetaQuestFake, user_id: str
) -> None:
    assert await outcome(quest, nonce(), user_id) == ("invalid_credential", "no_id")
    assert fake.paths == []


@pytest.mark.parametrize("sent", ["a b", "ok\n", "é", "x" * 1025])
async def test_what_is_no_nonce_is_refused_without_asking_meta(
    quest: IdentityProvider, fake: MetaQuestFake, sent: str
) -> None:
    assert await outcome(quest, sent) == ("invalid_credential", "no_nonce")
    assert fake.paths == []


@pytest.mark.parametrize(
    "credential", [{}, {"user_id": PLAYER}, {"nonce": nonce()}, {"user_id": "", "nonce": nonce()}]
)
async def test_a_part_that_is_missing_is_a_bad_request(
    quest: IdentityProvider, credential: dict[str, str]
) -> None:
    with pytest.raises(errors.InvalidRequest):
        await quest.verify(credential)


# Twice


async def test_a_nonce_is_good_once(quest: IdentityProvider) -> None:
    """Meta does not say whether it was good before."""
    await login(quest, nonce())
    assert await outcome(quest, nonce()) == ("invalid_credential", "not_valid")


async def test_of_many_that_come_with_one_nonce_at_once_one_gets_in(
    quest: IdentityProvider,
) -> None:
    outcomes = await asyncio.gather(
        *(login(quest, nonce()) for _ in range(20)), return_exceptions=True
    )
    assert [type(one) for one in outcomes if not isinstance(one, errors.InvalidCredential)] == [
        ExternalIdentity
    ]


@pytest.mark.parametrize("scenario", ["slow", "reset", "brokenoff"])
async def test_a_nonce_that_may_be_spent_is_expired_and_not_sent_again(
    quest: IdentityProvider, fake: MetaQuestFake, scenario: str
) -> None:
    assert (await outcome(quest, nonce(scenario)))[0] == "expired_credential"
    assert fake.validations == 1


async def test_where_no_connection_is_made_the_nonce_is_not_spent_and_is_tried_twice(
    open_provider: Open, variables: dict[str, str], pauses: list[float]
) -> None:
    quest = open_provider(**variables | {"META_QUEST_URL": "http://127.0.0.1:1"})
    assert await outcome(quest, nonce()) == ("provider_unavailable", "connection")
    assert [0.2 <= pause <= 0.5 for pause in pauses] == [True]


# Refusals


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("e1", ("provider_unavailable", "1")),
        ("e2", ("provider_unavailable", "2")),
        ("e3", ("provider_misconfigured", "3")),
        ("e4", ("provider_unavailable", "4")),
        ("e10", ("provider_misconfigured", "10")),
        ("e100", ("wrong_audience", "100")),
        ("e190", ("provider_misconfigured", "190")),
        ("e200", ("provider_misconfigured", "200")),
        ("e299", ("provider_misconfigured", "299")),
        ("e300", ("provider_unavailable", "other_error")),
        ("e341", ("provider_unavailable", "341")),
        ("e99999", ("provider_unavailable", "other_error")),
        ("textcode", ("provider_unavailable", "other_error")),
        ("id-e3", ("provider_misconfigured", "3")),
        ("id-e4", ("provider_unavailable", "down")),
        ("id-e10", ("provider_misconfigured", "10")),
        ("id-e100", ("provider_misconfigured", "100")),
        ("id-e190", ("provider_misconfigured", "190")),
        ("id-e341", ("provider_unavailable", "down")),
        ("id-e99999", ("provider_unavailable", "other_error")),
        ("id-textcode", ("provider_unavailable", "other_error")),
    ],
)
async def test_an_error_is_told_by_its_code(
    quest: IdentityProvider, fake: MetaQuestFake, scenario: str, expected: tuple[str, str]
) -> None:
    assert await outcome(quest, nonce(scenario)) == expected
    assert fake.validations == 1


@pytest.mark.parametrize("path", ["", "id-"])
@pytest.mark.parametrize(
    "trouble",
    ["html200", "huge", "list", "empty", "redirect", "http404", "http429", "http503", "texterror"],
)
async def test_an_answer_that_makes_no_sense_lets_nobody_in(
    quest: IdentityProvider, fake: MetaQuestFake, path: str, trouble: str
) -> None:
    assert (await outcome(quest, nonce(path + trouble)))[0] == "provider_unavailable"
    assert fake.validations == 1


@pytest.mark.parametrize(
    "sent",
    [
        nonce("valid400"),
        nonce("id-valid400"),
        nonce(valid=1),
        nonce(valid='"true"'),
        nonce(valid="null"),
        nonce(status=400),
        nonce(without="id"),
        nonce(wrong=f"id:{PLAYER}"),
        nonce(wrong=f'id:"{FRIEND}"'),
        nonce(wrong=f"org_scoped_id:{SCOPED}"),
        nonce(wrong="org_scoped_id:0"),
        nonce(wrong="org_scoped_id:null"),
        nonce(org=""),
        nonce(org="007"),
        nonce(org="1:2"),
        nonce(org="1" * 21),
    ],
)
async def test_an_answer_that_lacks_what_it_must_have_lets_nobody_in(
    quest: IdentityProvider, sent: str
) -> None:
    assert await outcome(quest, sent) == ("provider_unavailable", "malformed")


@pytest.mark.parametrize("trouble", ["e1", "e2", "http429", "http503", "slow", "reset"])
async def test_who_it_is_is_asked_once_more(
    quest: IdentityProvider, fake: MetaQuestFake, trouble: str
) -> None:
    refused, _ = await refusal(quest, nonce(f"id-{trouble}"))
    assert isinstance(refused, errors.ProviderUnavailable)
    assert fake.paths.count(ID_PATH) == 2
    assert fake.validations == 1


@pytest.mark.parametrize("trouble", ["e1", "e2", "http503"])
async def test_who_it_is_may_be_known_a_moment_later(quest: IdentityProvider, trouble: str) -> None:
    assert (await login(quest, nonce(f"once-{trouble}"))).external_id == f"{ORG_ID}:{SCOPED}"


async def test_while_meta_is_down_it_is_not_asked(
    quest: IdentityProvider, fake: MetaQuestFake, clock: ManualClock
) -> None:
    for number in range(5):
        await outcome(quest, nonce("http503", n=number))
    assert await outcome(quest, nonce(n=5)) == ("provider_unavailable", "breaker_open")
    assert fake.validations == 5
    clock.advance(10)
    await login(quest, nonce(n=5))


@pytest.mark.parametrize("scenario", ["e1", "e100", "e99999", "texterror"])
async def test_nothing_that_one_nonce_may_cause_keeps_everybody_out(
    quest: IdentityProvider, scenario: str
) -> None:
    for number in range(10):
        await outcome(quest, nonce(scenario, n=number))
        await outcome(quest, nonce(scenario, n=number))
    await login(quest, nonce())


# The secret


async def test_a_secret_in_a_file_is_replaced_without_a_restart(
    open_provider: Open, variables: dict[str, str], fake: MetaQuestFake, tmp_path: Path
) -> None:
    file = tmp_path / "quest.secret"
    file.write_text(f"{SECRET}\n")
    del variables["META_QUEST_APP_SECRET"]
    quest = open_provider(**variables, META_QUEST_APP_SECRET_FILE=str(file))
    await login(quest, nonce(n=1))
    fake.secret = "another"
    assert await outcome(quest, nonce(n=2)) == ("provider_misconfigured", "190")
    file.write_text("another")
    await login(quest, nonce(n=2))


LEAKY = "ok slow reset brokenoff redirect huge html200 http404 http503 e190 e4 e100 textcode"
LEAKY += " id-slow id-reset id-redirect id-huge id-html200 id-http503 id-e190 id-e4 id-textcode"


@pytest.mark.parametrize("scenario", LEAKY.split())
async def test_no_secret_and_no_nonce_leaks(
    quest: IdentityProvider,
    scenario: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The secret is in a URL, as Meta will have it: so no URL may be anywhere."""
    caplog.set_level(0)
    sent = nonce(scenario, canary="CANARYOFTHENONCE")
    with capture_logs() as logs:
        (result,) = await asyncio.gather(login(quest, sent), return_exceptions=True)
    texts = [repr(logs), generate_latest(REGISTRY).decode(), repr(quest), *capsys.readouterr()]
    # The fake's own server is logged by its requests; ours is the client.
    texts += [line.getMessage() for line in caplog.records if line.name != "aiohttp.access"]
    if isinstance(result, errors.PlaymeshError):
        texts += [repr(result), "".join(traceback.format_exception(result)), str(result.detail)]
        assert result.__context__ is None
        assert result.__cause__ is None
    for secret in (SECRET, "CANARYOFTHENONCE", PLAYER, "127.0.0.1:"):
        assert [text for text in texts if secret in text] == []


def test_settings_do_not_show_the_secret(variables: dict[str, str]) -> None:
    assert SECRET not in repr(read(**variables))


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("META_QUEST_ORG_ID", ""),
        ("META_QUEST_ORG_ID", "a:b"),
        ("META_QUEST_ORG_ID", "x" * 65),
        ("META_QUEST_APP_ID", ""),
        ("META_QUEST_APP_ID", "game"),
        ("META_QUEST_APP_ID", "1|2"),
        ("META_QUEST_APP_SECRET", ""),
        ("META_QUEST_APP_SECRET", "two\nlines"),
        ("META_QUEST_URL", "http://graph.oculus.com"),
    ],
)
def test_a_setting_that_is_wrong_or_missing_is_a_fault_by_its_name(
    variables: dict[str, str], name: str, value: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**variables | {name: value})
    assert [fault.split(":")[0] for fault in caught.value.faults] == [f"PLAYMESH_{name}"]
    assert SECRET not in str(caught.value)


def test_the_host_is_meta_s(variables: dict[str, str]) -> None:
    del variables["META_QUEST_URL"]
    assert "'https://graph.oculus.com'" in repr(read(**variables))
