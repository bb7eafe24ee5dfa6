"""The error tree and what the edge makes of it."""

import re
from collections.abc import Iterator

import pytest

from shared import errors
from shared.http.problems import STATUS


def tree(root: type[errors.PlaymeshError]) -> Iterator[type[errors.PlaymeshError]]:
    """`root` and all below it that `shared` defines; a service may have errors of its own."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


CLASSES = list(tree(errors.PlaymeshError))


def test_the_table_of_statuses_has_every_error_and_nothing_else() -> None:
    assert set(STATUS) == set(CLASSES)


def test_no_two_errors_share_a_code() -> None:
    assert len({error.code for error in CLASSES}) == len(CLASSES)


def test_only_what_is_wrong_on_our_side_is_an_internal_error() -> None:
    ours = [errors.PlaymeshError, errors.ProviderMisconfigured]
    assert [error for error, status in STATUS.items() if status == 500] == ours


def test_the_drawing_of_the_tree_shows_every_error_below_its_parent() -> None:
    drawn = re.findall(r"^([│├└─ ]*)([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)
    shown = [(len(indent) // 4, name) for indent, name in drawn if name != "What"]
    depths = [(len(error.__mro__) - len(errors.PlaymeshError.__mro__), error) for error in CLASSES]
    assert shown == [(depth, error.__name__) for depth, error in depths]


@pytest.mark.parametrize("error", CLASSES)
def test_a_code_is_a_word_for_programs(error: type[errors.PlaymeshError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)


@pytest.mark.parametrize("error", CLASSES)
def test_without_a_detail_an_error_says_its_title(error: type[errors.PlaymeshError]) -> None:
    assert str(error()) == error.title
    assert error().detail is None


@pytest.mark.parametrize("error", CLASSES)
def test_with_a_detail_an_error_says_that(error: type[errors.PlaymeshError]) -> None:
    assert str(error("something else")) == "something else"
    assert error("something else").detail == "something else"


def test_a_version_conflict_carries_what_is_stored() -> None:
    assert errors.VersionConflict(current=7).current == 7
    assert errors.VersionConflict().current is None


@pytest.mark.parametrize(
    "error", [errors.TooManyRequests, errors.Unavailable, errors.ProviderUnavailable]
)
def test_what_passes_says_when_to_come_back(
    error: type[errors.TooManyRequests | errors.Unavailable],
) -> None:
    assert error().retry_after == 1
    assert error(retry_after=30).retry_after == 30
