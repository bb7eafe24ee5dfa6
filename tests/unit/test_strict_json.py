"""JSON is read in one way only, or not at all."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import strict_json

INTERCHANGEABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def nested(depth: int, inner: bytes = b"") -> bytes:
    return b"[" * depth + inner + b"]" * depth


def on_a_deep_stack(work: Callable[[], object], *, frames: int = 500) -> object:
    return on_a_deep_stack(work, frames=frames - 1) if frames else work()


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"{}", {}),
        (b' [1, -2.5, "x", true, null] ', [1, -2.5, "x", True, None]),
        ('{"name": "Zoë 🎮"}'.encode(), {"name": "Zoë 🎮"}),
        (rb'"\ud83c\udfae"', "🎮"),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"1e308", 1e308),
        (b'{"a": {"x": 1}, "b": {"x": 2}}', {"a": {"x": 1}, "b": {"x": 2}}),
    ],
)
def test_it_reads_what_every_parser_reads_alike(raw: bytes, value: object) -> None:
    assert strict_json.loads(raw) == value


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "Expecting value at character 0"),
        (b"{", "Expecting property name"),
        (b"{} {}", "Extra data at character 3"),
        (b"[1,]", "Expecting value"),
        (b"{'a': 1}", "Expecting property name"),
        (b'"a\nb"', "Invalid control character"),
        (b"01", "Extra data"),
        (b'\xef\xbb\xbf"a byte order mark"', "Expecting value"),
        (b'"\xff"', "it is not UTF-8"),
        (b'"\xed\xa0\x80"', "it is not UTF-8"),
        (b'"\xc0\xaf"', "it is not UTF-8"),
        ("{}".encode("utf-16"), "it is not UTF-8"),
        (b'{"a": 1, "a": 1}', "an object has two members of the same name"),
        (rb'{"a": 1, "\u0061": 2}', "an object has two members of the same name"),
        (b'[{"deep": {"a": 1, "b": 2, "a": 3}}]', "an object has two members of the same name"),
        (b"NaN", "NaN is not JSON"),
        (b"[Infinity]", "Infinity is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b"1e400", "a number is too large"),
        (b"-1e400", "a number is too large"),
        (b"18446744073709551616", "a number is too large"),
        (b"-9223372036854775809", "a number is too large"),
        (b"9" * 5000, "a number is too large"),
        (rb'"\ud800"', "it contains a lone surrogate"),
        (rb'{"\udfff": 1}', "it contains a lone surrogate"),
        (rb'["\udfae\ud83c"]', "it contains a lone surrogate"),
        (nested(101), "it is nested too deeply"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "it is nested too deeply"),
        (b"[" * 200_000, "it is nested too deeply"),
        (b'{"a":' * 200_000, "it is nested too deeply"),
    ],
)
def test_it_refuses_with_a_reason_what_two_parsers_could_read_in_two_ways(
    raw: bytes, reason: str
) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        strict_json.loads(raw)


def test_a_hundred_levels_are_not_too_deep() -> None:
    value = strict_json.loads(nested(100, b"1"))
    assert strict_json.dumps(value).encode() == nested(100, b"1")


def test_brackets_in_text_do_not_count_as_levels() -> None:
    assert strict_json.loads(b'"' + b"[" * 1000 + b'"') == "[" * 1000


def test_many_shallow_arrays_are_not_too_deep() -> None:
    assert strict_json.loads(b"[" + b"[]," * 1000 + b"[]]") == [[]] * 1001


def test_no_depth_ends_in_anything_but_a_value_error() -> None:
    for depth in range(101, 1000):
        with pytest.raises(ValueError, match="nested too deeply"):
            strict_json.loads(nested(depth, rb'"\u0041"'))


def test_what_was_read_can_be_written_on_a_deeper_stack() -> None:
    value = strict_json.loads(nested(100, b"1"))
    assert on_a_deep_stack(lambda: strict_json.dumps(value)) == nested(100, b"1").decode()


@pytest.mark.parametrize("secret", ["hunter2", "Pa55word"])
def test_the_reason_shows_nothing_of_the_content(secret: str) -> None:
    with pytest.raises(ValueError, match=r"^Expecting") as caught:
        strict_json.loads(f'{{"password": {secret}}}'.encode())
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_written_json_is_compact_and_keeps_unicode_as_it_is() -> None:
    assert strict_json.dumps({"name": "Zoë", "list": [1, None]}) == '{"name":"Zoë","list":[1,null]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_nothing_is_written_that_is_not_json(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        strict_json.dumps(value)


@given(INTERCHANGEABLE)
def test_what_is_written_is_read_back_the_same(value: object) -> None:
    again = strict_json.loads(strict_json.dumps(value).encode())
    assert again == value
    assert json.dumps(again) == json.dumps(value)  # 1, 1.0 and True are equal, but not the same


@given(st.binary() | st.text().map(str.encode) | INTERCHANGEABLE.map(json.dumps).map(str.encode))
def test_any_bytes_are_a_value_or_a_value_error(raw: bytes) -> None:
    try:
        value = strict_json.loads(raw)
    except ValueError:
        return
    strict_json.dumps(value).encode()
