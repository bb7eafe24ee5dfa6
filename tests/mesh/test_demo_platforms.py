"""`make demo PROVIDERS=fake`, played by three processes and fakes beside them."""

import asyncio
import os
import sys
from pathlib import Path

from shared.clock import SystemClock
from tests.support.fakes.server import serving_all
from tests.support.mesh import running


async def test_the_demo_with_platforms_plays_its_story_to_the_end(tmp_path: Path) -> None:
    async with (
        serving_all(SystemClock()) as fakes,
        running(tmp_path / "data", fakes.environ) as mesh,
    ):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "examples.demo_platforms",
            env={**os.environ, **mesh.client_environ, "FAKES_URL": fakes.url},  # noqa: TID251 - PATH and the like
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert "All of it held." in output.decode()
