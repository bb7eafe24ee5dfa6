"""`make run PROVIDERS=fake`: the mesh, and platforms beside it that are fakes, until Ctrl-C.

Anybody gets in as anybody. So all of it is for this machine alone, and its players are kept apart
from those of a mesh that asks the platforms themselves. The fakes are at PLAYMESH_PORT + 9.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from ipaddress import ip_address

from services import __main__ as mesh
from shared.clock import SystemClock
from shared.env import Env, SettingsError
from shared.process import USAGE
from tests.support.fakes.server import serving_all

_OFFSET = 9
_DATA_DIR = ".playmesh-fake"

_WELCOME = """
FAKE PLATFORMS at {url}: anybody gets in as anybody, from this machine only.

  steam        a ticket is hex of: ok;id=76561198000000001;n=1
  apple        curl {url}/apple/tokens -d '{{"sub": "robin", "nonce": "<SHA-256 in hex>"}}'
  google       curl {url}/google/tokens -d '{{"sub": "robin"}}'
  google_play  a code: 4/0Aok;id=a_1;n=1
  facebook     a token: EAA;ok;user=10150000000000001

Players are kept in {data_dir}, apart from those of a mesh that asks the platforms themselves.
"""


async def run(environ: Mapping[str, str]) -> int:
    """The mesh's exit code."""
    port = _read_port(environ)
    data_dir = environ.get("PLAYMESH_DATA_DIR") or _DATA_DIR
    async with contextlib.AsyncExitStack() as stack:
        try:
            fakes = await stack.enter_async_context(serving_all(SystemClock(), port))
        except OSError:
            print(f"playmesh: port {port} for the fakes cannot be had", file=sys.stderr)
            return USAGE
        print(_WELCOME.format(url=fakes.url, data_dir=data_dir), flush=True)
        of_this_mesh = {"PLAYMESH_DATA_DIR": data_dir, **fakes.environ}
        return await mesh.run({**environ, **of_this_mesh}, demo="make demo PROVIDERS=fake")


def _read_port(environ: Mapping[str, str]) -> int:
    """Raises SettingsError, also where others than this machine could come to it."""
    env = Env(environ)
    if not _is_this_machine(env.text("HOST", "127.0.0.1")):
        env.fault("HOST", "must be of this machine: with fakes anybody gets in as anybody")
    if env.text("BACKEND", "embedded") != "embedded":
        env.fault("BACKEND", "must be embedded: what fakes let in is not for other data")
    port = env.integer("PORT", 8080, minimum=1024, maximum=65535 - _OFFSET)
    env.check()
    return port + _OFFSET


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def main() -> int:
    try:
        return asyncio.run(run(os.environ))  # noqa: TID251 - the edge: read once, here
    except SettingsError as error:
        print(error, file=sys.stderr)
        return USAGE


if __name__ == "__main__":
    sys.exit(main())
