"""The contract of identity providers, for each platform against its fake."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from joserfc.jwk import RSAKey

from services.identity.providers.connections import Connections
from tests.conformance.identity_providers import (
    HttpContract,
    KeyedContract,
    SingleUseContract,
)
from tests.support.clock import ManualClock
from tests.support.fakes import (
    cognito,
    discord,
    facebook,
    game_center,
    google_play,
    meta_quest,
    steam,
)
from tests.support.fakes.cognito import CognitoFake
from tests.support.fakes.discord import DiscordFake
from tests.support.fakes.facebook import FacebookFake
from tests.support.fakes.game_center import GameCenterFake
from tests.support.fakes.google_play import GooglePlayFake
from tests.support.fakes.meta_quest import MetaQuestFake
from tests.support.fakes.oidc import AUDIENCE, HASHED_NONCE, ISSUER, RAW_NONCE, SUBJECT, OidcFake
from tests.support.fakes.steam import SteamFake
from tests.support.platforms import connected, opened, remembering

KEY = "CANARY0123456789ABCDEF0123456789"
DAY = 86_400


class FakeStage:
    """Of a platform whose fake does what a credential says."""

    external_id: tuple[str, str]
    sends_once = False
    secret = ""

    def __init__(
        self,
        fake: Any,  # noqa: ANN401 - the platform's
        clock: ManualClock,
        here: Connections,
        beside: Connections,
        settings: Mapping[str, str],
        pauses: list[float],
    ) -> None:
        self.fake = fake
        self.clock = clock
        self.open = partial(opened, here)
        self.provider, self.beside = opened(here, **settings), opened(beside, **settings)
        self.pauses = pauses
        self.numbers = itertools.count()

    def credential(self, scenario: str = "ok") -> Mapping[str, str]:
        raise NotImplementedError

    def number(self) -> str:
        return f"CANARY{next(self.numbers)}"

    def good(self) -> Mapping[str, str]:
        return self.credential()

    def break_down(self) -> None:
        self.fake.scenario = "http503"

    def talk_nonsense(self) -> None:
        self.fake.scenario = "html200"

    def set_secret(self, secret: str) -> None:
        self.fake.secret = secret


S = TypeVar("S", bound=FakeStage)


@contextlib.asynccontextmanager
async def staged(
    stage: type[S],
    fake: Any,  # noqa: ANN401 - the platform's
    clock: ManualClock,
    **more: str,
) -> AsyncIterator[S]:
    """The platform in two processes, which share a store and nothing else."""
    pauses: list[float] = []
    async with (
        fake.serving() as url,
        remembering() as store,
        connected(clock, pauses, store) as here,
        connected(clock, [], store) as beside,
    ):
        yield stage(fake, clock, here, beside, fake.settings(url) | more, pauses)


class SteamStage(FakeStage):
    external_id = ("steam", steam.PLAYER)
    secret = "STEAM_KEY"

    def credential(self, scenario: str = "ok", **fields: str | int) -> Mapping[str, str]:
        return {"ticket": steam.ticket(scenario, n=self.number(), **fields)}

    def forged(self) -> Mapping[str, str]:
        return self.credential("e101")

    def elsewhere(self) -> Mapping[str, str]:
        return self.credential(app=570)


class TestSteam(SingleUseContract, KeyedContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock) -> AsyncIterator[SteamStage]:
        async with staged(SteamStage, SteamFake(KEY), clock) as stage:
            yield stage


class GooglePlayStage(FakeStage):
    external_id = ("google_play", f"{google_play.APPLICATION}:{google_play.PLAYER}")
    sends_once = True
    secret = "GOOGLE_PLAY_CLIENT_SECRET"

    def credential(self, scenario: str = "ok", **fields: str | int) -> Mapping[str, str]:
        return {"server_auth_code": google_play.code(scenario, n=self.number(), **fields)}

    def forged(self) -> Mapping[str, str]:
        return self.credential("malformed")

    def elsewhere(self) -> Mapping[str, str]:
        return self.credential(app=570)


class TestGooglePlay(SingleUseContract, KeyedContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock) -> AsyncIterator[GooglePlayStage]:
        async with staged(GooglePlayStage, GooglePlayFake(KEY), clock) as stage:
            yield stage


class FacebookStage(FakeStage):
    external_id = ("facebook", f"{facebook.APP_ID}:{facebook.PLAYER}")
    secret = "FACEBOOK_APP_SECRET"

    def credential(self, scenario: str = "ok", **fields: str | int) -> Mapping[str, str]:
        return {"access_token": facebook.token(scenario, n=self.number(), **fields)}

    def forged(self) -> Mapping[str, str]:
        return self.credential("n190")

    def elsewhere(self) -> Mapping[str, str]:
        return self.credential(app=facebook.OTHER_APP)


class TestFacebook(KeyedContract):
    """Its client library keeps a token for weeks and logs in with it each time."""

    @pytest.fixture
    async def stage(self, clock: ManualClock) -> AsyncIterator[FacebookStage]:
        async with staged(FacebookStage, FacebookFake(clock, KEY), clock) as stage:
            yield stage


class DiscordStage(FakeStage):
    external_id = ("discord", discord.PLAYER)
    sends_once = True
    secret = "DISCORD_CLIENT_SECRET"

    def credential(self, scenario: str = "ok", **fields: str | int) -> Mapping[str, str]:
        return {"code": discord.code(scenario, n=self.number(), **fields)}

    def forged(self) -> Mapping[str, str]:
        """Of one that only looks like a code Discord says what it says of a spent one."""
        return {"code": self.credential("forged")["code"] + " "}

    def elsewhere(self) -> Mapping[str, str]:
        return self.credential(app=discord.OTHER_CLIENT)


class TestDiscord(SingleUseContract, KeyedContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock) -> AsyncIterator[DiscordStage]:
        async with staged(DiscordStage, DiscordFake(KEY), clock) as stage:
            yield stage


class MetaQuestStage(FakeStage):
    external_id = ("meta_quest", f"{meta_quest.ORG_ID}:{meta_quest.SCOPED}")
    sends_once = True
    secret = "META_QUEST_APP_SECRET"

    def credential(self, scenario: str = "ok", **fields: str | int) -> Mapping[str, str]:
        nonce = meta_quest.nonce(scenario, n=self.number(), **fields)
        return {"user_id": meta_quest.PLAYER, "nonce": nonce}

    def forged(self) -> Mapping[str, str]:
        return self.credential(id=meta_quest.FRIEND)

    def elsewhere(self) -> Mapping[str, str]:
        return self.credential("e100")


class TestMetaQuest(KeyedContract):
    """A nonce is good once, but of a spent one Meta says no more than of a forged one."""

    @pytest.fixture
    async def stage(self, clock: ManualClock) -> AsyncIterator[MetaQuestStage]:
        async with staged(MetaQuestStage, MetaQuestFake(KEY), clock) as stage:
            yield stage


class GameCenterStage(FakeStage):
    external_id = ("game_center", f"{game_center.TEAM}:{game_center.PLAYER}")

    def credential(self, scenario: str = "ok") -> Mapping[str, str]:
        self.fake.scenario = None if scenario == "ok" else scenario
        return self.signed()

    def signed(self, **changes: Any) -> Mapping[str, str]:  # noqa: ANN401 - any part
        salt = next(self.numbers).to_bytes(8, "big")
        credential: Mapping[str, str] = self.fake.credential(salt=salt, **changes)
        return credential

    def good(self) -> Mapping[str, str]:
        return self.signed()

    def forged(self) -> Mapping[str, str]:
        return self.signed(order="bpts")

    def elsewhere(self) -> Mapping[str, str]:
        return self.signed(bundle_id="com.other.game")

    def break_down(self) -> None:
        self.clock.advance(DAY)  # a known certificate holds for so long, however down Apple is
        self.fake.scenario = "http503"


class TestGameCenter(SingleUseContract, HttpContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock, tmp_path: Path) -> AsyncIterator[GameCenterStage]:
        issuers = tmp_path / "issuers.pem"
        issuers.write_bytes(game_center.ca_pem())
        trusted = {"GAME_CENTER_CA_FILE": str(issuers)}
        async with staged(GameCenterStage, GameCenterFake(clock), clock, **trusted) as stage:
            yield stage


def tampered(token: str) -> str:
    head, _, rest = token.partition(".")
    return f"{head}.{rest[:20]}A{rest[20:]}"


class CognitoStage(FakeStage):
    """`part` is that of the credential, `kind` that of its token."""

    external_id = ("cognito", f"{cognito.POOL}:{cognito.SUBJECT}")
    part: str
    kind: str

    def good(self) -> Mapping[str, str]:
        return {self.part: self.fake.token(self.kind)}

    def forged(self) -> Mapping[str, str]:
        return {self.part: tampered(self.fake.token(self.kind))}

    def elsewhere(self) -> Mapping[str, str]:
        name = "client_id" if self.kind == "access" else "aud"
        other: dict[str, Any] = {name: cognito.OTHER_CLIENT}
        return {self.part: self.fake.token(self.kind, **other)}

    def break_down(self) -> None:
        self.clock.advance(DAY)  # known keys hold for so long
        self.fake.keys_status = 503

    def talk_nonsense(self) -> None:
        self.fake.document = b"<html>maintenance</html>"


class TestCognito(SingleUseContract):
    @pytest.fixture(params=["access", "id"])
    async def stage(
        self, clock: ManualClock, request: pytest.FixtureRequest
    ) -> AsyncIterator[CognitoStage]:
        async with staged(CognitoStage, CognitoFake(clock), clock) as stage:
            stage.part, stage.kind = f"{request.param}_token", request.param
            yield stage


@dataclass(frozen=True)
class WayIn:
    """That takes ID tokens: what its tokens and its settings have, and whom it names."""

    name: str
    claims: Mapping[str, Any]
    settings: Mapping[str, str]
    external_id: tuple[str, str]


class IssuerFake(OidcFake):
    def __init__(self, clock: ManualClock, key: RSAKey, way_in: WayIn) -> None:
        super().__init__(clock, key, **way_in.claims)
        self.way_in = way_in

    def settings(self, url: str) -> dict[str, str]:
        prefix = self.way_in.name.removesuffix("_drop_in").upper()
        return {
            "PROVIDERS": self.way_in.name,
            f"{prefix}_JWKS_URL": url,
            f"{prefix}_AUDIENCES": AUDIENCE,
            **self.way_in.settings,
        }


class IdTokenStage(FakeStage):
    def _credential(self, token: str) -> Mapping[str, str]:
        return {"id_token": token, "nonce": RAW_NONCE}

    def good(self) -> Mapping[str, str]:
        return self._credential(self.fake.id_token(jti=self.number()))

    def forged(self) -> Mapping[str, str]:
        return self._credential(tampered(self.fake.id_token()))

    def elsewhere(self) -> Mapping[str, str]:
        return self._credential(self.fake.id_token(aud="com.other.game"))

    def break_down(self) -> None:
        self.clock.advance(DAY)  # known keys hold for so long, however down the issuer is
        self.fake.status = 503

    def talk_nonsense(self) -> None:
        self.fake.document = b"<html>maintenance</html>"


APPLE = {"APPLE_TEAM_ID": "TEAM123456"}
EOS = {"pfpid": "product", "pfdid": "live", "act": {"eat": "steam", "eaid": "7"}}
ACME = {"PROVIDERS": "", "OIDC_PROVIDERS": "acme", "OIDC_ACME_ISSUERS": ISSUER}
WAYS_IN = [
    WayIn("oidc_acme", {}, ACME, ("oidc_acme", f"{ISSUER}:{SUBJECT}")),
    WayIn("google", {"iss": "https://accounts.google.com"}, {}, ("google", SUBJECT)),
    WayIn(
        "apple",
        {"iss": "https://appleid.apple.com", "nonce": HASHED_NONCE, "nonce_supported": True},
        APPLE,
        ("apple", f"TEAM123456:{SUBJECT}"),
    ),
    WayIn(
        "apple_drop_in",
        {"iss": "https://appleid.apple.com", "nonce": None},
        APPLE,
        ("apple", f"TEAM123456:{SUBJECT}"),
    ),
    WayIn(
        "epic",
        {"iss": "https://api.epicgames.dev/epic/oauth/v2", "pfdid": "live"},
        {"EPIC_DEPLOYMENT_ID": "live"},
        ("epic", SUBJECT),
    ),
    WayIn(
        "eos",
        {"iss": "https://api.epicgames.dev/auth/v1/oauth", **EOS},
        {"EOS_PRODUCT_ID": "product", "EOS_DEPLOYMENT_ID": "live"},
        ("eos", f"product:{SUBJECT}"),
    ),
    WayIn("twitch", {"iss": "https://id.twitch.tv/oauth2"}, {}, ("twitch", SUBJECT)),
    WayIn(
        "facebook_limited",
        {"iss": "https://www.facebook.com"},
        {},
        ("facebook", f"{AUDIENCE}:{SUBJECT}"),
    ),
]


class TestIdTokens(SingleUseContract):
    @pytest.fixture(params=WAYS_IN, ids=lambda way_in: way_in.name)
    async def stage(
        self, clock: ManualClock, signing_key: RSAKey, request: pytest.FixtureRequest
    ) -> AsyncIterator[IdTokenStage]:
        fake = IssuerFake(clock, signing_key, request.param)
        async with staged(IdTokenStage, fake, clock) as stage:
            stage.external_id = request.param.external_id
            yield stage
