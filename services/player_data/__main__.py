"""`python -m services.player_data`."""

import sys

from services.player_data.app import run
from services.player_data.settings import Settings
from shared import process

if __name__ == "__main__":
    sys.exit(process.run("player_data", Settings.from_env, lambda settings: settings.server, run))
