"""`make bench`: CPU per request of the process that serves it, beside what it cannot go below.

CPU is user and system time of the whole process, so it holds on a machine that does other things
too; the limits are measured in the same run, since machines differ.
"""

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support import mesh

REQUESTS = 2000
WARM_UP = 200
CONCURRENCY = 8
SIGNATURES = 300

Request = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Result:
    name: str
    cpu_ms: float
    budget_ms: float | None
    per_second: float
    p50_ms: float
    p99_ms: float


async def measure(name: str, pid: int, request: Request, budget_ms: float | None) -> Result:
    await _drive(request, range(WARM_UP))
    process = psutil.Process(pid)
    cpu, wall = _cpu(process), time.perf_counter()
    times = sorted(await _drive(request, range(WARM_UP, WARM_UP + REQUESTS)))
    cpu, wall = _cpu(process) - cpu, time.perf_counter() - wall
    return Result(
        name=name,
        cpu_ms=cpu / REQUESTS * 1000,
        budget_ms=budget_ms,
        per_second=REQUESTS / wall,
        p50_ms=times[len(times) // 2] * 1000,
        p99_ms=times[len(times) * 99 // 100] * 1000,
    )


async def _drive(request: Request, numbers: range) -> list[float]:
    times: list[float] = []
    pending = iter(numbers)

    async def client() -> None:
        for number in pending:
            started = time.perf_counter()
            await request(number)
            times.append(time.perf_counter() - started)

    await asyncio.gather(*(client() for _ in range(CONCURRENCY)))
    return times


def _cpu(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def rsa_signature_ms() -> float:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    message = b"x" * 400
    started = time.process_time()
    for _ in range(SIGNATURES):
        key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return (time.process_time() - started) / SIGNATURES * 1000


@contextlib.asynccontextmanager
async def bare_handler() -> AsyncIterator[tuple[int, str]]:
    """Its process id and URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.bare", stdout=asyncio.subprocess.PIPE
    )
    try:
        if process.stdout is None:
            raise RuntimeError("no pipe to the bare handler")
        port = json.loads(await process.stdout.readline())["port"]
        yield process.pid, f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        await process.wait()


async def run(http: aiohttp.ClientSession, data_dir: Path) -> list[Result]:
    async def get(url: str, headers: dict[str, str] | None = None) -> None:
        async with http.get(url, headers=headers, raise_for_status=True) as response:
            await response.read()

    async def post(url: str, body: object = None) -> dict[str, str]:
        async with http.post(url, json=body, raise_for_status=True) as response:
            return dict(await response.json())

    results = []
    async with bare_handler() as (pid, bare):
        results.append(await measure("bare aiohttp handler", pid, lambda _: get(bare), None))
    async with mesh.running(data_dir, {"PLAYMESH_LOG_LEVEL": "info"}) as running:
        identity, data = running.identity, running.player_data
        guest = await post(f"{identity.url}/v1/guests")
        credential = {key: guest[key] for key in ("user_id", "guest_secret")}
        bearer = {"Authorization": f"Bearer {guest['access_token']}"}
        record = f"{data.url}/v1/players/me/records/saves/slot1"
        tokens = [
            (await post(f"{identity.url}/v1/guests"))["refresh_token"]
            for _ in range(WARM_UP + REQUESTS)
        ]

        async def new_guest(_: int) -> None:
            await post(f"{identity.url}/v1/guests")

        async def guest_login(_: int) -> None:
            login = {"provider": "guest", "credential": credential}
            await post(f"{identity.url}/v1/sessions", login)

        async def refresh(number: int) -> None:
            await post(f"{identity.url}/v1/sessions/refresh", {"refresh_token": tokens[number]})

        async def write(number: int) -> None:
            url = f"{data.url}/v1/players/me/records/saves/slot{number}"
            headers = {**bearer, "If-None-Match": "*"}
            async with http.put(
                url, json={"gold": number}, headers=headers, raise_for_status=True
            ) as response:
                await response.read()

        async def read(_: int) -> None:
            await get(record, bearer)

        results += [
            await measure("new guest", identity.pid, new_guest, 1.5),
            await measure("guest login", identity.pid, guest_login, 1.5),
            await measure("refresh", identity.pid, refresh, None),
            await measure("create a record", data.pid, write, None),
        ]
        async with http.put(record, json={"level": 3}, headers=bearer, raise_for_status=True):
            pass
        results.append(await measure("read a record", data.pid, read, 0.4))
    return results


def show(results: list[Result], signature_ms: float) -> bool:
    """Print the table; True when every budget holds."""
    print(f"\n{REQUESTS} requests each, {CONCURRENCY} at a time, one process per service\n")
    print(f"{'request':<22}{'CPU ms':>8}{'budget':>8}{'req/s':>8}{'p50 ms':>8}{'p99 ms':>8}")
    for one in results:
        budget = f"{one.budget_ms:.2f}" if one.budget_ms else "-"
        print(
            f"{one.name:<22}{one.cpu_ms:>8.3f}{budget:>8}"
            f"{one.per_second:>8.0f}{one.p50_ms:>8.2f}{one.p99_ms:>8.2f}"
        )
    print(f"{'one RSA signature':<22}{signature_ms:>8.3f}")
    return all(one.budget_ms is None or one.cpu_ms <= one.budget_ms for one in results)


async def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with aiohttp.ClientSession() as http:
            results = await run(http, Path(folder))
    return 0 if show(results, rsa_signature_ms()) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
