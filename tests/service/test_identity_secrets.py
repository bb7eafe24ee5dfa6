"""What identity writes to the disk holds no secret that is not meant to be there."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from shared.ids import new_secret
from tests.support.apps import RunningIdentity
from tests.support.calls import call

MEANT_FOR_SECRETS = ("secrets", "keys")


def forms_of(secret: str) -> Iterator[bytes]:
    """How a secret might have been written."""
    yield secret.encode()
    yield secret.encode().hex().encode()
    yield base64.b64encode(secret.encode()).rstrip(b"=")
    for part in secret.split("."):
        if len(part) >= 40:
            raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
            yield from (part.encode(), raw, raw.hex().encode())


def dump(data_dir: Path) -> dict[Path, bytes]:
    """Every file but those of the folders that are meant for secrets."""
    return {
        path: path.read_bytes()
        for path in data_dir.rglob("*")
        if path.is_file() and path.relative_to(data_dir).parts[0] not in MEANT_FOR_SECRETS
    }


def open_to_others(data_dir: Path) -> set[str]:
    return {
        path.name for path in data_dir.rglob("*") if path.is_file() and path.stat().st_mode & 0o077
    }


async def live(identity: RunningIdentity) -> dict[str, list[str]]:
    """Use every route that hands out or takes a secret; what was handed out, by its kind."""
    http = identity.http
    answers: list[dict[str, Any]] = []
    for _ in range(3):
        guest = (await call(http, "POST", "/v1/guests")).json()
        credential = {name: guest[name] for name in ("user_id", "guest_secret")}
        login = {"provider": "guest", "credential": credential}
        query = urlencode(credential)
        token = {"refresh_token": guest["refresh_token"]}
        answers += [
            guest,
            (await call(http, "POST", "/v1/sessions", json=login)).json(),
            (await call(http, "POST", "/v1/sessions/refresh", json=token)).json(),
            (await call(http, "GET", f"/login-as-guest?{query}")).json(),
            (await call(http, "GET", "/login-as-guest")).json(),
        ]
        token = {"refresh_token": answers[-1]["refresh_token"]}
        answers.append((await call(http, "POST", "/refresh-access-token", json=token)).json())
        await call(http, "POST", "/v1/sessions/refresh", json=token)  # again
        tokens = [guest["refresh_token"], answers[2]["refresh_token"]]
        for old in [tokens[0], *tokens, tokens[0]]:  # the last of them ends the session
            body = {"refresh_token": old}
            answer = (await call(http, "POST", "/v1/sessions/refresh", json=body)).json()
            answers += [answer] if "refresh_token" in answer else []
        for path in ("/v1/guests", "/login-as-guest"):
            key = new_secret()
            guest = (await call(http, "POST", path, headers={"Idempotency-Key": key})).json()
            answers.append({**guest, "idempotency_key": key})
    names = (
        "user_id",
        "guest_secret",
        "idempotency_key",
        "refresh_token",
        "access_token",
        "auth_token",
    )
    return {name: [one[name] for one in answers if name in one] for name in names}


@pytest.mark.parametrize(
    "kind", ["guest_secret", "idempotency_key", "refresh_token", "access_token", "auth_token"]
)
async def test_no_secret_of_a_player_is_in_any_file(
    identity: RunningIdentity, tmp_path: Path, kind: str
) -> None:
    secrets = (await live(identity))[kind]
    files = dump(tmp_path)
    found = [
        (path.name, secret)
        for path, content in files.items()
        for secret in secrets
        if any(form in content for form in forms_of(secret))
    ]
    assert len(secrets) >= 6
    assert found == []


async def test_the_search_would_find_what_is_there(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    user_ids = (await live(identity))["user_id"]
    everything = b"".join(dump(tmp_path).values())
    assert all(user_id.encode() in everything for user_id in user_ids)


async def test_keys_and_the_operators_secret_stay_in_their_folders(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    await live(identity)
    (client,) = json.loads((tmp_path / "secrets" / "service-clients.json").read_text())["clients"]
    keys = json.loads((tmp_path / "keys" / "ring.json").read_text())["keys"]
    refresh_key = (tmp_path / "secrets" / "refresh.key").read_bytes()
    hidden = [
        *forms_of(client["secrets"][0]),
        *(form for key in keys for form in forms_of(key["private_jwk"]["d"])),
        refresh_key,
        refresh_key.hex().encode(),
    ]
    everything = b"".join(dump(tmp_path).values())
    assert not any(form in everything for form in hidden)


async def test_the_published_keys_hold_no_private_part(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    await live(identity)
    keys = json.loads((tmp_path / "keys" / "ring.json").read_text())["keys"]
    published = (tmp_path / "keys" / "jwks.json").read_bytes()
    assert not any(key["private_jwk"]["d"].encode() in published for key in keys)


async def test_nobody_but_the_owner_may_read_a_secret(
    identity: RunningIdentity, tmp_path: Path
) -> None:
    await live(identity)
    assert open_to_others(tmp_path) == {"jwks.json"}
