"""What a person at a terminal starts, and what they see of it."""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

_ROOT = Path(__file__).parents[2]


async def start(
    *arguments: str, environ: Mapping[str, str] | None = None, folder: Path = _ROOT
) -> asyncio.subprocess.Process:
    """`python -m` in a folder, whose relative paths it has."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        env={**os.environ, "PYTHONPATH": str(_ROOT), **(environ or {})},  # noqa: TID251 - PATH and the like
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def outcome(*arguments: str, environ: Mapping[str, str]) -> tuple[int | None, str]:
    """Exit code and output."""
    process = await start(*arguments, environ=environ)
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, output.decode()


def free_ports() -> str:
    """The first of three ports that are free now, as are those 1000 above, and its ninth next."""
    # From a place of its own, for others who run tests look at the same time.
    for first in range(20000 + os.getpid() % 300 * 30, 30000, 30):
        try:
            for port in (first, first + 1, first + 2):
                socket.create_server(("127.0.0.1", port)).close()
                socket.create_server(("127.0.0.1", port + 1000)).close()
            socket.create_server(("127.0.0.1", first + 9)).close()
        except OSError:
            continue
        return str(first)
    raise AssertionError("no free ports")


class Runner:
    """As `make run` starts it: `services` is the mesh alone."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""

    @classmethod
    async def start(cls, folder: Path, module: str = "services") -> "Runner":
        """What is kept is in a folder of its own in `folder`."""
        environ = {"PLAYMESH_PORT": free_ports()}
        return cls(await start(module, environ=environ, folder=folder))

    async def read_until(self, text: str) -> None:
        assert self.process.stdout
        async with asyncio.timeout(30):
            while text not in self.output:
                line = await self.process.stdout.readline()
                assert line, self.output
                self.output += line.decode()

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    async def end(self) -> int:
        output, _ = await asyncio.wait_for(self.process.communicate(), 30)
        self.output += output.decode()
        assert self.process.returncode is not None
        return self.process.returncode
