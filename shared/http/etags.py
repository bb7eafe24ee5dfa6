"""Entity tags of versioned resources: `"7"` is version 7 (RFC 9110 sections 8.8.3 and 13.1)."""

import re

from shared import errors

# A list may have empty elements, and a tag a comma in it (RFC 9110 sections 5.6.1 and 8.8.3).
_TAG = r'(W/)?"([^"\x00-\x20\x7f]*)"'
_LIST = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_LONGEST = 1024


def etag(version: int) -> str:
    return f'"{version}"'


def parse_versions(header: str, *, weak: bool = False) -> frozenset[int] | None:
    """The versions that an If-Match or If-None-Match header names; None is `*`, any version.

    A weak tag counts only where comparison is weak, which it is in If-None-Match and not in
    If-Match. A tag that is no version of ours names nothing. Raises InvalidRequest on bad syntax.
    """
    if header.strip() == "*":
        return None
    if len(header) > _LONGEST:
        raise errors.InvalidRequest("the entity tag header is too long")
    if not _LIST.fullmatch(header):
        raise errors.InvalidRequest(
            'entity tags are written with double quotes, as in "7", or are * alone'
        )
    return frozenset(
        int(tag)
        for mark, tag in re.findall(_TAG, header)
        if (weak or not mark) and _VERSION.fullmatch(tag)
    )
