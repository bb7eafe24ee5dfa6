"""Entity tags of versions, and the lists of them that clients send."""

import pytest

from shared import errors
from shared.http.etags import etag, parse_versions


def test_a_version_is_a_strong_tag_in_quotes() -> None:
    assert etag(7) == '"7"'


@pytest.mark.parametrize("version", [1, 7, 10, 10**18 - 1])
def test_a_tag_of_ours_names_its_version(version: int) -> None:
    assert parse_versions(etag(version)) == frozenset({version})


@pytest.mark.parametrize("header", ["*", " * ", "\t*"])
def test_a_star_is_any_version(header: str) -> None:
    assert parse_versions(header) is None


@pytest.mark.parametrize(
    ("header", "versions"),
    [
        ('"1", "2"', frozenset({1, 2})),
        ('"1","2"', frozenset({1, 2})),
        ('  "1"\t,  "1"  ', frozenset({1})),
        (', "1", , "2",,', frozenset({1, 2})),
    ],
)
def test_a_list_names_each_of_its_versions(header: str, versions: frozenset[int]) -> None:
    assert parse_versions(header) == versions


@pytest.mark.parametrize(
    "header",
    [
        'W/"7"',
        '"0"',
        '"07"',
        '"-7"',
        '"+7"',
        '"1_0"',
        '"\N{ARABIC-INDIC DIGIT SEVEN}"',
        '"1000000000000000000"',
        '""',
        '"*"',
        '"abc"',
        '"7,8"',
        '"W/7"',
        '"caf\xe9"',
        '"caf\udcc3\udca9"',
    ],
)
def test_a_tag_that_is_no_version_of_ours_names_nothing(header: str) -> None:
    assert parse_versions(header) == frozenset()


def test_a_foreign_tag_does_not_hide_the_version_beside_it() -> None:
    assert parse_versions('"a,b", W/"3", "7"') == frozenset({7})


def test_a_weak_tag_counts_where_comparison_is_weak() -> None:
    assert parse_versions('W/"3", "W/4", "7"', weak=True) == frozenset({3, 7})


@pytest.mark.parametrize(
    "header",
    [
        "",
        "  ",
        ",",
        "7",
        "'7'",
        '"7',
        '7"',
        '"7" "8"',
        '"7";"8"',
        '"7", 8',
        '"7"x',
        'w/"7"',
        'W /"7"',
        'W/ "7"',
        '"7 8"',
        '"7\x7f"',
        '"7\x00"',
        '*, "7"',
        '"7", *',
        "**",
    ],
)
def test_bad_syntax_is_an_invalid_request(header: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="double quotes"):
        parse_versions(header)


def test_a_header_of_a_thousand_characters_is_long_enough() -> None:
    assert parse_versions(",".join(['"1"'] * 256)) == frozenset({1})


@pytest.mark.parametrize("header", ['"' + "7" * 1023 + '"', '"1",' * 300])
def test_a_longer_header_is_an_invalid_request(header: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="too long"):
        parse_versions(header)
