"""Apple: its keys, the token endpoint and its reverse, and what it tells of its players.

The code says what comes of it: `c0de.ok;sub=001234.other;n=1`, or in place of `ok` a scenario:
`used`, `expired`, `mismatch`, `badclient`, `http500`, `slow`, and for the answer's token
`othersub`, `foreign`, `norefresh`, `nojson`. Codes are good once. Whoever asks must prove with the
team's key who it is.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from shared.clock import Clock, to_seconds
from tests.support.fakes.fake import fields_of
from tests.support.fakes.oidc import AUDIENCE, HASHED_NONCE, SUBJECT, OidcFake
from tests.support.issuer import Key, ec_key, rsa_key

TEAM = "TEAM123456"
KEY_ID = "KEY1234567"
SERVICES_ID = "com.acme.web"
REDIRECT_URI = "https://acme.example/apple"
REFRESH_TOKEN = "r9f8e7.0.CANARY-refresh-token-"
EXTERNAL_ID = f"{TEAM}:{SUBJECT}"
LONGEST_LIFE = 15_777_000


def code(scenario: str = "ok", **fields: str | int) -> str:
    return "c0de." + ";".join([scenario, *(f"{name}={value}" for name, value in fields.items())])


def pem(key: ECKey) -> str:
    private = key.private_key
    assert private
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class AppleFake(OidcFake):
    """`team_key` is the public half of what the team has registered; `scenario` overrides every
    code's, and says what comes of a revocation.
    """

    def __init__(self, clock: Clock, key: Key) -> None:
        super().__init__(
            clock, key, iss="https://appleid.apple.com", nonce=HASHED_NONCE, nonce_supported=True
        )
        self.team_key = ec_key(KEY_ID)
        self.scenario: str | None = None
        self.exchanges: list[dict[str, str]] = []
        self.revocations: list[dict[str, str]] = []
        self.slow = asyncio.Event()
        self.living: set[str] = set()
        """Refresh tokens that were given and not revoked."""
        self._used: set[str] = set()
        self._given = 0

    def settings(self, url: str, **changes: str) -> dict[str, str]:
        """Without `PLAYMESH_` in front."""
        return {
            "PROVIDERS": "apple",
            "APPLE_URL": url,
            "APPLE_JWKS_URL": f"{url}/keys",
            "APPLE_AUDIENCES": f"{AUDIENCE},{SERVICES_ID}",
            "APPLE_TEAM_ID": TEAM,
            "APPLE_KEY_ID": KEY_ID,
            "APPLE_PRIVATE_KEY": pem(self.team_key),
            **changes,
        }

    def notification(
        self,
        kind: str | None = "consent-revoked",
        *,
        as_text: bool = True,
        key: Key | None = None,
        event: dict[str, Any] | None = None,
        header: dict[str, Any] | None = None,
        **changes: Any,  # noqa: ANN401 - also wrong types
    ) -> str:
        """The JWS of `{"payload": ...}`; a change to None leaves a claim out."""
        now = to_seconds(self.clock.now())
        told = {"type": kind, "sub": SUBJECT, "event_time": now * 1000, **(event or {})}
        told = {name: value for name, value in told.items() if value is not None}
        claims = {
            "iss": "https://appleid.apple.com",
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 24 * 3600,
            "jti": "notice-1",
            "events": json.dumps(told) if as_text else told,
            **changes,
        }
        key = key or self.key
        members = {"alg": key["alg"], "kid": key["kid"], **(header or {})}
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(members, kept, key, algorithms=["RS256", "ES256", "HS256"])

    def application(self) -> web.Application:
        app = super().application()
        app.router.add_post("/auth/token", self._token)
        app.router.add_post("/auth/revoke", self._revoke)
        return app

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async with super().serving() as keys:
            try:
                yield keys.removesuffix("/keys")
            finally:
                self.slow.set()

    async def _token(self, request: web.Request) -> web.Response:
        form = await _form(request)
        self.exchanges.append(form)
        sent = form.get("code", "")
        scenario, *rest = sent.removeprefix("c0de.").split(";")
        scenario = self.scenario or scenario
        fields = fields_of(rest)
        if refused := await self._trouble(scenario) or self._no_client(form):
            return refused
        if refused := self._no_grant(form, scenario):
            return refused
        self._used.add(sent)
        self._given += 1
        refresh_token = f"{REFRESH_TOKEN}{self._given}"
        self.living.add(refresh_token)
        subject = "001234.somebody-else.1234" if scenario == "othersub" else fields.get("sub")
        answer = {
            "access_token": "a1b2c3.0.CANARY-access-token",
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": refresh_token,
            "id_token": self.id_token(aud=form["client_id"], sub=subject or SUBJECT, nonce=None),
        }
        if scenario == "foreign":
            foreign = rsa_key(str(self.key["kid"]))
            answer["id_token"] = self.token({"typ": "JWT"}, foreign, aud=form["client_id"])
        if scenario == "norefresh":
            del answer["refresh_token"]
        return web.json_response(answer)

    def _no_grant(self, form: dict[str, str], scenario: str) -> web.Response | None:
        wanted = REDIRECT_URI if form["client_id"] == SERVICES_ID else None
        wrong = {
            "used": "The code has already been used.",
            "expired": "The code has expired or has been revoked.",
            "mismatch": "client_id mismatch. The code was not issued to com.acme.game.",
        }
        if form.get("grant_type") != "authorization_code":
            return _error("unsupported_grant_type")
        if form.get("redirect_uri") != wanted:
            return _error("invalid_grant", "redirect_uri mismatch")
        told = wrong["used"] if form.get("code") in self._used else wrong.get(scenario)
        return _error("invalid_grant", told) if told else None

    async def _revoke(self, request: web.Request) -> web.Response:
        form = await _form(request)
        self.revocations.append(form)
        if refused := await self._trouble(self.scenario or "ok") or self._no_client(form):
            return refused
        if form.get("token_type_hint") != "refresh_token":
            return _error("invalid_request")
        self.living.discard(form.get("token", ""))
        return web.Response()  # also for one that was none

    async def _trouble(self, scenario: str) -> web.Response | None:
        if scenario == "http500":
            return web.Response(status=500, text="CANARY-body")
        if scenario == "nojson":
            return web.Response(text="<html>CANARY-body</html>")
        if scenario == "slow":
            await self.slow.wait()
        return _error("invalid_client") if scenario == "badclient" else None

    def _no_client(self, form: dict[str, str]) -> web.Response | None:
        try:
            token = jwt.decode(form.get("client_secret", ""), self.team_key, algorithms=["ES256"])
        except (JoseError, ValueError):
            return _error("invalid_client")
        claims, now = token.claims, to_seconds(self.clock.now())
        expected = {
            "iss": TEAM,
            "aud": "https://appleid.apple.com",
            "sub": form.get("client_id"),
        }
        holds = (
            (token.header["alg"], token.header.get("kid")) == ("ES256", KEY_ID)
            and {name: claims.get(name) for name in expected} == expected
            and claims["iat"] <= now < claims["exp"] <= claims["iat"] + LONGEST_LIFE
        )
        return None if holds else _error("invalid_client")


async def _form(request: web.Request) -> dict[str, str]:
    assert request.content_type == "application/x-www-form-urlencoded"
    assert not request.query_string
    form = await request.post()
    assert len(form) == len(set(form))
    return {name: str(value) for name, value in form.items()}


def _error(code: str, description: str | None = None) -> web.Response:
    told = {"error_description": description} if description else {}
    return web.json_response({"error": code, **told}, status=400)
