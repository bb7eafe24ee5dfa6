"""A platform's key in Secrets Manager: asked once a minute, and kept while it cannot be read."""

import asyncio

import pytest
from structlog.testing import capture_logs

from services.identity.providers.secret import ManagedSecret
from services.identity.providers.shape import Refused
from shared import errors
from shared.env import SettingsError
from shared.start_check import StartError
from tests.support.clock import ManualClock
from tests.support.platforms import read

KEY, NEXT_KEY = "CANARY0123456789", "CANARY9876543210"
STEAM = {"PROVIDERS": "steam", "STEAM_APP_IDS": "480", "STEAM_IDENTITY": "ours"}
GOOGLE_PLAY = {
    "GOOGLE_PLAY_CLIENT_ID": "web",
    "GOOGLE_PLAY_APPLICATION_ID": "123456789012",
}


class Kept:
    """Secrets Manager, as far as one secret of it: a text, or why it cannot be read."""

    def __init__(self) -> None:
        self.says: str | Exception = KEY
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self) -> str:
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def secret(kept: Kept, clock: ManualClock) -> ManagedSecret:
    secret = ManagedSecret("playmesh/steam-key")
    secret.open(kept.ask, clock)
    return secret


async def refusal(secret: ManagedSecret) -> Refused:
    with pytest.raises(Refused) as caught:
        await secret.read()
    return caught.value


async def test_a_rotated_secret_is_known_a_minute_later(
    secret: ManagedSecret, kept: Kept, clock: ManualClock
) -> None:
    assert await secret.read() == KEY
    kept.says = NEXT_KEY
    clock.advance(59.9)
    assert await secret.read() == KEY
    clock.advance(0.1)
    assert await secret.read() == NEXT_KEY
    assert kept.asked == 2


async def test_of_50_that_want_it_at_once_one_asks(secret: ManagedSecret, kept: Kept) -> None:
    kept.gate.clear()
    reads = [asyncio.create_task(secret.read()) for _ in range(50)]
    await asyncio.sleep(0)
    kept.gate.set()
    assert await asyncio.gather(*reads) == [KEY] * 50
    assert kept.asked == 1


async def test_who_asks_and_goes_away_leaves_it_to_the_next(
    secret: ManagedSecret, kept: Kept
) -> None:
    kept.gate.clear()
    first = asyncio.create_task(secret.read())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    kept.gate.set()
    assert await secret.read() == KEY


@pytest.mark.parametrize(
    "trouble",
    [errors.Unavailable("down"), StartError("secret does not exist"), "", "two\nlines", "é"],
    ids=["down", "gone", "empty", "two lines", "not ASCII"],
)
async def test_while_it_cannot_be_read_the_last_one_holds(
    secret: ManagedSecret, kept: Kept, clock: ManualClock, trouble: str | Exception
) -> None:
    await secret.read()
    kept.says = trouble
    for _ in range(3):
        clock.advance(60)
        with capture_logs() as logs:
            assert [await secret.read() for _ in range(9)] == [KEY] * 9
        assert [log["event"] for log in logs] == ["provider.key_unreadable"]
        assert logs[0]["secret"] == "playmesh/steam-key"
    assert kept.asked == 4
    kept.says = NEXT_KEY
    clock.advance(60)
    assert await secret.read() == NEXT_KEY


async def test_one_that_was_never_known_in_bad_weather_is_unavailable_and_asked_for_soon_again(
    secret: ManagedSecret, kept: Kept, clock: ManualClock
) -> None:
    kept.says = errors.Unavailable("down")
    for _ in range(9):
        assert isinstance((await refusal(secret)).error, errors.ProviderUnavailable)
    assert kept.asked == 1
    kept.says = KEY
    clock.advance(1)
    assert await secret.read() == KEY


@pytest.mark.parametrize("says", [StartError("secret does not exist"), "two\nlines"])
async def test_one_that_was_never_known_and_never_will_be_is_our_fault(
    secret: ManagedSecret, kept: Kept, says: str | Exception
) -> None:
    kept.says = says
    refused = await refusal(secret)
    assert (type(refused.error), refused.reason) == (errors.ProviderMisconfigured, "no_key")


async def test_the_look_at_start_spares_the_first_login_one(
    secret: ManagedSecret, kept: Kept
) -> None:
    await secret.load()
    assert await secret.read() == KEY
    assert kept.asked == 1


async def test_the_look_at_start_says_what_is_wrong(secret: ManagedSecret, kept: Kept) -> None:
    kept.says = "two\nlines"
    with pytest.raises(StartError, match="playmesh/steam-key holds no key"):
        await secret.load()
    kept.says = errors.Unavailable("down")
    with pytest.raises(errors.Unavailable):
        await secret.load()


async def test_no_key_is_told(secret: ManagedSecret, kept: Kept, clock: ManualClock) -> None:
    await secret.read()
    kept.says = f"{NEXT_KEY}\nand more"
    clock.advance(60)
    with capture_logs() as logs:
        await secret.read()
    assert KEY not in repr((secret, logs))
    assert NEXT_KEY not in repr((secret, logs))


async def test_one_that_nobody_has_opened_lets_nobody_in() -> None:
    refused = await refusal(ManagedSecret("playmesh/steam-key"))
    assert isinstance(refused.error, errors.ProviderUnavailable)


# Settings


def test_those_of_all_platforms_are_known() -> None:
    settings = read(
        **STEAM | {"PROVIDERS": "steam,google_play"},
        **GOOGLE_PLAY,
        BACKEND="aws",
        STEAM_KEY_SECRET_ID="playmesh/steam-key",
        GOOGLE_PLAY_CLIENT_SECRET_SECRET_ID="arn:aws:secretsmanager:eu-west-1:1:secret:play-AbCdEf",
    )
    assert [secret.secret_id for secret in settings.secrets] == [
        "playmesh/steam-key",
        "arn:aws:secretsmanager:eu-west-1:1:secret:play-AbCdEf",
    ]
    assert read(**STEAM, STEAM_KEY=KEY).secrets == []


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"STEAM_KEY_SECRET_ID": "x"}, "STEAM_KEY_SECRET_ID: needs PLAYMESH_BACKEND=aws"),
        (
            {"STEAM_KEY_SECRET_ID": "x", "BACKEND": "aws", "STEAM_KEY": KEY},
            "STEAM_KEY_SECRET_ID: must not be set together with PLAYMESH_STEAM_KEY",
        ),
        (
            {"STEAM_KEY_SECRET_ID": "x", "BACKEND": "aws", "STEAM_KEY_FILE": "/nowhere"},
            "STEAM_KEY_SECRET_ID: must not be set together with PLAYMESH_STEAM_KEY",
        ),
        ({"BACKEND": "aws"}, "STEAM_KEY: must be set, or PLAYMESH_STEAM_KEY_FILE, or"),
    ],
)
def test_one_of_the_three_is_set_and_this_one_in_aws_only(more: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**STEAM, **more)
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(f"PLAYMESH_{fault}")
