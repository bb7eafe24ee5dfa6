"""Discord: every answer that it is known to give, and what comes of it."""

import pytest
from structlog.testing import capture_logs

from services.identity.models import ExternalIdentity
from services.identity.ports import IdentityProvider
from shared import errors
from tests.providers.conftest import Open
from tests.support.clock import ManualClock
from tests.support.fakes.discord import (
    CLIENT_ID,
    ME_PATH,
    OTHER_CLIENT,
    PLAYER,
    REDIRECT_URI,
    TOKEN_PATH,
    VERIFIER,
    DiscordFake,
    code,
)
from tests.support.overheard import Overheard

SECRET = "CANARY-client-secret"


@pytest.fixture
def fake() -> DiscordFake:
    return DiscordFake(SECRET)


@pytest.fixture
def discord(open_provider: Open, variables: dict[str, str]) -> IdentityProvider:
    return open_provider(**variables)


async def login(discord: IdentityProvider, sent: str, **more: str) -> ExternalIdentity:
    return await discord.verify({"code": sent, **more})


async def refusal(
    discord: IdentityProvider, sent: str, **more: str
) -> tuple[errors.PlaymeshError, str]:
    """And its reason."""
    with capture_logs() as logs, pytest.raises(errors.PlaymeshError) as caught:
        await login(discord, sent, **more)
    return caught.value, str(logs[-1]["reason"])


async def outcome(discord: IdentityProvider, sent: str, **more: str) -> tuple[str, str]:
    """Code and reason."""
    refused, reason = await refusal(discord, sent, **more)
    return refused.code, reason


# Who it is


async def test_a_good_code_names_the_player(discord: IdentityProvider) -> None:
    assert await login(discord, code()) == ExternalIdentity("discord", PLAYER)


@pytest.mark.parametrize("player_id", ["1", "18446744073709551615"])
async def test_an_id_is_taken_as_it_is(discord: IdentityProvider, player_id: str) -> None:
    assert (await login(discord, code(id=player_id))).external_id == player_id


async def test_a_token_of_another_application_is_for_another_audience(
    discord: IdentityProvider,
) -> None:
    assert await outcome(discord, code(app=OTHER_CLIENT)) == ("wrong_audience", "application_id")


async def test_it_is_for_another_audience_whoever_it_is_of(discord: IdentityProvider) -> None:
    sent = code(app=OTHER_CLIENT, without="user")
    assert await outcome(discord, sent) == ("wrong_audience", "application_id")


async def test_a_code_without_the_scope_of_who_it_is_is_invalid(discord: IdentityProvider) -> None:
    assert await outcome(discord, code(without="user")) == ("invalid_credential", "no_user")


# What is sent


async def test_the_code_is_exchanged_in_a_form_and_nothing_else(
    discord: IdentityProvider, fake: DiscordFake
) -> None:
    sent = code(odd="a+b&c%20/|")
    await login(discord, sent)
    assert fake.forms == [
        {
            "grant_type": "authorization_code",
            "code": sent,
            "client_id": CLIENT_ID,
            "client_secret": SECRET,
            "redirect_uri": REDIRECT_URI,
        }
    ]
    assert fake.paths == [TOKEN_PATH, ME_PATH]


async def test_a_client_that_has_made_a_challenge_sends_its_verifier(
    discord: IdentityProvider, fake: DiscordFake
) -> None:
    await login(discord, code(verifier=VERIFIER), code_verifier=VERIFIER)
    assert fake.forms[0]["code_verifier"] == VERIFIER
    sent = code(verifier=VERIFIER, n=1)
    other = VERIFIER[:-1] + "l"
    assert (await outcome(discord, sent, code_verifier=other))[0] == "expired_credential"


async def test_where_codes_are_asked_for_without_a_redirect_uri_none_is_sent(
    open_provider: Open, variables: dict[str, str], fake: DiscordFake
) -> None:
    fake.redirect_uri = ""
    await login(open_provider(**variables | {"DISCORD_REDIRECT_URI": ""}), code())
    assert "redirect_uri" not in fake.forms[0]


async def test_what_a_client_says_of_the_redirect_uri_counts_for_nothing(
    discord: IdentityProvider, fake: DiscordFake
) -> None:
    await login(discord, code(), redirect_uri="https://evil.example", client_id=OTHER_CLIENT)
    assert fake.forms[0]["redirect_uri"] == REDIRECT_URI
    assert fake.forms[0]["client_id"] == CLIENT_ID


async def test_the_tokens_are_dropped_and_nothing_is_revoked(
    discord: IdentityProvider, fake: DiscordFake
) -> None:
    """Revoking one would end the player's authorization everywhere."""
    await login(discord, code())
    await login(discord, code(n=1))
    assert set(fake.paths) == {TOKEN_PATH, ME_PATH}


@pytest.mark.parametrize(
    "sent",
    [code() + " ", code() + "\n", code() + "é", "x" * 15, "x" * 513, code() + "\x7f"],
)
async def test_what_is_no_code_is_refused_without_asking_discord(
    discord: IdentityProvider, fake: DiscordFake, sent: str
) -> None:
    assert await outcome(discord, sent) == ("invalid_credential", "no_code")
    assert fake.paths == []


@pytest.mark.parametrize("verifier", ["x" * 42, "x" * 129, "x" * 42 + "/", "x" * 43 + "\n"])
async def test_what_is_no_verifier_is_refused_without_asking_discord(
    discord: IdentityProvider, fake: DiscordFake, verifier: str
) -> None:
    assert await outcome(discord, code(), code_verifier=verifier) == (
        "invalid_credential",
        "no_verifier",
    )
    assert fake.paths == []


# Refusals


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("grantonly", ("expired_credential", "invalid_grant")),
        ("oldcode", ("expired_credential", "invalid_code")),
        ("oldredirect", ("provider_misconfigured", "invalid_request")),
        ("noverifier", ("invalid_credential", "code_verifier")),
        ("requestonly", ("provider_misconfigured", "invalid_request")),
        ("badclient", ("provider_misconfigured", "invalid_client")),
        ("badclient400", ("provider_misconfigured", "invalid_client")),
        ("noclient", ("provider_misconfigured", "unauthorized_client")),
        ("othererror", ("provider_misconfigured", "other_error")),
        ("http400", ("provider_misconfigured", "http_400")),
        ("http401", ("provider_misconfigured", "http_401")),
        ("http403", ("provider_misconfigured", "http_403")),
        ("http404", ("provider_misconfigured", "http_404")),
        ("me-http401", ("invalid_credential", "http_401")),
        ("me-http403", ("provider_misconfigured", "http_403")),
        ("me-http404", ("provider_misconfigured", "http_404")),
    ],
)
async def test_what_discord_refuses_is_said_in_our_words(
    discord: IdentityProvider, fake: DiscordFake, scenario: str, expected: tuple[str, str]
) -> None:
    assert await outcome(discord, code(scenario)) == expected
    assert len(fake.paths) == len(set(fake.paths))  # nothing was asked twice


@pytest.mark.parametrize("sent", ["x" * 16, "x" * 512])
async def test_a_code_that_discord_does_not_know_looks_spent(
    discord: IdentityProvider, fake: DiscordFake, sent: str
) -> None:
    assert await outcome(discord, sent) == ("expired_credential", "invalid_grant")
    assert fake.exchanges == 1


async def test_a_redirect_uri_that_codes_are_not_asked_with_makes_them_look_spent(
    open_provider: Open, variables: dict[str, str]
) -> None:
    discord = open_provider(**variables | {"DISCORD_REDIRECT_URI": "https://game.test/other"})
    assert await outcome(discord, code()) == ("expired_credential", "invalid_grant")


# Twice


# Trouble


@pytest.mark.parametrize(
    ("scenario", "reason", "wait"),
    [
        ("limited", "http_429", 1),
        ("limitedlong", "http_429", 21),
        ("limitedall", "http_429", 30),
    ],
)
async def test_where_discord_could_not_exchange_a_code_it_says_when_to_come_back(
    discord: IdentityProvider, fake: DiscordFake, scenario: str, reason: str, wait: int
) -> None:
    refused, why = await refusal(discord, code(scenario))
    assert isinstance(refused, errors.ProviderUnavailable)
    assert (why, refused.retry_after) == (reason, wait)
    assert fake.exchanges == 1


@pytest.mark.parametrize(("scenario", "paused"), [("limited", [1]), ("limitedlong", [])])
async def test_who_it_is_is_asked_again_after_a_short_wait_and_never_sooner_than_told(
    discord: IdentityProvider,
    fake: DiscordFake,
    pauses: list[float],
    scenario: str,
    paused: list[float],
) -> None:
    assert await outcome(discord, code(f"me-{scenario}")) == ("provider_unavailable", "http_429")
    assert pauses == paused
    assert fake.paths.count(ME_PATH) == 1 + len(paused)


@pytest.mark.parametrize("trouble", ["http503", "brokenoff"])
async def test_who_it_is_is_asked_once_more(
    discord: IdentityProvider, fake: DiscordFake, trouble: str
) -> None:
    assert (await outcome(discord, code(f"me-{trouble}")))[0] == "provider_unavailable"
    assert fake.paths.count(ME_PATH) == 2
    assert fake.exchanges == 1


async def test_who_it_is_may_be_known_a_moment_later(discord: IdentityProvider) -> None:
    assert (await login(discord, code("once503"))).external_id == PLAYER


@pytest.mark.parametrize("trouble", ["html200", "list", "empty"])
async def test_an_answer_that_is_none_is_unavailable(
    discord: IdentityProvider, trouble: str
) -> None:
    assert (await outcome(discord, code(f"me-{trouble}")))[0] == "provider_unavailable"


@pytest.mark.parametrize(
    "sent",
    [
        *map(code, ["notoken", "numtoken", "linetoken", "numid", "numapp"]),
        code(without="application"),
        code(id=""),
        code(id="0"),
        code(id="007"),
        code(id="1:2"),
        code(id="1" * 21),
    ],
)
async def test_an_answer_that_lacks_what_it_must_have_is_unavailable(
    discord: IdentityProvider, sent: str
) -> None:
    assert await outcome(discord, sent) == ("provider_unavailable", "malformed")


async def test_while_discord_limits_us_it_is_not_asked(
    discord: IdentityProvider, fake: DiscordFake, clock: ManualClock
) -> None:
    """Ten thousand such answers in ten minutes, and it bans our address."""
    fake.scenario = "limited"
    for number in range(5):
        await outcome(discord, code(n=number))
    assert await outcome(discord, code(n=5)) == ("provider_unavailable", "breaker_open")
    assert fake.exchanges == 5
    fake.scenario = None
    clock.advance(10)
    await login(discord, code(n=5))


@pytest.mark.parametrize("scenario", ["grantonly", "oldcode", "noverifier", "me-http401"])
async def test_nothing_that_one_code_may_cause_keeps_everybody_out(
    discord: IdentityProvider, scenario: str
) -> None:
    for number in range(10):
        await outcome(discord, code(scenario, n=number))
    await login(discord, code())


# Secrets


LEAKY = "ok grantonly oldcode badclient limited linetoken numid me-http401 me-http403 me-cut"
LEAKY += " me-brokenoff me-http503 me-limited"


@pytest.mark.parametrize("scenario", LEAKY.split())
async def test_no_secret_no_code_and_no_token_leaks(
    discord: IdentityProvider, overheard: Overheard, scenario: str
) -> None:
    sent = code(scenario, n=424242, verifier=VERIFIER)
    said = await overheard.during(login(discord, sent, code_verifier=VERIFIER))
    for secret in (SECRET, sent, "424242", VERIFIER, "CANARY", "127.0.0.1:"):
        assert [text for text in said if secret in text] == []


async def test_no_secret_is_in_a_url(discord: IdentityProvider, fake: DiscordFake) -> None:
    await login(discord, code())
    assert [path for path in fake.paths if "?" in path or "CANARY" in path] == []
