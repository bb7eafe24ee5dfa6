"""How the processes start, fail and stop, as a person at a terminal sees it."""

import re
import signal
import socket
from pathlib import Path

import aiohttp
import pytest

from services.keyrotator.settings import Settings
from shared.keys.adapters.files import FileKeyRingStore
from tests.support.mesh import Mesh
from tests.support.runner import Runner, free_ports, outcome


@pytest.mark.parametrize("service", ["identity", "keyrotator", "player_data"])
async def test_wrong_settings_stop_a_service_with_every_fault_by_name(
    service: str, tmp_path: Path
) -> None:
    environ = {
        "PLAYMESH_DATA_DIR": str(tmp_path),
        "PLAYMESH_BACKEND": "floppy",
        "PLAYMESH_PORT": "eighty",
        "PLAYMESH_ISSUER": "ftp://user:password@example.com",
        "PLAYMESH_ACCESS_TOKEN_TTL": "1y",
    }
    code, output = await outcome(f"services.{service}", environ=environ)
    assert code == 64
    for name in ("BACKEND", "PORT", "ISSUER", "ACCESS_TOKEN_TTL"):
        assert f"PLAYMESH_{name}: " in output
    assert "password" not in output
    assert "Traceback" not in output


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environ = {"PLAYMESH_DATA_DIR": str(tmp_path), "PLAYMESH_PORT": port}
        code, output = await outcome("services.player_data", environ=environ)
    assert code == 64
    assert port in output
    assert "Traceback" not in output


async def test_a_data_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environ = {"PLAYMESH_DATA_DIR": str(tmp_path / "file"), "PLAYMESH_PORT": "0"}
    code, output = await outcome("services.player_data", environ=environ)
    assert code == 75
    assert "player_data.db" in output
    assert "Traceback" not in output


async def test_one_pass_of_keyrotator_makes_the_first_key_and_exits(tmp_path: Path) -> None:
    environ = {"PLAYMESH_DATA_DIR": str(tmp_path)}
    code, output = await outcome("services.keyrotator", "--once", environ=environ)
    assert (code, "Traceback" in output) == (0, False)
    stored = await FileKeyRingStore(Settings.from_env(environ).server.data_dir / "keys").load()
    assert stored
    assert stored.ring.active


async def test_one_pass_of_keyrotator_says_when_to_try_again(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "ring.json").write_text("damaged")
    environ = {"PLAYMESH_DATA_DIR": str(tmp_path)}
    code, output = await outcome("services.keyrotator", "--once", environ=environ)
    assert (code, "Traceback" in output) == (75, False)


async def test_one_pass_of_keyrotator_refuses_wrong_settings(tmp_path: Path) -> None:
    environ = {"PLAYMESH_DATA_DIR": str(tmp_path), "PLAYMESH_ROTATION_PERIOD": "soon"}
    code, output = await outcome("services.keyrotator", "--once", environ=environ)
    assert code == 64
    assert "PLAYMESH_ROTATION_PERIOD" in output


async def test_a_service_is_ready_only_when_it_can_work(mesh: Mesh) -> None:
    """Identity without a key is alive, and says why it is not ready."""
    await mesh.stop()
    for file in (mesh.data_dir / "keys").iterdir():
        file.unlink()
    await mesh.identity.start()
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{mesh.identity.admin_url}/livez") as response:
            assert response.status == 200
        async with http.get(f"{mesh.identity.admin_url}/readyz") as response:
            assert response.status == 503
            assert "keyrotator" in await response.text()
    await mesh.keyrotator.start()
    await mesh.identity.ready()


async def test_the_admin_routes_are_not_public(mesh: Mesh) -> None:
    async with aiohttp.ClientSession() as http:
        for service in mesh.services:
            async with http.get(f"{service.admin_url}/metrics") as response:
                assert "http_server_request_duration_seconds" in await response.text()
            for path in ("/livez", "/readyz", "/metrics"):
                async with http.get(f"{service.url}{path}") as response:
                    assert response.status == 404


async def test_the_runner_tells_the_urls_and_a_line_to_try_and_stops_on_ctrl_c(
    tmp_path: Path,
) -> None:
    runner = await Runner.start(tmp_path)
    await runner.read_until("make demo")
    children = runner.children()
    command = re.search(r"curl -X POST (\S+)", runner.output)
    assert command
    async with aiohttp.ClientSession() as http, http.post(command[1]) as response:
        assert response.status == 201

    runner.process.send_signal(signal.SIGINT)

    assert await runner.end() == 0
    assert len(children) == 3
    assert not any(child.is_running() for child in children)
    assert "Traceback" not in runner.output


async def test_the_runner_stops_the_others_when_one_service_dies(tmp_path: Path) -> None:
    runner = await Runner.start(tmp_path)
    await runner.read_until("make demo")
    children = runner.children()
    victim = next(child for child in children if "services.keyrotator" in child.cmdline())

    victim.kill()

    assert await runner.end() == 1
    assert "keyrotator ended with exit code -9" in runner.output
    assert not any(child.is_running() for child in children)


async def test_a_second_runner_names_the_port_and_a_way_out(tmp_path: Path) -> None:
    first = int(free_ports())
    with socket.create_server(("127.0.0.1", first + 1001)):
        environ = {"PLAYMESH_DATA_DIR": str(tmp_path), "PLAYMESH_PORT": str(first)}
        code, output = await outcome("services", environ=environ)
    assert code == 64
    assert f"port {first + 1001} cannot be had" in output
    assert "make run PORT=" in output
    assert "Playmesh is ready" not in output


async def test_the_runner_refuses_a_port_that_leaves_no_room(tmp_path: Path) -> None:
    environ = {"PLAYMESH_DATA_DIR": str(tmp_path), "PLAYMESH_PORT": "65000"}
    code, output = await outcome("services", environ=environ)
    assert code == 64
    assert "PLAYMESH_PORT: " in output
