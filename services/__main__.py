"""`python -m services`: the whole mesh on this machine, until Ctrl-C or until one service dies.

PLAYMESH_PORT moves all of it: identity gets that port, keyrotator and player_data the next two,
and each an admin port 1000 higher.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import aiohttp

from shared.env import Env, SettingsError
from shared.process import OK, USAGE

FAILED = 1
_READY_WITHIN = 30.0
_STOPPED_WITHIN = 25.0
_ADMIN_OFFSET = 1000

# On one machine nothing is cached far away, so a rotation can take seconds instead of minutes.
_LOCAL_DEFAULTS = {
    "PLAYMESH_LOG_FORMAT": "console",
    "PLAYMESH_LOG_LEVEL": "warning",
    "PLAYMESH_JWKS_MAX_AGE": "1",
    "PLAYMESH_JWKS_TTL": "2",
    "PLAYMESH_ALLOW_HTTP": "true",
    "PLAYMESH_KEY_REFRESH": "1",
    "PLAYMESH_ROTATION_SLACK": "1",
    "PLAYMESH_ROTATION_INTERVAL": "1",
    # Every player of this machine has the same address.
    "PLAYMESH_GUESTS_PER_HOUR": "0",
    "PLAYMESH_LOGINS_PER_SECOND": "0",
}


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    host: str
    port: int

    @property
    def url(self) -> str:
        return self._url(self.port)

    @property
    def admin_url(self) -> str:
        return self._url(self.port + _ADMIN_OFFSET)

    def taken_port(self) -> int | None:
        """A port of this member that somebody else listens on already."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        for port in (self.port, self.port + _ADMIN_OFFSET):
            try:
                socket.create_server((self.host, port), family=family).close()
            except OSError:
                return port
        return None

    def _url(self, port: int) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}"

    async def start(self, environ: Mapping[str, str]) -> asyncio.subprocess.Process:
        own = {
            "PLAYMESH_PORT": str(self.port),
            "PLAYMESH_ADMIN_PORT": str(self.port + _ADMIN_OFFSET),
        }
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"services.{self.name}", env={**environ, **own}
        )


async def run(environ: Mapping[str, str], *, demo: str = "make demo") -> int:
    """The exit code. `demo` is what to try the mesh with."""
    env = Env(environ)
    host = env.text("HOST", "127.0.0.1")
    first = env.integer("PORT", 8080, minimum=1024, maximum=65535 - _ADMIN_OFFSET - 2)
    env.check()
    identity = Member("identity", host, first)
    members = (
        identity,
        Member("keyrotator", host, first + 1),
        Member("player_data", host, first + 2),
    )
    for member in members:
        if taken := member.taken_port():
            print(
                f"playmesh: port {taken} cannot be had on {host};"
                f" is a mesh running already? Try: make run PORT={first + 10000}",
                file=sys.stderr,
            )
            return USAGE
    given = {name: value for name, value in environ.items() if value}  # empty counts as missing
    of_this_mesh = {
        "PLAYMESH_ISSUER": identity.url,
        "PLAYMESH_PLAYER_DATA_URL": members[-1].url,
    }
    environ = {**_LOCAL_DEFAULTS, **of_this_mesh, **given}

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopped.set)
    processes = {member.name: await member.start(environ) for member in members}
    try:
        failure = await _supervise(members, processes, stopped, demo)
    finally:
        await _stop(processes.values())
    if failure:
        print(f"playmesh: {failure}; all services are stopped", file=sys.stderr)
        return FAILED
    print("playmesh: stopped")
    return OK


async def _supervise(
    members: Collection[Member],
    processes: Mapping[str, asyncio.subprocess.Process],
    stopped: asyncio.Event,
    demo: str,
) -> str | None:
    """Announce the mesh when it is ready; answer why it cannot go on, None if asked to stop."""
    asked = asyncio.create_task(stopped.wait())
    death = asyncio.create_task(_first_death(processes))
    ready = asyncio.create_task(_all_ready(members))
    try:
        await asyncio.wait((asked, death, ready), return_when=asyncio.FIRST_COMPLETED)
        if ready.done() and ready.result():
            _welcome(members, demo)
            await asyncio.wait((asked, death), return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            return None
        return death.result() if death.done() else f"not ready within {_READY_WITHIN:.0f} s"
    finally:
        for task in (asked, death, ready):
            task.cancel()


async def _first_death(processes: Mapping[str, asyncio.subprocess.Process]) -> str:
    async def death(name: str, process: asyncio.subprocess.Process) -> str:
        return f"{name} ended with exit code {await process.wait()}"

    deaths = [death(name, process) for name, process in processes.items()]
    return await next(asyncio.as_completed(deaths))


async def _all_ready(members: Collection[Member]) -> bool:
    deadline = asyncio.get_running_loop().time() + _READY_WITHIN
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        for member in members:
            while not await _is_ready(session, member):
                if asyncio.get_running_loop().time() > deadline:
                    return False
                await asyncio.sleep(0.1)
    return True


async def _is_ready(session: aiohttp.ClientSession, member: Member) -> bool:
    try:
        async with session.get(f"{member.admin_url}/readyz") as response:
            return response.ok
    except (aiohttp.ClientError, TimeoutError):
        return False


def _welcome(members: Collection[Member], demo: str) -> None:
    print("\nPlaymesh is ready. Ctrl-C stops it.\n")
    for member in members:
        print(f"  {member.name:<12} {member.url}   admin {member.admin_url}")
    identity = next(iter(members))
    print(f"\nTry it:                  curl -X POST {identity.url}/v1/guests")
    print(f"Or, in another terminal: {demo}\n", flush=True)


async def _stop(processes: Collection[asyncio.subprocess.Process]) -> None:
    """Ask politely; whoever has not finished in time is killed, which loses nothing stored."""
    running = [process for process in processes if process.returncode is None]
    for process in running:
        process.terminate()
    waits = [asyncio.create_task(process.wait()) for process in running]
    if waits:
        await asyncio.wait(waits, timeout=_STOPPED_WITHIN)
    for process in running:
        if process.returncode is None:
            process.kill()
            await process.wait()


def main() -> int:
    try:
        return asyncio.run(run(os.environ))  # noqa: TID251 - the edge: read once, here
    except SettingsError as error:
        print(error, file=sys.stderr)
        return USAGE


if __name__ == "__main__":
    sys.exit(main())
