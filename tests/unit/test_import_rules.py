"""Each rule of who may import whom fails when it is broken."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BROKEN_ON_PURPOSE = {
    "shared stands below the services": ("shared/clock.py", "import services.identity.models"),
    "services do not know each other": (
        "services/identity/wire.py",
        "import services.player_data.models",
    ),
    "a resource server cannot reach private keys": (
        "services/player_data/app.py",
        "import shared.keys.signer",
    ),
    "only shared.aws speaks to AWS": (
        "services/identity/adapters/sqlite.py",
        "import aioboto3",
    ),
    "identity is layered": ("services/identity/models.py", "import services.identity.accounts"),
    "only settings and composition know which platforms there are": (
        "services/identity/handlers.py",
        "import services.identity.providers.steam",
    ),
    "keyrotator is layered": (
        "services/keyrotator/rotation.py",
        "import services.keyrotator.wire",
    ),
    "player_data is layered": (
        "services/player_data/handlers.py",
        "import services.player_data.adapters.sqlite",
    ),
    "the domain knows no HTTP, no SQL, no AWS": (
        "services/player_data/records.py",
        "import aiohttp",
    ),
}

BANNED = {
    "the system clock": "import datetime\n\nnow = datetime.datetime.now(datetime.UTC)\n",
    "wall time": "import time\n\nnow = time.time()\n",
    "the environment": "import os\n\nhome = os.environ\n",
    "randomness": "import secrets\n\nvalue = secrets.token_hex()\n",
}


def copy_of_the_tree(folder: Path) -> Path:
    for name in ("services", "shared"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run(tool: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A tool of this environment, without its cache."""
    return subprocess.run(  # noqa: S603 - the tools of this project
        [Path(sys.executable).with_name(tool), *arguments, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_rule_is_broken_by_a_test_below() -> None:
    names = [
        line.partition('"')[2].rstrip('"')
        for line in (ROOT / "pyproject.toml")
        .read_text()
        .split("[tool.importlinter]")[1]
        .split("\n")
        if line.startswith("name = ")
    ]
    assert sorted(names) == sorted(BROKEN_ON_PURPOSE)


@pytest.mark.parametrize("rule", BROKEN_ON_PURPOSE)
def test_an_import_that_breaks_a_rule_is_found(rule: str, tmp_path: Path) -> None:
    path, statement = BROKEN_ON_PURPOSE[rule]
    broken = copy_of_the_tree(tmp_path) / path
    broken.write_text(f"{broken.read_text()}\n{statement}\n")

    result = run("lint-imports", folder=tmp_path)

    assert result.returncode == 1, result.stdout
    assert f"{rule} BROKEN" in result.stdout


@pytest.mark.parametrize("what", BANNED)
def test_what_has_one_home_is_refused_elsewhere(what: str, tmp_path: Path) -> None:
    (copy_of_the_tree(tmp_path) / "services" / "identity" / "new.py").write_text(BANNED[what])
    result = run("ruff", "check", "--select", "TID251", ".", folder=tmp_path)
    assert result.returncode == 1, result.stdout
    assert "services/identity/new.py" in result.stdout
