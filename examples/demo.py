"""A game client's story against a running mesh: `make run` in one terminal, `make demo` here.

    new guest -> save -> read back -> refresh -> key rotation -> log in again
        -> log another device out -> erase the account

Every step is a call over HTTP and prints what came back. Exit code 0 when all of it held.
"""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

_ROTATION_WITHIN = 60.0
_OUT_WITHIN = 10.0


class DemoFailed(Exception):
    """Says which promise was broken."""


@dataclass
class Mesh:
    """Where the services are, and the operator's credential of the embedded mesh."""

    identity: str
    keyrotator: str
    player_data: str
    data_dir: Path

    @classmethod
    def from_environ(cls) -> "Mesh":
        environ = os.environ  # noqa: TID251 - a client's edge
        host = environ.get("PLAYMESH_HOST") or "127.0.0.1"
        port = int(environ.get("PLAYMESH_PORT") or 8080)
        return cls(
            identity=environ.get("IDENTITY_URL") or f"http://{host}:{port}",
            keyrotator=environ.get("KEYROTATOR_URL") or f"http://{host}:{port + 1}",
            player_data=environ.get("PLAYER_DATA_URL") or f"http://{host}:{port + 2}",
            data_dir=Path(environ.get("PLAYMESH_DATA_DIR") or ".playmesh"),
        )

    def operator_secret(self) -> str:
        path = self.data_dir / "secrets" / "service-clients.json"
        if not path.exists():
            raise DemoFailed(f"{path} is missing: set PLAYMESH_DATA_DIR as it is for the mesh")
        clients = json.loads(path.read_text())["clients"]
        return next(str(one["secrets"][0]) for one in clients if one["client_id"] == "operator")


@dataclass
class GameClient:
    """All that a game needs: log in, keep the tokens, save with the version that it has seen."""

    mesh: Mesh
    http: aiohttp.ClientSession
    user_id: str = ""
    guest_secret: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)

    async def new_guest(self) -> None:
        answer = await self._identity("/v1/guests", {"device": {"name": "demo"}})
        self.user_id, self.guest_secret = answer["user_id"], answer["guest_secret"]
        self._keep(answer)

    async def log_in(self, device: str = "demo") -> None:
        credential = {"user_id": self.user_id, "guest_secret": self.guest_secret}
        login = {"provider": "guest", "credential": credential, "device": {"name": device}}
        self._keep(await self._identity("/v1/sessions", login))

    async def refresh(self) -> None:
        """After a lost answer the same token brings the same new one, for a minute."""
        self._keep(
            await self._identity("/v1/sessions/refresh", {"refresh_token": self.refresh_token})
        )

    async def devices(self) -> dict[str, str]:
        """Where the player is logged in: session ids by the name of the device."""
        answer = await self._own("GET", "/v1/sessions")
        return {one["device"]: one["session_id"] for one in answer["sessions"]}

    async def log_out(self, session_id: str) -> None:
        await self._own("DELETE", f"/v1/sessions/{session_id}")

    async def erase(self) -> None:
        await self._own("DELETE", "/v1/account")

    async def save(self, key: str, value: object, *, version: int | None) -> dict[str, Any]:
        """`version` None creates. A 412 carries the record as it is now, to merge with."""
        condition = {"If-None-Match": "*"} if version is None else {"If-Match": f'"{version}"'}
        return await self._record("PUT", key, headers=condition, json=value)

    async def load(self, key: str, *, token: str | None = None) -> dict[str, Any]:
        return await self._record("GET", key, token=token)

    def _keep(self, answer: dict[str, Any]) -> None:
        self.access_token, self.refresh_token = answer["access_token"], answer["refresh_token"]

    async def _identity(self, path: str, body: object) -> dict[str, Any]:
        async with self.http.post(f"{self.mesh.identity}{path}", json=body) as response:
            return await answer_of(response)

    async def _own(self, method: str, path: str, json: object = None) -> dict[str, Any]:
        url = f"{self.mesh.identity}{path}"
        bearer = {"Authorization": f"Bearer {self.access_token}"}
        async with self.http.request(method, url, headers=bearer, json=json) as response:
            return await answer_of(response) if response.status != 204 else {}  # noqa: PLR2004 - HTTP

    async def _record(
        self,
        method: str,
        key: str,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        json: object = None,
    ) -> dict[str, Any]:
        url = f"{self.mesh.player_data}/v1/players/me/records/saves/{key}"
        bearer = {"Authorization": f"Bearer {token or self.access_token}"}
        async with self.http.request(
            method, url, headers={**bearer, **(headers or {})}, json=json
        ) as response:
            return await answer_of(response)


@dataclass
class Operator:
    """What an operator's script does: a service token, then keyrotator."""

    mesh: Mesh
    http: aiohttp.ClientSession
    token: str = field(default="", repr=False)

    async def authenticate(self) -> None:
        form = {
            "grant_type": "client_credentials",
            "resource": "playmesh:keyrotator",
            "scope": "keys:rotate",
        }
        auth = aiohttp.encode_basic_auth("operator", self.mesh.operator_secret())
        async with self.http.post(
            f"{self.mesh.identity}/oauth2/token", data=form, headers={"Authorization": auth}
        ) as response:
            self.token = (await answer_of(response))["access_token"]

    async def keys(self) -> list[dict[str, Any]]:
        return list((await self._call("GET", "/v1/keys"))["keys"])

    async def rotate(self) -> str:
        return str((await self._call("POST", "/v1/keys/rotate"))["activates_at"])

    async def _call(self, method: str, path: str) -> dict[str, Any]:
        url = f"{self.mesh.keyrotator}{path}"
        bearer = {"Authorization": f"Bearer {self.token}"}
        async with self.http.request(method, url, headers=bearer) as response:
            return await answer_of(response)


async def story(mesh: Mesh, http: aiohttp.ClientSession) -> None:
    player, operator = GameClient(mesh, http), Operator(mesh, http)

    step("A new guest")
    await player.new_guest()
    tell(f"user {player.user_id}, access token signed with key {_key_id(player.access_token)}")

    step("Save the game")
    saved = await player.save("slot1", {"level": 1, "gold": 10}, version=None)
    saved = await player.save("slot1", {"level": 2, "gold": 25}, version=saved["version"])
    tell(f"slot1 is at version {saved['version']}")

    step("Read it back")
    loaded = await player.load("slot1")
    promise(loaded["value"] == {"level": 2, "gold": 25}, "the save came back as it was")
    tell(json.dumps(loaded["value"]))

    step("A second device saves over an old version")
    tell(await refused_save(player))

    step("Refresh the session")
    old_access_token, old_refresh_token = player.access_token, player.refresh_token
    await player.refresh()
    tell("new access token, new refresh token")
    new_refresh_token, player.refresh_token = player.refresh_token, old_refresh_token
    await player.refresh()
    promise(player.refresh_token == new_refresh_token, "a lost answer costs no session")
    tell("asked again with the old one, as after a lost answer: the same new refresh token")

    step("Rotate the signing key")
    await operator.authenticate()
    tell(f"before: {_states(await operator.keys())}")
    tell(f"asked keyrotator for a rotation; the new key will sign at {await operator.rotate()}")
    await rotated(player, _key_id(old_access_token))
    tell(f"after:  {_states(await operator.keys())}")
    tell(f"new tokens are signed with {_key_id(player.access_token)}")
    loaded = await player.load("slot1", token=old_access_token)
    promise(loaded["version"] == saved["version"], "the token of the old key still holds")
    tell("the token of the old key still holds")

    step("Log in again with the stored secret")
    await player.log_in()
    promise((await player.load("slot1"))["version"] == saved["version"], "the save is still there")
    tell(f"user {player.user_id} is back, and so is slot1")

    await farewell(player)


async def farewell(player: GameClient) -> None:
    step("Log another device out")
    stolen = GameClient(player.mesh, player.http, player.user_id, player.guest_secret)
    await stolen.log_in("lost phone")
    await stolen.load("slot1")
    devices = await player.devices()
    tell(f"logged in on: {', '.join(sorted(devices))}")
    await player.log_out(devices["lost phone"])
    tell(f"its access token is refused after {await until_out(stolen):.1f} s, by every service")

    step("Erase the account")
    await player.erase()
    try:
        await player.log_in()
    except aiohttp.ClientResponseError as error:
        promise(error.status == 401, "nobody logs in to an erased account")  # noqa: PLR2004 - HTTP
    else:
        raise DemoFailed("an erased player logged in")
    tell("gone, here and at player_data")


async def until_out(player: GameClient) -> float:
    """Seconds until a token that has not expired is refused."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while loop.time() < started + _OUT_WITHIN:
        try:
            await player.load("slot1")
        except aiohttp.ClientResponseError as error:
            if error.status == 401:  # noqa: PLR2004 - HTTP
                return loop.time() - started
            # Of who is erased the saves may be gone a moment before the token is refused.
            promise(error.status == 404, "a token of an ended session is refused")  # noqa: PLR2004 - HTTP
        await asyncio.sleep(0.2)
    raise DemoFailed(f"still let in after {_OUT_WITHIN:.0f} s")


async def refused_save(player: GameClient) -> str:
    try:
        await player.save("slot1", {"level": 1}, version=1)
    except aiohttp.ClientResponseError as error:
        promise(error.status == 412, "a save over an old version is refused")  # noqa: PLR2004 - HTTP 412
        return "412: refused, and nothing was lost"
    raise DemoFailed("a save over an old version was accepted")


async def rotated(player: GameClient, old_key_id: str) -> None:
    """Play on while the key changes: not one request may fail."""
    deadline = asyncio.get_running_loop().time() + _ROTATION_WITHIN
    while _key_id(player.access_token) == old_key_id:
        if asyncio.get_running_loop().time() > deadline:
            raise DemoFailed(
                f"no new key within {_ROTATION_WITHIN:.0f} s;"
                " a mesh that was not started by `make run` waits longer for its caches"
            )
        await asyncio.sleep(0.5)
        await player.refresh()
        await player.load("slot1")


async def answer_of(response: aiohttp.ClientResponse) -> dict[str, Any]:
    body = await response.json(content_type=None)
    if response.status >= 400:  # noqa: PLR2004 - HTTP's first error
        # Not aiohttp's raise_for_status(): its message carries the URL and no detail.
        raise aiohttp.ClientResponseError(
            response.request_info,
            (),
            status=response.status,
            message=str(body.get("detail", body)),
        )
    return dict(body)


def _key_id(token: str) -> str:
    header = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"])


def _states(keys: list[dict[str, Any]]) -> str:
    return ", ".join(f"{key['kid'][:8]} {key['state']}" for key in keys)


def step(title: str) -> None:
    print(f"\n== {title}")


def tell(text: str) -> None:
    print(f"   {text}", flush=True)


def promise(held: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not held:
        raise DemoFailed(f"broken promise: {what}")


async def main(
    story: Callable[[Mesh, aiohttp.ClientSession], Awaitable[None]], *, run: str = "make run"
) -> int:
    """The exit code. `run` is what starts the mesh that the story is for."""
    mesh = Mesh.from_environ()
    timeout = aiohttp.ClientTimeout(total=10)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http:
            await story(mesh, http)
    except aiohttp.ClientConnectionError as error:
        print(f"\nCannot reach the mesh ({error}). Is `{run}` up?", file=sys.stderr)
    except aiohttp.ClientResponseError as error:
        print(f"\nRefused with {error.status}: {error.message}", file=sys.stderr)
    except DemoFailed as error:
        print(f"\n{error}", file=sys.stderr)
    else:
        print("\nAll of it held.")
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(story)))
