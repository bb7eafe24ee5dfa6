"""`python -m services.identity [--once [--erase-again]]`."""

import argparse
import functools
import sys

from services.identity.app import run, run_once
from services.identity.settings import Settings
from shared import process


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m services.identity")
    parser.add_argument(
        "--once",
        action="store_true",
        help="maintain and exit: expired sessions, inactive guests, erasures that were interrupted;"
        " 0 done, 75 try again, 64 wrong settings",
    )
    parser.add_argument(
        "--erase-again",
        action="store_true",
        help="with --once: also remove what a restored backup has brought back of erased players",
    )
    options = parser.parse_args()
    if options.erase_again and not options.once:
        parser.error("--erase-again needs --once")
    once = functools.partial(run_once, erase_again=options.erase_again)
    return process.run(
        "identity",
        Settings.from_env,
        lambda settings: settings.server,
        once if options.once else run,
    )


if __name__ == "__main__":
    sys.exit(main())
