"""A player with a client at identity's routes, and an operator."""

from dataclasses import dataclass, field
from typing import Any

from tests.support.apps import RunningIdentity
from tests.support.calls import bearer, call
from tests.support.servers import Answer


@dataclass
class Person:
    """What one device keeps; its tokens are replaced by every answer that has new ones."""

    identity: RunningIdentity
    user_id: str
    guest_secret: str = field(repr=False)
    tokens: dict[str, Any] = field(repr=False)

    @property
    def session_id(self) -> str:
        return str(self.tokens["refresh_token"].split(".")[2])

    async def call(
        self,
        method: str,
        path: str,
        **options: Any,  # noqa: ANN401 - aiohttp's own
    ) -> Answer:
        headers = bearer(self.tokens["access_token"])
        return await call(self.identity.http, method, path, headers=headers, **options)

    async def refresh(self) -> Answer:
        body = {"refresh_token": self.tokens["refresh_token"]}
        answer = await call(self.identity.http, "POST", "/v1/sessions/refresh", json=body)
        if answer.status == 200:
            self.tokens = answer.json()
        return answer

    async def try_to_log_in(self, *, secret: str | None = None) -> Answer:
        secret = self.guest_secret if secret is None else secret
        credential = {"user_id": self.user_id, "guest_secret": secret}
        body = {"provider": "guest", "credential": credential}
        return await call(self.identity.http, "POST", "/v1/sessions", json=body)

    async def on_another_device(self, name: str = "other") -> "Person":
        credential = {"user_id": self.user_id, "guest_secret": self.guest_secret}
        body = {"provider": "guest", "credential": credential, "device": {"name": name}}
        answer = await call(self.identity.http, "POST", "/v1/sessions", json=body)
        assert answer.status == 201, answer
        return Person(self.identity, self.user_id, self.guest_secret, answer.json())


async def new_person(identity: RunningIdentity, device: str = "phone") -> Person:
    body = {"device": {"name": device}}
    answer = await call(identity.http, "POST", "/v1/guests", json=body)
    assert answer.status == 201, answer
    guest = answer.json()
    return Person(identity, guest["user_id"], guest["guest_secret"], guest)


async def operate(identity: RunningIdentity, method: str, path: str, body: object = None) -> Answer:
    """As an operator, below /v1/admin."""
    headers = bearer(identity.service_token("identity:admin"))
    options = {} if body is None else {"json": body}
    return await call(identity.http, method, f"/v1/admin{path}", headers=headers, **options)


async def ban(identity: RunningIdentity, user_id: str, **body: str) -> Answer:
    body = {"reason": "cheating", **body}
    return await operate(identity, "POST", f"/players/{user_id}/ban", body)
