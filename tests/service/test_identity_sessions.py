"""Sessions: what a login and a refresh hand out, and until when."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from services.identity.models import SessionKey
from services.identity.refresh_tokens import RefreshToken, RefreshTokens
from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call, claims_of, header_of, holds
from tests.support.clock import ManualClock
from tests.support.guests import (
    credential_of,
    is_refused,
    log_in,
    new_guest,
    refresh,
    refreshed,
)
from tests.support.issuer import AUDIENCE, ISSUER
from tests.support.people import new_person

MINUTE = 60
DAY = 24 * 60 * MINUTE
START = 1767323045  # the manual clock's 2026-01-02T03:04:05Z


class TestAccessToken:
    async def test_it_says_exactly_what_the_contract_says(self, identity: RunningIdentity) -> None:
        guest = await new_guest(identity.http)
        claims = claims_of(guest["access_token"])
        own = {name: claims.pop(name) for name in ("jti", "sid")}
        assert claims == {
            "iss": ISSUER,
            "sub": guest["user_id"],
            "aud": AUDIENCE,
            "exp": START + 900,
            "nbf": START,
            "iat": START,
            "client_id": "game",
            "scope": "guest",
        }
        assert all(isinstance(value, str) and value for value in own.values())

    @pytest.mark.parametrize(
        ("environ", "algorithm"),
        [({}, "RS256"), ({"PLAYMESH_SIGNING_ALG": "ES256"}, "ES256")],
        ids=["by default", "by setting"],
    )
    async def test_its_header_names_type_algorithm_and_key_and_nothing_else(
        self, tmp_path: Path, clock: ManualClock, environ: dict[str, str], algorithm: str
    ) -> None:
        async with apps.identity(tmp_path, clock, environ) as identity:
            header = header_of((await new_guest(identity.http))["access_token"])
            active = (await identity.rotator.ring()).active
        assert active
        assert header == {"typ": "at+jwt", "alg": algorithm, "kid": active.key_id}

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
    async def test_its_signature_holds_with_the_published_key(
        self, tmp_path: Path, clock: ManualClock, algorithm: str
    ) -> None:
        environ = {"PLAYMESH_SIGNING_ALG": algorithm}
        async with apps.identity(tmp_path, clock, environ) as identity:
            guest = await new_guest(identity.http)
            keys = (await call(identity.http, "GET", "/.well-known/jwks.json")).json()
        assert holds(guest["access_token"], keys)

    async def test_its_moments_are_whole_seconds_rounded_down(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        clock.advance(0.999)
        claims = claims_of((await new_guest(identity.http))["access_token"])
        assert [claims[name] for name in ("iat", "nbf", "exp")] == [START, START, START + 900]
        assert {type(claims[name]) for name in ("iat", "nbf", "exp")} == {int}

    async def test_its_id_is_never_given_twice(self, identity: RunningIdentity) -> None:
        guest = await new_guest(identity.http)
        tokens = [guest["access_token"]]
        for _ in range(5):
            guest = await refreshed(identity.http, guest["refresh_token"])
            tokens.append(guest["access_token"])
        assert len({claims_of(token)["jti"] for token in tokens}) == 6

    async def test_issuer_audience_and_lifetime_are_settings(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        environ = {
            **QUICK_KEYS,
            "PLAYMESH_ISSUER": "https://id.example.com",
            "PLAYMESH_AUDIENCE": "other-game",
            "PLAYMESH_ACCESS_TOKEN_TTL": "5m",
        }
        async with apps.identity(tmp_path, clock, environ) as identity:
            guest = await new_guest(identity.http)
        claims = claims_of(guest["access_token"])
        assert (claims["iss"], claims["aud"]) == ("https://id.example.com", "other-game")
        assert claims["exp"] - claims["iat"] == guest["expires_in"] == 300


class TestRefresh:
    async def test_it_answers_exactly_what_a_client_keeps(self, identity: RunningIdentity) -> None:
        guest = await new_guest(identity.http)
        answer = await refresh(identity.http, guest["refresh_token"])
        assert answer.status == 200
        assert answer.json().keys() == {
            "user_id",
            "access_token",
            "refresh_token",
            "expires_in",
            "refresh_expires_in",
        }

    async def test_it_stays_with_the_player(self, identity: RunningIdentity) -> None:
        guest = await new_guest(identity.http)
        tokens = await refreshed(identity.http, guest["refresh_token"])
        assert tokens["user_id"] == claims_of(tokens["access_token"])["sub"] == guest["user_id"]

    async def test_the_session_id_is_stable(self, identity: RunningIdentity) -> None:
        tokens = await new_guest(identity.http)
        session_ids = {claims_of(tokens["access_token"])["sid"]}
        for _ in range(5):
            tokens = await refreshed(identity.http, tokens["refresh_token"])
            session_ids.add(claims_of(tokens["access_token"])["sid"])
        assert len(session_ids) == 1

    async def test_the_new_access_token_lives_from_now(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        guest = await new_guest(identity.http)
        clock.advance(895)
        claims = claims_of((await refreshed(identity.http, guest["refresh_token"]))["access_token"])
        assert (claims["iat"], claims["exp"]) == (START + 895, START + 895 + 900)

    async def test_the_successor_is_another_token_and_good(self, identity: RunningIdentity) -> None:
        guest = await new_guest(identity.http)
        second = await refreshed(identity.http, guest["refresh_token"])
        third = await refreshed(identity.http, second["refresh_token"])
        assert len({one["refresh_token"] for one in (guest, second, third)}) == 3

    async def test_sessions_of_one_player_do_not_consume_each_other(
        self, identity: RunningIdentity
    ) -> None:
        guest = await new_guest(identity.http)
        other = (await log_in(identity.http, credential_of(guest))).json()
        await refreshed(identity.http, guest["refresh_token"])
        await refreshed(identity.http, other["refresh_token"])

    async def test_a_session_outlives_a_restart(self, tmp_path: Path, clock: ManualClock) -> None:
        async with apps.identity(tmp_path, clock, QUICK_KEYS) as identity:
            guest = await new_guest(identity.http)
        async with apps.identity(tmp_path, clock, QUICK_KEYS) as identity:
            assert (await refresh(identity.http, guest["refresh_token"])).status == 200


class TestLimits:
    async def test_lifetimes_are_told_in_seconds_from_now(self, identity: RunningIdentity) -> None:
        guest = await new_guest(identity.http)
        assert (guest["expires_in"], guest["refresh_expires_in"]) == (900, 7 * DAY)

    async def test_a_session_lasts_until_a_moment_before_its_idle_limit(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        guest = await new_guest(identity.http)
        clock.advance(7 * DAY - 0.001)
        await refreshed(identity.http, guest["refresh_token"])

    async def test_a_session_is_over_at_its_idle_limit(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        guest = await new_guest(identity.http)
        clock.advance(7 * DAY)
        assert is_refused(await refresh(identity.http, guest["refresh_token"]))

    async def test_a_refresh_moves_the_idle_limit(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        guest = await new_guest(identity.http)
        clock.advance(4 * DAY)
        tokens = await refreshed(identity.http, guest["refresh_token"])
        assert tokens["refresh_expires_in"] == 7 * DAY
        clock.advance(7 * DAY - 0.001)
        await refreshed(identity.http, tokens["refresh_token"])

    async def test_a_refresh_does_not_move_the_absolute_limit(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        tokens = await new_guest(identity.http)
        lifetimes = []
        for _ in range(4):
            clock.advance(6 * DAY)
            tokens = await refreshed(identity.http, tokens["refresh_token"])
            lifetimes.append(tokens["refresh_expires_in"])
        assert lifetimes == [7 * DAY, 7 * DAY, 7 * DAY, 6 * DAY]
        clock.advance(6 * DAY - 1)
        tokens = await refreshed(identity.http, tokens["refresh_token"])
        assert tokens["refresh_expires_in"] == 1
        clock.advance(1)
        assert is_refused(await refresh(identity.http, tokens["refresh_token"]))

    async def test_a_lifetime_is_never_told_as_zero(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        tokens = await new_guest(identity.http)
        for _ in range(4):
            clock.advance(6 * DAY)
            tokens = await refreshed(identity.http, tokens["refresh_token"])
        clock.advance(6 * DAY - 0.25)
        tokens = await refreshed(identity.http, tokens["refresh_token"])
        assert tokens["refresh_expires_in"] == 1

    async def test_limits_are_settings(self, tmp_path: Path, clock: ManualClock) -> None:
        environ = {
            **QUICK_KEYS,
            "PLAYMESH_REFRESH_IDLE_TTL": "10m",
            "PLAYMESH_REFRESH_ABSOLUTE_TTL": "15m",
        }
        async with apps.identity(tmp_path, clock, environ) as identity:
            guest = await new_guest(identity.http)
            clock.advance(6 * MINUTE)
            tokens = await refreshed(identity.http, guest["refresh_token"])
        assert guest["refresh_expires_in"] == 10 * MINUTE
        assert tokens["refresh_expires_in"] == 9 * MINUTE


def flipped(token: str, position: int) -> str:
    """The token with another character of the same alphabet at `position`."""
    other = "1" if token[position] == "0" else "0"
    return token[:position] + other + token[position + 1 :]


def same_bits(token: str) -> str:
    """Another text whose tag decodes to the same 32 bytes: the last two bits are unused."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


FORGERIES: dict[str, Callable[[str], str]] = {
    "version": lambda token: "r2" + token[2:],
    "session": lambda token: flipped(token, 5),
    "counter": lambda token: token.replace(".1.", ".2."),
    "counter with a leading zero": lambda token: token.replace(".1.", ".01."),
    "counter below one": lambda token: token.replace(".1.", ".0."),
    "negative counter": lambda token: token.replace(".1.", ".-1."),
    "counter in other digits": lambda token: token.replace(".1.", ".\u0661."),
    "counter beyond 64 bits": lambda token: token.replace(".1.", f".{2**64}."),
    "first of the tag": lambda token: flipped(token, len(token) - 43),
    "middle of the tag": lambda token: flipped(token, len(token) - 20),
    "same bits, other text": same_bits,
    "truncated by one": lambda token: token[:-1],
    "without its tag": lambda token: token.rpartition(".")[0],
    "with an empty tag": lambda token: token.rpartition(".")[0] + ".",
    "longer by one": lambda token: token + "A",
    "padded": lambda token: token + "=",
    "with a space": lambda token: token + " ",
    "in upper case": str.upper,
    "one part only": lambda token: token.split(".")[1],
    "garbage": lambda _token: "garbage",
    "non-ASCII": lambda _token: "r1." + "é" * 32,
}


class TestForgedToken:
    @pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
    async def test_it_is_refused_and_the_session_goes_on(
        self, identity: RunningIdentity, forge: Callable[[str], str]
    ) -> None:
        token = (await new_guest(identity.http))["refresh_token"]
        assert forge(token) != token
        assert is_refused(await refresh(identity.http, forge(token)))
        await refreshed(identity.http, token)

    @pytest.mark.parametrize("counter", [2, 3, 999_999_999])
    async def test_a_counter_of_the_future_is_refused_and_the_session_goes_on(
        self, identity: RunningIdentity, tmp_path: Path, counter: int
    ) -> None:
        token = (await new_guest(identity.http))["refresh_token"]
        tokens = RefreshTokens((tmp_path / "secrets" / "refresh.key").read_bytes)
        parsed = tokens.parse(token)
        assert parsed is not None
        future = tokens.render(RefreshToken(parsed.session, counter))
        assert is_refused(await refresh(identity.http, future))
        await refreshed(identity.http, token)

    @pytest.mark.parametrize("known", [True, False], ids=["of a player", "of nobody"])
    async def test_a_token_of_an_unknown_session_is_refused(
        self,
        identity: RunningIdentity,
        tmp_path: Path,
        known: bool,  # noqa: FBT001 - a parameter
    ) -> None:
        user_id = (await new_guest(identity.http))["user_id"] if known else "0" * 32
        tokens = RefreshTokens((tmp_path / "secrets" / "refresh.key").read_bytes)
        token = tokens.render(RefreshToken(SessionKey(user_id, "0" * 32), 1))
        assert is_refused(await refresh(identity.http, token))

    async def test_a_token_of_another_installation_is_refused(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        async with (
            apps.identity(tmp_path / "one", clock, QUICK_KEYS) as one,
            apps.identity(tmp_path / "two", clock, QUICK_KEYS) as two,
        ):
            guest = await new_guest(one.http)
            assert is_refused(await refresh(two.http, guest["refresh_token"]))

    async def test_an_access_token_is_no_refresh_token(self, identity: RunningIdentity) -> None:
        guest = await new_guest(identity.http)
        assert is_refused(await refresh(identity.http, guest["access_token"][:512]))

    async def test_a_guest_secret_is_no_refresh_token(self, identity: RunningIdentity) -> None:
        guest = await new_guest(identity.http)
        assert is_refused(await refresh(identity.http, guest["guest_secret"]))

    async def test_the_answer_does_not_carry_it_back(self, identity: RunningIdentity) -> None:
        token = flipped((await new_guest(identity.http))["refresh_token"], 5)
        assert token.encode() not in (await refresh(identity.http, token)).body


class Ticking(ManualClock):
    """No two looks at it are at the same moment."""

    def now(self) -> datetime:
        self.advance(0.001)
        return super().now()


async def test_of_many_logins_at_once_on_a_new_day_none_fails(tmp_path: Path) -> None:
    """The first one of a day changes the account, and so might all the others."""
    clock = Ticking()
    async with apps.identity(tmp_path, clock, QUICK_KEYS) as identity:
        player = await new_person(identity)
        clock.advance(DAY)
        answers = await asyncio.gather(*(player.try_to_log_in() for _ in range(50)))
        assert {answer.status for answer in answers} == {201}
