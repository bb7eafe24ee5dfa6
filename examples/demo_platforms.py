"""A player's ways in, played against a mesh with fake platforms: `make run PROVIDERS=fake` in one
terminal, `make demo PROVIDERS=fake` here.

    guest -> link Steam -> a second device, by Steam -> link Apple: an old account has it
        -> keep the current one -> a new phone, linked to Apple -> keep the existing one
        -> unlink -> erase the account

What a platform's client library does is done here by `steam_ticket` and `apple_token`; the rest is
what a game does, with the client of demo.py. Exit code 0 when all of it held.
"""

import asyncio
import hashlib
import os
import sys
from typing import Any

import aiohttp

from examples.demo import (
    DemoFailed,
    GameClient,
    Mesh,
    answer_of,
    main,
    promise,
    step,
    tell,
    until_out,
)

_FAKES_OFFSET = 9
_FIRST_STEAM_ID = 76561197960265729

Credential = dict[str, str]


class PlatformClient(GameClient):
    """Whose player may come from a platform, too."""

    async def log_in_with(self, provider: str, credential: Credential) -> None:
        login = {"provider": provider, "credential": credential, "device": {"name": "demo"}}
        self._enter(await self._identity("/v1/sessions", login))

    async def link(self, provider: str, credential: Credential) -> dict[str, Any] | None:
        """None: it is linked. Otherwise it is another account's, and the player has to choose."""
        url = f"{self.mesh.identity}/v1/account/identities"
        bearer = {"Authorization": f"Bearer {self.access_token}"}
        body = {"provider": provider, "credential": credential}
        async with self.http.post(url, headers=bearer, json=body) as response:
            if response.status == 409:  # noqa: PLR2004 - HTTP 409
                return dict(await response.json(content_type=None))
            await answer_of(response)
        await self.refresh()  # whose access token has the new scope
        return None

    async def keep_current(self, conflict: dict[str, Any]) -> None:
        await self._own("POST", "/v1/account/identities/resolve", _choice(conflict, "current"))

    async def keep_existing(self, conflict: dict[str, Any]) -> None:
        """From here on the player is the other one."""
        choice = _choice(conflict, "existing")
        self._enter(await self._own("POST", "/v1/account/identities/resolve", choice))

    async def unlink(self, provider: str) -> None:
        await self._own("DELETE", f"/v1/account/identities/{provider}")

    async def linked(self) -> list[str]:
        account = await self._own("GET", "/v1/account")
        return [one["provider"] for one in account["identities"]]

    def _enter(self, tokens: dict[str, Any]) -> None:
        self.user_id = tokens["user_id"]
        self._keep(tokens)


class Platforms:
    """Steam and Apple as this player's device has them: a person each, new for every run."""

    def __init__(self, http: aiohttp.ClientSession, fakes: str) -> None:
        self.http = http
        self.fakes = fakes
        self.steam_id = _FIRST_STEAM_ID + int.from_bytes(os.urandom(4)) // 2
        self.apple_id = os.urandom(16).hex()

    def steam_ticket(self) -> Credential:
        """Good once, so each is another one."""
        text = f"ok;id={self.steam_id};n={os.urandom(4).hex()}"
        return {"ticket": text.encode().hex()}

    async def apple_token(self) -> Credential:
        """Apple is given the hash of the nonce, and the mesh the nonce itself."""
        nonce = os.urandom(16).hex()
        asked = {"sub": self.apple_id, "nonce": hashlib.sha256(nonce.encode()).hexdigest()}
        async with self.http.post(f"{self.fakes}/apple/tokens", json=asked) as response:
            return {"id_token": (await answer_of(response))["id_token"], "nonce": nonce}


async def story(mesh: Mesh, http: aiohttp.ClientSession) -> None:
    platforms = Platforms(http, _fakes_url())
    player, old = PlatformClient(mesh, http), PlatformClient(mesh, http)

    step("Years ago: a player comes with Apple")
    await old.log_in_with("apple", await platforms.apple_token())
    await old.save("slot1", {"level": 3}, version=None)
    tell(f"user {old.user_id}, level 3")

    step("Today: the same person as a new guest")
    await player.new_guest()
    await player.save("slot1", {"level": 12}, version=None)
    tell(f"user {player.user_id}, level 12")

    step("Link Steam")
    promise(await player.link("steam", platforms.steam_ticket()) is None, "Steam is linked")
    tell(f"ways in: guest secret, {', '.join(await player.linked())}")

    step("A second device, by Steam")
    second = PlatformClient(mesh, http)
    await second.log_in_with("steam", platforms.steam_ticket())
    promise(second.user_id == player.user_id, "Steam leads to the same player")
    tell(f"user {second.user_id}, level {await level(second)}")

    step("Link Apple: the account of years ago has it")
    tell(compare(conflict := await refused_link(player, platforms)))

    step("Keep the current account")
    await player.keep_current(conflict)
    promise(await player.linked() == ["steam", "apple"], "Apple is linked now")
    tell(f"ways in: guest secret, {', '.join(await player.linked())}")
    tell(f"nobody can get into the other account: refused after {await until_out(old):.1f} s")
    await old.log_in_with("apple", await platforms.apple_token())
    promise(old.user_id == player.user_id, "Apple leads to the account that was kept")
    tell(f"Apple leads to user {old.user_id}, level {await level(old)}")

    await second_conflict(player, platforms)
    await farewell(player, platforms)


async def second_conflict(player: PlatformClient, platforms: Platforms) -> None:
    step("A new phone: a guest plays first, then links Apple")
    phone = PlatformClient(player.mesh, player.http)
    await phone.new_guest()
    await phone.save("slot1", {"level": 1}, version=None)
    tell(compare(conflict := await refused_link(phone, platforms)))

    step("Keep the existing account")
    await phone.keep_existing(conflict)
    promise(phone.user_id == player.user_id, "the new phone is in the account of the others")
    promise(await level(phone) == await level(player), "and has its save")
    tell(f"user {phone.user_id}, level {await level(phone)}")


async def farewell(player: PlatformClient, platforms: Platforms) -> None:
    step("Unlink Apple")
    await player.unlink("apple")
    promise(await player.linked() == ["steam"], "Apple is a way in no more")
    tell(f"ways in: guest secret, {', '.join(await player.linked())}")

    step("Erase the account")
    await player.erase()
    tell(f"its access token is refused after {await until_out(player):.1f} s")
    again = PlatformClient(player.mesh, player.http)
    await again.log_in_with("steam", platforms.steam_ticket())
    promise(again.user_id != player.user_id, "Steam was freed, for a new beginning")
    tell(f"Steam leads to a new player, user {again.user_id}")
    await again.erase()


async def refused_link(player: PlatformClient, platforms: Platforms) -> dict[str, Any]:
    conflict = await player.link("apple", await platforms.apple_token())
    if conflict is None:
        raise DemoFailed("what was another account's was linked in silence")
    code = str(conflict["type"]).removeprefix("urn:playmesh:error:")
    promise(code == "already_linked", "what is another account's is a conflict")
    return conflict


async def level(player: GameClient) -> int:
    return int((await player.load("slot1"))["value"]["level"])


def compare(conflict: dict[str, Any]) -> str:
    """Of both accounts, what a player may need to know one from the other."""
    lines = [f"409: the player has {conflict['expires_in']} s to choose"]
    for side in ("current", "existing"):
        one = conflict[side]
        ways = ", ".join([*(["guest secret"] if one["guest"] else []), *one["providers"]])
        held = one["player_data"] or {"records": "unknown", "updated_at": "unknown"}
        lines += [
            f"   {side:<8} {one['user_id']}, since {one['created_at']}, by {ways}",
            f"            records: {held['records']}, last written {held['updated_at']}",
        ]
    return "\n".join(lines)


def _choice(conflict: dict[str, Any], keep: str) -> dict[str, str]:
    return {"conflict_token": conflict["conflict_token"], "keep": keep}


def _fakes_url() -> str:
    environ = os.environ  # noqa: TID251 - a client's edge
    port = int(environ.get("PLAYMESH_PORT") or 8080) + _FAKES_OFFSET
    return environ.get("FAKES_URL") or f"http://127.0.0.1:{port}"


if __name__ == "__main__":
    sys.exit(asyncio.run(main(story, run="make run PROVIDERS=fake")))
