"""Play Games: every answer that Google is known to give, and what comes of it."""

import pytest
from structlog.testing import capture_logs

from services.identity.models import ExternalIdentity
from services.identity.ports import IdentityProvider
from shared import errors
from tests.providers.conftest import Open
from tests.support.fakes.google_play import (
    APPLICATION,
    PLAYER,
    PLAYER_PATH,
    TOKEN_PATH,
    GooglePlayFake,
    code,
)
from tests.support.overheard import Overheard

SECRET = "GOCSPX-CANARY0123456789"
VERIFY_PATH = f"/games/v1/applications/{APPLICATION}/verify"


@pytest.fixture
def fake() -> GooglePlayFake:
    return GooglePlayFake(SECRET)


@pytest.fixture
def play(open_provider: Open, variables: dict[str, str]) -> IdentityProvider:
    return open_provider(**variables)


async def login(play: IdentityProvider, sent: str) -> ExternalIdentity:
    return await play.verify({"server_auth_code": sent})


async def refusal(play: IdentityProvider, sent: str) -> errors.PlaymeshError:
    with pytest.raises(errors.PlaymeshError) as caught:
        await login(play, sent)
    return caught.value


async def refused(play: IdentityProvider, sent: str) -> str:
    return (await refusal(play, sent)).code


# Who it is


async def test_a_good_code_names_the_player_of_our_application(play: IdentityProvider) -> None:
    assert await login(play, code()) == ExternalIdentity(
        "google_play", f"{APPLICATION}:{PLAYER}", {"player_id": PLAYER}
    )


@pytest.mark.parametrize("player_id", ["1234567890123456789", "g0123", "007", "A_b-.~", "x" * 128])
async def test_an_id_is_taken_as_it_is(play: IdentityProvider, player_id: str) -> None:
    player = await login(play, code(id=player_id))
    assert player.external_id == f"{APPLICATION}:{player_id}"


async def test_defect_12_an_id_from_before_is_handed_over(play: IdentityProvider) -> None:
    player = await login(play, code(original="g01234567890123456789"))
    assert player.external_id == f"{APPLICATION}:{PLAYER}"
    assert player.details["original_player_id"] == "g01234567890123456789"
    assert player.former == f"{APPLICATION}:g01234567890123456789"


@pytest.mark.parametrize("original", [PLAYER, ""])
async def test_an_id_from_before_that_is_none_is_not(play: IdentityProvider, original: str) -> None:
    player = await login(play, code(original=original))
    assert "original_player_id" not in player.details
    assert player.former is None


# What is sent


async def test_the_code_is_encoded_once_and_in_a_body(
    play: IdentityProvider, fake: GooglePlayFake
) -> None:
    await login(play, "4/0Aok;n=1")
    assert "code=4%2F0Aok%3Bn%3D1&" in fake.bodies[0]
    assert fake.paths == [TOKEN_PATH, PLAYER_PATH, VERIFY_PATH]


async def test_no_secret_is_in_a_url(play: IdentityProvider, fake: GooglePlayFake) -> None:
    await login(play, code())
    assert [path for path in fake.paths if "?" in path or "CANARY" in path] == []


async def test_a_code_that_the_client_has_encoded_is_refused(play: IdentityProvider) -> None:
    assert await refused(play, code().replace("/", "%2F")) == "invalid_credential"


async def test_the_redirect_uri_is_empty_unless_it_is_set(
    open_provider: Open, variables: dict[str, str], fake: GooglePlayFake
) -> None:
    await login(open_provider(**variables), code())
    assert fake.bodies[0].endswith("&redirect_uri=")
    play = open_provider(**variables, GOOGLE_PLAY_REDIRECT_URI="https://game.test/back")
    assert await refused(play, code(n=1)) == "provider_misconfigured"
    assert fake.bodies[1].endswith("&redirect_uri=https%3A%2F%2Fgame.test%2Fback")


# Another application's


async def test_a_code_of_another_application_is_for_another_audience(
    play: IdentityProvider,
) -> None:
    assert await refused(play, code(app=570)) == "wrong_audience"


async def test_where_google_does_not_find_it_either(play: IdentityProvider) -> None:
    assert await refused(play, code("notfound", app=570)) == "wrong_audience"


async def test_a_code_that_another_client_was_given_is_for_another_audience(
    play: IdentityProvider,
) -> None:
    assert await refused(play, code("otherclient")) == "wrong_audience"


async def test_the_application_is_not_asked_for_where_the_policy_says_so(
    open_provider: Open, variables: dict[str, str], fake: GooglePlayFake
) -> None:
    await login(open_provider(**variables, GOOGLE_PLAY_VERIFY="false"), code(app=570))
    assert fake.paths == [TOKEN_PATH, PLAYER_PATH]


# Refusals of codes


@pytest.mark.parametrize("sent", ["4/0A ok", "4/0Aok\n", "é", "4" * 1025, "\x7f"])
async def test_what_is_no_code_is_refused_without_asking_google(
    play: IdentityProvider, fake: GooglePlayFake, sent: str
) -> None:
    assert await refused(play, sent) == "invalid_credential"
    assert fake.exchanges == 0


async def test_the_longest_code_is_asked_about(
    play: IdentityProvider, fake: GooglePlayFake
) -> None:
    assert await refused(play, "4" * 1024) == "invalid_credential"
    assert fake.exchanges == 1


@pytest.mark.parametrize(
    ("scenario", "expected", "reason"),
    [
        ("malformed", "invalid_credential", "malformed_code"),
        ("used", "expired_credential", "invalid_grant"),
        ("redeemed", "expired_credential", "invalid_grant"),
        ("grantonly", "expired_credential", "invalid_grant"),
        ("mismatch", "provider_misconfigured", "redirect_uri_mismatch"),
        ("badclient", "provider_misconfigured", "invalid_client"),
        ("badclient400", "provider_misconfigured", "invalid_client"),
        ("othererror", "provider_misconfigured", "other_error"),
        ("http404", "provider_misconfigured", "http_404"),
        ("games-http401", "invalid_credential", "http_401"),
        ("games-noscope", "invalid_credential", "http_403"),
        ("games-bare403", "invalid_credential", "http_403"),
        ("games-disabled", "provider_misconfigured", "not_enabled"),
        ("games-http400", "provider_misconfigured", "http_400"),
        ("games-http404", "provider_misconfigured", "http_404"),
        ("games-quota", "provider_unavailable", "quota"),
        ("verify-http401", "invalid_credential", "http_401"),
        ("verify-bare403", "wrong_audience", "http_403"),
        ("verify-disabled", "provider_misconfigured", "not_enabled"),
        ("verify-quota", "provider_unavailable", "quota"),
    ],
)
async def test_what_google_refuses_is_said_in_our_words(
    play: IdentityProvider, fake: GooglePlayFake, scenario: str, expected: str, reason: str
) -> None:
    with capture_logs() as logs:
        assert await refused(play, code(scenario)) == expected
    assert logs[-1]["reason"] == reason
    assert len(fake.paths) == len(set(fake.paths))  # nothing was asked twice


# Twice


# Trouble


@pytest.mark.parametrize("path", ["games", "verify"])
@pytest.mark.parametrize("trouble", ["http503", "brokenoff"])
async def test_who_it_is_is_asked_once_more(
    play: IdentityProvider, fake: GooglePlayFake, path: str, trouble: str
) -> None:
    assert await refused(play, code(f"{path}-{trouble}")) == "provider_unavailable"
    assert fake.paths.count(VERIFY_PATH if path == "verify" else PLAYER_PATH) == 2
    assert fake.exchanges == 1


async def test_who_it_is_may_be_known_a_moment_later(play: IdentityProvider) -> None:
    assert (await login(play, code("once503"))).external_id == f"{APPLICATION}:{PLAYER}"


@pytest.mark.parametrize("path", ["games-", "verify-"])
@pytest.mark.parametrize("trouble", ["html200", "list", "empty"])
async def test_an_answer_that_is_none_is_unavailable(
    play: IdentityProvider, path: str, trouble: str
) -> None:
    assert await refused(play, code(path + trouble)) == "provider_unavailable"


@pytest.mark.parametrize(
    "sent",
    [
        *map(code, ["notoken", "numtoken", "linetoken", "numid", "numoriginal", "noid"]),
        code(id=""),
        code(id="a+b"),  # a space, in the fake
        code(id="x" * 129),
        code(original="a+b"),
    ],
)
async def test_an_answer_that_lacks_what_it_must_have_is_unavailable(
    play: IdentityProvider, sent: str
) -> None:
    with capture_logs() as logs:
        assert await refused(play, sent) == "provider_unavailable"
    assert logs[-1]["reason"] == "malformed"


# Secrets


LEAKY = "malformed used badclient linetoken numid games-http401 games-disabled games-cut"
LEAKY += " games-brokenoff games-http503 verify-bare403"


@pytest.mark.parametrize("scenario", LEAKY.split())
async def test_no_secret_no_code_and_no_access_token_leaks(
    play: IdentityProvider, overheard: Overheard, scenario: str
) -> None:
    sent = code(scenario, n=424242)
    said = await overheard.during(login(play, sent))
    for secret in (SECRET, sent, "424242", "CANARY", "127.0.0.1:"):
        assert [text for text in said if secret in text] == []
