"""A service that is not of the mesh trusts its tokens: examples/chat.py, as it is documented."""

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.calls import bearer, call
from tests.support.mesh import Mesh, Service

MODERATOR = {
    "client_id": "moderator",
    "secrets": ["moderator's secret"],
    "grants": {"playmesh:chat": ["chat:moderate"]},
}


@pytest.fixture
async def chat(mesh: Mesh) -> AsyncIterator[str]:
    service = Service("chat", mesh.environ, module="examples.chat")
    await service.start()
    await service.ready()
    yield service.url
    assert await service.stop() == 0


async def guest(mesh: Mesh, http: aiohttp.ClientSession) -> tuple[str, str]:
    """User id and access token."""
    body = (await call(http, "POST", f"{mesh.identity.url}/v1/guests")).json()
    return body["user_id"], body["access_token"]


async def service_token(mesh: Mesh, http: aiohttp.ClientSession) -> str:
    clients = mesh.data_dir / "secrets" / "service-clients.json"
    listed = json.loads(clients.read_text())["clients"]
    clients.write_text(json.dumps({"clients": [*listed, MODERATOR]}))
    form = {
        "grant_type": "client_credentials",
        "client_id": "moderator",
        "client_secret": "moderator's secret",
        "resource": "playmesh:chat",
    }
    answer = await call(http, "POST", f"{mesh.identity.url}/oauth2/token", data=form)
    return str(answer.json()["access_token"])


async def test_a_guest_s_token_opens_it_and_says_who_speaks(
    mesh: Mesh, chat: str, http: aiohttp.ClientSession
) -> None:
    user_id, token = await guest(mesh, http)
    said = await call(
        http, "POST", f"{chat}/messages", headers=bearer(token), json={"text": "Hello"}
    )
    assert said.status == 201
    heard = await call(http, "GET", f"{chat}/messages", headers=bearer(token))
    assert heard.json() == {"messages": [{"from": user_id, "text": "Hello"}]}


async def test_without_a_token_only_what_is_public_is_open(
    chat: str, http: aiohttp.ClientSession
) -> None:
    refused = await call(http, "GET", f"{chat}/messages")
    assert (refused.status, refused.code) == (401, "invalid_token")
    assert refused.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert (await call(http, "DELETE", f"{chat}/messages")).status == 401
    assert (await call(http, "GET", f"{chat}/about")).json() == {"messages": 0}


async def test_a_service_with_the_scope_may_do_what_a_player_may_not(
    mesh: Mesh, chat: str, http: aiohttp.ClientSession
) -> None:
    token = await service_token(mesh, http)
    _, player = await guest(mesh, http)
    wiped = await call(http, "DELETE", f"{chat}/messages", headers=bearer(token))
    assert wiped.status == 204
    for method, wrong in (("GET", token), ("DELETE", player)):
        refused = await call(http, method, f"{chat}/messages", headers=bearer(wrong))
        assert (refused.status, refused.code) == (403, "forbidden")
