"""Environment variables are read into types, and all their faults reported together."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from shared.env import Env, SettingsError

HOUR = timedelta(hours=1)
Read = Callable[[Env], object]


def env(**values: str) -> Env:
    return Env({f"PLAYMESH_{name}": value for name, value in values.items()})


def read_integer(given: Env) -> int:
    return given.integer("X", 5, minimum=1, maximum=9)


def read_duration(given: Env) -> timedelta:
    return given.duration("X", HOUR, minimum=timedelta(seconds=1), maximum=timedelta(days=7))


def read_url(given: Env) -> str:
    return given.url("X", "http://default")


def read_choice(given: Env) -> str:
    return given.choice("X", "red", ("red", "green"))


def read_flag(given: Env) -> bool:
    return given.flag("X", default=True)


def faults_of(given: Env) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        given.check()
    return caught.value.faults


READERS = [
    pytest.param(lambda given: given.text("X", "default"), "default", id="text"),
    pytest.param(read_integer, 5, id="integer"),
    pytest.param(read_duration, HOUR, id="duration"),
    pytest.param(read_url, "http://default", id="url"),
    pytest.param(read_choice, "red", id="choice"),
    pytest.param(read_flag, True, id="flag"),
    pytest.param(lambda given: given.path("X", "folder"), Path("folder"), id="path"),
]


@pytest.mark.parametrize(("read", "default"), READERS)
@pytest.mark.parametrize("environ", [{}, {"PLAYMESH_X": ""}, {"PLAYMESH_X": "  "}, {"X": "7"}])
def test_what_is_missing_or_empty_is_the_default(
    read: Read, default: object, environ: dict[str, str]
) -> None:
    given = Env(environ)
    assert read(given) == default
    given.check()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", ()),
        (" , ,", ()),
        ("a", ("a",)),
        (" b , a,b,, c d ", ("b", "a", "c d")),
    ],
)
def test_a_list_has_what_is_between_commas_in_order_and_each_once(
    text: str, values: tuple[str, ...]
) -> None:
    given = env(X=text)
    assert given.texts("X") == values
    assert given.texts("X", "x,y") == (values or ("x", "y"))
    given.check()


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (lambda given: given.text("X", ""), " some text ", "some text"),
        (lambda given: given.path("X", ""), "/var/lib", Path("/var/lib")),
        (read_choice, "green", "green"),
        (read_flag, "true", True),
        (read_flag, " false ", False),
        (read_integer, "1", 1),
        (read_integer, " 9 ", 9),
        (read_integer, "07", 7),
        (read_duration, "900", timedelta(seconds=900)),
        (read_duration, "1s", timedelta(seconds=1)),
        (read_duration, "15m", timedelta(minutes=15)),
        (read_duration, "2h", timedelta(hours=2)),
        (read_duration, "7d", timedelta(days=7)),
        (read_url, "http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        (read_url, "https://id.example.com/", "https://id.example.com"),
        (read_url, "https://example.com/base//", "https://example.com/base"),
        (read_url, "http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_what_is_given_is_read(read: Read, text: str, value: object) -> None:
    given = env(X=text)
    assert read(given) == value
    given.check()


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *[(read_integer, text) for text in ("0", "10", "-1", "+5", "5.0", "1e1", "0x5", "five")],
        *[(read_integer, text) for text in ("5_0", "9" * 13, "\N{ARABIC-INDIC DIGIT FIVE}")],
        *[(read_duration, text) for text in ("0", "8d", "-1", "1.5h", "1w", "1 h", "h", "1H")],
        *[
            (read_duration, text)
            for text in ("1h30m", "999999999d", "9" * 10, "\N{ARABIC-INDIC DIGIT FIVE}")
        ],
        *[(read_choice, text) for text in ("RED", "blue", "red,green")],
        *[(read_flag, text) for text in ("1", "yes", "True", "no")],
        (read_url, "example.com"),
        (read_url, "/path"),
        (read_url, "http://"),
        (read_url, "ftp://example.com"),
        (read_url, "file:///etc/passwd"),
        (read_url, "http://example.com:99999"),
        (read_url, "http://[::1"),
        (read_url, "http://example.com/?a=b"),
        (read_url, "http://example.com?"),
        (read_url, "http://example.com/#part"),
        (read_url, "http://example.com#"),
        (read_url, "http://user@example.com"),
        (read_url, "http://user:pass@example.com"),
        (read_url, "http://@example.com"),
    ],
)
def test_what_cannot_be_read_is_a_fault_that_names_its_variable(read: Read, text: str) -> None:
    given = env(X=text)
    read(given)
    (fault,) = faults_of(given)
    assert fault.startswith("PLAYMESH_X: must be ")


def test_every_fault_is_reported_at_once_in_the_order_of_reading() -> None:
    given = env(PORT="none", COLOUR="blue", TTL="never")
    given.integer("PORT", 80, minimum=0, maximum=65535)
    given.choice("COLOUR", "red", ("red", "green"))
    given.duration("TTL", HOUR, minimum=HOUR, maximum=HOUR)
    given.fault("OTHER", "does not go with the others")
    assert faults_of(given) == [
        "PLAYMESH_PORT: must be a whole number from 0 to 65535; it is 'none'",
        "PLAYMESH_COLOUR: must be one of red, green; it is 'blue'",
        "PLAYMESH_TTL: must be a duration (900, 15m, 7d) from 1:00:00 to 1:00:00; it is 'never'",
        "PLAYMESH_OTHER: does not go with the others",
    ]


def test_the_error_shows_one_line_per_fault() -> None:
    assert str(SettingsError(["PLAYMESH_A: is wrong", "PLAYMESH_B: too"])) == (
        "PLAYMESH_A: is wrong\nPLAYMESH_B: too"
    )


def test_a_fault_leaves_the_default_so_that_reading_can_go_on() -> None:
    assert read_integer(env(X="ten")) == 5


def test_the_fault_of_a_url_does_not_show_it_because_it_may_hold_a_password() -> None:
    given = env(X="http://user:hunter2@example.com")
    read_url(given)
    assert "hunter2" not in str(faults_of(given))
