"""Play Games: every answer that Google is known to give, and what comes of it."""

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
from tests.support.fakes.google_play import (
    ACCESS_TOKEN,
    APPLICATION,
    CLIENT_ID,
    PLAYER,
    PLAYER_PATH,
    TOKEN_PATH,
    GooglePlayFake,
    code,
)
from tests.support.platforms import read

SECRET = "GOCSPX-CANARY0123456789"
VERIFY_PATH = f"/games/v1/applications/{APPLICATION}/verify"


@pytest.fixture
def fake() -> GooglePlayFake:
    return GooglePlayFake(SECRET)


@pytest.fixture
async def url(fake: GooglePlayFake) -> AsyncIterator[str]:
    async with fake.serving() as url:
        yield url


@pytest.fixture
def variables(url: str) -> dict[str, str]:
    return {
        "PROVIDERS": "google_play",
        "GOOGLE_PLAY_OAUTH_URL": url,
        "GOOGLE_PLAY_GAMES_URL": url,
        "GOOGLE_PLAY_CLIENT_ID": CLIENT_ID,
        "GOOGLE_PLAY_CLIENT_SECRET": SECRET,
        "GOOGLE_PLAY_APPLICATION_ID": APPLICATION,
    }


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


@pytest.mark.parametrize("credential", [{}, {"server_auth_code": ""}, {"id_token": "x"}])
async def test_a_credential_without_a_code_is_a_bad_request(
    play: IdentityProvider, credential: dict[str, str]
) -> None:
    with pytest.raises(errors.InvalidRequest):
        await play.verify(credential)


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


async def test_a_code_is_good_once(play: IdentityProvider) -> None:
    await login(play, code())
    assert await refused(play, code()) == "expired_credential"


async def test_of_many_that_come_with_one_code_at_once_one_gets_in(play: IdentityProvider) -> None:
    outcomes = await asyncio.gather(
        *(login(play, code()) for _ in range(20)), return_exceptions=True
    )
    assert [type(one) for one in outcomes if not isinstance(one, errors.ExpiredCredential)] == [
        ExternalIdentity
    ]


# Trouble


@pytest.mark.parametrize("scenario", ["http429", "http500", "http503"])
async def test_where_google_could_not_exchange_a_code_it_is_unavailable_and_not_asked_again(
    play: IdentityProvider, fake: GooglePlayFake, scenario: str
) -> None:
    assert await refused(play, code(scenario)) == "provider_unavailable"
    assert fake.exchanges == 1


@pytest.mark.parametrize("scenario", ["slow", "reset", "brokenoff"])
async def test_a_code_that_may_be_spent_is_expired_and_not_sent_again(
    play: IdentityProvider, fake: GooglePlayFake, scenario: str
) -> None:
    assert await refused(play, code(scenario)) == "expired_credential"
    assert fake.exchanges == 1


async def test_where_no_connection_is_made_the_code_is_not_spent_and_is_tried_twice(
    open_provider: Open, variables: dict[str, str], pauses: list[float]
) -> None:
    play = open_provider(**variables | {"GOOGLE_PLAY_OAUTH_URL": "http://127.0.0.1:1"})
    assert await refused(play, code()) == "provider_unavailable"
    assert [0.2 <= pause <= 0.5 for pause in pauses] == [True]


@pytest.mark.parametrize("path", ["games", "verify"])
@pytest.mark.parametrize("trouble", ["http429", "http500", "http503", "slow", "reset", "brokenoff"])
async def test_who_it_is_is_asked_once_more(
    play: IdentityProvider, fake: GooglePlayFake, path: str, trouble: str
) -> None:
    assert await refused(play, code(f"{path}-{trouble}")) == "provider_unavailable"
    assert fake.paths.count(VERIFY_PATH if path == "verify" else PLAYER_PATH) == 2
    assert fake.exchanges == 1


async def test_who_it_is_may_be_known_a_moment_later(play: IdentityProvider) -> None:
    assert (await login(play, code("once503"))).external_id == f"{APPLICATION}:{PLAYER}"


@pytest.mark.parametrize("path", ["", "games-", "verify-"])
@pytest.mark.parametrize("trouble", ["html200", "cut", "twice", "huge", "list", "redirect"])
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


async def test_while_google_is_down_it_is_not_asked(
    play: IdentityProvider, fake: GooglePlayFake, clock: ManualClock
) -> None:
    for number in range(5):
        await refused(play, code("http503", n=number))
    late = await refusal(play, code(n=5))
    assert isinstance(late, errors.ProviderUnavailable)
    assert (late.retry_after, fake.exchanges) == (10, 5)
    clock.advance(10)
    await login(play, code(n=5))


# Secrets


async def test_a_secret_in_a_file_is_replaced_without_a_restart(
    open_provider: Open, variables: dict[str, str], fake: GooglePlayFake, tmp_path: Path
) -> None:
    file = tmp_path / "google.secret"
    file.write_text(f"{SECRET}\n")
    del variables["GOOGLE_PLAY_CLIENT_SECRET"]
    play = open_provider(**variables, GOOGLE_PLAY_CLIENT_SECRET_FILE=str(file))
    await login(play, code(n=1))
    fake.secret = "another-secret"
    assert await refused(play, code(n=2)) == "provider_misconfigured"
    file.write_text("another-secret")
    await login(play, code(n=2))


LEAKY = "ok malformed used badclient http404 slow cut html200 reset brokenoff http503 redirect huge"
LEAKY += (
    " linetoken games-http401 games-disabled games-slow games-cut games-brokenoff games-http503"
)
LEAKY += " games-redirect numid verify-bare403 verify-slow"


@pytest.mark.parametrize("scenario", LEAKY.split())
async def test_no_secret_no_code_and_no_access_token_leaks(
    play: IdentityProvider, scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = code(scenario, n=424242)
    with capture_logs() as logs:
        (outcome,) = await asyncio.gather(login(play, sent), return_exceptions=True)
    texts = [repr(outcome), repr(logs), generate_latest(REGISTRY).decode(), repr(play)]
    texts += capsys.readouterr()
    if isinstance(outcome, errors.PlaymeshError):
        texts += ["".join(traceback.format_exception(outcome)), str(outcome.detail)]
        # Not only hidden from a traceback: it is not there.
        assert outcome.__context__ is None
        assert outcome.__cause__ is None
    for secret in (SECRET, sent, "424242", ACCESS_TOKEN, "127.0.0.1:"):
        assert [text for text in texts if secret in text] == []


def test_settings_do_not_show_the_secret(variables: dict[str, str]) -> None:
    assert SECRET not in repr(read(**variables))


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GOOGLE_PLAY_CLIENT_ID", ""),
        ("GOOGLE_PLAY_CLIENT_SECRET", ""),
        ("GOOGLE_PLAY_CLIENT_SECRET", "two\nlines"),
        ("GOOGLE_PLAY_APPLICATION_ID", ""),
        ("GOOGLE_PLAY_APPLICATION_ID", "game"),
        ("GOOGLE_PLAY_APPLICATION_ID", "1/../2"),
        ("GOOGLE_PLAY_APPLICATION_ID", "1" * 21),
        ("GOOGLE_PLAY_OAUTH_URL", "http://oauth2.googleapis.com"),
        ("GOOGLE_PLAY_GAMES_URL", "http://games.googleapis.com"),
        ("GOOGLE_PLAY_VERIFY", "maybe"),
    ],
)
def test_a_setting_that_is_wrong_or_missing_is_a_fault_by_its_name(
    variables: dict[str, str], name: str, value: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**variables | {name: value})
    assert [fault.split(":")[0] for fault in caught.value.faults] == [f"PLAYMESH_{name}"]
    assert SECRET not in str(caught.value)


def test_defect_12_the_hosts_are_those_of_today(variables: dict[str, str]) -> None:
    del variables["GOOGLE_PLAY_OAUTH_URL"], variables["GOOGLE_PLAY_GAMES_URL"]
    text = repr(read(**variables))
    assert "'https://oauth2.googleapis.com'" in text
    assert "'https://games.googleapis.com'" in text
