"""A Kubernetes cluster under a test's control: real keys, a real API server that counts."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc import jwt

from shared.clock import Clock, to_seconds
from tests.support.issuer import Issuer, Key
from tests.support.servers import serving

CLUSTER = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE"
AUDIENCE = "playmesh:identity"


class KubernetesIssuer(Issuer):
    """As `Issuer`, whose `key`, `published`, `status` and `requests` it has.

    `asks_for` is the bearer token without which the keys are not told; None tells anybody.
    """

    def __init__(self, clock: Clock, key: Key) -> None:
        super().__init__(clock, key)
        self.asks_for: str | None = None

    def claims(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - also wrong types
        """Of the account `chat` in the namespace `game`, as the kubelet has them written."""
        now = to_seconds(self.clock.now())
        claims: dict[str, Any] = {
            "aud": [AUDIENCE],
            "exp": now + 3600,
            "iat": now,
            "iss": CLUSTER,
            "jti": "5b9e1a2c-0d3f-4a5b-8c7d-9e0f1a2b3c4d",
            "kubernetes.io": bound_to("game", "chat"),
            "nbf": now,
            "sub": "system:serviceaccount:game:chat",
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(
        self,
        header: Mapping[str, Any] | None = None,
        key: Key | None = None,
        **changes: Any,  # noqa: ANN401 - also wrong types
    ) -> str:
        """Without a `typ`, as Kubernetes writes it."""
        key = key or self.key
        members = {"alg": key["alg"], "kid": key["kid"], **(header or {})}
        algorithms = ["RS256", "ES256"]
        return jwt.encode(
            members, self.claims(**changes), key, algorithms=algorithms, default_type=None
        )

    def account(self, namespace: str, name: str) -> str:
        """The token of another account."""
        subject = f"system:serviceaccount:{namespace}:{name}"
        changes: dict[str, Any] = {"kubernetes.io": bound_to(namespace, name)}
        return self.token(sub=subject, **changes)

    @contextlib.asynccontextmanager
    async def serving_tls(self, folder: Path) -> AsyncIterator[tuple[str, Path]]:
        """The https URL of the keys, and the file of the authority that vouches for it."""
        certificate = folder / "server.pem"
        certificate.write_bytes(self_signed())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            yield f"https://127.0.0.1:{runner.addresses[0][1]}/openid/v1/jwks", certificate
        finally:
            await runner.cleanup()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async with serving(self._app()) as url:
            yield f"{url}/openid/v1/jwks"

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/openid/v1/jwks", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        if self.asks_for and request.headers.get("Authorization") != f"Bearer {self.asks_for}":
            self.requests += 1
            return web.Response(status=401)
        response = await self._serve(request)
        response.content_type = "application/jwk-set+json"
        return response


def bound_to(namespace: str, name: str) -> dict[str, Any]:
    """The claim `kubernetes.io` of a pod's token."""
    return {
        "namespace": namespace,
        "node": {"name": "node-1", "uid": "6d8e9a1b"},
        "pod": {"name": f"{name}-5d8c7b6f9-abcde", "uid": "1f2e3d4c"},
        "serviceaccount": {"name": name, "uid": "9a8b7c6d"},
        "warnafter": 1767326652,
    }


def self_signed() -> bytes:
    """A key and its certificate for 127.0.0.1, which is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    addresses = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    # TLS looks at the real clock.
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .add_extension(addresses, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(pem)
