"""`make run PROVIDERS=fake`: a mesh with fake platforms beside it, for this machine alone."""

import asyncio
import re
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.support.calls import call, claims_of
from tests.support.runner import Runner, free_ports, outcome

FAKES = "tests.support.fakes"
ROOT = Path(__file__).parents[2]


def url(runner: Runner, of: str) -> str:
    found = re.search(rf"{of} +(?:at )?(http://127\.0\.0\.1:\d+)", runner.output)
    assert found, runner.output
    return found[1]


def kept_in(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=str)
async def test_anybody_gets_in_as_anybody_until_both_are_stopped_together(
    tmp_path: Path, how: signal.Signals
) -> None:
    runner = await Runner.start(tmp_path, FAKES)
    await runner.read_until("make demo PROVIDERS=fake")
    assert "anybody gets in as anybody" in runner.output
    children = runner.children()
    async with aiohttp.ClientSession() as http:
        tokens = f"{url(runner, 'FAKE PLATFORMS')}/google/tokens"
        minted = (await call(http, "POST", tokens, json={"sub": "robin"})).json()
        tickets = {
            "google": minted,
            "steam": {"ticket": b"ok;id=76561198000000001;n=1".hex()},
            "google_play": {"server_auth_code": "4/0Aok;id=a_1;n=1"},
            "facebook": {"access_token": "EAA;ok;user=10150000000000001"},
        }
        for provider, credential in tickets.items():
            body = {"provider": provider, "credential": credential}
            login = await call(http, "POST", f"{url(runner, 'identity')}/v1/sessions", json=body)
            assert login.status == 201, login
            assert claims_of(login.json()["access_token"])["scope"] == "authenticated"

    runner.process.send_signal(how)

    assert await runner.end() == 0
    assert len(children) == 3
    assert not any(child.is_running() for child in children)
    assert "Traceback" not in runner.output
    assert kept_in(tmp_path) == [".playmesh-fake"]


async def test_fakes_end_with_their_mesh_and_its_exit_code(tmp_path: Path) -> None:
    runner = await Runner.start(tmp_path, FAKES)
    await runner.read_until("Playmesh is ready")
    victim = next(one for one in runner.children() if "services.identity" in one.cmdline())

    victim.kill()

    assert await runner.end() == 1
    assert "identity ended with exit code -9" in runner.output


async def test_fakes_listen_on_this_machine_alone(tmp_path: Path) -> None:
    runner = await Runner.start(tmp_path, FAKES)
    await runner.read_until("Playmesh is ready")
    processes = [psutil.Process(runner.process.pid), *runner.children()]
    listening = {
        one.laddr.ip
        for process in processes
        for one in process.net_connections()
        if one.status == psutil.CONN_LISTEN
    }
    runner.process.send_signal(signal.SIGTERM)
    await runner.end()
    assert listening == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("HOST", "0.0.0.0"), ("HOST", "::"), ("HOST", "game.test"), ("BACKEND", "aws"), ("PORT", "1")],
)
async def test_what_others_could_come_to_is_refused(name: str, value: str) -> None:
    code, output = await outcome(FAKES, environ={f"PLAYMESH_{name}": value})
    assert (code, "Traceback" in output) == (64, False)
    assert output.startswith(f"PLAYMESH_{name}: ")


async def test_a_port_that_is_taken_is_named_before_a_mesh_is_started() -> None:
    port = int(free_ports())
    with socket.create_server(("127.0.0.1", port + 9)):
        code, output = await outcome(FAKES, environ={"PLAYMESH_PORT": str(port)})
    assert (code, "Traceback" in output) == (64, False)
    assert f"port {port + 9} " in output


async def test_fakes_need_no_more_than_a_mesh_does() -> None:
    """`make run` has installed what is locked for that, and nothing that tests are made of."""
    script = f"import sys, {FAKES}.__main__; print(*sys.modules)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    modules = {name.partition(".")[0] for name in output.decode().split()}
    assert modules & {"aiohttp", "joserfc", "tests"} == {"aiohttp", "joserfc", "tests"}
    assert modules & {"hypothesis", "jwt", "moto", "psutil", "pytest"} == set()
