"""Game Center: what is signed, who has signed it, and whom Apple is asked for it how often."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from services.identity.models import ExternalIdentity
from services.identity.ports import IdentityProvider
from services.identity.providers.game_center import GameCenterSettings, signed_bytes
from shared import errors
from shared.clock import to_millis
from shared.env import SettingsError
from tests.providers.conftest import Open
from tests.support.clock import ManualClock
from tests.support.fakes.game_center import (
    BUNDLE,
    GAME_PLAYER,
    PATH,
    PLAYER,
    SALT,
    TEAM,
    GameCenterFake,
    ca_pem,
    certificate,
)
from tests.support.overheard import Overheard
from tests.support.platforms import read

ARCADE = "com.example.arcade"
HOUR, DAY = 3600, 86_400


@pytest.fixture
def fake(clock: ManualClock) -> GameCenterFake:
    return GameCenterFake(clock)


@pytest.fixture
def variables(fake: GameCenterFake, url: str, tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "issuers.pem"
    file.write_bytes(ca_pem())
    return {
        **fake.settings(url),
        "GAME_CENTER_BUNDLE_IDS": f"{BUNDLE},com.example.demo,{ARCADE}",
        "GAME_CENTER_ARCADE_BUNDLE_IDS": ARCADE,
        "GAME_CENTER_CA_FILE": str(file),
    }


@pytest.fixture
def game_center(open_provider: Open, variables: dict[str, str]) -> IdentityProvider:
    return open_provider(**variables)


def trust(variables: dict[str, str], issuers: bytes) -> None:
    Path(variables["GAME_CENTER_CA_FILE"]).write_bytes(issuers)


async def outcome(game_center: IdentityProvider, credential: dict[str, str]) -> tuple[str, str]:
    """Code and reason of its refusal."""
    with capture_logs() as logs, pytest.raises(errors.PlaymeshError) as caught:
        await game_center.verify(credential)
    return caught.value.code, str(logs[-1]["reason"])


# Who it is


async def test_what_apple_has_signed_names_the_player_of_our_team(
    game_center: IdentityProvider, fake: GameCenterFake
) -> None:
    assert await game_center.verify(fake.credential()) == ExternalIdentity(
        "game_center", f"{TEAM}:{PLAYER}", {"player_id": PLAYER, "bundle_id": BUNDLE}
    )


async def test_all_games_of_a_team_know_the_player_by_one_id(
    game_center: IdentityProvider, fake: GameCenterFake
) -> None:
    identity = await game_center.verify(fake.credential(bundle_id="com.example.demo"))
    assert identity.external_id == f"{TEAM}:{PLAYER}"


async def test_an_id_of_one_game_is_of_its_bundle(
    game_center: IdentityProvider, fake: GameCenterFake
) -> None:
    credential = fake.credential(game_player_id=GAME_PLAYER, bundle_id=ARCADE)
    identity = await game_center.verify(credential)
    assert identity.external_id == f"{ARCADE}:{GAME_PLAYER}"


async def test_the_same_text_as_a_team_s_and_as_a_game_s_id_is_two_players(
    game_center: IdentityProvider, fake: GameCenterFake
) -> None:
    of_team = await game_center.verify(fake.credential(team_player_id="1"))
    of_game = await game_center.verify(fake.credential(game_player_id="1", bundle_id=ARCADE))
    assert of_team.external_id != of_game.external_id


async def test_two_ids_are_a_bad_request_since_one_of_them_is_not_signed(
    game_center: IdentityProvider, fake: GameCenterFake
) -> None:
    credential = fake.credential() | {"game_player_id": GAME_PLAYER}
    assert await outcome(game_center, credential) == ("invalid_request", "two_ids")


@pytest.mark.parametrize("player_id", ["x", "x" * 128, "T:_é", "a b"])
async def test_an_id_of_up_to_128_printable_characters_is_taken_as_it_is(
    game_center: IdentityProvider, fake: GameCenterFake, player_id: str
) -> None:
    identity = await game_center.verify(fake.credential(team_player_id=player_id))
    assert identity.external_id == f"{TEAM}:{player_id}"


@pytest.mark.parametrize("player_id", ["x" * 129, "T:_\n", "\0"])
async def test_any_other_id_is_none(
    game_center: IdentityProvider, fake: GameCenterFake, player_id: str
) -> None:
    credential = fake.credential(team_player_id=player_id)
    assert await outcome(game_center, credential) == ("invalid_credential", "player_id")


@pytest.mark.parametrize(
    "name",
    ["team_player_id", "bundle_id", "public_key_url", "signature", "salt", "timestamp"],
)
async def test_a_part_that_is_missing_is_a_bad_request(
    game_center: IdentityProvider, fake: GameCenterFake, name: str
) -> None:
    credential = fake.credential()
    del credential[name]
    assert await outcome(game_center, credential) == ("invalid_request", "incomplete")


# What is signed


def test_the_bytes_are_those_that_apple_signs() -> None:
    """The vector was computed elsewhere."""
    signed = signed_bytes(PLAYER, BUNDLE, 1767222000123, SALT)
    assert signed.hex() == (
        "543a5f3031323334353637383961626364656630313233343536373839616263646566636f6d2e657861"
        "6d706c652e67616d650000019b76a3b9fb0a1b2c3d"
    )
    assert hashlib.sha256(signed).hexdigest() == (
        "cb5bc8f86986f8795766f1adeedf1f8412c0acf8926f86bc8a7acdf58c531f6b"
    )


@pytest.mark.parametrize(
    "at", [1769526525539, 1769526525540, 1769526525800, 1769526525951, 1769526525952]
)
async def test_where_the_high_word_of_the_time_changes_a_signature_holds_as_well(
    game_center: IdentityProvider, fake: GameCenterFake, clock: ManualClock, at: int
) -> None:
    """Elsewhere it is divided by one too few, and for 0.4 s every 49.7 days nobody gets in."""
    clock.advance((at - to_millis(clock.now())) / 1000)
    await game_center.verify(fake.credential(at=at))


@pytest.mark.parametrize(
    "signing",
    [
        {"order": "bpts"},
        {"order": "pbst"},
        {"order": "spbt"},
        {"time": "<Q"},
        {"time": ">d"},
        {"time": "seconds"},
    ],
)
async def test_other_bytes_in_a_signature_do_not_hold(
    game_center: IdentityProvider, fake: GameCenterFake, signing: dict[str, str]
) -> None:
    credential = fake.credential(**signing)
    assert await outcome(game_center, credential) == ("invalid_credential", "signature")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("team_player_id", PLAYER[:-1] + "0"),
        ("bundle_id", "com.example.demo"),
        ("salt", "ChssPg=="),
        ("signature", "AAAA"),
    ],
)
async def test_no_part_may_be_another_than_was_signed(
    game_center: IdentityProvider, fake: GameCenterFake, name: str, value: str
) -> None:
    credential = fake.credential() | {name: value}
    assert await outcome(game_center, credential) == ("invalid_credential", "signature")


async def test_a_player_has_one_id_where_one_bundle_id_ends_with_another(
    open_provider: Open, variables: dict[str, str], fake: GameCenterFake
) -> None:
    """Else a part of the longer one would pass for the end of an id: somebody whom no ban is of."""
    front, _, short = BUNDLE.partition(".")
    variables["GAME_CENTER_ARCADE_BUNDLE_IDS"] = ""
    game_center = open_provider(**variables | {"GAME_CENTER_BUNDLE_IDS": f"{short},{BUNDLE}"})
    credential = fake.credential()
    moved = {"bundle_id": short, "team_player_id": f"{PLAYER}{front}."}
    assert await outcome(game_center, credential | moved) == ("invalid_credential", "player_id")
    assert (await game_center.verify(credential)).external_id == f"{TEAM}:{PLAYER}"
    of_short = await game_center.verify(fake.credential(bundle_id=short))
    assert of_short.external_id == f"{TEAM}:{PLAYER}"


async def test_the_time_may_not_be_another_than_was_signed(
    game_center: IdentityProvider, fake: GameCenterFake
) -> None:
    credential = fake.credential()
    credential["timestamp"] = str(int(credential["timestamp"]) - 1)
    assert await outcome(game_center, credential) == ("invalid_credential", "signature")


@pytest.mark.parametrize(
    ("bundle_id", "sent", "called"),
    [
        (BUNDLE, "team_player_id", "game_player_id"),
        (ARCADE, "game_player_id", "team_player_id"),
    ],
)
async def test_who_is_banned_by_the_one_id_does_not_come_with_it_as_the_other(
    game_center: IdentityProvider, fake: GameCenterFake, bundle_id: str, sent: str, called: str
) -> None:
    """Which it is, is not signed: a game has ids of one kind."""
    credential = fake.credential(bundle_id=bundle_id, **{sent: PLAYER})
    credential[called] = credential.pop(sent)
    assert await outcome(game_center, credential) == ("wrong_audience", "kind_of_id")


async def test_another_game_s_signature_is_for_another_audience(
    game_center: IdentityProvider, fake: GameCenterFake
) -> None:
    credential = fake.credential(bundle_id="com.other.game")
    assert await outcome(game_center, credential) == ("wrong_audience", "bundle_id")


@pytest.mark.parametrize("name", ["signature", "salt"])
@pytest.mark.parametrize("value", ["A", "_-_-", "é", "AAAA\n", "A" * 1028])
async def test_what_is_no_base64_or_too_long_is_refused_without_asking_apple(
    game_center: IdentityProvider, fake: GameCenterFake, name: str, value: str
) -> None:
    credential = fake.credential() | {name: value}
    assert await outcome(game_center, credential) == ("invalid_credential", "base64")
    assert fake.requests == 0


# When it was signed


@pytest.mark.parametrize("age", [299.999, 0, -60])
async def test_what_was_signed_up_to_five_minutes_ago_holds_on_clocks_a_minute_apart(
    game_center: IdentityProvider, fake: GameCenterFake, clock: ManualClock, age: float
) -> None:
    await game_center.verify(fake.credential(at=to_millis(clock.now() - timedelta(seconds=age))))


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (300, ("expired_credential", "too_old")),
        (DAY, ("expired_credential", "too_old")),
        (-60.001, ("invalid_credential", "not_yet_valid")),
    ],
)
async def test_what_was_signed_before_or_later_does_not_and_apple_is_not_asked(
    game_center: IdentityProvider,
    fake: GameCenterFake,
    clock: ManualClock,
    age: float,
    expected: tuple[str, str],
) -> None:
    credential = fake.credential(at=to_millis(clock.now() - timedelta(seconds=age)))
    assert await outcome(game_center, credential) == expected
    assert fake.requests == 0


async def test_a_time_in_seconds_is_long_ago(
    game_center: IdentityProvider, fake: GameCenterFake, clock: ManualClock
) -> None:
    credential = fake.credential(at=to_millis(clock.now()) // 1000)
    assert await outcome(game_center, credential) == ("expired_credential", "too_old")


@pytest.mark.parametrize(
    "timestamp", ["x", "-1", "1e12", "1767222000123.0", "\u0661", "1" * 16, " 1"]
)
async def test_what_is_no_time_is_refused(
    game_center: IdentityProvider, fake: GameCenterFake, timestamp: str
) -> None:
    credential = fake.credential() | {"timestamp": timestamp}
    assert await outcome(game_center, credential) == ("invalid_credential", "timestamp")


# Twice


async def test_what_was_signed_is_good_once(
    game_center: IdentityProvider, fake: GameCenterFake
) -> None:
    await game_center.verify(fake.credential())
    assert await outcome(game_center, fake.credential()) == ("expired_credential", "replayed")


@pytest.mark.parametrize("scenario", ["other", "pem"])
async def test_not_even_with_another_certificate(
    game_center: IdentityProvider, fake: GameCenterFake, scenario: str
) -> None:
    """What is signed counts: the rest is the sender's."""
    await game_center.verify(fake.credential())
    credential = fake.credential(scenario)
    assert await outcome(game_center, credential) == ("expired_credential", "replayed")


async def test_one_that_is_refused_uses_nothing_up(
    game_center: IdentityProvider, fake: GameCenterFake
) -> None:
    await outcome(game_center, fake.credential() | {"signature": "AAAA"})
    await game_center.verify(fake.credential())


# Where the certificate is


EVIL = [
    "https://static.gc.apple.com.evil.example{path}",
    "https://static.gc.apple.com@evil.example{path}",
    "https://evil.example/?{path}",
    "https://evil.example/static.gc.apple.com{path}",
    "https://evil.example#https://static.gc.apple.com{path}",
    "https://user:word@static.gc.apple.com{path}",
    "https://static.gc.apple.com:443{path}",
    "https://static.gc.apple.com:8443{path}",
    "https://static.gc.apple.com.{path}",
    "https://sandbox.gc.apple.com{path}",
    "https://gc.apple.com{path}",
    "http://static.gc.apple.com{path}",
    "HTTPS://static.gc.apple.com{path}",
    "https://STATIC.gc.apple.com{path}",
    "https:/static.gc.apple.com{path}",
    "https://static.gc.apple.com/{path}",
    "https://static.gc.apple.com\\{path}",
    "https://static.gc.apple.com/x/..{path}",
    "https://static.gc.apple.com{path}?x",
    "https://static.gc.apple.com{path}#x",
    "https://static.gc.apple.com{path}{path}",
    "https://static.gc.apple.com{path}\n",
    "\nhttps://static.gc.apple.com{path}",
    " https://static.gc.apple.com{path}",
    "file:///etc{path}",
    "{path}",
    "https://static.gc.apple.com",
    "https://static.gc.apple.com/public-key/gc-prod-.cer",
    "https://static.gc.apple.com/public-key/gc-prod-1000.cer",
    "https://static.gc.apple.com/public-key/gc-prod-01.cer",
    "https://static.gc.apple.com/public-key/gc-prod--1.cer",
    "https://static.gc.apple.com/public-key/gc-prod-\u0661.cer",
    "https://static.gc.apple.com/public-key/gc-prod-1.cer/",
    "https://static.gc.apple.com/public-key/gc-prod-1.pem",
    "https://static.gc.apple.com/public-key/gc-prod-1xcer",
    "https://static.gc.apple.com/public-key/gc-sb-1.cer",
    "https://static.gc.apple.com/public-key/../gc-prod-1.cer",
    "https://static.gc.apple.com/public-key/gc-prod-%31.cer",
]


@pytest.mark.parametrize("text", EVIL)
async def test_only_apple_s_own_url_is_asked(
    open_provider: Open, variables: dict[str, str], fake: GameCenterFake, text: str
) -> None:
    """Nothing here can be reached: were one asked, it would be unavailable."""
    del variables["GAME_CENTER_URL"]
    game_center = open_provider(**variables)
    credential = fake.credential(public_key_url=text.replace("{path}", PATH.format(number=1)))
    assert await outcome(game_center, credential) == ("invalid_credential", "url")


async def test_apple_s_own_url_is_one(
    open_provider: Open, variables: dict[str, str], fake: GameCenterFake
) -> None:
    del variables["GAME_CENTER_URL"]
    url = "https://static.gc.apple.com" + PATH.format(number=999)
    (code, _) = await outcome(open_provider(**variables), fake.credential(public_key_url=url))
    assert code == "provider_unavailable"  # there is no way to it from here


async def test_a_redirect_is_not_followed(
    game_center: IdentityProvider, fake: GameCenterFake
) -> None:
    assert await outcome(game_center, fake.credential("redirect")) == (
        "provider_unavailable",
        "redirect",
    )
    assert fake.requests == 1


# Who has issued it


@pytest.mark.parametrize("scenario", ["ok", "pem", "anyuse", "nouse", "largest"])
async def test_a_certificate_of_the_issuer_holds_in_both_encodings(
    game_center: IdentityProvider, fake: GameCenterFake, scenario: str
) -> None:
    await game_center.verify(fake.credential(scenario))


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("unknownca", "certificate_issuer"),
        ("otherissuer", "certificate_issuer"),
        ("itself", "certificate_issuer"),
        ("server", "certificate_usage"),
        ("expired", "certificate_dates"),
        ("notyet", "certificate_dates"),
        ("small", "certificate_key"),
        ("ec", "certificate_key"),
        ("http404", "no_certificate"),
        ("http410", "no_certificate"),
    ],
)
async def test_any_other_certificate_does_not(
    game_center: IdentityProvider, fake: GameCenterFake, scenario: str, reason: str
) -> None:
    """The first time and from memory."""
    for _ in range(2):
        credential = fake.credential(scenario)
        assert await outcome(game_center, credential) == ("invalid_credential", reason)
    assert fake.requests == 1


async def test_a_certificate_that_was_known_to_be_good_ends_all_the_same(
    game_center: IdentityProvider, fake: GameCenterFake, clock: ManualClock
) -> None:
    fake.headers = {"Cache-Control": f"max-age={DAY}"}
    until = datetime(2027, 1, 2, tzinfo=UTC)
    clock.advance((until - clock.now()).total_seconds())
    await game_center.verify(fake.credential())
    clock.advance(0.001)
    assert await outcome(game_center, fake.credential()) == (
        "invalid_credential",
        "certificate_dates",
    )
    assert fake.requests == 1


async def test_an_issuer_whose_own_time_is_over_is_none(
    open_provider: Open, variables: dict[str, str], fake: GameCenterFake
) -> None:
    trust(variables, ca_pem(until_year=2026))
    assert await outcome(open_provider(**variables), fake.credential()) == (
        "invalid_credential",
        "certificate_dates",
    )


async def test_there_may_be_several_issuers(
    open_provider: Open, variables: dict[str, str], fake: GameCenterFake
) -> None:
    trust(variables, ca_pem("other-ca") + ca_pem())
    await open_provider(**variables).verify(fake.credential())


def test_the_issuer_that_comes_along_is_the_one_that_a_root_of_everybody_s_has_signed(
    variables: dict[str, str],
) -> None:
    del variables["GAME_CENTER_CA_FILE"]
    (settings,) = read(**variables).platforms.values()
    assert isinstance(settings, GameCenterSettings)
    (issuer,) = settings.issuers
    assert issuer.fingerprint(hashes.SHA256()).hex() == (
        "46011ede1c147eb2bc731a539b7c047b7ee93e48b9d3c3ba710ce132bbdfac6b"
    )
    texts = Path(certifi.where()).read_text("ascii").split("\n\n")
    (root,) = (text for text in texts if "DigiCert Trusted Root G4" in text)
    issuer.verify_directly_issued_by(x509.load_pem_x509_certificate(root.encode()))


async def test_the_issuer_that_comes_along_has_not_issued_ours(
    open_provider: Open, variables: dict[str, str], fake: GameCenterFake
) -> None:
    del variables["GAME_CENTER_CA_FILE"]
    assert await outcome(open_provider(**variables), fake.credential()) == (
        "invalid_credential",
        "certificate_issuer",
    )


# How often Apple is asked


@pytest.mark.parametrize(
    ("cache_control", "kept"),
    [
        ("", HOUR),
        ("max-age=7200", 2 * HOUR),
        ("public, max-age=60", 300),
        ("max-age=0", 300),
        ("max-age=999999999", DAY),
    ],
)
async def test_a_certificate_is_kept_as_long_as_apple_says_within_bounds(
    game_center: IdentityProvider,
    fake: GameCenterFake,
    clock: ManualClock,
    cache_control: str,
    kept: int,
) -> None:
    fake.headers = {"Cache-Control": cache_control} if cache_control else {}
    await game_center.verify(fake.credential())
    clock.advance(kept - 0.001)
    await game_center.verify(fake.credential())
    assert fake.requests == 1
    clock.advance(0.001)
    await game_center.verify(fake.credential())
    assert fake.requests == 2


@pytest.mark.parametrize(("scenario", "kept"), [("http404", 300), ("unknownca", 300), ("html", 60)])
async def test_that_there_is_no_good_one_is_kept_as_well(
    game_center: IdentityProvider,
    fake: GameCenterFake,
    clock: ManualClock,
    scenario: str,
    kept: int,
) -> None:
    fake.scenario = scenario
    await outcome(game_center, fake.credential())
    fake.scenario = None
    clock.advance(kept - 0.001)
    await outcome(game_center, fake.credential())
    assert fake.requests == 1
    clock.advance(0.001)
    await game_center.verify(fake.credential())


async def test_a_flood_of_numbers_asks_for_each_once(
    game_center: IdentityProvider, fake: GameCenterFake
) -> None:
    fake.scenario = "http404"
    credential = fake.credential()
    for one in [*range(1000), *range(1000)]:
        credential["public_key_url"] = fake.url + PATH.format(number=one)
        assert await outcome(game_center, credential) == ("invalid_credential", "no_certificate")
    assert fake.requests == 1000


async def test_many_that_come_at_once_ask_a_few_times(
    game_center: IdentityProvider, fake: GameCenterFake
) -> None:
    await asyncio.gather(
        *(game_center.verify(fake.credential(salt=bytes([one]))) for one in range(100))
    )
    assert fake.requests <= 8


async def test_a_known_certificate_holds_while_others_flood(
    game_center: IdentityProvider, fake: GameCenterFake
) -> None:
    await game_center.verify(fake.credential())
    flood = [
        asyncio.create_task(game_center.verify(fake.credential("slow", salt=bytes([one]))))
        for one in range(20)
    ]
    await fake.is_asked_slowly.wait()
    await game_center.verify(fake.credential(salt=b"another"))
    assert not any(task.done() for task in flood)
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert {type(one) for one in outcomes} == {errors.ProviderUnavailable}


# Trouble


@pytest.mark.parametrize(
    ("scenario", "reason", "requests"),
    [
        ("http403", "http_403", 1),
        ("http429", "http_429", 2),
        ("http503", "http_5xx", 2),
        ("slow", "timeout", 2),
        ("reset", "connection", 2),
        ("html", "malformed", 1),
        ("cut", "malformed", 1),
        ("empty", "malformed", 1),
        ("big", "too_large", 1),
    ],
)
async def test_a_certificate_that_does_not_come_is_apple_s_trouble(
    game_center: IdentityProvider,
    fake: GameCenterFake,
    scenario: str,
    reason: str,
    requests: int,
) -> None:
    assert await outcome(game_center, fake.credential(scenario)) == ("provider_unavailable", reason)
    assert fake.requests == requests


@pytest.mark.parametrize("trouble", ["http403", "http503", "slow", "reset", "html", "big"])
async def test_a_known_one_is_used_for_a_day_while_apple_is_in_trouble(
    game_center: IdentityProvider, fake: GameCenterFake, clock: ManualClock, trouble: str
) -> None:
    await game_center.verify(fake.credential())
    fake.scenario = trouble
    clock.advance(DAY - 0.001)
    await game_center.verify(fake.credential())
    clock.advance(0.001)
    assert (await outcome(game_center, fake.credential()))[0] == "provider_unavailable"


async def test_while_apple_is_in_trouble_one_in_a_minute_asks(
    game_center: IdentityProvider, fake: GameCenterFake, clock: ManualClock
) -> None:
    await game_center.verify(fake.credential())
    fake.scenario = "big"
    clock.advance(HOUR)
    for _ in range(3):
        clock.advance(0.001)
        await game_center.verify(fake.credential())
    assert fake.requests == 2
    clock.advance(60)
    await game_center.verify(fake.credential())
    assert fake.requests == 3


async def test_one_that_apple_has_withdrawn_is_not_used_any_longer(
    game_center: IdentityProvider, fake: GameCenterFake, clock: ManualClock
) -> None:
    await game_center.verify(fake.credential())
    fake.scenario = "http404"
    clock.advance(HOUR)
    assert await outcome(game_center, fake.credential()) == ("invalid_credential", "no_certificate")


@pytest.mark.parametrize("scenario", ["http404", "http403", "unknownca", "html"])
async def test_no_number_that_a_client_may_name_keeps_everybody_out(
    game_center: IdentityProvider, fake: GameCenterFake, clock: ManualClock, scenario: str
) -> None:
    for _ in range(10):
        await outcome(game_center, fake.credential(scenario))
        clock.advance(301)
    await game_center.verify(fake.credential())


LEAKY = "ok pem unknownca expired html big slow reset redirect http404 http403 http503"


@pytest.mark.parametrize("scenario", LEAKY.split())
async def test_nothing_of_a_credential_leaks(
    game_center: IdentityProvider, fake: GameCenterFake, overheard: Overheard, scenario: str
) -> None:
    credential = fake.credential(scenario, team_player_id="T:_CANARY", salt=b"s" * 9)
    _, *said = await overheard.during(game_center.verify(credential))  # but whom it names
    said += await overheard.during(game_center.verify(credential))
    for secret in ("CANARY", credential["signature"], credential["salt"], "127.0.0.1:"):
        assert [text for text in said if secret in text] == []


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GAME_CENTER_TEAM_ID", ""),
        ("GAME_CENTER_TEAM_ID", "a1b2c3d4e5"),
        ("GAME_CENTER_TEAM_ID", "A1B2C3D4E"),
        ("GAME_CENTER_TEAM_ID", "com.example.game"),
        ("GAME_CENTER_BUNDLE_IDS", ""),
        ("GAME_CENTER_BUNDLE_IDS", f"{BUNDLE},game"),
        ("GAME_CENTER_BUNDLE_IDS", TEAM),
        ("GAME_CENTER_BUNDLE_IDS", "com.example:game"),
        ("GAME_CENTER_BUNDLE_IDS", "com." + "x" * 124),
        ("GAME_CENTER_ARCADE_BUNDLE_IDS", "com.other.game"),
        ("GAME_CENTER_URL", "http://static.gc.apple.com"),
        ("GAME_CENTER_CA_FILE", "/nowhere"),
    ],
)
def test_a_setting_that_is_wrong_or_missing_is_a_fault_by_its_name(
    variables: dict[str, str], name: str, value: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**variables | {"GAME_CENTER_ARCADE_BUNDLE_IDS": "", name: value})
    assert [fault.split(":")[0] for fault in caught.value.faults] == [f"PLAYMESH_{name}"]


@pytest.mark.parametrize(
    "content", [b"", b"no", ca_pem()[:200], certificate(), certificate(encoding=Encoding.PEM)]
)
def test_a_file_of_issuers_that_holds_none_is_a_fault(
    variables: dict[str, str], content: bytes
) -> None:
    trust(variables, content)
    with pytest.raises(SettingsError) as caught:
        read(**variables)
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "PLAYMESH_GAME_CENTER_CA_FILE"
    ]


def test_the_longest_bundle_id_leaves_room_for_the_longest_player_id() -> None:
    assert len("com." + "x" * 123) + len(":") + 128 <= 256
