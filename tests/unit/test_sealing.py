"""What is sealed: who can read it, and for how long."""

from datetime import timedelta

import pytest

from services.identity.sealing import Seals
from shared.strict_json import JsonValue
from tests.support.clock import ManualClock

_CONTENT: dict[str, JsonValue] = {"user_id": "a" * 32, "keep": ["ünïcode", 1]}
_TEN_MINUTES = timedelta(minutes=10)


@pytest.fixture
def seals(clock: ManualClock) -> Seals:
    return Seals(lambda: b"k" * 32, clock)


def test_what_was_sealed_is_opened_again(seals: Seals) -> None:
    assert seals.open("conflict", seals.seal("conflict", _CONTENT)) == _CONTENT


def test_nobody_reads_it(seals: Seals) -> None:
    assert "a" * 32 not in seals.seal("conflict", _CONTENT)


def test_two_seals_of_the_same_are_not_alike(seals: Seals) -> None:
    assert seals.seal("conflict", _CONTENT) != seals.seal("conflict", _CONTENT)


def test_what_is_for_another_purpose_is_not_opened(seals: Seals) -> None:
    assert seals.open("challenge", seals.seal("conflict", _CONTENT)) is None


def test_what_was_sealed_with_another_key_is_not_opened(seals: Seals, clock: ManualClock) -> None:
    others = Seals(lambda: b"o" * 32, clock)
    assert seals.open("conflict", others.seal("conflict", _CONTENT)) is None


def test_any_changed_byte_is_noticed(seals: Seals) -> None:
    sealed = seals.seal("conflict", _CONTENT)
    for place in range(len(sealed) - 2):  # the last two may stand for no bits
        other = "A" if sealed[place] != "A" else "B"
        assert seals.open("conflict", sealed[:place] + other + sealed[place + 1 :]) is None


@pytest.mark.parametrize("text", ["", "x", "ä", "=" * 100, "gAAAAA", "\x00", "\ud800"])
def test_what_is_no_seal_is_not_opened(seals: Seals, text: str) -> None:
    assert seals.open("conflict", text) is None


def test_it_holds_for_as_long_as_is_asked(seals: Seals, clock: ManualClock) -> None:
    sealed = seals.seal("conflict", _CONTENT)
    clock.advance(600)
    assert seals.open("conflict", sealed, within=_TEN_MINUTES) == _CONTENT
    clock.advance(2)
    assert seals.open("conflict", sealed, within=_TEN_MINUTES) is None


def test_without_a_limit_it_holds_for_ever(seals: Seals, clock: ManualClock) -> None:
    sealed = seals.seal("conflict", _CONTENT)
    clock.advance(10 * 365 * 86400)
    assert seals.open("conflict", sealed) == _CONTENT
