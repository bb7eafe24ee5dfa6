"""An issuer of tokens under a test's control: real keys, a real server of documents that counts."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from shared.auth import revocations
from shared.clock import Clock, to_seconds
from tests.support.servers import serving

ISSUER = "https://issuer.test"
AUDIENCE = "gamebackend"

Key = RSAKey | ECKey


def rsa_key(key_id: str, *, bits: int = 2048) -> RSAKey:
    return RSAKey.generate_key(bits, {"kid": key_id, "alg": "RS256", "use": "sig"})


def ec_key(key_id: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": key_id, "alg": "ES256", "use": "sig"})


def revocations_beside(jwks_url: str) -> str:
    """Where the issuer that serves this JWK Set serves its revocations."""
    return jwks_url.replace("/jwks.json", "/revocations.json")


class Issuer:
    """`key` signs, `published` are the keys of the set, `revoked` the marks of what was taken back;
    all may be changed at any time.
    """

    def __init__(self, clock: Clock, key: Key) -> None:
        self.clock = clock
        self.key: Key = key
        self.published: list[Key] = [key]
        self.document: bytes | None = None  # served instead of the set, if given
        self.status = 200
        self.requests = 0
        self.gate: asyncio.Event | None = None  # answers wait for it, if given
        self.revoked: set[str] = set()
        self.revocations_status = 200
        self.revocations_requests = 0
        self.revocations_unchanged = 0  # answered with 304

    def jwk_set(self) -> bytes:
        keys = [key.as_dict(private=False) for key in self.published]
        return json.dumps({"keys": keys}).encode()

    def claims(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - also wrong types
        """A player's claims; a change to None leaves the claim out."""
        now = to_seconds(self.clock.now())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": "0123456789abcdef0123456789abcdef",
            "aud": AUDIENCE,
            "exp": now + 900,
            "nbf": now,
            "iat": now,
            "jti": "token-1",
            "client_id": "game",
            "scope": "guest",
            "sid": "session-1",
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(
        self,
        header: Mapping[str, Any] | None = None,
        key: Key | None = None,
        **changes: Any,  # noqa: ANN401 - also wrong types
    ) -> str:
        """A token signed by `key`; a change of header or claims to None leaves it out."""
        key = key or self.key
        members: dict[str, Any] = {"alg": key["alg"], "kid": key["kid"], "typ": "at+jwt"}
        members |= header or {}
        members = {name: value for name, value in members.items() if value is not None}
        return jwt.encode(members, self.claims(**changes), key, algorithms=["RS256", "ES256"])

    def service_token(self, service: str, *, audience: str, scope: str) -> str:
        return self.token(sub=f"service:{service}", aud=audience, scope=scope, sid=None)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The URL of the JWK Set."""
        app = web.Application()
        app.router.add_get("/jwks.json", self._serve)
        app.router.add_get("/revocations.json", self._serve_revocations)
        async with serving(app) as url:
            yield f"{url}/jwks.json"

    async def _serve(self, _request: web.Request) -> web.Response:
        self.requests += 1
        if self.gate:
            await self.gate.wait()
        body = self.document if self.document is not None else self.jwk_set()
        return web.Response(body=body, status=self.status, content_type="application/json")

    async def _serve_revocations(self, request: web.Request) -> web.Response:
        self.revocations_requests += 1
        body = revocations.render(self.revoked)
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        if self.revocations_status == 200 and request.headers.get("If-None-Match") == etag:
            self.revocations_unchanged += 1
            return web.Response(status=304, headers={"ETag": etag})
        return web.Response(body=body, status=self.revocations_status, headers={"ETag": etag})
