"""Steam: every answer that its Web API is known to give, and what comes of it."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.identity.models import ExternalIdentity
from services.identity.ports import IdentityProvider
from shared import errors
from shared.env import SettingsError
from tests.providers.conftest import Open
from tests.support.clock import ManualClock
from tests.support.fakes.steam import IDENTITY, LENDER, PLAYER, SteamFake, ticket
from tests.support.overheard import Overheard
from tests.support.platforms import read

KEY = "CANARY0123456789ABCDEF0123456789"
DAY = 86_400


@pytest.fixture
def fake() -> SteamFake:
    return SteamFake(KEY)


@pytest.fixture
def steam(open_provider: Open, variables: dict[str, str]) -> IdentityProvider:
    return open_provider(**variables)


async def refusal(steam: IdentityProvider, hexed: str) -> errors.PlaymeshError:
    with pytest.raises(errors.PlaymeshError) as caught:
        await steam.verify({"ticket": hexed})
    return caught.value


async def code(steam: IdentityProvider, hexed: str) -> str:
    return (await refusal(steam, hexed)).code


# Who it is


async def test_a_good_ticket_names_the_player(steam: IdentityProvider) -> None:
    assert await steam.verify({"ticket": ticket("ok")}) == ExternalIdentity(
        "steam", PLAYER, {"app_id": "480", "owner_id": PLAYER, "vac_banned": "false"}
    )


async def test_defect_6_whoever_plays_is_the_player_and_the_lender_is_kept(
    steam: IdentityProvider,
) -> None:
    borrowed = await steam.verify({"ticket": ticket("ok", owner=LENDER)})
    assert borrowed.external_id == PLAYER
    assert borrowed.details["owner_id"] == LENDER


async def test_a_borrowed_game_is_refused_where_the_policy_says_so(
    open_provider: Open, variables: dict[str, str]
) -> None:
    steam = open_provider(**variables, STEAM_FAMILY_SHARING="refuse")
    assert await code(steam, ticket("ok", owner=LENDER)) == "not_owned"
    assert (await steam.verify({"ticket": ticket("ok")})).external_id == PLAYER


async def test_a_content_type_of_another_kind_does_not_matter(steam: IdentityProvider) -> None:
    assert (await steam.verify({"ticket": ticket("javascript")})).external_id == PLAYER


# What is sent


async def test_the_key_is_in_a_header_and_in_no_url(
    steam: IdentityProvider, fake: SteamFake
) -> None:
    await steam.verify({"ticket": ticket("ok")})
    assert [path for path in fake.paths if KEY in path or "key" in path] == []


async def test_defect_3_the_identity_of_our_service_is_always_sent(
    steam: IdentityProvider, fake: SteamFake
) -> None:
    await steam.verify({"ticket": ticket("ok")})
    assert fake.asked[0]["identity"] == IDENTITY


async def test_defect_3_a_ticket_for_another_service_is_refused(steam: IdentityProvider) -> None:
    assert await code(steam, ticket("ok", identity="somebody-else")) == "invalid_credential"


async def test_defect_7_a_ticket_in_a_url_is_only_in_the_one_that_steam_asks_for(
    steam: IdentityProvider, fake: SteamFake
) -> None:
    """And our session's token is in none: whoever verifies does not have it."""
    await steam.verify({"ticket": ticket("ok"), "auth_token": "of our own"})
    assert [set(asked) for asked in fake.asked] == [{"appid", "ticket", "identity"}]


async def test_a_ticket_of_four_bytes_arrives_with_two_digits_each(
    steam: IdentityProvider, fake: SteamFake
) -> None:
    await code(steam, "14000aff")
    assert fake.asked[0]["ticket"] == "14000aff"


# Refusals of tickets


@pytest.mark.parametrize(
    "hexed",
    [
        "140AFF",  # a digit was lost: Steam finds out
        "14000af",
        "14000AF",
    ],
)
async def test_a_ticket_with_lost_digits_is_refused(steam: IdentityProvider, hexed: str) -> None:
    assert await code(steam, hexed) == "invalid_credential"


@pytest.mark.parametrize(
    "hexed", ["abc", "zz", "0x14", "14 00", "14000aff\n", "١٤", "14&key=1", "ab" * 2561]
)
async def test_what_is_no_ticket_is_refused_without_asking_steam(
    steam: IdentityProvider, fake: SteamFake, hexed: str
) -> None:
    assert await code(steam, hexed) == "invalid_credential"
    assert fake.requests == 0


async def test_the_longest_ticket_is_asked_about(steam: IdentityProvider, fake: SteamFake) -> None:
    assert await code(steam, "ab" * 2560) == "invalid_credential"
    assert fake.requests == 1


@pytest.mark.parametrize("scenario", ["e3", "e100", "e101", "e999", "e0"])
async def test_defect_2_an_error_of_steam_is_a_refusal_with_its_number_in_the_log(
    steam: IdentityProvider, scenario: str
) -> None:
    with capture_logs() as logs:
        assert await code(steam, ticket(scenario)) == "invalid_credential"
    known = scenario in ("e3", "e100", "e101")
    assert logs[-1]["reason"] == (scenario.removeprefix("e") if known else "other_error")


async def test_a_result_that_is_not_ok_is_a_refusal(steam: IdentityProvider) -> None:
    assert await code(steam, ticket("ok", result="Failed")) == "invalid_credential"


async def test_a_ticket_of_another_application_is_for_another_audience(
    steam: IdentityProvider,
) -> None:
    assert await code(steam, ticket("ok", app="570")) == "wrong_audience"


async def test_a_key_that_steam_does_not_know_is_our_fault(
    steam: IdentityProvider, fake: SteamFake
) -> None:
    fake.secret = "another-key"
    assert await code(steam, ticket("ok")) == "provider_misconfigured"


async def test_the_error_may_stand_one_level_deeper(steam: IdentityProvider) -> None:
    assert await code(steam, ticket("nested102")) == "wrong_audience"


async def test_each_application_of_ours_is_tried_in_order(
    open_provider: Open, variables: dict[str, str], fake: SteamFake
) -> None:
    steam = open_provider(**variables | {"STEAM_APP_IDS": "480, 481,482"})
    player = await steam.verify({"ticket": ticket("ok", app="481")})
    assert [asked["appid"] for asked in fake.asked] == ["480", "481"]
    assert player.details["app_id"] == "481"


# Bans


async def test_defect_1_a_vac_ban_is_read_from_its_own_field(
    open_provider: Open, variables: dict[str, str]
) -> None:
    steam = open_provider(**variables, STEAM_VAC_BANNED="refuse")
    assert await code(steam, ticket("ok", vac=1, pub=0)) == "provider_banned"


async def test_a_vac_ban_lets_in_unless_the_policy_refuses_it(steam: IdentityProvider) -> None:
    player = await steam.verify({"ticket": ticket("ok", vac=1)})
    assert player.details["vac_banned"] == "true"


@pytest.mark.parametrize("policy", ["allow", "refuse"])
async def test_defect_1_a_publisher_s_ban_always_keeps_out(
    open_provider: Open, variables: dict[str, str], policy: str
) -> None:
    steam = open_provider(**variables, STEAM_VAC_BANNED=policy)
    assert await code(steam, ticket("ok", vac=0, pub=1)) == "provider_banned"


# Twice


async def test_the_same_ticket_in_upper_case_is_the_same(steam: IdentityProvider) -> None:
    await steam.verify({"ticket": ticket("ok")})
    assert await code(steam, ticket("ok").upper()) == "expired_credential"


async def test_a_ticket_is_remembered_for_a_day(
    steam: IdentityProvider, clock: ManualClock
) -> None:
    await steam.verify({"ticket": ticket("ok")})
    clock.advance(DAY)
    assert await code(steam, ticket("ok")) == "expired_credential"


async def test_a_ticket_that_was_refused_is_not_used_up(
    steam: IdentityProvider, fake: SteamFake
) -> None:
    fake.scenario = "e101"
    assert await code(steam, ticket("ok")) == "invalid_credential"
    fake.scenario = None
    await steam.verify({"ticket": ticket("ok")})


# Answers that make no sense are no fault of the player's


@pytest.mark.parametrize(
    "scenario",
    ["numid", "numowner", "textbans", "noparams"],
)
async def test_defect_2_an_answer_that_is_none_is_unavailable(
    steam: IdentityProvider, scenario: str
) -> None:
    assert await code(steam, ticket(scenario)) == "provider_unavailable"


@pytest.mark.parametrize("name", ["steamid", "ownersteamid", "vacbanned", "publisherbanned"])
async def test_an_answer_that_lacks_a_field_is_unavailable(
    steam: IdentityProvider, name: str
) -> None:
    assert await code(steam, ticket("ok", without=name)) == "provider_unavailable"


@pytest.mark.parametrize(
    "steam_id",
    [
        "76561197960265728",  # account 0
        "76561202255233024",  # account 2**32
        "7656119800000000",
        "765611980000000011",
        "103582791429521408",  # a group
        "-6561198000000001",
        "7656119800000000x",
        "",
    ],
)
async def test_what_is_no_player_s_id_is_unavailable(
    steam: IdentityProvider, steam_id: str
) -> None:
    assert await code(steam, ticket("ok", id=steam_id)) == "provider_unavailable"


@pytest.mark.parametrize("steam_id", ["76561197960265729", "76561202255233023"])
async def test_the_first_and_the_last_player_get_in(steam: IdentityProvider, steam_id: str) -> None:
    player = await steam.verify({"ticket": ticket("ok", id=steam_id)})
    assert player.external_id == steam_id


# Trouble


async def test_103_is_asked_again_and_may_be_good_then(
    steam: IdentityProvider, fake: SteamFake
) -> None:
    await steam.verify({"ticket": ticket("e103once")})
    assert fake.requests == 2


async def test_defect_4_103_is_asked_again_once_and_no_more(
    steam: IdentityProvider, fake: SteamFake, pauses: list[float]
) -> None:
    assert await code(steam, ticket("e103forever")) == "provider_unavailable"
    assert fake.requests == 2
    assert len(pauses) == 1


async def test_103_does_not_keep_others_out(steam: IdentityProvider) -> None:
    """A ticket may be the reason for it: whoever has one could open the breaker."""
    for _ in range(20):
        await code(steam, ticket("e103forever"))
    await steam.verify({"ticket": ticket("ok")})


@pytest.mark.parametrize("scenario", ["http400", "http401", "http403", "http404", "http405"])
async def test_a_refusal_of_our_key_is_our_fault_and_never_asked_again(
    steam: IdentityProvider, fake: SteamFake, scenario: str
) -> None:
    with capture_logs() as logs:
        assert await code(steam, ticket(scenario)) == "provider_misconfigured"
    assert fake.requests == 1
    assert logs[-1]["log_level"] == "error"
    assert logs[-1]["reason"] == scenario.replace("http", "http_")


# The key


@pytest.mark.parametrize("content", [None, "", "two\nlines", "é"])
async def test_while_the_file_cannot_be_read_the_last_key_holds(
    open_provider: Open, variables: dict[str, str], tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "steam.key"
    file.write_text(KEY)
    del variables["STEAM_KEY"]
    steam = open_provider(**variables, STEAM_KEY_FILE=str(file))
    await steam.verify({"ticket": ticket("ok", n=1)})
    file.unlink()
    if content is not None:
        file.write_text(content)
    await steam.verify({"ticket": ticket("ok", n=2)})


async def test_a_key_that_was_never_known_is_our_fault(
    open_provider: Open, variables: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "steam.key"
    file.write_text(KEY)
    del variables["STEAM_KEY"]
    steam = open_provider(**variables, STEAM_KEY_FILE=str(file))
    file.unlink()
    assert await code(steam, ticket("ok")) == "provider_misconfigured"


@pytest.mark.parametrize("scenario", ["http403", "e101", "e103forever"])
async def test_no_key_and_no_ticket_leaks(
    steam: IdentityProvider, overheard: Overheard, scenario: str
) -> None:
    hexed = ticket(scenario, n=424242)
    said = await overheard.during(steam.verify({"ticket": hexed}))
    for secret in (KEY, hexed, "127.0.0.1:"):
        assert [text for text in said if secret in text] == []


# Settings


def test_a_key_and_a_file_of_it_are_one_too_many(variables: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**variables, STEAM_KEY_FILE="/nowhere")
    assert len(caught.value.faults) == 1
