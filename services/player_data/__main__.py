"""`python -m services.player_data [--once]`."""

import argparse
import sys

from services.player_data.app import run, run_once
from services.player_data.settings import Settings
from shared import process


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m services.player_data")
    parser.add_argument(
        "--once",
        action="store_true",
        help="maintain and exit: contents of saves that nothing refers to any more;"
        " 0 done, 75 try again, 64 wrong settings",
    )
    once = parser.parse_args().once
    return process.run(
        "player_data",
        Settings.from_env,
        lambda settings: settings.server,
        run_once if once else run,
    )


if __name__ == "__main__":
    sys.exit(main())
