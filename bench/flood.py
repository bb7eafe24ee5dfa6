"""`python -m bench.flood`: what a player notices of a flood of bad tokens, and how often the
issuer is asked for its keys, by us and by PyJWT's client.

player_data is a process of its own. Players, attackers and the issuer share this one, so part of
what a flood costs a player here is the attackers' own work: the figures are upper bounds.
"""

import asyncio
import base64
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import count
from pathlib import Path
from statistics import median

import aiohttp
import jwt

from shared import errors
from shared.auth.jwk_set import LARGEST_DOCUMENT
from shared.auth.jwks_client import JwksClient
from shared.clock import SystemClock
from shared.http.client import fetch, new_session
from tests.support.issuer import ISSUER, Issuer, revocations_beside, rsa_key
from tests.support.mesh import Service

ROUNDS = 10
PHASE = 6.0  # seconds: ten rounds make a minute of each kind
PLAYERS = 100  # requests in a second
HOSTILE = 10_000 / 60
RECORD = "/v1/players/me/records/saves/slot1"

UNKNOWN_KEYS = 500
COLD_VERIFICATIONS = 200


@dataclass
class Phase:
    """`hostile` makes the token of an attacker; None where nobody attacks."""

    name: str
    hostile: Callable[[], str] | None
    status: int = 200  # the issuer's
    times: list[list[float]] = field(default_factory=list)
    refused: int = 0
    hostile_requests: int = 0
    fetches: int = 0

    def quantile(self, share: float) -> float:
        """The median of the rounds', in ms: what else a machine does comes in bursts."""
        return median(sorted(one)[int(len(one) * share)] for one in self.times) * 1000


async def at_rate(rate: float, send: Callable[[], "asyncio.Task[None]"]) -> None:
    """Sends when it is time to, whether or not the last answer has come."""
    started, tasks = time.perf_counter(), []
    for number in range(int(PHASE * rate)):
        await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
        tasks.append(send())
    await asyncio.gather(*tasks)


async def run(phase: Phase, url: str, issuer: Issuer, http: aiohttp.ClientSession) -> None:
    token, hostile = issuer.token(), phase.hostile
    issuer.status, before = phase.status, issuer.requests
    times: list[float] = []

    async def play() -> None:
        started = time.perf_counter()
        async with http.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
            await response.read()
        times.append(time.perf_counter() - started)
        phase.refused += response.status != 200  # noqa: PLR2004 - HTTP 200

    async def attack() -> None:
        headers = {"Authorization": f"Bearer {hostile()}"} if hostile else {}
        async with http.get(url, headers=headers) as response:
            await response.read()
        phase.hostile_requests += 1

    work = [at_rate(PLAYERS, lambda: asyncio.create_task(play()))]
    if hostile:
        work.append(at_rate(HOSTILE, lambda: asyncio.create_task(attack())))
    await asyncio.gather(*work)
    phase.times.append(times)
    phase.fetches += issuer.requests - before


async def flood(issuer: Issuer, jwks_url: str, data_dir: Path) -> list[Phase]:
    numbers: Iterator[int] = count()
    head, payload, signature = issuer.token().split(".")

    def unknown_key() -> str:
        header = {"alg": "RS256", "kid": f"unknown-{next(numbers)}", "typ": "at+jwt"}
        encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
        return f"{encoded}.{payload}.{signature}"

    def bad_signature() -> str:
        return f"{head}.{payload}.{next(numbers):06}{signature[6:]}"

    phases = [
        Phase("nobody attacks", None),
        Phase("unknown key ids", unknown_key),
        Phase("bad signatures", bad_signature),
        Phase("unknown key ids, issuer down", unknown_key, status=503),
    ]
    environ = {
        "PLAYMESH_DATA_DIR": str(data_dir),
        "PLAYMESH_ISSUER": ISSUER,
        "PLAYMESH_JWKS_URL": jwks_url,
        "PLAYMESH_REVOCATIONS_URL": revocations_beside(jwks_url),
    }
    service = Service("player_data", environ)
    await service.start()
    try:
        await service.ready()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as http:
            bearer = {"Authorization": f"Bearer {issuer.token()}"}
            url = service.url + RECORD
            async with http.put(url, json={"level": 1}, headers=bearer, raise_for_status=True):
                pass
            for _ in range(ROUNDS):
                for phase in phases:
                    await run(phase, url, issuer, http)
    finally:
        await service.stop()
    return phases


async def fetches_of_pyjwt(issuer: Issuer, url: str, key_ids: list[str]) -> int:
    client, before = jwt.PyJWKClient(url, timeout=2), issuer.requests

    def look_up() -> None:
        for key_id in key_ids:
            with contextlib.suppress(jwt.PyJWKClientError):
                client.get_signing_key(key_id)

    await asyncio.to_thread(look_up)
    return issuer.requests - before


async def fetches_of_ours(issuer: Issuer, url: str, key_ids: list[str]) -> int:
    before = issuer.requests
    async with new_session() as session:
        client = JwksClient(
            lambda: fetch(session, url, largest=LARGEST_DOCUMENT), ttl=300, clock=SystemClock()
        )
        for key_id in key_ids:
            with contextlib.suppress(errors.Unavailable):
                await client.key(key_id)
    return issuer.requests - before


async def compare(issuer: Issuer, url: str) -> None:
    unknown = [f"unknown-{number}" for number in range(UNKNOWN_KEYS)]
    lines = [f"\n{'fetches':<44}{'playmesh':>10}{'PyJWT ' + version('pyjwt'):>16}"]
    for name, status, key_ids in (
        (f"{UNKNOWN_KEYS} unknown key ids", 200, unknown),
        (
            f"{COLD_VERIFICATIONS} look-ups, nothing cached, issuer down",
            503,
            ["key-1"] * COLD_VERIFICATIONS,
        ),
    ):
        issuer.status = status
        ours = await fetches_of_ours(issuer, url, key_ids)
        theirs = await fetches_of_pyjwt(issuer, url, key_ids)
        lines.append(f"{name:<44}{ours:>10}{theirs:>16}")
    print("\n".join(lines))


def show(phases: list[Phase]) -> None:
    print(
        f"\n{PLAYERS} players' requests a second, attackers' at {HOSTILE:.0f} a second,"
        f" {ROUNDS} rounds of {PHASE:.0f} s each\n"
    )
    print(f"{'':<32}{'p50 ms':>8}{'p99 ms':>8}{'refused':>9}{'hostile':>9}{'fetches':>9}")
    for one in phases:
        print(
            f"{one.name:<32}{one.quantile(0.5):>8.2f}{one.quantile(0.99):>8.2f}"
            f"{one.refused:>9}{one.hostile_requests:>9}{one.fetches:>9}"
        )


async def main() -> int:
    issuer = Issuer(SystemClock(), rsa_key("key-1"))
    with tempfile.TemporaryDirectory() as folder:
        async with issuer.serving() as jwks_url:
            phases = await flood(issuer, jwks_url, Path(folder))
            show(phases)
            await compare(issuer, jwks_url)
    return 0 if not any(one.refused for one in phases) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
