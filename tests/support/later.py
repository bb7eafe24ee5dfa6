"""A service whose clock is ahead: what takes a quarter of an hour is over when it starts.

`PLAYMESH_TEST_SERVICE` is its name, `PLAYMESH_TEST_AHEAD` how far, in seconds.
"""

import functools
import os
import sys
from datetime import datetime, timedelta

from services.identity import app as identity
from services.identity.settings import Settings as IdentitySettings
from services.player_data import app as player_data
from services.player_data.settings import Settings as PlayerDataSettings
from shared import process
from shared.clock import SystemClock


class Ahead(SystemClock):
    def __init__(self, seconds: int) -> None:
        self._ahead = timedelta(seconds=seconds)

    def now(self) -> datetime:
        return super().now() + self._ahead


def main() -> int:
    environ = os.environ  # noqa: TID251 - of tests only
    clock = Ahead(int(environ.get("PLAYMESH_TEST_AHEAD", "0")))
    if environ["PLAYMESH_TEST_SERVICE"] == "identity":
        return process.run(
            "identity",
            IdentitySettings.from_env,
            lambda settings: settings.server,
            functools.partial(identity.run, clock=clock),
        )
    return process.run(
        "player_data",
        PlayerDataSettings.from_env,
        lambda settings: settings.server,
        functools.partial(player_data.run, clock=clock),
    )


if __name__ == "__main__":
    sys.exit(main())
