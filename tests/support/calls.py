"""Requests through an ordinary client, read to their end, and what tokens in answers say."""

import base64
import json
from typing import Any

import aiohttp
from joserfc import jwt
from joserfc.jwk import KeySet
from multidict import CIMultiDict

from tests.support.servers import Answer


async def call(
    http: aiohttp.ClientSession,
    method: str,
    path: str,
    **options: Any,  # noqa: ANN401 - aiohttp's own
) -> Answer:
    """The answer as it came; redirects are not followed."""
    async with http.request(method, path, allow_redirects=False, **options) as response:
        return Answer(response.status, CIMultiDict(response.headers), await response.read())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def header_of(token: str) -> dict[str, Any]:
    return _segment(token, 0)


def claims_of(token: str) -> dict[str, Any]:
    return _segment(token, 1)


def holds(token: str, jwk_set: Any) -> bool:  # noqa: ANN401 - a parsed JSON document
    """Whether the signature is by a key of the set; raises where it is not."""
    keys = KeySet.import_key_set(jwk_set)
    return jwt.decode(token, keys, algorithms=["RS256", "ES256"]).claims == claims_of(token)


def without_request_id(answer: Answer) -> tuple[int, dict[str, Any], dict[str, str]]:
    """All that an answer tells a stranger: status, body and headers but id and date."""
    body = {name: value for name, value in answer.json().items() if name != "request_id"}
    headers = {
        name.lower(): value
        for name, value in answer.headers.items()
        if name.lower() not in ("x-request-id", "date")
    }
    return answer.status, body, headers


def _segment(token: str, number: int) -> dict[str, Any]:
    text = token.split(".")[number]
    return dict(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
