"""An operator with nothing but the secret of a new installation, from token to ban."""

from pathlib import Path

import pytest

from tests.service.test_identity_oauth import basic, operator_secret
from tests.support.apps import RunningIdentity
from tests.support.calls import bearer, call
from tests.support.clock import ManualClock
from tests.support.people import Person, new_person
from tests.support.servers import Answer

MINUTE = 60


class Operator:
    def __init__(self, identity: RunningIdentity, secret: str) -> None:
        self._http = identity.http
        self._credential = basic("operator", secret)
        self.token = ""

    async def authenticate(self, resource: str = "playmesh:identity") -> Answer:
        form = {"grant_type": "client_credentials", "resource": resource}
        answer = await call(
            self._http, "POST", "/oauth2/token", data=form, headers=self._credential
        )
        self.token = answer.json()["access_token"]
        return answer

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        options = {} if body is None else {"json": body}
        headers = bearer(self.token)
        return await call(self._http, method, f"/v1/admin{path}", headers=headers, **options)


@pytest.fixture
async def operator(identity: RunningIdentity, tmp_path: Path) -> Operator:
    found = Operator(identity, operator_secret(tmp_path))
    assert (await found.authenticate()).json()["scope"] == "identity:admin"
    return found


@pytest.fixture
async def player(identity: RunningIdentity) -> Person:
    return await new_person(identity)


async def test_a_player_is_banned_kept_out_and_let_in_again(
    identity: RunningIdentity, operator: Operator, player: Person
) -> None:
    path = f"/players/{player.user_id}"
    answer = await operator.ask("POST", f"{path}/ban", {"reason": "aim bot"})
    assert (answer.status, answer.json()["bans"][0]["reason"]) == (200, "aim bot")
    await identity.look()
    assert (await player.call("GET", "/v1/account")).code == "invalid_token"
    assert (await player.refresh()).code == "banned"
    assert (await player.try_to_log_in()).json()["reason"] == "aim bot"

    answer = await operator.ask("POST", f"{path}/unban", {})
    assert (answer.status, answer.json()["bans"]) == (200, [])
    await identity.look()
    assert (await player.refresh()).status == 200
    assert (await player.call("GET", "/v1/account")).status == 200


async def test_a_player_is_kicked(
    identity: RunningIdentity, operator: Operator, player: Person
) -> None:
    answer = await operator.ask("POST", f"/players/{player.user_id}/revoke-sessions")
    assert (answer.status, answer.json()["sessions"]) == (200, [])
    await identity.look()
    assert (await player.call("GET", "/v1/account")).code == "invalid_token"
    assert (await player.refresh()).json()["reason"] == "ended_by_operator"
    assert (await player.try_to_log_in()).status == 201


async def test_a_platform_identity_is_banned_and_let_in_again(operator: Operator) -> None:
    path = "/identities/steam/76561197960287930"
    assert (await operator.ask("POST", f"{path}/ban", {"reason": "aim bot"})).status == 200
    assert (await operator.ask("GET", path)).json()["ban"]["reason"] == "aim bot"
    assert (await operator.ask("POST", f"{path}/unban")).status == 204
    assert (await operator.ask("GET", path)).json() == {"ban": None}


async def test_a_token_for_another_service_does_nothing_here(
    operator: Operator, player: Person
) -> None:
    await operator.authenticate("playmesh:keyrotator")
    answer = await operator.ask("POST", f"/players/{player.user_id}/ban", {"reason": "aim bot"})
    assert (answer.status, answer.code) == (401, "invalid_token")
    assert (await player.refresh()).status == 200


async def test_after_a_quarter_of_an_hour_another_token_is_needed(
    operator: Operator, player: Person, clock: ManualClock
) -> None:
    path = f"/players/{player.user_id}"
    clock.advance(15 * MINUTE + 60)
    assert (await operator.ask("GET", path)).code == "invalid_token"
    await operator.authenticate()
    assert (await operator.ask("GET", path)).status == 200


async def test_operators_are_no_players(operator: Operator, identity: RunningIdentity) -> None:
    for method, path in (
        ("GET", "/v1/account"),
        ("DELETE", "/v1/account"),
        ("GET", "/v1/sessions"),
    ):
        answer = await call(identity.http, method, path, headers=bearer(operator.token))
        assert (answer.status, answer.code) == (403, "forbidden")
