"""What is read of a token's claims, and what is refused before anybody looks at what it says."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from shared.auth.jwt_claims import (
    InvalidClaim,
    read_audiences,
    read_claims,
    read_date,
    read_lifetime,
    read_text,
    read_whole_date,
)
from shared.clock import to_seconds
from tests.support.clock import ManualClock

HOUR = timedelta(hours=1)


def reason(read: Callable[[], object]) -> str:
    with pytest.raises(InvalidClaim) as caught:
        read()
    assert caught.value.__context__ is None
    return str(caught.value)


def test_claims_are_an_object() -> None:
    assert read_claims('{"sub": "é"}'.encode()) == {"sub": "é"}


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b'"sub"', b"null", b'{"a": 1, "a": 2}', b'{"a": NaN}', b"\xff"]
)
def test_what_is_no_object_or_could_be_read_in_two_ways_is_refused(payload: bytes) -> None:
    assert reason(lambda: read_claims(payload)) == "claims"


@pytest.mark.parametrize("value", ["x", "x" * 8])
def test_a_text_has_one_character_at_least_and_so_many_at_most(value: str) -> None:
    assert read_text({"sub": value}, "sub", longest=8) == value


@pytest.mark.parametrize("claims", [{}, *({"sub": one} for one in (None, "", "x" * 9, 7, ["x"]))])
def test_what_is_no_text_is_refused_by_its_name(claims: dict[str, Any]) -> None:
    assert reason(lambda: read_text(claims, "sub", longest=8)) == "sub"


@pytest.mark.parametrize("value", [0, 2**40 - 1])
def test_a_date_is_a_number_of_seconds(value: int) -> None:
    assert read_date({"exp": value}, "exp") == read_whole_date({"exp": value}, "exp") == value


def test_a_date_may_have_a_fraction_where_it_need_not_be_whole() -> None:
    assert read_date({"exp": 1.5}, "exp") == 1.5
    assert reason(lambda: read_whole_date({"exp": 1.5}, "exp")) == "exp"
    assert reason(lambda: read_whole_date({"exp": 1.0}, "exp")) == "exp"


@pytest.mark.parametrize("read", [read_date, read_whole_date])
@pytest.mark.parametrize(
    "claims",
    [
        {},
        *(
            {"exp": one}
            for one in (None, True, "1", [1], -1, -0.5, 2**40, float("inf"), float("nan"))
        ),
    ],
)
def test_what_is_no_date_is_refused_by_its_name(
    read: Callable[[dict[str, Any], str], float], claims: dict[str, Any]
) -> None:
    assert reason(lambda: read(claims, "exp")) == "exp"


@pytest.mark.parametrize(
    ("value", "expected"), [("a", ["a"]), (["a"], ["a"]), (["a", "b"], ["a", "b"]), ([], [])]
)
def test_an_audience_is_one_or_a_list(value: str | list[str], expected: list[str]) -> None:
    assert read_audiences({"aud": value}) == expected
    assert read_audiences({"client_id": value}, "client_id") == expected


@pytest.mark.parametrize(
    "claims", [{}, *({"aud": one} for one in (None, 7, {"a": "b"}, ["a", 7], ["a", ["b"]]))]
)
def test_an_audience_that_is_no_text_spoils_the_others(claims: dict[str, Any]) -> None:
    assert reason(lambda: read_audiences(claims)) == "aud"


def lifetime(clock: ManualClock, *, iat: int = 0, nbf: int = 0, exp: int = 3600) -> tuple[int, int]:
    """As seconds from now."""
    now = to_seconds(clock.now())
    claims = {"iat": now + iat, "nbf": now + nbf, "exp": now + exp}
    valid_from, expires = read_lifetime(claims, clock.now(), HOUR)
    return valid_from - now, expires - now


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ({}, (0, 3600)),
        ({"nbf": 60}, (60, 3600)),
        ({"iat": -3659, "exp": -59}, (0, -59)),
        ({"iat": 60, "exp": 61}, (60, 61)),
    ],
)
def test_a_token_is_for_now_on_clocks_a_minute_apart(
    clock: ManualClock, moments: dict[str, int], expected: tuple[int, int]
) -> None:
    assert lifetime(clock, **moments) == expected


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ({"iat": -3660, "exp": -60}, "expired"),
        ({"iat": 61, "exp": 3600}, "not yet valid"),
        ({"nbf": 61}, "not yet valid"),
        ({"exp": 3601}, "lifetime"),
        ({"iat": 60, "exp": 60}, "lifetime"),
        ({"iat": 60, "exp": 0}, "lifetime"),
    ],
)
def test_a_token_of_another_time_or_for_too_long_is_refused(
    clock: ManualClock, moments: dict[str, int], expected: str
) -> None:
    assert reason(lambda: lifetime(clock, **moments)) == expected


@pytest.mark.parametrize("name", ["iat", "nbf", "exp"])
def test_a_lifetime_has_all_three(clock: ManualClock, name: str) -> None:
    now = to_seconds(clock.now())
    claims = {"iat": now, "nbf": now, "exp": now + 60}
    del claims[name]
    assert reason(lambda: read_lifetime(claims, clock.now(), HOUR)) == name
