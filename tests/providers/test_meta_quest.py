"""Meta Quest: a nonce that is validated once, and the id that is the same over all apps of ours."""

import asyncio

import pytest
from structlog.testing import capture_logs

from services.identity.models import ExternalIdentity
from services.identity.ports import IdentityProvider
from shared import errors
from tests.providers.conftest import Open
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
from tests.support.overheard import Overheard

SECRET = "CANARY6789abcdef0123456789abcdef"
ID_PATH = f"/{PLAYER}"


@pytest.fixture
def fake() -> MetaQuestFake:
    return MetaQuestFake(SECRET)


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


@pytest.mark.parametrize("credential", [{"user_id": PLAYER}, {"nonce": nonce()}])
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
@pytest.mark.parametrize("trouble", ["html200", "list", "empty", "http404", "texterror"])
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


@pytest.mark.parametrize("trouble", ["e1", "e2", "http503", "brokenoff"])
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


@pytest.mark.parametrize("scenario", ["e1", "e100", "e99999", "texterror"])
async def test_nothing_that_one_nonce_may_cause_keeps_everybody_out(
    quest: IdentityProvider, scenario: str
) -> None:
    for number in range(10):
        await outcome(quest, nonce(scenario, n=number))
        await outcome(quest, nonce(scenario, n=number))
    await login(quest, nonce())


# The secret


LEAKY = "e190 e4 e100 textcode id-reset id-redirect id-html200 id-http503 id-e190 id-e4 id-textcode"


@pytest.mark.parametrize("scenario", LEAKY.split())
async def test_no_secret_and_no_nonce_leaks(
    quest: IdentityProvider, overheard: Overheard, scenario: str
) -> None:
    """The secret is in a URL, as Meta will have it: so no URL may be anywhere."""
    said = await overheard.during(login(quest, nonce(scenario, canary="CANARYOFTHENONCE")))
    for secret in (SECRET, "CANARYOFTHENONCE", PLAYER, "127.0.0.1:"):
        assert [text for text in said if secret in text] == []
