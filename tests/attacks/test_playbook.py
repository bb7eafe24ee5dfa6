"""The attacks that tools try, over a socket: one answer to all, and no request to anybody."""

import contextlib
import hashlib
import hmac
import json
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta

import aiohttp
import pytest
import structlog
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from joserfc.jwk import RSAKey

from shared.auth.middleware import CLAIMS, trust
from shared.http.app import new_app
from tests.support.issuer import ISSUER, Issuer, revocations_beside
from tests.support.servers import Answer, send, serving
from tests.support.tokens import HEADER, encode, seal, seal_text


class Canary:
    """A server that an attacker would like us to ask for keys."""

    def __init__(self) -> None:
        self.url = ""
        self.requests = 0
        self.document = b""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with serving(app) as self.url:
            yield

    async def _answer(self, _request: web.Request) -> web.Response:
        self.requests += 1
        return web.Response(body=self.document)


@dataclass(frozen=True)
class Attacker:
    """Has a token of an account of its own, and a key of its own that the canary serves."""

    issuer: Issuer
    signing_key: RSAKey  # of the issuer: seals what the issuer would never seal
    key: RSAKey
    canary: str

    def forge(self, **members: object) -> str:
        """Sealed with the attacker's key."""
        return seal(self.key, HEADER | members, self.issuer.claims())

    def seal(self, claims: object = None, **members: object) -> str:
        """Sealed with the issuer's key: only what it says can be wrong."""
        return seal(self.signing_key, HEADER | members, claims or self.issuer.claims())

    def unsealed(self, signature: str = "", **members: object) -> str:
        parts = (HEADER | members, self.issuer.claims())
        return ".".join([*(encode(json.dumps(part).encode()) for part in parts), signature])

    def mac(self, secret: bytes) -> str:
        signed = self.unsealed(alg="HS256").rpartition(".")[0]
        return f"{signed}.{encode(hmac.digest(secret, signed.encode(), hashlib.sha256))}"

    def certificate(self) -> str:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer.test")])
        private, now = self.key.private_key, self.issuer.clock.now()
        assert private
        later = now + timedelta(days=1)
        builder = x509.CertificateBuilder(name, name, self.key.public_key, 1, now, later)
        der = builder.sign(private, hashes.SHA256()).public_bytes(Encoding.DER)
        return b64encode(der).decode()

    @property
    def now(self) -> int:
        return int(self.issuer.claims()["iat"])

    @property
    def parts(self) -> list[str]:
        return self.issuer.token().split(".")


def pem(key: RSAKey) -> bytes:
    return key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def twice(attacker: Attacker) -> str:
    header, claims = json.dumps(HEADER), json.dumps(attacker.issuer.claims())
    return seal(attacker.signing_key, header.encode(), f'{claims[:-1]}, "sub": "victim"}}'.encode())


def deflated(attacker: Attacker) -> str:
    compressor = zlib.compressobj(wbits=-15)
    raw = compressor.compress(json.dumps(attacker.issuer.claims()).encode()) + compressor.flush()
    return seal(attacker.signing_key, HEADER | {"zip": "DEF"}, raw)


def in_json(attacker: Attacker) -> str:
    protected, payload, signature = attacker.parts
    return json.dumps({"protected": protected, "payload": payload, "signature": signature})


def unencoded(attacker: Attacker) -> str:
    header = encode(json.dumps(HEADER | {"b64": False, "crit": ["b64"]}).encode())
    return seal_text(attacker.signing_key, f"{header}.sub=victim")


PLAYBOOK: dict[str, Callable[[Attacker], str]] = {
    "alg none": lambda a: a.unsealed(alg="none"),
    "alg nOnE": lambda a: a.unsealed(alg="nOnE"),
    "alg none with a signature": lambda a: a.unsealed(a.parts[2], alg="none"),
    "no signature": lambda a: a.unsealed(),
    "null signature": lambda a: a.unsealed("AAAA"),
    "another token's signature": lambda a: a.unsealed(a.issuer.token(jti="x").split(".")[2]),
    "algorithm confusion": lambda a: a.mac(pem(a.signing_key)),
    "empty secret": lambda a: a.mac(b""),
    "psychic signature": lambda a: a.unsealed(encode(bytes(64)), alg="ES256"),
    "attacker's key": lambda a: a.forge(),
    "attacker's key under its own id": lambda a: a.forge(kid="attacker"),
    "jwk": lambda a: a.forge(jwk=a.key.as_dict(private=False)),
    "jku": lambda a: a.forge(jku=f"{a.canary}/jwks.json"),
    "jku and its key's id": lambda a: a.forge(kid="attacker", jku=f"{a.canary}/jwks.json"),
    "x5u": lambda a: a.forge(x5u=f"{a.canary}/chain.pem"),
    "x5c": lambda a: a.forge(x5c=[a.certificate()]),
    "kid is a URL": lambda a: a.forge(kid=f"{a.canary}/key"),
    "kid is a path": lambda a: a.forge(kid="../../../../dev/null"),
    "kid is a statement": lambda a: a.forge(kid="x' UNION SELECT 'secret"),
    "kid is a command": lambda a: a.forge(kid=f"key-1|curl {a.canary}"),
    "iss is a URL": lambda a: a.seal(a.issuer.claims(iss=a.canary)),
    "iss is a URL, and its key": lambda a: seal(a.key, HEADER, a.issuer.claims(iss=a.canary)),
    "crit": lambda a: a.seal(crit=["exp"]),
    "b64": unencoded,
    "zip": deflated,
    "JSON serialization": in_json,
    "five parts": lambda a: ".".join([*a.parts, "AAAA", "AAAA"]),
    "member twice": twice,
    "expired": lambda a: a.seal(a.issuer.claims(iat=a.now - 2000, exp=a.now - 1100)),
    "not yet valid": lambda a: a.seal(a.issuer.claims(nbf=a.now + 600)),
    "for ever": lambda a: a.seal(a.issuer.claims(exp=2**39)),
    "exp NaN": lambda a: a.seal(a.issuer.claims(exp=float("nan"))),
    "for somebody else": lambda a: a.seal(a.issuer.claims(aud="other")),
    "service on a player's audience": lambda a: a.seal(a.issuer.claims(sub="service:identity")),
    "ID token": lambda a: a.seal(typ="JWT"),
    "refresh token": lambda _a: "r1.AAAAAAAAAAAAAAAAAAAAAA.1.AAAAAAAAAAAAAAAAAAAAAA",
    "8 kB of dots": lambda _a: "." * 8000,
}


async def hello(request: web.Request) -> web.Response:
    return web.Response(text=request[CLAIMS].subject)


@pytest.fixture
async def canary(stranger: RSAKey) -> AsyncIterator[Canary]:
    canary = Canary()
    keys = [stranger.as_dict(private=False), stranger.as_dict(private=False) | {"kid": "attacker"}]
    canary.document = json.dumps({"keys": keys}).encode()
    async with canary.serving():
        yield canary


@pytest.fixture
def attacker(issuer: Issuer, signing_key: RSAKey, stranger: RSAKey, canary: Canary) -> Attacker:
    return Attacker(issuer, signing_key, stranger, canary.url)


@pytest.fixture
async def chat(issuer: Issuer) -> AsyncIterator[str]:
    app = new_app(largest_body=1000)
    app.router.add_get("/hello", hello)
    async with issuer.serving() as jwks_url:
        trust(
            app,
            issuer=ISSUER,
            service="chat",
            jwks_url=jwks_url,
            revocations_url=revocations_beside(jwks_url),
            clock=issuer.clock,
        )
        async with serving(app) as url:
            yield url


async def call(url: str, token: str) -> Answer:
    return await send(url, f"GET /hello HTTP/1.1\r\nAuthorization: Bearer {token}")


@pytest.mark.parametrize("attack", PLAYBOOK)
async def test_an_attack_is_answered_with_401_and_nobody_is_asked_for_keys(
    chat: str, attacker: Attacker, canary: Canary, attack: str
) -> None:
    token = PLAYBOOK[attack](attacker)
    with structlog.testing.capture_logs() as lines:
        answer = await call(chat, token)
    assert answer.status == 401
    assert canary.requests == 0
    # Neither the answer nor the log repeats the token.
    shown = json.dumps([dict(answer.headers), answer.body.decode(), lines], default=str)
    assert not any(part in shown for part in token.split(".") if len(part) > 8)


async def test_all_attacks_get_the_same_answer_to_the_byte(chat: str, attacker: Attacker) -> None:
    answers = set()
    for build in PLAYBOOK.values():
        answer = await call(chat, build(attacker))
        request_id = answer.headers.pop("X-Request-Id")
        answer.headers.pop("Date")
        body = answer.body.replace(request_id.encode(), b"")
        answers.add((answer.status, body, tuple(answer.headers.items())))
    assert len(answers) == 1
    headers = dict(answers.pop()[2])
    assert headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


async def test_the_attacker_s_own_token_is_good_and_the_canary_counts(
    chat: str, attacker: Attacker, canary: Canary
) -> None:
    assert (await call(chat, attacker.issuer.token())).status == 200
    assert (await call(chat, attacker.seal())).status == 200
    async with aiohttp.request("GET", f"{canary.url}/jwks.json") as response:
        assert await response.read() == canary.document
    assert canary.requests == 1
