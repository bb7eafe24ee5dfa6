"""An OpenID Connect issuer under a test's control, and all that can be wrong with a token."""

import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web
from joserfc.jwk import RSAKey

from shared.clock import Clock, to_seconds
from shared.ids import new_id
from tests.support.issuer import Issuer, Key, ec_key
from tests.support.servers import serving
from tests.support.tokens import encode, seal, seal_text

ISSUER = "https://idp.acme.example/realms/game"
AUDIENCE = "com.acme.game"
SUBJECT = "001234.0f0e0d0c0b0a09080706050403020100.1234"
RAW_NONCE = "raw-nonce-7f3a9c21"
HASHED_NONCE = "f4628b77a3f2d59c35f80a10dfc329c6efdb26deb8a43b74da22d98955344587"


class OidcFake(Issuer):
    """`base` are claims that its tokens have; `rotate` publishes a new key beside the old ones."""

    def __init__(self, clock: Clock, key: Key, **base: Any) -> None:  # noqa: ANN401 - any claim
        super().__init__(clock, key)
        self.base = base
        self.headers: dict[str, str] = {}  # of the answer

    def claims(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - also wrong types
        """A change to None leaves a claim out."""
        now = to_seconds(self.clock.now())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": SUBJECT,
            "iat": now,
            "exp": now + 3600,
            "nonce": RAW_NONCE,
            "email": "robin@example.com",
            "email_verified": "true",
            "at_hash": "of an access token that stays with the client",
        }
        claims |= self.base | changes
        return {name: value for name, value in claims.items() if value is not None}

    def id_token(self, header: dict[str, Any] | None = None, **changes: Any) -> str:  # noqa: ANN401 - also wrong types
        return self.token({"typ": "JWT", **(header or {})}, **changes)

    def rotate(self) -> None:
        self.key = ec_key("rotated") if self.key["kid"] != "rotated" else ec_key("rotated-again")
        self.published.append(self.key)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/keys", self._keys)
        app.router.add_post("/tokens", self._mint)
        return app

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async with serving(self.application()) as url:
            try:
                yield f"{url}/keys"
            finally:
                if self.gate:
                    self.gate.set()

    async def _keys(self, request: web.Request) -> web.Response:
        response = await self._serve(request)
        response.headers.update(self.headers)
        return response

    async def _mint(self, request: web.Request) -> web.Response:
        """A token of whoever it is asked for: `{"sub": "robin"}`, with any other claims."""
        try:
            asked = json.loads(await request.text())
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            raise web.HTTPBadRequest(text='Which claims? {"sub": "robin", "nonce": "..."}\n')
        # A nonce only where it is asked for, and of its own each: it is good once.
        changes: dict[str, Any] = {"nonce": None, "jti": new_id(), **asked}
        return web.json_response({"id_token": self.id_token(**changes)})


Forge = Callable[[OidcFake], str]


def _claims(**changes: Any) -> Forge:  # noqa: ANN401 - also wrong types
    return lambda fake: fake.id_token(**changes)


def _later(**seconds: int) -> Forge:
    """Claims that are so many seconds after now."""

    def forge(fake: OidcFake) -> str:
        now = to_seconds(fake.clock.now())
        changes: dict[str, Any] = {name: now + offset for name, offset in seconds.items()}
        return fake.id_token(**changes)

    return forge


def _header(**members: Any) -> Forge:  # noqa: ANN401 - also wrong types
    def forge(fake: OidcFake) -> str:
        header = {"alg": fake.key["alg"], "kid": fake.key["kid"], "typ": "JWT", **members}
        kept = {name: value for name, value in header.items() if value is not None}
        assert isinstance(fake.key, RSAKey)
        return seal(fake.key, kept, fake.claims())

    return forge


def _none(fake: OidcFake) -> str:
    header = {"alg": "none", "kid": fake.key["kid"]}
    parts = [encode(json.dumps(part).encode()) for part in (header, fake.claims())]
    return ".".join([*parts, ""])


def _hmac_with_the_public_key(fake: OidcFake) -> str:
    header = {"alg": "HS256", "kid": fake.key["kid"]}
    parts = [encode(json.dumps(part).encode()) for part in (header, fake.claims())]
    signed = ".".join(parts)
    secret = fake.key.as_pem(private=False)
    return f"{signed}.{encode(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def _other_signature(fake: OidcFake) -> str:
    head, _, signature = fake.id_token().rpartition(".")
    other = "A" if signature[10] != "A" else "B"
    return f"{head}.{signature[:10]}{other}{signature[11:]}"


def _other_payload(fake: OidcFake) -> str:
    head, _, rest = fake.id_token().partition(".")
    payload = encode(json.dumps(fake.claims(sub="somebody else")).encode())
    return f"{head}.{payload}.{rest.partition('.')[2]}"


def _no_object(fake: OidcFake) -> str:
    assert isinstance(fake.key, RSAKey)
    header = {"alg": "RS256", "kid": fake.key["kid"]}
    return seal(fake.key, header, b"[]")


def _twice_the_same_claim(fake: OidcFake) -> str:
    assert isinstance(fake.key, RSAKey)
    claims = json.dumps(fake.claims())
    twice = claims.replace('"sub"', '"sub": "somebody else", "sub"')
    header = json.dumps({"alg": "RS256", "kid": fake.key["kid"]})
    return seal_text(fake.key, f"{encode(header.encode())}.{encode(twice.encode())}")


WRONG: dict[str, tuple[str, Forge]] = {
    # what is wrong: the code of the refusal, and the token
    "empty": ("invalid_request", lambda _fake: ""),
    "not a token": ("invalid_credential", lambda _fake: "not a token"),
    "truncated": ("invalid_credential", lambda fake: fake.id_token()[:-20]),
    "two segments": ("invalid_credential", lambda fake: fake.id_token().rpartition(".")[0]),
    "oversized": ("invalid_credential", _claims(filler="x" * 8192)),
    "bad signature": ("invalid_credential", _other_signature),
    "changed payload": ("invalid_credential", _other_payload),
    "alg none": ("invalid_credential", _none),
    "HS256 with the public key": ("invalid_credential", _hmac_with_the_public_key),
    "another algorithm": ("invalid_credential", _header(alg="RS512")),
    "unknown key id": ("invalid_credential", _header(kid="another")),
    "no key id": ("invalid_credential", _header(kid=None)),
    "crit": ("invalid_credential", _header(crit=["exp"])),
    "jku": ("invalid_credential", _header(jku="https://attacker.test/keys")),
    "x5u": ("invalid_credential", _header(x5u="https://attacker.test/cert.pem")),
    "x5c": ("invalid_credential", _header(x5c=["MIIB"])),
    "jwk": ("invalid_credential", _header(jwk={"kty": "RSA"})),
    "an access token": ("invalid_credential", _header(typ="at+jwt")),
    "a logout token": ("invalid_credential", _header(typ="logout+jwt")),
    "claims are no object": ("invalid_credential", _no_object),
    "a claim twice": ("invalid_credential", _twice_the_same_claim),
    "wrong issuer": ("wrong_audience", _claims(iss="https://idp.attacker.example")),
    "issuer with a slash": ("wrong_audience", _claims(iss=f"{ISSUER}/")),
    "issuer with a suffix": ("wrong_audience", _claims(iss=f"{ISSUER}.attacker.example")),
    "no issuer": ("wrong_audience", _claims(iss=None)),
    "issuer is a list": ("wrong_audience", _claims(iss=[ISSUER])),
    "wrong audience": ("wrong_audience", _claims(aud="com.other.game")),
    "audience in upper case": ("wrong_audience", _claims(aud=AUDIENCE.upper())),
    "no audience": ("wrong_audience", _claims(aud=None)),
    "empty audiences": ("wrong_audience", _claims(aud=[])),
    "audience is a number": ("wrong_audience", _claims(aud=[AUDIENCE, 7])),
    "another audience as well": ("wrong_audience", _claims(aud=[AUDIENCE, "com.other.game"])),
    "another audience, asked by ours": (
        "wrong_audience",
        _claims(aud=[AUDIENCE, "com.other.game"], azp=AUDIENCE),
    ),
    "expired": ("expired_credential", _later(iat=-3600, exp=-60)),
    "no exp": ("invalid_credential", _claims(exp=None)),
    "exp is text": ("invalid_credential", _claims(exp="9999999999")),
    "exp is true": ("invalid_credential", _claims(exp=True)),
    "exp is negative": ("invalid_credential", _claims(exp=-1)),
    "exp is endless": ("invalid_credential", _claims(exp=2**60)),
    "no iat": ("invalid_credential", _claims(iat=None)),
    "of the future": ("invalid_credential", _later(iat=61, exp=3661)),
    "of the future, valid before": ("invalid_credential", _later(iat=61, nbf=0, exp=3661)),
    "not before a minute": ("invalid_credential", _later(nbf=61)),
    "too old": ("expired_credential", _later(iat=-3660, exp=3600)),
    "no subject": ("invalid_credential", _claims(sub=None)),
    "empty subject": ("invalid_credential", _claims(sub="")),
    "subject is a number": ("invalid_credential", _claims(sub=1234)),
    "subject of 256 characters": ("invalid_credential", _claims(sub="s" * 256)),
    "subject with a line end": ("invalid_credential", _claims(sub="a\nb")),
    "a security event": ("invalid_credential", _claims(events={"urn:x": {}})),
}
"""The mutations that every configuration of the verifier refuses."""
