"""`python -m services.identity`."""

import sys

from services.identity.app import run
from services.identity.settings import Settings
from shared import process

if __name__ == "__main__":
    sys.exit(process.run("identity", Settings.from_env, lambda settings: settings.server, run))
