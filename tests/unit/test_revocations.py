"""The list of what was taken back: what it says, and what is no list."""

import hashlib
import json
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.auth.revocations import (
    LARGEST_DOCUMENT,
    MOST_MARKS,
    InvalidRevocations,
    parse,
    render,
    session_mark,
    subject_mark,
)

MARK = session_mark("session-1")


def marks(number: int) -> list[str]:
    return [session_mark(str(one)) for one in range(number)]


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        (session_mark("0123456789abcdef"), b"sid:0123456789abcdef"),
        (subject_mark("service:identity"), b"sub:service:identity"),
        (session_mark("Zoë"), b"sid:Zo\xc3\xab"),
    ],
)
def test_a_mark_is_twelve_bytes_of_a_digest_in_base64url(mark: str, text: bytes) -> None:
    assert mark == urlsafe_b64encode(hashlib.sha256(text).digest()[:12]).decode()
    assert len(mark) == 16


def test_a_session_and_a_subject_of_one_name_have_two_marks() -> None:
    assert session_mark("a") != subject_mark("a")


@given(st.sets(st.text()))
def test_what_is_rendered_is_read(names: set[str]) -> None:
    listed = {session_mark(name) for name in names}
    assert parse(render(listed)) == listed


def test_the_same_marks_are_the_same_bytes() -> None:
    listed = marks(100)
    assert render(listed) == render(reversed([*listed, *listed]))
    assert render([]) == b'{"revoked":[]}'


def test_a_list_may_be_as_long_as_its_bound() -> None:
    document = render(marks(MOST_MARKS))
    assert len(document) < LARGEST_DOCUMENT
    assert len(parse(document)) == MOST_MARKS


def test_a_longer_list_is_not_rendered() -> None:
    with pytest.raises(InvalidRevocations, match="too many"):
        render(marks(MOST_MARKS + 1))


def test_what_else_the_document_says_does_not_matter() -> None:
    assert parse(json.dumps({"revoked": [MARK], "next": {"a": [1]}}).encode()) == {MARK}


def listing(*entries: object) -> bytes:
    return json.dumps({"revoked": entries}).encode()


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}", id="no list"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"revoked": null}', id="a null"),
        pytest.param(b'{"revoked": {}}', id="an object"),
        pytest.param(b'{"revoked": "AAAAAAAAAAAAAAAA"}', id="a mark alone"),
        pytest.param(b'{"revoked": [], "revoked": []}', id="two lists"),
        pytest.param(b'{"revoked": []} {}', id="more behind it"),
        pytest.param(b'{"revoked": ["AAAAAAAAAAAAAAAA"', id="broken off"),
        pytest.param(b"<html>Sign in</html>", id="html"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b"\xef\xbb\xbf" + listing(), id="a byte order mark"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(listing(7), id="a number"),
        pytest.param(listing(None), id="null in it"),
        pytest.param(listing([MARK]), id="a list in it"),
        pytest.param(listing({MARK: True}), id="an object in it"),
        pytest.param(listing(MARK, ""), id="empty mark"),
        pytest.param(listing(MARK[:-1]), id="short mark"),
        pytest.param(listing(f"{MARK}A"), id="long mark"),
        pytest.param(listing(f"{MARK}\n"), id="mark and a line end"),
        pytest.param(listing(f"{MARK[:-1]}+"), id="another alphabet"),
        pytest.param(listing(f"{MARK[:-1]}="), id="padding"),
        pytest.param(listing("é" * 16), id="not ASCII"),
        pytest.param(listing(*[MARK] * (MOST_MARKS + 1)), id="too many, if the same"),
        pytest.param(b'{"revoked": []}' + b" " * LARGEST_DOCUMENT, id="too large"),
    ],
)
def test_what_is_no_list_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidRevocations):
        parse(document)
