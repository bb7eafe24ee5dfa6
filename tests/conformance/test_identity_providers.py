"""The contract of identity providers, for each platform against its fake."""

import contextlib
import functools
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from services.identity.ports import IdentityProvider
from tests.conformance.identity_providers import IdentityProviderContract, SingleUseContract
from tests.support.clock import ManualClock
from tests.support.fakes import (
    cognito,
    discord,
    facebook,
    game_center,
    google_play,
    meta_quest,
)
from tests.support.fakes.cognito import CognitoFake
from tests.support.fakes.discord import DiscordFake
from tests.support.fakes.facebook import FacebookFake
from tests.support.fakes.game_center import GameCenterFake
from tests.support.fakes.google_play import GooglePlayFake
from tests.support.fakes.meta_quest import MetaQuestFake
from tests.support.fakes.oidc import AUDIENCE, HASHED_NONCE, ISSUER, RAW_NONCE, SUBJECT, OidcFake
from tests.support.fakes.steam import IDENTITY, PLAYER, SteamFake, ticket
from tests.support.platforms import connected, opened, remembering

KEY = "CANARY0123456789ABCDEF0123456789"


@contextlib.asynccontextmanager
async def two_processes(
    clock: ManualClock, **variables: str
) -> AsyncIterator[tuple[IdentityProvider, IdentityProvider]]:
    """One platform in both, which share a store and nothing else."""
    async with (
        remembering() as store,
        connected(clock, [], store) as one,
        connected(clock, [], store) as another,
    ):
        yield opened(one, **variables), opened(another, **variables)


@dataclass
class SteamStage:
    fake: SteamFake
    provider: IdentityProvider
    beside: IdentityProvider
    external_id: tuple[str, str] = ("steam", PLAYER)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def good(self) -> Mapping[str, str]:
        return {"ticket": ticket("ok", n=next(self.numbers))}

    def forged(self) -> Mapping[str, str]:
        return {"ticket": ticket("e101", n=next(self.numbers))}

    def elsewhere(self) -> Mapping[str, str]:
        return {"ticket": ticket("ok", app=570, n=next(self.numbers))}

    def break_down(self) -> None:
        self.fake.scenario = "http503"

    def talk_nonsense(self) -> None:
        self.fake.scenario = "html200"


class TestSteam(SingleUseContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock) -> AsyncIterator[SteamStage]:
        fake = SteamFake(KEY)
        async with (
            fake.serving() as url,
            two_processes(
                clock,
                PROVIDERS="steam",
                STEAM_URL=url,
                STEAM_KEY=KEY,
                STEAM_APP_IDS="480",
                STEAM_IDENTITY=IDENTITY,
            ) as providers,
        ):
            yield SteamStage(fake, *providers)


@dataclass
class GooglePlayStage:
    fake: GooglePlayFake
    provider: IdentityProvider
    beside: IdentityProvider
    external_id: tuple[str, str] = (
        "google_play",
        f"{google_play.APPLICATION}:{google_play.PLAYER}",
    )
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def good(self) -> Mapping[str, str]:
        return {"server_auth_code": google_play.code("ok", n=next(self.numbers))}

    def forged(self) -> Mapping[str, str]:
        return {"server_auth_code": google_play.code("malformed", n=next(self.numbers))}

    def elsewhere(self) -> Mapping[str, str]:
        return {"server_auth_code": google_play.code("ok", app=570, n=next(self.numbers))}

    def break_down(self) -> None:
        self.fake.scenario = "http503"

    def talk_nonsense(self) -> None:
        self.fake.scenario = "html200"


@dataclass
class FacebookStage:
    fake: FacebookFake
    provider: IdentityProvider
    external_id: tuple[str, str] = ("facebook", f"{facebook.APP_ID}:{facebook.PLAYER}")
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def _credential(self, scenario: str = "ok", **fields: str | int) -> Mapping[str, str]:
        return {"access_token": facebook.token(scenario, n=next(self.numbers), **fields)}

    def good(self) -> Mapping[str, str]:
        return self._credential()

    def forged(self) -> Mapping[str, str]:
        return self._credential("n190")

    def elsewhere(self) -> Mapping[str, str]:
        return self._credential(app=facebook.OTHER_APP)

    def break_down(self) -> None:
        self.fake.scenario = "http503"

    def talk_nonsense(self) -> None:
        self.fake.scenario = "html200"


class TestGooglePlay(SingleUseContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock) -> AsyncIterator[GooglePlayStage]:
        fake = GooglePlayFake(KEY)
        async with (
            fake.serving() as url,
            two_processes(
                clock,
                PROVIDERS="google_play",
                GOOGLE_PLAY_OAUTH_URL=url,
                GOOGLE_PLAY_GAMES_URL=url,
                GOOGLE_PLAY_CLIENT_ID=google_play.CLIENT_ID,
                GOOGLE_PLAY_CLIENT_SECRET=KEY,
                GOOGLE_PLAY_APPLICATION_ID=google_play.APPLICATION,
            ) as providers,
        ):
            yield GooglePlayStage(fake, *providers)


class TestFacebook(IdentityProviderContract):
    """Its client library keeps a token for weeks and logs in with it each time."""

    @pytest.fixture
    async def stage(self, clock: ManualClock) -> AsyncIterator[FacebookStage]:
        fake = FacebookFake(clock, KEY)
        async with fake.serving() as url, connected(clock, []) as connections:
            provider = opened(
                connections,
                PROVIDERS="facebook",
                FACEBOOK_URL=url,
                FACEBOOK_APP_ID=facebook.APP_ID,
                FACEBOOK_APP_SECRET=KEY,
            )
            yield FacebookStage(fake, provider)


@dataclass
class DiscordStage:
    fake: DiscordFake
    provider: IdentityProvider
    beside: IdentityProvider
    external_id: tuple[str, str] = ("discord", discord.PLAYER)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def good(self) -> Mapping[str, str]:
        return {"code": discord.code("ok", n=next(self.numbers))}

    def forged(self) -> Mapping[str, str]:
        """Of one that only looks like a code Discord says what it says of a spent one."""
        return {"code": discord.code("forged", n=next(self.numbers)) + " "}

    def elsewhere(self) -> Mapping[str, str]:
        return {"code": discord.code("ok", app=discord.OTHER_CLIENT, n=next(self.numbers))}

    def break_down(self) -> None:
        self.fake.scenario = "http503"

    def talk_nonsense(self) -> None:
        self.fake.scenario = "html200"


class TestDiscord(SingleUseContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock) -> AsyncIterator[DiscordStage]:
        fake = DiscordFake(KEY)
        async with (
            fake.serving() as url,
            remembering() as store,
            connected(clock, [], store) as connections,
            connected(clock, [], store) as others,
        ):
            open_in = functools.partial(
                opened,
                PROVIDERS="discord",
                DISCORD_URL=url,
                DISCORD_CLIENT_ID=discord.CLIENT_ID,
                DISCORD_CLIENT_SECRET=KEY,
                DISCORD_REDIRECT_URI=discord.REDIRECT_URI,
            )
            yield DiscordStage(fake, open_in(connections), open_in(others))


@dataclass
class GameCenterStage:
    fake: GameCenterFake
    provider: IdentityProvider
    beside: IdentityProvider
    clock: ManualClock
    external_id: tuple[str, str] = ("game_center", f"{game_center.TEAM}:{game_center.PLAYER}")
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def _credential(self, **changes: Any) -> Mapping[str, str]:  # noqa: ANN401 - any part
        return self.fake.credential(salt=next(self.numbers).to_bytes(8, "big"), **changes)

    def good(self) -> Mapping[str, str]:
        return self._credential()

    def forged(self) -> Mapping[str, str]:
        return self._credential(order="bpts")

    def elsewhere(self) -> Mapping[str, str]:
        return self._credential(bundle_id="com.other.game")

    def break_down(self) -> None:
        self.clock.advance(86_400)  # a known certificate holds for a day, however down Apple is
        self.fake.scenario = "http503"

    def talk_nonsense(self) -> None:
        self.fake.scenario = "html"


class TestGameCenter(SingleUseContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock, tmp_path: Path) -> AsyncIterator[GameCenterStage]:
        fake = GameCenterFake(clock)
        issuers = tmp_path / "issuers.pem"
        issuers.write_bytes(game_center.ca_pem())
        async with (
            fake.serving() as url,
            remembering() as store,
            connected(clock, [], store) as connections,
            connected(clock, [], store) as others,
        ):
            open_in = functools.partial(
                opened,
                PROVIDERS="game_center",
                GAME_CENTER_URL=url,
                GAME_CENTER_TEAM_ID=game_center.TEAM,
                GAME_CENTER_BUNDLE_IDS=game_center.BUNDLE,
                GAME_CENTER_CA_FILE=str(issuers),
            )
            yield GameCenterStage(fake, open_in(connections), open_in(others), clock)


@dataclass
class MetaQuestStage:
    fake: MetaQuestFake
    provider: IdentityProvider
    external_id: tuple[str, str] = ("meta_quest", f"{meta_quest.ORG_ID}:{meta_quest.SCOPED}")
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def _credential(self, scenario: str = "ok", **fields: str) -> Mapping[str, str]:
        nonce = meta_quest.nonce(scenario, n=next(self.numbers), **fields)
        return {"user_id": meta_quest.PLAYER, "nonce": nonce}

    def good(self) -> Mapping[str, str]:
        return self._credential()

    def forged(self) -> Mapping[str, str]:
        return self._credential(id=meta_quest.FRIEND)

    def elsewhere(self) -> Mapping[str, str]:
        return self._credential("e100")

    def break_down(self) -> None:
        self.fake.scenario = "http503"

    def talk_nonsense(self) -> None:
        self.fake.scenario = "html200"


class TestMetaQuest(IdentityProviderContract):
    """A nonce is good once, but of a spent one Meta says no more than of a forged one."""

    @pytest.fixture
    async def stage(self, clock: ManualClock) -> AsyncIterator[MetaQuestStage]:
        fake = MetaQuestFake(KEY)
        async with fake.serving() as url, connected(clock, []) as connections:
            provider = opened(
                connections,
                PROVIDERS="meta_quest",
                META_QUEST_URL=url,
                META_QUEST_ORG_ID=meta_quest.ORG_ID,
                META_QUEST_APP_ID=meta_quest.APP_ID,
                META_QUEST_APP_SECRET=KEY,
            )
            yield MetaQuestStage(fake, provider)


@dataclass
class CognitoStage:
    """`part` is that of the credential, `kind` that of its token."""

    fake: CognitoFake
    provider: IdentityProvider
    beside: IdentityProvider
    part: str
    kind: str
    forget_keys: Callable[[], None]
    external_id: tuple[str, str] = ("cognito", f"{cognito.POOL}:{cognito.SUBJECT}")

    def good(self) -> Mapping[str, str]:
        return {self.part: self.fake.token(self.kind)}

    def forged(self) -> Mapping[str, str]:
        head, _, rest = self.fake.token(self.kind).partition(".")
        return {self.part: f"{head}.{rest[:20]}A{rest[20:]}"}

    def elsewhere(self) -> Mapping[str, str]:
        name = "client_id" if self.kind == "access" else "aud"
        other: dict[str, Any] = {name: cognito.OTHER_CLIENT}
        return {self.part: self.fake.token(self.kind, **other)}

    def break_down(self) -> None:
        self.forget_keys()
        self.fake.keys_status = 503

    def talk_nonsense(self) -> None:
        self.fake.document = b"<html>maintenance</html>"


class TestCognito(SingleUseContract):
    @pytest.fixture(params=[("access_token", "access"), ("id_token", "id")], ids=["access", "id"])
    async def stage(
        self, clock: ManualClock, request: pytest.FixtureRequest
    ) -> AsyncIterator[CognitoStage]:
        fake = CognitoFake(clock)
        async with (
            fake.serving() as url,
            remembering() as store,
            connected(clock, [], store) as connections,
            connected(clock, [], store) as others,
        ):
            open_in = functools.partial(
                opened,
                PROVIDERS="cognito",
                COGNITO_URL=url,
                COGNITO_JWKS_URL=f"{url}/keys",
                COGNITO_USER_POOL_ID=cognito.POOL,
                COGNITO_CLIENT_IDS=cognito.CLIENT,
            )
            part, kind = request.param
            yield CognitoStage(
                fake,
                open_in(connections),
                open_in(others),
                part,
                kind,
                lambda: clock.advance(86_400),
            )


@dataclass
class OidcStage:
    fake: OidcFake
    provider: IdentityProvider
    beside: IdentityProvider
    external_id: tuple[str, str]
    forget_keys: Callable[[], None]
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def _credential(self, token: str) -> Mapping[str, str]:
        return {"id_token": token, "nonce": RAW_NONCE}

    def good(self) -> Mapping[str, str]:
        return self._credential(self.fake.id_token(jti=str(next(self.numbers))))

    def forged(self) -> Mapping[str, str]:
        head, _, rest = self.fake.id_token().partition(".")
        return self._credential(f"{head}.{rest[:20]}A{rest[20:]}")

    def elsewhere(self) -> Mapping[str, str]:
        return self._credential(self.fake.id_token(aud="com.other.game"))

    def break_down(self) -> None:
        self.forget_keys()
        self.fake.status = 503

    def talk_nonsense(self) -> None:
        self.fake.document = b"<html>maintenance</html>"


@contextlib.asynccontextmanager
async def oidc_stage(
    fake: OidcFake, clock: ManualClock, prefix: str, external_id: tuple[str, str], **more: str
) -> AsyncIterator[OidcStage]:
    async with fake.serving() as url:
        variables: dict[str, Any] = {
            f"{prefix}_JWKS_URL": url,
            f"{prefix}_AUDIENCES": AUDIENCE,
            **more,
        }
        async with two_processes(clock, **variables) as providers:
            # Known keys hold for a day, however down the issuer is.
            yield OidcStage(fake, *providers, external_id, lambda: clock.advance(86_400))


class TestAnyIssuer(SingleUseContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock, signing_key: RSAKey) -> AsyncIterator[OidcStage]:
        fake = OidcFake(clock, signing_key)
        more = {"OIDC_PROVIDERS": "acme", "OIDC_ACME_ISSUERS": ISSUER}
        external_id = ("oidc_acme", f"{ISSUER}:{SUBJECT}")
        async with oidc_stage(fake, clock, "OIDC_ACME", external_id, **more) as stage:
            yield stage


class TestGoogle(SingleUseContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock, signing_key: RSAKey) -> AsyncIterator[OidcStage]:
        fake = OidcFake(clock, signing_key, iss="https://accounts.google.com")
        external_id = ("google", SUBJECT)
        async with oidc_stage(fake, clock, "GOOGLE", external_id, PROVIDERS="google") as stage:
            yield stage


class TestApple(SingleUseContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock, signing_key: RSAKey) -> AsyncIterator[OidcStage]:
        claims = {"iss": "https://appleid.apple.com", "nonce": HASHED_NONCE}
        fake = OidcFake(clock, signing_key, **claims, nonce_supported=True)
        more = {"PROVIDERS": "apple", "APPLE_TEAM_ID": "TEAM123456"}
        external_id = ("apple", f"TEAM123456:{SUBJECT}")
        async with oidc_stage(fake, clock, "APPLE", external_id, **more) as stage:
            yield stage


class TestAppleDropIn(SingleUseContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock, signing_key: RSAKey) -> AsyncIterator[OidcStage]:
        fake = OidcFake(clock, signing_key, iss="https://appleid.apple.com", nonce=None)
        more = {"PROVIDERS": "apple_drop_in", "APPLE_TEAM_ID": "TEAM123456"}
        external_id = ("apple", f"TEAM123456:{SUBJECT}")
        async with oidc_stage(fake, clock, "APPLE", external_id, **more) as stage:
            yield stage


class TestEpic(SingleUseContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock, signing_key: RSAKey) -> AsyncIterator[OidcStage]:
        claims = {"iss": "https://api.epicgames.dev/epic/oauth/v2", "pfdid": "live"}
        fake = OidcFake(clock, signing_key, **claims)
        more = {"PROVIDERS": "epic", "EPIC_DEPLOYMENT_ID": "live"}
        async with oidc_stage(fake, clock, "EPIC", ("epic", SUBJECT), **more) as stage:
            yield stage


class TestEos(SingleUseContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock, signing_key: RSAKey) -> AsyncIterator[OidcStage]:
        claims: dict[str, Any] = {"iss": "https://api.epicgames.dev/auth/v1/oauth"}
        claims |= {"pfpid": "product", "pfdid": "live", "act": {"eat": "steam", "eaid": "7"}}
        fake = OidcFake(clock, signing_key, **claims)
        more = {"PROVIDERS": "eos", "EOS_PRODUCT_ID": "product", "EOS_DEPLOYMENT_ID": "live"}
        external_id = ("eos", f"product:{SUBJECT}")
        async with oidc_stage(fake, clock, "EOS", external_id, **more) as stage:
            yield stage


class TestTwitch(SingleUseContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock, signing_key: RSAKey) -> AsyncIterator[OidcStage]:
        fake = OidcFake(clock, signing_key, iss="https://id.twitch.tv/oauth2")
        more = {"PROVIDERS": "twitch"}
        async with oidc_stage(fake, clock, "TWITCH", ("twitch", SUBJECT), **more) as stage:
            yield stage


class TestFacebookLimited(SingleUseContract):
    @pytest.fixture
    async def stage(self, clock: ManualClock, signing_key: RSAKey) -> AsyncIterator[OidcStage]:
        fake = OidcFake(clock, signing_key, iss="https://www.facebook.com")
        external_id = ("facebook", f"{AUDIENCE}:{SUBJECT}")
        more = {"PROVIDERS": "facebook_limited"}
        async with oidc_stage(fake, clock, "FACEBOOK_LIMITED", external_id, **more) as stage:
            yield stage
