"""`python -m services.keyrotator [--once]`."""

import argparse
import sys

from services.keyrotator.app import run, run_once
from services.keyrotator.settings import Settings
from shared import process


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m services.keyrotator")
    parser.add_argument(
        "--once",
        action="store_true",
        help="do what is due and exit: 0 done, 75 try again, 64 wrong settings",
    )
    once = parser.parse_args().once
    return process.run(
        "keyrotator", Settings.from_env, lambda settings: settings.server, run_once if once else run
    )


if __name__ == "__main__":
    sys.exit(main())
