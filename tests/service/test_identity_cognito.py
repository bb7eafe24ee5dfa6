"""Ways in through a user pool, over a socket and with Cognito's stand-in."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import QUICK_KEYS
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call, claims_of, without_request_id
from tests.support.clock import ManualClock
from tests.support.fakes.cognito import (
    CODE,
    OTHER_CLIENT,
    PASSWORD,
    PLAYER,
    POOL,
    SCENARIOS,
    SESSION,
    SUBJECT,
    CognitoFake,
    User,
)
from tests.support.identity_store import count
from tests.support.people import Person, new_person
from tests.support.servers import Answer

LOGIN = {"username": PLAYER, "password": PASSWORD, "signin": "True"}
LIMITED = {"PLAYMESH_LOGINS_PER_SECOND": "100"}


@pytest.fixture
def fake(clock: ManualClock) -> CognitoFake:
    return CognitoFake(clock)


@contextlib.asynccontextmanager
async def running(
    folder: Path, clock: ManualClock, fake: CognitoFake, **more: str
) -> AsyncIterator[RunningIdentity]:
    async with fake.serving() as url:
        environ = {**QUICK_KEYS, **fake.environ(url), **more}
        async with apps.identity(folder, clock, environ) as identity:
            yield identity


@pytest.fixture
async def identity(
    tmp_path: Path, clock: ManualClock, fake: CognitoFake
) -> AsyncIterator[RunningIdentity]:
    async with running(tmp_path, clock, fake) as identity:
        yield identity


async def post(identity: RunningIdentity, path: str, **body: Any) -> Answer:  # noqa: ANN401 - JSON
    return await call(identity.http, "POST", path, json=body)


async def log_in(identity: RunningIdentity, **credential: str) -> Answer:
    credential = credential or {"username": PLAYER, "password": PASSWORD}
    return await post(identity, "/v1/sessions", provider="cognito", credential=credential)


async def drop_in(identity: RunningIdentity, **fields: str) -> Answer:
    """As the reference's clients send it."""
    return await post(identity, "/login-with-cognito", body=fields)


def person(identity: RunningIdentity, answer: Answer) -> Person:
    assert answer.status in (200, 201), answer
    tokens = answer.json()
    tokens.setdefault("access_token", tokens.get("auth_token"))
    return Person(identity, tokens["user_id"], "", tokens)


async def is_out(player: Person) -> bool:
    """Whether neither of its tokens is good for anything."""
    await player.identity.look()
    account = await player.call("GET", "/v1/account")
    return (account.status, (await player.refresh()).status) == (401, 401)


class TestV1:
    async def test_a_token_of_the_pool_logs_in(
        self, identity: RunningIdentity, fake: CognitoFake
    ) -> None:
        player = person(identity, await log_in(identity, access_token=fake.token()))
        account = (await player.call("GET", "/v1/account")).json()
        assert [(one["provider"], one["external_id"]) for one in account["identities"]] == [
            ("cognito", f"{POOL}:{SUBJECT}")
        ]

    async def test_a_password_is_the_same_player_as_a_token(
        self, identity: RunningIdentity, fake: CognitoFake
    ) -> None:
        answers = [
            await log_in(identity, access_token=fake.token()),
            await log_in(identity, id_token=fake.token("id")),
            await log_in(identity),
        ]
        assert [answer.status for answer in answers] == [201] * 3
        assert len({answer.json()["user_id"] for answer in answers}) == 1

    async def test_nothing_of_cognito_s_is_in_the_answer(self, identity: RunningIdentity) -> None:
        answer = await log_in(identity)
        assert "CANARY" not in str(answer)
        assert claims_of(answer.json()["access_token"])["scope"] == "authenticated"

    async def test_a_guest_links_with_a_password(self, identity: RunningIdentity) -> None:
        guest = await new_person(identity)
        credential = {"username": PLAYER, "password": PASSWORD}
        body = {"provider": "cognito", "credential": credential}
        answer = await guest.call("POST", "/v1/account/identities", json=body)
        assert (answer.status, answer.json()["scope"]) == (200, "authenticated")
        assert person(identity, await log_in(identity)).user_id == guest.user_id

    async def test_an_unknown_name_is_answered_byte_for_byte_as_a_wrong_password(
        self, identity: RunningIdentity
    ) -> None:
        """Also where the pool says that it knows nobody of that name."""
        names = (PLAYER, "nobody", "u-unknown")
        answers = [await log_in(identity, username=name, password="wrong") for name in names]
        assert answers[0].status == 401
        told = [without_request_id(answer) for answer in answers]
        assert told == [told[0]] * 3

    @pytest.mark.parametrize(
        ("username", "status", "code"),
        [
            ("u-locked", 429, "too_many_requests"),
            ("u-disabled", 403, "provider_banned"),
            ("u-notconfirmed", 409, "action_required"),
            ("u-reset", 409, "action_required"),
            ("u-throttle", 503, "provider_unavailable"),
            ("u-500", 503, "provider_unavailable"),
            ("u-setup", 409, "action_required"),
        ],
    )
    async def test_what_cognito_says_is_answered_in_our_words(
        self, identity: RunningIdentity, username: str, status: int, code: str
    ) -> None:
        answer = await log_in(identity, username=username, password=PASSWORD)
        assert (answer.status, answer.code) == (status, code)
        assert all(text not in str(answer) for name, text in SCENARIOS.values())
        assert (status in (429, 503)) == ("Retry-After" in answer.headers)

    async def test_a_challenge_is_a_409_that_says_what_is_asked(
        self, identity: RunningIdentity
    ) -> None:
        answer = await log_in(identity, username="u-mfa", password=PASSWORD)
        body = answer.json()
        assert (answer.status, answer.code, body["challenge"]) == (
            409,
            "action_required",
            "SMS_MFA",
        )
        assert body["parameters"] == {
            "CODE_DELIVERY_DELIVERY_MEDIUM": "SMS",
            "CODE_DELIVERY_DESTINATION": "+*******4567",
        }
        assert SESSION not in str(answer)
        answered = await log_in(identity, challenge_token=body["challenge_token"], answer=CODE)
        assert answered.status == 201

    async def test_a_challenge_is_taken_up_by_another_process(
        self, identity: RunningIdentity, tmp_path: Path, clock: ManualClock, fake: CognitoFake
    ) -> None:
        """Nothing of it is kept here: it is in the token."""
        asked = await log_in(identity, username="u-newpw", password=PASSWORD)
        token = asked.json()["challenge_token"]
        async with running(tmp_path, clock, fake) as other:
            assert (await log_in(other, challenge_token=token, new_password="x")).status == 201

    async def test_who_must_confirm_first_gets_no_challenge_token(
        self, identity: RunningIdentity
    ) -> None:
        body = (await log_in(identity, username="u-notconfirmed", password=PASSWORD)).json()
        assert (body["challenge"], body["parameters"]) == ("CONFIRM_SIGN_UP", {})
        assert "challenge_token" not in body


class TestPlayers:
    async def test_from_sign_up_to_log_in(self, identity: RunningIdentity) -> None:
        sign_up = {"username": "new", "password": PASSWORD, "email": "new@example.com"}
        answer = await post(identity, "/v1/cognito/sign-up", **sign_up)
        assert (answer.status, answer.json()) == (200, {"confirmed": False})
        assert (await post(identity, "/v1/cognito/resend", username="new")).status == 204
        answer = await post(identity, "/v1/cognito/confirm", username="new", code=CODE)
        assert (answer.status, answer.body) == (204, b"")
        assert (await log_in(identity, username="new", password=PASSWORD)).status == 201

    async def test_a_forgotten_password_is_replaced(self, identity: RunningIdentity) -> None:
        answer = await post(identity, "/v1/cognito/forgot-password", username=PLAYER)
        assert answer.status == 204
        new = {"username": PLAYER, "code": CODE, "new_password": "An0ther-password"}
        assert (await post(identity, "/v1/cognito/reset-password", **new)).status == 204
        answer = await log_in(identity, username=PLAYER, password="An0ther-password")
        assert answer.status == 201

    @pytest.mark.parametrize("code", ["000000", "999999"], ids=["wrong", "over"])
    @pytest.mark.parametrize(
        ("path", "more"), [("confirm", {}), ("reset-password", {"new_password": PASSWORD})]
    )
    async def test_a_code_that_does_not_hold_is_a_400(
        self, identity: RunningIdentity, path: str, more: dict[str, str], code: str
    ) -> None:
        body = {"username": PLAYER, "code": code, **more}
        answer = await post(identity, f"/v1/cognito/{path}", **body)
        assert (answer.status, answer.code) == (400, "invalid_code")

    async def test_a_weak_password_is_a_400(self, identity: RunningIdentity) -> None:
        answer = await post(identity, "/v1/cognito/sign-up", username="new", password="weak")
        assert (answer.status, answer.code) == (400, "weak_password")

    @pytest.mark.parametrize(
        ("path", "more", "names"),
        [
            ("forgot-password", {}, (PLAYER, "nobody")),
            ("resend", {}, (PLAYER, "nobody")),
            ("sign-up", {"password": PASSWORD}, ("new", PLAYER)),
            ("confirm", {"code": "000000"}, ("unconfirmed", "nobody", PLAYER)),
            ("confirm", {"code": CODE}, ("nobody", PLAYER)),
            (
                "reset-password",
                {"code": "000000", "new_password": PASSWORD},
                (PLAYER, "nobody", "codeless"),
            ),
        ],
    )
    async def test_nobody_is_told_which_names_there_are(
        self,
        identity: RunningIdentity,
        fake: CognitoFake,
        path: str,
        more: dict[str, str],
        names: tuple[str, ...],
    ) -> None:
        fake.users["codeless"] = User(PASSWORD, "sub-codeless", has_code=False)
        await post(identity, "/v1/cognito/sign-up", username="unconfirmed", password=PASSWORD)
        told: list[object] = []
        for name in names:
            answer = await post(identity, f"/v1/cognito/{path}", username=name, **more)
            told.append(without_request_id(answer) if answer.body else answer.status)
        assert told == [told[0]] * len(names)

    async def test_where_no_pool_is_on_there_are_no_such_routes(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        async with apps.identity(tmp_path, clock, QUICK_KEYS) as identity:
            for path in ("sign-up", "confirm", "resend", "sign-out"):
                assert (await post(identity, f"/v1/cognito/{path}")).status == 404
            assert (await drop_in(identity, signin="True")).status == 404


class TestSignOut:
    async def test_defect_24_a_sign_out_ends_the_sessions_here_and_there(
        self, identity: RunningIdentity, fake: CognitoFake
    ) -> None:
        token = fake.token()
        devices = [person(identity, await log_in(identity)) for _ in range(2)]
        answer = await post(identity, "/v1/cognito/sign-out", access_token=token)
        assert answer.status == 204
        assert fake.signed_out == {token}
        assert [await is_out(device) for device in devices] == [True, True]

    async def test_defect_24_so_does_the_drop_in_route(
        self, identity: RunningIdentity, fake: CognitoFake
    ) -> None:
        player = person(identity, await log_in(identity))
        answer = await drop_in(identity, signout="True", access_token=fake.token())
        assert (answer.status, answer.json()) == (200, "Cognito Sign Out successful")
        assert await is_out(player)

    async def test_it_may_be_repeated(self, identity: RunningIdentity, fake: CognitoFake) -> None:
        token = fake.token()
        for _ in range(2):
            answer = await post(identity, "/v1/cognito/sign-out", access_token=token)
            assert answer.status == 204

    async def test_while_cognito_is_down_the_sessions_here_end_all_the_same(
        self, identity: RunningIdentity, fake: CognitoFake
    ) -> None:
        player = person(identity, await log_in(identity))
        fake.scenario = "http503"
        answer = await post(identity, "/v1/cognito/sign-out", access_token=fake.token())
        assert (answer.status, answer.code) == (503, "provider_unavailable")
        assert await is_out(player)

    @pytest.mark.parametrize(
        "changes", [{"client_id": OTHER_CLIENT}, {"token_use": "id"}, {"sub": None}]
    )
    async def test_a_token_that_would_not_log_in_ends_nothing(
        self, identity: RunningIdentity, fake: CognitoFake, changes: dict[str, Any]
    ) -> None:
        player = person(identity, await log_in(identity))
        asked = len(fake.asked)
        token = fake.token(**changes)
        answer = await post(identity, "/v1/cognito/sign-out", access_token=token)
        assert answer.status == 401
        assert len(fake.asked) == asked
        assert (await player.refresh()).status == 200

    async def test_a_token_of_nobody_here_makes_no_account(
        self, identity: RunningIdentity, fake: CognitoFake, tmp_path: Path
    ) -> None:
        before = count(tmp_path, "accounts")
        token = fake.token(sub="somebody-new")
        answer = await post(identity, "/v1/cognito/sign-out", access_token=token)
        assert answer.status == 204
        assert count(tmp_path, "accounts") == before

    async def test_it_ends_nobody_else_s_session(
        self, identity: RunningIdentity, fake: CognitoFake
    ) -> None:
        guest = await new_person(identity)
        await post(identity, "/v1/cognito/sign-out", access_token=fake.token())
        assert (await guest.refresh()).status == 200


class TestDropIn:
    @pytest.mark.parametrize("path", ["/login-with-cognito", "//login-with-cognito"])
    @pytest.mark.parametrize("manner", ["nested", "flat", "form"])
    async def test_defect_23_a_login_is_taken_nested_and_flat_and_as_a_form(
        self, identity: RunningIdentity, path: str, manner: str
    ) -> None:
        manners: dict[str, dict[str, Any]] = {
            "nested": {"json": {"body": LOGIN}},
            "flat": {"json": LOGIN},
            "form": {"data": LOGIN},
        }
        url = identity.url + path
        answer = await call(identity.http, "POST", url, **manners[manner])
        assert answer.status == 200
        assert set(answer.json()) == {
            "user_id",
            "cognito_id",
            "auth_token",
            "refresh_token",
            "auth_token_expires_in",
            "refresh_token_expires_in",
        }
        assert answer.json()["cognito_id"] == SUBJECT

    async def test_defect_23_a_get_is_refused_since_a_password_is_in_it(
        self, identity: RunningIdentity
    ) -> None:
        answer = await call(identity.http, "GET", "/login-with-cognito", params=LOGIN)
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")

    @pytest.mark.parametrize("name", ["password", "username", "signin"])
    async def test_nothing_but_the_link_is_taken_from_the_url(
        self, identity: RunningIdentity, name: str
    ) -> None:
        query = {name: LOGIN[name]}
        answer = await call(identity.http, "POST", "/login-with-cognito", params=query, json=LOGIN)
        assert (answer.status, answer.code) == (400, "invalid_request")

    async def test_defect_20_who_has_to_confirm_is_told_so_and_nobody_else(
        self, identity: RunningIdentity
    ) -> None:
        sign_up = {"password": PASSWORD, "email": "new@example.com", "signup": "True"}
        new = await drop_in(identity, username="new", **sign_up)
        confirmed = await drop_in(identity, username="auto-new", **sign_up)
        assert new.json() == "Cognito Sign Up successful, please confirm your code"
        assert confirmed.json() == "Cognito Sign Up successful"

    @pytest.mark.parametrize(
        "sent",
        [
            {"signup_confirmation_code": CODE},
            {"signup_confirmation_code": CODE, "confirmation_code": CODE},
            {"signup_confirmation_code": "True", "confirmation_code": CODE},
        ],
    )
    async def test_defect_21_a_confirmation_s_code_is_found_under_either_name(
        self, identity: RunningIdentity, sent: dict[str, str]
    ) -> None:
        await drop_in(identity, username="new", password=PASSWORD, signup="True")
        answer = await drop_in(identity, username="new", **sent)
        assert (answer.status, answer.json()) == (200, "Cognito Confirmation successful")
        assert (await log_in(identity, username="new", password=PASSWORD)).status == 201

    async def test_a_forgotten_password_is_replaced(self, identity: RunningIdentity) -> None:
        answer = await drop_in(identity, username=PLAYER, forgot_password="True")
        assert (answer.status, answer.json()) == (200, "Cognito Forgot Password successful")
        new = {"password": "An0ther-password", "reset_password_code": CODE}
        answer = await drop_in(identity, username=PLAYER, reset_password="True", **new)
        assert (answer.status, answer.json()) == (200, "Cognito Reset Password successful")
        answer = await drop_in(identity, **{**LOGIN, "password": "An0ther-password"})
        assert answer.status == 200

    @pytest.mark.parametrize(
        ("username", "status", "code"),
        [
            ("nobody", 401, "invalid_credential"),
            ("u-locked", 429, "too_many_requests"),
            ("u-notconfirmed", 409, "action_required"),
            ("u-mfa", 409, "action_required"),
            ("u-throttle", 503, "provider_unavailable"),
        ],
    )
    async def test_defect_19_what_goes_wrong_is_not_all_the_same(
        self, identity: RunningIdentity, username: str, status: int, code: str
    ) -> None:
        answer = await drop_in(identity, **{**LOGIN, "username": username})
        assert (answer.status, answer.code) == (status, code)

    @pytest.mark.parametrize("scenario", ["http503", "reset", "html200"])
    async def test_defect_28_an_outage_is_no_401(
        self, identity: RunningIdentity, fake: CognitoFake, scenario: str
    ) -> None:
        fake.scenario = scenario
        for answer in (await drop_in(identity, **LOGIN), await log_in(identity)):
            assert (answer.status, answer.code) == (503, "provider_unavailable")
            assert int(answer.headers["Retry-After"]) >= 1

    @pytest.mark.parametrize("where", ["query", "body"])
    async def test_a_guest_links_and_stays_who_it_is(
        self, identity: RunningIdentity, where: str
    ) -> None:
        guest = await new_person(identity)
        wish = {"auth_token": guest.tokens["access_token"], "link_to_existing_user": "Yes"}
        query, body = (wish, LOGIN) if where == "query" else ({}, {**LOGIN, **wish})
        answer = await call(
            identity.http, "POST", "/login-with-cognito", params=query, json={"body": body}
        )
        assert (answer.status, answer.json()["user_id"]) == (200, guest.user_id)

    async def test_who_links_what_is_another_s_is_told_so(self, identity: RunningIdentity) -> None:
        owner = (await drop_in(identity, **LOGIN)).json()["user_id"]
        guest = await new_person(identity)
        wish = {"auth_token": guest.tokens["access_token"], "link_to_existing_user": "Yes"}
        answer = await drop_in(identity, **LOGIN, **wish)
        assert (answer.json()["user_id"], answer.json()["link_conflict"]) == (owner, True)

    @pytest.mark.parametrize("is_service", [False, True])
    async def test_a_token_that_does_not_hold_links_nothing(
        self, identity: RunningIdentity, fake: CognitoFake, *, is_service: bool
    ) -> None:
        token = identity.service_token("identity:admin") if is_service else "x"
        wish = {"auth_token": token, "link_to_existing_user": "Yes"}
        answer = await drop_in(identity, **LOGIN, **wish)
        assert (answer.status, answer.code) == (401, "invalid_token")
        assert fake.asked == []

    @pytest.mark.parametrize("value", ["true", "Yes", "1", "False"])
    async def test_a_wish_is_the_word_that_the_reference_has(
        self, identity: RunningIdentity, value: str
    ) -> None:
        answer = await drop_in(identity, **{**LOGIN, "signin": value})
        assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("sign-up", {"password": PASSWORD}),
        ("confirm", {"code": "000000"}),
        ("resend", {}),
        ("forgot-password", {}),
        ("reset-password", {"code": "000000", "new_password": PASSWORD}),
        ("sign-out", {"access_token": "x"}),
    ],
)
async def test_every_request_counts_as_a_login_of_its_address(
    tmp_path: Path, clock: ManualClock, fake: CognitoFake, path: str, more: dict[str, str]
) -> None:
    async with running(tmp_path, clock, fake, PLAYMESH_LOGINS_PER_SECOND="1") as identity:
        statuses = []
        for n in range(11):
            answer = await post(identity, f"/v1/cognito/{path}", username=f"player-{n}", **more)
            statuses.append(answer.status)
    assert statuses.index(429) == 10


async def test_defect_22_where_the_store_fails_no_second_account_is_made(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    """A lookup that fails ends the login, and the next one finds who it is."""
    first = (await log_in(identity)).json()["user_id"]
    before = count(tmp_path, "accounts")
    database = identity.stores.identities._database  # type: ignore[attr-defined]
    await database.close()
    assert (await log_in(identity)).status == 503
    await database.open()
    assert count(tmp_path, "accounts") == before
    assert (await log_in(identity)).json()["user_id"] == first


class TestLimits:
    @pytest.fixture
    async def identity(
        self, tmp_path: Path, clock: ManualClock, fake: CognitoFake
    ) -> AsyncIterator[RunningIdentity]:
        behind = {"PLAYMESH_TRUSTED_PROXY_HOPS": "1"}
        async with running(tmp_path, clock, fake, **LIMITED, **behind) as identity:
            yield identity

    async def guess(self, identity: RunningIdentity, address: str, name: str = PLAYER) -> int:
        credential = {"username": name, "password": "wrong"}
        body = {"provider": "cognito", "credential": credential}
        headers = {"X-Forwarded-For": address}
        answer = await call(identity.http, "POST", "/v1/sessions", json=body, headers=headers)
        return answer.status

    async def test_who_guesses_is_stopped_before_the_pool_locks_the_player_out(
        self, identity: RunningIdentity, fake: CognitoFake
    ) -> None:
        guesses = [await self.guess(identity, "198.51.100.1") for _ in range(8)]
        assert guesses == [401] * 5 + [429] * 3
        assert len(fake.asked) == 5

    async def test_the_player_at_another_address_gets_in(self, identity: RunningIdentity) -> None:
        for _ in range(20):
            await self.guess(identity, "198.51.100.1")
        assert (await log_in(identity)).status == 201

    async def test_neither_case_is_another_name(self, identity: RunningIdentity) -> None:
        names = [PLAYER, PLAYER.upper(), PLAYER.title()] * 3
        guesses = [await self.guess(identity, "198.51.100.1", name) for name in names]
        assert guesses.count(401) == 5

    async def test_from_many_addresses_there_is_a_limit_by_name(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        guesses = [await self.guess(identity, f"198.51.100.{n}") for n in range(15)]
        assert guesses == [401] * 10 + [429] * 5
        assert await self.guess(identity, "198.51.100.99", "somebody-else") == 401
        clock.advance(6)
        assert await self.guess(identity, "198.51.100.98") == 401

    async def test_linking_counts_too(self, identity: RunningIdentity) -> None:
        guest = await new_person(identity)
        credential = {"username": PLAYER, "password": "wrong"}
        body = {"provider": "cognito", "credential": credential}
        answers = [await guest.call("POST", "/v1/account/identities", json=body) for _ in range(6)]
        assert [answer.status for answer in answers] == [401] * 5 + [429]

    @pytest.mark.parametrize(
        ("path", "more"),
        [
            ("sign-up", {"password": PASSWORD}),
            ("confirm", {"code": "000000"}),
            ("resend", {}),
            ("forgot-password", {}),
            ("reset-password", {"code": "000000", "new_password": PASSWORD}),
        ],
    )
    async def test_each_kind_of_request_has_a_limit_by_name_that_tells_nobody_who_there_is(
        self, identity: RunningIdentity, path: str, more: dict[str, str]
    ) -> None:
        statuses = {
            name: [
                (await post(identity, f"/v1/cognito/{path}", username=name, **more)).status
                for _ in range(6)
            ]
            for name in (PLAYER, "nobody")
        }
        assert statuses[PLAYER] == statuses["nobody"]
        assert statuses[PLAYER].index(429) == 5

    async def test_nobody_uses_them_up_for_a_player_at_another_address(
        self, identity: RunningIdentity, clock: ManualClock
    ) -> None:
        async def confirm(address: str) -> int:
            body = {"username": "new", "code": "000000"}
            headers = {"X-Forwarded-For": address}
            path = "/v1/cognito/confirm"
            return (await call(identity.http, "POST", path, json=body, headers=headers)).status

        for _ in range(12):
            for _ in range(8):
                await confirm("198.51.100.1")
            assert await confirm("198.51.100.2") == 400
            clock.advance(3600)
        many = [await confirm(f"198.51.100.{n}") for n in range(3, 20)]
        assert many.count(400) == 10

    async def test_each_kind_of_request_has_its_own(self, identity: RunningIdentity) -> None:
        names = [PLAYER, PLAYER.upper()] * 3
        resent = [await post(identity, "/v1/cognito/resend", username=name) for name in names]
        assert [answer.status for answer in resent] == [204] * 5 + [429]
        answer = await post(identity, "/v1/cognito/forgot-password", username=PLAYER)
        assert answer.status == 204
