"""A guest's client, call by call: what it is given, and how it comes back with it."""

from collections.abc import Mapping
from typing import Any

import aiohttp

from tests.support.calls import call
from tests.support.servers import Answer


async def new_guest(http: aiohttp.ClientSession) -> dict[str, Any]:
    return dict((await call(http, "POST", "/v1/guests")).json())


def credential_of(guest: Mapping[str, Any]) -> dict[str, Any]:
    return {"user_id": guest["user_id"], "guest_secret": guest["guest_secret"]}


async def log_in(http: aiohttp.ClientSession, credential: Mapping[str, object]) -> Answer:
    body = {"provider": "guest", "credential": credential}
    return await call(http, "POST", "/v1/sessions", json=body)


async def refresh(http: aiohttp.ClientSession, token: str) -> Answer:
    return await call(http, "POST", "/v1/sessions/refresh", json={"refresh_token": token})


async def refreshed(http: aiohttp.ClientSession, token: str) -> dict[str, Any]:
    answer = await refresh(http, token)
    assert answer.status == 200, answer
    return dict(answer.json())


def is_refused(answer: Answer) -> bool:
    return (answer.status, answer.code) == (401, "invalid_refresh_token")


def is_ended(answer: Answer) -> bool:
    """Since a token of it was used once too often."""
    told = (answer.status, answer.code, answer.json().get("reason"))
    return told == (401, "session_ended", "refresh_reused")
