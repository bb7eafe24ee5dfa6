"""Platforms that have a fake: what of their settings is refused, and where they are by default."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.env import SettingsError
from tests.support.clock import ManualClock
from tests.support.fakes.cognito import ISSUER, CognitoFake
from tests.support.fakes.discord import DiscordFake
from tests.support.fakes.facebook import FacebookFake
from tests.support.fakes.fake import Fake
from tests.support.fakes.game_center import BUNDLE, TEAM, GameCenterFake, ca_pem
from tests.support.fakes.google_play import GooglePlayFake
from tests.support.fakes.meta_quest import MetaQuestFake
from tests.support.fakes.steam import SteamFake
from tests.support.platforms import read

SECRET = "CANARY0123456789"
FAKES: dict[str, Callable[[ManualClock], Fake]] = {
    "cognito": CognitoFake,
    "discord": lambda _: DiscordFake(SECRET),
    "facebook": lambda clock: FacebookFake(clock, SECRET),
    "game_center": GameCenterFake,
    "google_play": lambda _: GooglePlayFake(SECRET),
    "meta_quest": lambda _: MetaQuestFake(SECRET),
    "steam": lambda _: SteamFake(SECRET),
}


@pytest.fixture
def good(request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path) -> dict[str, str]:
    """The settings of the platform that the test is for."""
    settings = FAKES[request.param](clock).settings("https://platform.test")
    if request.param == "game_center":
        issuers = tmp_path / "issuers.pem"
        issuers.write_bytes(ca_pem())
        settings["GAME_CENTER_CA_FILE"] = str(issuers)
    if request.param == "cognito":
        settings["COGNITO_CLIENT_SECRET"] = SECRET
    return settings


WRONG = [
    ("cognito", "COGNITO_USER_POOL_ID", ""),
    ("cognito", "COGNITO_USER_POOL_ID", "AbCdEfGhI"),
    ("cognito", "COGNITO_USER_POOL_ID", "eu-west-1_a/b"),
    ("cognito", "COGNITO_CLIENT_IDS", ""),
    ("cognito", "COGNITO_CLIENT_IDS", "a b"),
    ("cognito", "COGNITO_CLIENT_SECRET", "two\nlines"),
    ("cognito", "COGNITO_CLIENT_SECRET_FILE", "/nowhere"),
    ("cognito", "COGNITO_URL", "http://cognito-idp.eu-west-1.amazonaws.com"),
    ("cognito", "COGNITO_JWKS_URL", "http://cognito-idp.eu-west-1.amazonaws.com/keys"),
    ("cognito", "COGNITO_SINGLE_USE", "yes"),
    ("cognito", "COGNITO_TAKEN_NAME", "maybe"),
    ("cognito", "COGNITO_MAX_AGE", "25h"),
    ("discord", "DISCORD_CLIENT_ID", ""),
    ("discord", "DISCORD_CLIENT_ID", "game"),
    ("discord", "DISCORD_CLIENT_ID", "1" * 21),
    ("discord", "DISCORD_CLIENT_SECRET", ""),
    ("discord", "DISCORD_CLIENT_SECRET", "two\nlines"),
    ("discord", "DISCORD_URL", "http://discord.com"),
    ("facebook", "FACEBOOK_APP_ID", ""),
    ("facebook", "FACEBOOK_APP_ID", "game"),
    ("facebook", "FACEBOOK_APP_ID", "0123"),
    ("facebook", "FACEBOOK_APP_SECRET", ""),
    ("facebook", "FACEBOOK_APP_SECRET", "two\nlines"),
    ("facebook", "FACEBOOK_APP_SECRET_FILE", "/nowhere"),
    ("facebook", "FACEBOOK_VERSION", "25"),
    ("facebook", "FACEBOOK_VERSION", "v25.0/me"),
    ("facebook", "FACEBOOK_URL", "http://graph.facebook.com"),
    ("facebook", "FACEBOOK_URL", "ftp://x"),
    ("game_center", "GAME_CENTER_TEAM_ID", ""),
    ("game_center", "GAME_CENTER_TEAM_ID", "a1b2c3d4e5"),
    ("game_center", "GAME_CENTER_TEAM_ID", "A1B2C3D4E"),
    ("game_center", "GAME_CENTER_TEAM_ID", "com.example.game"),
    ("game_center", "GAME_CENTER_BUNDLE_IDS", ""),
    ("game_center", "GAME_CENTER_BUNDLE_IDS", f"{BUNDLE},game"),
    ("game_center", "GAME_CENTER_BUNDLE_IDS", TEAM),
    ("game_center", "GAME_CENTER_BUNDLE_IDS", "com.example:game"),
    ("game_center", "GAME_CENTER_BUNDLE_IDS", "com." + "x" * 124),
    ("game_center", "GAME_CENTER_URL", "http://static.gc.apple.com"),
    ("game_center", "GAME_CENTER_CA_FILE", "/nowhere"),
    ("google_play", "GOOGLE_PLAY_CLIENT_ID", ""),
    ("google_play", "GOOGLE_PLAY_CLIENT_SECRET", ""),
    ("google_play", "GOOGLE_PLAY_CLIENT_SECRET", "two\nlines"),
    ("google_play", "GOOGLE_PLAY_APPLICATION_ID", ""),
    ("google_play", "GOOGLE_PLAY_APPLICATION_ID", "game"),
    ("google_play", "GOOGLE_PLAY_APPLICATION_ID", "1/../2"),
    ("google_play", "GOOGLE_PLAY_APPLICATION_ID", "1" * 21),
    ("google_play", "GOOGLE_PLAY_OAUTH_URL", "http://oauth2.googleapis.com"),
    ("google_play", "GOOGLE_PLAY_GAMES_URL", "http://games.googleapis.com"),
    ("google_play", "GOOGLE_PLAY_VERIFY", "maybe"),
    ("meta_quest", "META_QUEST_ORG_ID", ""),
    ("meta_quest", "META_QUEST_ORG_ID", "a:b"),
    ("meta_quest", "META_QUEST_ORG_ID", "x" * 65),
    ("meta_quest", "META_QUEST_APP_ID", ""),
    ("meta_quest", "META_QUEST_APP_ID", "game"),
    ("meta_quest", "META_QUEST_APP_ID", "1|2"),
    ("meta_quest", "META_QUEST_APP_SECRET", ""),
    ("meta_quest", "META_QUEST_APP_SECRET", "two\nlines"),
    ("meta_quest", "META_QUEST_URL", "http://graph.oculus.com"),
    ("steam", "STEAM_KEY", ""),
    ("steam", "STEAM_KEY", "two\nlines"),
    ("steam", "STEAM_KEY", "é"),
    ("steam", "STEAM_APP_IDS", ""),
    ("steam", "STEAM_APP_IDS", "game"),
    ("steam", "STEAM_APP_IDS", "480,x"),
    ("steam", "STEAM_APP_IDS", "1,2,3,4,5,6,7,8,9"),
    ("steam", "STEAM_IDENTITY", ""),
    ("steam", "STEAM_URL", "http://partner.steam-api.com"),
    ("steam", "STEAM_URL", "ftp://x"),
    ("steam", "STEAM_VAC_BANNED", "maybe"),
    ("steam", "STEAM_FAMILY_SHARING", "maybe"),
    ("steam", "STEAM_KEY_FILE", "/nowhere"),
]


@pytest.mark.parametrize(("good", "name", "value"), WRONG, indirect=["good"])
def test_one_that_is_wrong_or_missing_is_a_fault_by_its_name(
    good: dict[str, str], name: str, value: str
) -> None:
    good.pop(name.removesuffix("_FILE"), None)
    with pytest.raises(SettingsError) as caught:
        read(**good | {name: value})
    assert [fault.split(":")[0] for fault in caught.value.faults] == [f"PLAYMESH_{name}"]
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("good", "urls"),
    [
        ("cognito", ["https://cognito-idp.eu-west-1.amazonaws.com", ISSUER]),
        ("cognito", [f"{ISSUER}/.well-known/jwks.json"]),
        ("discord", ["https://discord.com/api/v10"]),
        ("facebook", ["https://graph.facebook.com"]),
        ("game_center", ["https://static.gc.apple.com"]),
        ("google_play", ["https://oauth2.googleapis.com", "https://games.googleapis.com"]),
        ("meta_quest", ["https://graph.oculus.com"]),
        ("steam", ["https://partner.steam-api.com"]),
    ],
    indirect=["good"],
)
def test_no_url_means_the_platform_itself(good: dict[str, str], urls: list[str]) -> None:
    named = {name: value for name, value in good.items() if not name.endswith("_URL")}
    shown = repr(read(**named))
    assert [url for url in urls if f"'{url}'" not in shown] == []


@pytest.mark.parametrize("good", FAKES, indirect=True)
def test_what_is_printed_shows_no_secret(good: dict[str, str]) -> None:
    assert SECRET not in repr(read(**good))
