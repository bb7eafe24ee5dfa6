"""Three processes on free ports, called over HTTP as a game client, an operator and a stranger."""

import asyncio
import json
import os
import signal
import sys

import aiohttp
import jwt
import pytest

from tests.support.mesh import Mesh, Service
from tests.support.operators import operator_token
from tests.support.players import Player, Traffic, lost_promises


async def test_the_demo_plays_its_story_to_the_end(mesh: Mesh) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "examples.demo",
        env={**os.environ, **mesh.client_environ},  # noqa: TID251 - PATH and the like
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    for service in mesh.services:
        answered = [one for one in service.events if one["event"] == "request"]
        assert any(one["status"] < 300 for one in answered), service.name


def key_id(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def algorithm(token: str) -> str:
    return str(jwt.get_unverified_header(token)["alg"])


async def active_key(mesh: Mesh, http: aiohttp.ClientSession, token: str) -> str:
    bearer = {"Authorization": f"Bearer {token}"}
    async with http.get(f"{mesh.keyrotator.url}/v1/keys", headers=bearer) as response:
        keys = (await response.json())["keys"]
    return next(str(key["kid"]) for key in keys if key["state"] == "active")


async def test_no_request_fails_while_the_signing_key_is_rotated(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    token = await operator_token(mesh, http, "playmesh:keyrotator")
    old_key = await active_key(mesh, http, token)
    traffic = Traffic(mesh, http)
    async with traffic.running():
        bearer = {"Authorization": f"Bearer {token}"}
        async with http.post(f"{mesh.keyrotator.url}/v1/keys/rotate", headers=bearer) as response:
            assert response.status == 202
        async with asyncio.timeout(30):
            while not {key_id(player.access_token) for player in traffic.players} - {old_key}:
                await traffic.more_acknowledged(20)
        await traffic.more_acknowledged(200)

    assert traffic.failures == []
    assert key_id(token) == old_key
    assert await active_key(mesh, http, token) != old_key  # asked with a token of the old key
    assert await lost_promises(mesh, http, traffic.players) == []


async def test_no_request_fails_while_the_algorithm_is_changed(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    traffic = Traffic(mesh, http)
    async with traffic.running():
        await traffic.more_acknowledged(20)
        old = {algorithm(player.access_token) for player in traffic.players}
        assert await mesh.keyrotator.stop() == 0
        await mesh.keyrotator.start(PLAYMESH_SIGNING_ALG="ES256")
        async with asyncio.timeout(30):
            while "ES256" not in {algorithm(player.access_token) for player in traffic.players}:
                await traffic.more_acknowledged(20)
        await traffic.more_acknowledged(200)

    assert old == {"RS256"}
    assert traffic.failures == []
    assert await lost_promises(mesh, http, traffic.players) == []


@pytest.mark.parametrize("name", ["identity", "keyrotator", "player_data"])
async def test_a_service_killed_in_traffic_loses_no_acknowledged_write(
    mesh: Mesh, http: aiohttp.ClientSession, name: str
) -> None:
    victim: Service = getattr(mesh, name)
    traffic = Traffic(mesh, http)
    async with traffic.running():
        for _ in range(3):
            await traffic.more_acknowledged(60)
            await victim.kill()
            await victim.start()
            await victim.ready()
        await traffic.more_acknowledged(60)

    assert await lost_promises(mesh, http, traffic.players) == []
    # Only who asked the dead service itself noticed; nobody else failed, and nobody needs
    # keyrotator to play.
    assert not [one for one in traffic.failures if victim.url not in one]
    assert bool(traffic.failures) == (name != "keyrotator")
    assert not [status for status in traffic.statuses if status >= 400]


async def test_everything_survives_a_restart_of_all_three(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    traffic = Traffic(mesh, http)
    async with traffic.running(clients=2):
        await traffic.more_acknowledged(60)
    player: Player = traffic.players[-1]

    assert await mesh.stop() == [0, 0, 0]
    for service in mesh.services:
        await service.start()
        await service.ready()

    assert await lost_promises(mesh, http, traffic.players) == []
    url = f"{mesh.player_data.url}/v1/players/me/records"
    async with http.get(url, headers=player.bearer) as response:
        assert response.status == 200  # the token from before the restart still holds
    refresh = {"refresh_token": player.refresh_token}
    async with http.post(f"{mesh.identity.url}/v1/sessions/refresh", json=refresh) as response:
        assert response.status == 200


async def test_requests_that_are_under_way_are_finished_when_a_service_is_asked_to_stop(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    url = f"{mesh.identity.url}/v1/guests"
    requests = [asyncio.create_task(http.post(url)) for _ in range(50)]
    first, _ = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    assert first
    code = await mesh.identity.stop(signal.SIGTERM)

    assert code == 0
    answers = await asyncio.gather(*requests, return_exceptions=True)
    statuses = {one.status for one in answers if isinstance(one, aiohttp.ClientResponse)}
    refused = [one for one in answers if isinstance(one, BaseException)]
    assert statuses == {201}
    assert all(isinstance(one, aiohttp.ClientConnectionError) for one in refused)


async def test_another_library_accepts_the_tokens_given_only_the_jwk_set(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    """PyJWT stands for every other implementation of RFC 7515 to 7519."""
    async with http.post(f"{mesh.identity.url}/v1/guests") as response:
        guest = await response.json()
    async with http.get(f"{mesh.identity.url}/.well-known/jwks.json") as response:
        keys = jwt.PyJWKSet.from_dict(await response.json())
    token = guest["access_token"]

    key = keys[key_id(token)]
    claims = jwt.decode(
        token,
        key,
        algorithms=["RS256"],
        audience="gamebackend",
        issuer="https://mesh.test",
        options={"require": ["exp", "iat", "nbf", "sub", "jti"]},
    )

    assert claims["sub"] == guest["user_id"]
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token[:-8] + "AAAAAAAA", key, algorithms=["RS256"], audience="gamebackend")


async def test_no_secret_and_no_token_is_in_any_log(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    async with http.get(f"{mesh.identity.url}/login-as-guest") as response:
        guest = await response.json()
    secret, token = guest["guest_secret"], guest["auth_token"]
    again = {"user_id": guest["user_id"], "guest_secret": secret}
    refresh = {"refresh_token": guest["refresh_token"]}
    for url, query in (
        (f"{mesh.identity.url}/login-as-guest", again),
        (f"{mesh.identity.url}/refresh-access-token", refresh),
        (f"{mesh.identity.url}/refresh-access-token", refresh),  # again
        (f"{mesh.player_data.url}/get-player-data", {"token": token}),
    ):
        async with http.get(url, params=query, headers={"Authorization": token}):
            pass
    await mesh.stop()

    log = json.dumps([service.events for service in mesh.services])
    assert '"path": "/login-as-guest"' in log
    for value in (secret, token, guest["refresh_token"]):
        assert value not in log


async def test_no_private_key_is_in_anything_that_the_mesh_says(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    """Keys that sign, wait, are revoked, and one that is damaged: in logs, answers and metrics."""
    token = await operator_token(mesh, http, "playmesh:keyrotator")
    bearer = {"Authorization": f"Bearer {token}"}
    ring_file = mesh.data_dir / "keys" / "ring.json"
    private = private_members(ring_file.read_bytes())
    said = []
    keys = f"{mesh.keyrotator.url}/v1/keys"
    revoke = f"{keys}/{await active_key(mesh, http, token)}/revoke"
    for method, url in (("GET", keys), ("POST", f"{keys}/rotate"), ("POST", revoke)):
        async with http.request(method, url, headers=bearer) as response:
            assert response.ok
            said.append(await response.text())
    private |= private_members(ring_file.read_bytes())
    ring_file.write_bytes(ring_file.read_bytes().replace(b'"state"', b'"stat"'))
    await mesh.keyrotator.stop()
    await mesh.keyrotator.start()
    await mesh.keyrotator.ready()
    well_known = f"{mesh.identity.url}/.well-known"
    pages = [f"{well_known}/jwks.json", f"{well_known}/openid-configuration"]
    for url in (*pages, keys, *(f"{service.admin_url}/metrics" for service in mesh.services)):
        async with http.get(url, headers=bearer) as response:
            said.append(await response.text())
    await mesh.stop()

    assert len(private) >= 3 * len(("d", "p", "q", "dp", "dq", "qi"))
    said += [json.dumps(service.events) for service in mesh.services]
    assert "is damaged" in said[-2]  # keyrotator has tried to read it
    everything = "".join(said)
    assert not [member for member in private if member in everything]


def private_members(ring: bytes) -> set[str]:
    keys = [key["private_jwk"] or {} for key in json.loads(ring)["keys"]]
    return {key[name] for key in keys for name in ("d", "p", "q", "dp", "dq", "qi") if name in key}
