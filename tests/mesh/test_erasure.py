"""An erasure that is killed at any of its steps is complete after the restart of the processes."""

import asyncio
import contextlib
import enum
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.support.calls import bearer, call
from tests.support.mesh import FAST, Mesh, Service
from tests.support.servers import serving

LATER = "1200"
"""Seconds; by then the last access token has expired."""


class Step(enum.Enum):
    """Between the two services; which one dies, and whether player_data has done its part."""

    IDENTITY_BEFORE = "identity dies before player_data is asked"
    IDENTITY_AFTER = "identity dies after player_data has erased"
    PLAYER_DATA_BEFORE = "player_data dies before it erases"
    PLAYER_DATA_AFTER = "player_data dies after it has erased"


@dataclass
class Between:
    """Hands identity's calls on to player_data, and kills at `step` once."""

    mesh: Mesh | None = None
    step: Step | None = None
    killed: asyncio.Event = field(default_factory=asyncio.Event)

    def kill_at(self, step: Step) -> None:
        self.killed.clear()
        self.step = step

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        assert self.mesh
        step = self.step
        if step in (Step.IDENTITY_BEFORE, Step.PLAYER_DATA_BEFORE):
            await self._kill(step)
            raise web.HTTPServiceUnavailable
        headers = {"Authorization": request.headers["Authorization"]}
        async with (
            aiohttp.ClientSession() as http,
            http.request(
                request.method, self.mesh.player_data.url + request.path_qs, headers=headers
            ) as response,
        ):
            body = await response.read()
        if step is not None:
            await self._kill(step)
        return web.Response(status=response.status, body=body)

    async def _kill(self, step: Step) -> None:
        assert self.mesh
        self.step = None
        is_identity = step in (Step.IDENTITY_BEFORE, Step.IDENTITY_AFTER)
        await (self.mesh.identity if is_identity else self.mesh.player_data).kill()
        self.killed.set()


@contextlib.asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[tuple[Mesh, Between]]:
    between = Between()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", between.pass_on)
    async with serving(app) as url:
        mesh = Mesh(data_dir, {**FAST, "PLAYMESH_PLAYER_DATA_URL": url})
        between.mesh = mesh
        mesh.identity = later("identity", mesh)
        mesh.player_data = later("player_data", mesh)
        try:
            await mesh.start()
            yield mesh, between
        finally:
            for service in mesh.services:
                if service._process and service._process.returncode is None:
                    await service.kill()


def later(name: str, mesh: Mesh) -> Service:
    """With a clock that a restart can set ahead."""
    own = {"PLAYMESH_TEST_SERVICE": name}
    return Service(name, mesh._environ, module="tests.support.later", own=own)


def select(database: Path, query: str, *parameters: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(query, parameters).fetchall()
        connection.commit()
        return rows


def records(mesh: Mesh, user_id: str) -> int:
    """Of a player, and their earlier versions."""
    database = mesh.data_dir / "player_data.db"
    tables = ("records", "record_versions")
    counts = [
        select(database, f"SELECT COUNT(*) FROM {table} WHERE player = ?", user_id)  # noqa: S608
        for table in tables
    ]
    return sum(int(str(rows[0][0])) for rows in counts)


def account(mesh: Mesh, user_id: str) -> tuple[bool, bool, int]:
    """Whether it is being erased, whether it is a tombstone, and how many sessions it has."""
    database = mesh.data_dir / "identity.db"
    ((erasing, erased),) = select(
        database,
        "SELECT mark = 'erasing', erased_at IS NOT NULL FROM accounts WHERE user_id = ?",
        user_id,
    )
    ((sessions,),) = select(database, "SELECT COUNT(*) FROM sessions WHERE user_id = ?", user_id)
    return bool(erasing), bool(erased), int(str(sessions))


async def restart_the_dead(mesh: Mesh) -> None:
    for service in mesh.services:
        if service._process and service._process.returncode is not None:
            await service.start()
            await service.ready()


async def until(what: str, mesh: Mesh, user_id: str) -> None:
    async with asyncio.timeout(30):
        while True:
            _, erased, sessions = account(mesh, user_id)
            if records(mesh, user_id) == 0 and sessions == 0 and (erased or what == "removed"):
                return
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("step", Step, ids=lambda step: step.value)
async def test_an_erasure_that_is_killed_is_complete_after_the_restart(
    tmp_path: Path, http: aiohttp.ClientSession, step: Step
) -> None:
    """At its first pass, and at the second when the last access token has expired."""
    async with running(tmp_path / "data") as (mesh, between):
        guest = (await call(http, "POST", f"{mesh.identity.url}/v1/guests")).json()
        user_id, own = guest["user_id"], bearer(guest["access_token"])
        for level in range(3):
            url = f"{mesh.player_data.url}/v1/players/me/records/saves/slot1"
            saved = await call(http, "PUT", url, headers=own, json={"level": level})
            assert saved.status in (200, 201)
        assert records(mesh, user_id) == 3

        between.kill_at(step)
        with contextlib.suppress(aiohttp.ClientError):
            await call(http, "DELETE", f"{mesh.identity.url}/v1/account", headers=own)
        await between.killed.wait()
        assert account(mesh, user_id)[:2] == (True, False)
        await restart_the_dead(mesh)
        await until("removed", mesh, user_id)

        await asyncio.gather(mesh.identity.stop(), mesh.player_data.stop())
        late = (
            "INSERT INTO records (player, collection, key, version, created_at, updated_at, value)"
            " VALUES (?, 'saves', 'late', 1, 1, 1, '1')"
        )
        select(mesh.data_dir / "player_data.db", late, user_id)
        mesh._environ["PLAYMESH_TEST_AHEAD"] = LATER
        between.kill_at(step)
        await mesh.player_data.start()
        await mesh.identity.start()
        await between.killed.wait()
        assert account(mesh, user_id)[:2] == (True, False)
        await restart_the_dead(mesh)
        await until("erased", mesh, user_id)
        assert account(mesh, user_id) == (False, True, 0)
