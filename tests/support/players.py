"""Game clients that play until told to stop, and remember what was acknowledged."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp

from tests.support.mesh import Mesh


@dataclass
class Player:
    """What a client stores: its credential, its tokens, the saves that were acknowledged."""

    user_id: str
    guest_secret: str
    access_token: str
    refresh_token: str
    saves: dict[str, int] = field(default_factory=dict)

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}


class Traffic:
    """Each client: a new guest, then saves and reads, a refresh now and then, without a pause.

    A request that gets no answer, or a 5xx, counts as a failure and promises nothing; the client
    goes on. `statuses` counts every answer.
    """

    def __init__(self, mesh: Mesh, http: aiohttp.ClientSession) -> None:
        self.players: list[Player] = []
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self._mesh = mesh
        self._http = http
        self._acknowledged = 0
        self._progress = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def running(self, clients: int = 4) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._play()) for _ in range(clients)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        bugs = [one for one in results if not isinstance(one, asyncio.CancelledError)]
        assert not bugs

    async def more_acknowledged(self, count: int) -> None:
        """Wait until `count` further writes were acknowledged."""
        target = self._acknowledged + count
        async with asyncio.timeout(30), self._progress:
            await self._progress.wait_for(lambda: self._acknowledged >= target)

    async def _play(self) -> None:
        number = 0
        while True:
            player = await self._new_guest()
            while player and number % 40 != 39:
                number += 1
                await self._save(player, f"slot{number}", number)
                if number % 10 == 0 and not await self._refresh(player):
                    break
            number += 1

    async def _new_guest(self) -> Player | None:
        answer = await self._call("POST", f"{self._mesh.identity.url}/v1/guests")
        if answer is None:
            return None
        player = Player(
            answer["user_id"],
            answer["guest_secret"],
            answer["access_token"],
            answer["refresh_token"],
        )
        self.players.append(player)
        await self._acknowledge()
        return player

    async def _save(self, player: Player, key: str, value: int) -> None:
        url = f"{self._mesh.player_data.url}/v1/players/me/records/saves/{key}"
        if await self._call("PUT", url, json=value, headers=player.bearer) is not None:
            player.saves[key] = value
            await self._acknowledge()

    async def _refresh(self, player: Player) -> bool:
        url = f"{self._mesh.identity.url}/v1/sessions/refresh"
        answer = await self._call("POST", url, json={"refresh_token": player.refresh_token})
        if answer is None:
            return False
        player.access_token = answer["access_token"]
        player.refresh_token = answer["refresh_token"]
        return True

    async def _acknowledge(self) -> None:
        async with self._progress:
            self._acknowledged += 1
            self._progress.notify_all()

    async def _call(
        self,
        method: str,
        url: str,
        *,
        json: object = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, str] | None:
        try:
            async with self._http.request(method, url, json=json, headers=headers) as response:
                body = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            self.failures.append(f"{method} {url}: {type(error).__name__}")
            await asyncio.sleep(0.01)  # nobody listens: do not spin
            return None
        self.statuses[response.status] += 1
        if not response.ok:
            self.failures.append(f"{method} {url}: {response.status} {body.get('detail')}")
            return None
        return dict(body)


async def lost_promises(
    mesh: Mesh, http: aiohttp.ClientSession, players: list[Player]
) -> list[str]:
    """Everything that was acknowledged and is no longer true."""
    lost = []
    for player in players:
        credential = {"user_id": player.user_id, "guest_secret": player.guest_secret}
        login = {"provider": "guest", "credential": credential}
        async with http.post(f"{mesh.identity.url}/v1/sessions", json=login) as response:
            if not response.ok:
                lost.append(f"guest {player.user_id}: {response.status}")
                continue
            token = (await response.json())["access_token"]
        for key, value in player.saves.items():
            url = f"{mesh.player_data.url}/v1/players/me/records/saves/{key}"
            async with http.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
                body = await response.json(content_type=None)
                if not response.ok or body["value"] != value:
                    lost.append(f"save {player.user_id}/{key}: {response.status} {body}")
    return lost
