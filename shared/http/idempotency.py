"""The header by which a request is known when it comes again."""

import re

from multidict import MultiMapping

from shared import errors

NAME = "Idempotency-Key"
_KEY = re.compile("[!-~]{16,128}")


def read_idempotency_key(headers: MultiMapping[str]) -> str | None:
    """None without one. Raises InvalidRequest."""
    keys = headers.getall(NAME, [])
    if not keys:
        return None
    if len(keys) > 1:
        raise errors.InvalidRequest(f"`{NAME}` is given more than once")
    if not _KEY.fullmatch(keys[0]):
        raise errors.InvalidRequest(
            f"`{NAME}` must be 16 to 128 visible ASCII characters without spaces:"
            " a random UUID or better"
        )
    return keys[0]
