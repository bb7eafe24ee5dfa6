"""The three services as three processes on free ports, to be killed and started again."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

_START_WITHIN = 30.0
_STOP_WITHIN = 30.0

# Caches of a second, so that a rotation takes seconds.
FAST: Mapping[str, str] = {
    "PLAYMESH_JWKS_MAX_AGE": "1",
    "PLAYMESH_JWKS_TTL": "1",
    "PLAYMESH_KEY_REFRESH": "1",
    "PLAYMESH_ROTATION_SLACK": "1",
    "PLAYMESH_ROTATION_INTERVAL": "1",
    # All players of a test have one address.
    "PLAYMESH_GUESTS_PER_HOUR": "0",
    "PLAYMESH_LOGINS_PER_SECOND": "0",
}


@dataclass(frozen=True)
class Ended:
    code: int
    output: str
    errors: str


async def run(module: str, environ: Mapping[str, str], *arguments: str) -> Ended:
    """Run a module that comes to an end by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        env={**os.environ, **environ},  # noqa: TID251 - PATH and the like
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), _START_WITHIN)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, output.decode(), errors.decode())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Service:
    """One process of the mesh. Its ports stay the same over restarts, its log is kept."""

    def __init__(
        self,
        name: str,
        environ: Mapping[str, str],
        *,
        module: str | None = None,
        own: Mapping[str, str] | None = None,
    ) -> None:
        """`environ` may change between starts; `own` is of this service alone."""
        self.name = name
        self._own = own or {}
        self._module = module or f"services.{name}"
        self.events: list[dict[str, Any]] = []
        self.port = 0
        self.admin_port = 0
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    async def start(self, **settings: str) -> None:
        """`settings` are those of this start only."""
        ports = {"PLAYMESH_PORT": str(self.port), "PLAYMESH_ADMIN_PORT": str(self.admin_port)}
        self._listening.clear()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            env={**os.environ, **self._environ, **self._own, **ports, **settings},  # noqa: TID251 - PATH and the like
            stdout=asyncio.subprocess.PIPE,
        )
        self._reader = asyncio.create_task(self._read_log())
        await asyncio.wait_for(self._listening.wait(), _START_WITHIN)

    async def ready(self) -> None:
        async with asyncio.timeout(_START_WITHIN), aiohttp.ClientSession() as http:
            while True:
                async with http.get(f"{self.admin_url}/readyz") as response:
                    if response.ok:
                        return
                await asyncio.sleep(0.05)

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit code."""
        assert self._process
        assert self._reader
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        code = await asyncio.wait_for(self._process.wait(), _STOP_WITHIN)
        await self._reader
        return code

    async def kill(self) -> None:
        """As kill -9 does: nothing is flushed, nothing is said."""
        await self.stop(signal.SIGKILL)

    async def _read_log(self) -> None:
        assert self._process
        assert self._process.stdout
        async for line in self._process.stdout:
            event = json.loads(line)
            self.events.append(event)
            if event.get("event") == "listening":
                self.port, self.admin_port = event["port"], event["admin_port"]
                self._listening.set()


class Mesh:
    def __init__(self, data_dir: Path, environ: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        base = {"PLAYMESH_DATA_DIR": str(data_dir), "PLAYMESH_ISSUER": "https://mesh.test"}
        self._environ = {**base, **environ}
        self.identity = Service("identity", self._environ)
        self.keyrotator = Service("keyrotator", self._environ)
        self.player_data = Service("player_data", self._environ)

    @property
    def services(self) -> tuple[Service, Service, Service]:
        return self.identity, self.keyrotator, self.player_data

    @property
    def environ(self) -> Mapping[str, str]:
        """The settings of the services, for one that is put beside them."""
        return self._environ

    @property
    def client_environ(self) -> dict[str, str]:
        """What the demo needs to find this mesh."""
        return {
            "IDENTITY_URL": self.identity.url,
            "KEYROTATOR_URL": self.keyrotator.url,
            "PLAYER_DATA_URL": self.player_data.url,
            "PLAYMESH_DATA_DIR": str(self.data_dir),
        }

    async def start(self) -> None:
        # Where identity finds player_data must be known before there is one.
        self.player_data.port = free_port()
        self._environ.setdefault("PLAYMESH_PLAYER_DATA_URL", self.player_data.url)
        await self.identity.start()
        self.point_to_identity()
        await asyncio.gather(self.keyrotator.start(), self.player_data.start())
        await asyncio.gather(*(service.ready() for service in self.services))

    def point_to_identity(self) -> None:
        """Only when it listens is it known where the others find its documents."""
        well_known = f"{self.identity.url}/.well-known"
        self._environ["PLAYMESH_JWKS_URL"] = f"{well_known}/jwks.json"
        self._environ["PLAYMESH_REVOCATIONS_URL"] = f"{well_known}/revocations.json"

    async def stop(self) -> list[int]:
        return await asyncio.gather(*(service.stop() for service in self.services))


@contextlib.asynccontextmanager
async def running(data_dir: Path, environ: Mapping[str, str] | None = None) -> AsyncIterator[Mesh]:
    """A ready mesh. Whatever of it is alive at the end is killed."""
    mesh = Mesh(data_dir, {**FAST, **(environ or {})})
    try:
        await mesh.start()
        yield mesh
    finally:
        for service in mesh.services:
            if service._process and service._process.returncode is None:
                await service.kill()
