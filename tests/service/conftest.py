"""The services under test, each over a socket and on a folder of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import apps
from tests.support.apps import Running, RunningIdentity
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.records import Player

QUICK_KEYS = {"PLAYMESH_SIGNING_ALG": "ES256"}
"""An RSA key takes tenths of a second to find; the default is for tests that look at it."""


@pytest.fixture
async def identity(tmp_path: Path, clock: ManualClock) -> AsyncIterator[RunningIdentity]:
    async with apps.identity(tmp_path, clock, QUICK_KEYS) as running:
        yield running


@pytest.fixture
async def data(tmp_path: Path, issuer: Issuer, clock: ManualClock) -> AsyncIterator[Running]:
    """player_data, trusting `issuer`."""
    async with apps.player_data(tmp_path, issuer, clock) as running:
        yield running


@pytest.fixture
def player(data: Running, issuer: Issuer) -> Player:
    return Player(data, "a" * 32, issuer.token(sub="a" * 32))


@pytest.fixture
def stranger(data: Running, issuer: Issuer) -> Player:
    return Player(data, "b" * 32, issuer.token(sub="b" * 32))
