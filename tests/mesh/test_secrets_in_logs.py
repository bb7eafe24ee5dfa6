"""Secrets that are sent to any route in any way reach no log of any service (G-11)."""

import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from services.identity import (
    account_handlers,
    admin_handlers,
    cognito_handlers,
    handlers,
    oauth_handlers,
    provider_handlers,
)
from services.keyrotator.handlers import routes as keyrotator_routes
from services.player_data.handlers import routes as player_data_routes
from shared.ids import new_secret
from tests.support.apps import route_table
from tests.support.calls import call
from tests.support.fakes.cognito import POOL_ALONE
from tests.support.mesh import Mesh, running

SECRETS = 1000
NAMES = (
    "user_id",
    "guest_secret",
    "refresh_token",
    "auth_token",
    "client_secret",
    "assertion",
    "conflict_token",
    "payload",
    "signed_request",
    "username",
    "password",
    "new_password",
    "code",
    "access_token",
)
FILLED = {
    "player": "me",
    "collection": "saves",
    "key": "slot1",
    "kid": "some",
    "user_id": "a" * 32,
    "session_id": "b" * 32,
    "provider": "steam",
    "external_id": "1",
    "version": "1",
    "code": "00",
}
IDENTITY = [
    *handlers.routes,
    *account_handlers.routes,
    *admin_handlers.routes,
    *cognito_handlers.routes,
    *oauth_handlers.routes,
    *provider_handlers.routes,
]
Request = Mapping[str, Any]


def as_json(secret: str) -> Request:
    values: dict[str, object] = dict.fromkeys(NAMES, secret)
    return {
        "json": {
            **values,
            "provider": "guest",
            "credential": values,
            "keep": "current",
            "signin": "True",
        }
    }


def as_a_credential(secret: str) -> Request:
    return {"json": {"provider": "cognito", "credential": dict.fromkeys(NAMES, secret)}}


def as_form(secret: str) -> Request:
    return {"data": {**dict.fromkeys(NAMES, secret), "grant_type": "client_credentials"}}


def malformed(body: str) -> Callable[[str], Request]:
    headers = {"Content-Type": "application/json"}
    return lambda secret: {"data": body.replace("?", secret).encode(), "headers": headers}


MANNERS: Mapping[str, Callable[[str], Request]] = {
    "json": as_json,
    "credential": as_a_credential,
    "form": as_form,
    "query": lambda secret: {"params": dict.fromkeys(NAMES, secret)},
    "bearer": lambda secret: {"headers": {"Authorization": f"Bearer {secret}"}},
    "bare token": lambda secret: {"headers": {"Authorization": secret}},
    "basic": lambda secret: {
        "headers": {"Authorization": aiohttp.encode_basic_auth(secret, secret)}
    },
    "idempotency key": lambda secret: {"headers": {"Idempotency-Key": secret}},
    "cookie": lambda secret: {"headers": {"Cookie": f"session={secret}"}},
    "entity tag": lambda secret: {"headers": {"If-Match": f'"{secret}"'}},
    "request id": lambda secret: {"headers": {"X-Request-Id": f"{secret} {secret}"}},
    "broken json": malformed('{"guest_secret": "?'),
    "two values": malformed('{"guest_secret": "?"} {"guest_secret": "?"}'),
    "twice the same name": malformed('{"refresh_token": "?", "refresh_token": "?"}'),
    "a name": malformed('{"?": 1, "?": 2}'),
    "deep": malformed("[" * 200 + '"?"'),
    "no utf-8": lambda secret: {"data": b"\xff" + secret.encode()},
    "another type": lambda secret: {
        "data": secret.encode(),
        "headers": {"Content-Type": f"text/{secret}"},
    },
}


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with running(tmp_path / "data", POOL_ALONE) as mesh:
        yield mesh


def targets(mesh: Mesh) -> Iterator[tuple[str, str]]:
    for url, routes in (
        (mesh.identity.url, IDENTITY),
        (mesh.keyrotator.url, keyrotator_routes),
        (mesh.player_data.url, player_data_routes),
    ):
        for method, path in route_table(routes):
            yield method, url + quote(path.format_map(FILLED), safe="/")


async def test_none_of_a_thousand_secrets_is_in_any_log(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    pairs = list(itertools.product(targets(mesh), MANNERS.values()))
    count = max(SECRETS, len(pairs))
    secrets = [new_secret() for _ in range(count)]
    for secret, ((method, url), manner) in zip(secrets, itertools.cycle(pairs), strict=False):
        answer = await call(http, method, url, **manner(secret))
        assert answer.status != 500, (method, url, answer)
    for service in mesh.services:
        await service.stop()
    logged = "".join(json.dumps(service.events) for service in mesh.services)
    assert logged.count('"event": "request"') >= count
    assert [secret for secret in secrets if secret in logged] == []


async def test_what_a_player_saves_is_in_no_log_whatever_becomes_of_it(
    mesh: Mesh, http: aiohttp.ClientSession
) -> None:
    guest = (await call(http, "POST", f"{mesh.identity.url}/v1/guests")).json()
    secret = new_secret()
    writes = [{"collection": "saves", "key": "slot1", "value": secret, "if_match": 999}]
    bodies: Mapping[str, Any] = {
        "PUT": {"save": secret},
        "PATCH": {"save": secret},
        "increment": {"by": 1, "path": f"/{secret}"},
        "max": {"value": 1, "path": f"/save/{secret}"},
        "batch": {"writes": writes},
        "merge": {"from": secret},
        "set-player-data": {"player_name": secret, "more": secret},
    }
    answered = set()
    routes = route_table(player_data_routes)
    for keyed, (method, path) in itertools.product(({}, {"Idempotency-Key": secret}), routes):
        body = bodies.get(method) or bodies.get(path.rpartition("/")[2])
        headers = {
            "Authorization": f"Bearer {guest['access_token']}",
            **keyed,
            "Content-Type": "application/merge-patch+json"
            if method == "PATCH"
            else "application/json",
        }
        data = json.dumps(body).encode() if body else None
        url = mesh.player_data.url + path.format_map(FILLED)
        answer = await call(http, method, url, headers=headers, data=data)
        answered.add(answer.status)
        assert answer.status not in (401, 500), (method, url, answer)
    assert answered >= {200, 201, 403, 404, 409, 422}
    for service in mesh.services:
        await service.stop()
    assert secret not in "".join(json.dumps(service.events) for service in mesh.services)
