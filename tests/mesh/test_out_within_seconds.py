"""Who is banned, logged out or erased is out of every service within seconds, in real processes."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from tests.support import figures
from tests.support.calls import bearer, call
from tests.support.mesh import Mesh
from tests.support.operators import operator_token
from tests.support.servers import Answer

WITHIN = 10.0
RECORD = "/v1/players/me/records/saves/slot1"


async def new_guest(mesh: Mesh, http: aiohttp.ClientSession) -> Mapping[str, Any]:
    answer = await call(http, "POST", f"{mesh.identity.url}/v1/guests")
    assert answer.status == 201, answer
    guest: Mapping[str, Any] = answer.json()
    return guest


async def save(mesh: Mesh, http: aiohttp.ClientSession, token: str) -> Answer:
    url = mesh.player_data.url + RECORD
    return await call(http, "PUT", url, headers=bearer(token), json={"level": 1})


async def until_refused(mesh: Mesh, http: aiohttp.ClientSession, token: str) -> float:
    """Seconds until player_data has refused a token that it took before."""
    started = time.perf_counter()
    async with asyncio.timeout(WITHIN):
        while (answer := await save(mesh, http, token)).status != 401:
            assert answer.status in (200, 201), answer
            await asyncio.sleep(0.05)
    assert answer.code == "invalid_token"
    return time.perf_counter() - started


async def metric(mesh: Mesh, http: aiohttp.ClientSession, name: str) -> float:
    """Of player_data."""
    text = (await call(http, "GET", f"{mesh.player_data.admin_url}/metrics")).body.decode()
    values = (float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))
    return next(values, 0.0)


async def act(mesh: Mesh, http: aiohttp.ClientSession, how: str, guest: Mapping[str, Any]) -> None:
    own = bearer(guest["access_token"])
    if how == "logged out":
        url = f"{mesh.identity.url}/v1/sessions/current"
        answer = await call(http, "DELETE", url, headers=own)
    elif how == "erased":
        answer = await call(http, "DELETE", f"{mesh.identity.url}/v1/account", headers=own)
    elif how == "token reused":
        url = f"{mesh.identity.url}/v1/sessions/refresh"
        body = {"refresh_token": guest["refresh_token"]}
        second = (await call(http, "POST", url, json=body)).json()["refresh_token"]
        await call(http, "POST", url, json={"refresh_token": second})
        assert (await call(http, "POST", url, json=body)).code == "refresh_reused"
        return
    else:
        action = {"banned": "ban", "kicked": "revoke-sessions"}[how]
        url = f"{mesh.identity.url}/v1/admin/players/{guest['user_id']}/{action}"
        token = await operator_token(mesh, http, "playmesh:identity")
        body = {"reason": "aim bot"}
        answer = await call(http, "POST", url, headers=bearer(token), json=body)
    assert answer.status in (200, 204), answer


@pytest.mark.parametrize("how", ["banned", "kicked", "logged out", "erased", "token reused"])
async def test_a_valid_access_token_is_refused_within_ten_seconds(
    mesh: Mesh, http: aiohttp.ClientSession, how: str
) -> None:
    guest, other = await new_guest(mesh, http), await new_guest(mesh, http)
    for token in (guest["access_token"], other["access_token"]):
        assert (await save(mesh, http, token)).status == 201
    await act(mesh, http, how, guest)
    seconds = await until_refused(mesh, http, guest["access_token"])
    figures.note("out of player_data", who=how, seconds=round(seconds, 1))
    assert (await save(mesh, http, other["access_token"])).status == 200


async def test_while_identity_is_away_the_mesh_keeps_serving_and_says_so(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    guest = await new_guest(mesh, http)
    await save(mesh, http, guest["access_token"])
    failed = 'playmesh_revocations_fetches_total{outcome="failed"}'
    await mesh.identity.kill()
    async with asyncio.timeout(20):
        while await metric(mesh, http, failed) < 2:
            assert (await save(mesh, http, guest["access_token"])).status == 200
            await asyncio.sleep(0.1)
    age = await metric(mesh, http, "playmesh_revocations_age_seconds")
    assert age > 3
    assert (await save(mesh, http, guest["access_token"])).status == 200
    await mesh.identity.start()
    await mesh.identity.ready()
    await act(mesh, http, "logged out", guest)
    await until_refused(mesh, http, guest["access_token"])
    figures.note("revocations while identity was away", age_in_seconds=round(age, 1))
