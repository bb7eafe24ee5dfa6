"""Apple's certificates for Game Center, of a CA of our own, and what its devices sign with them.

The number in a URL says which certificate is there, or what else is: `credential("expired")` is
signed by the one that has expired, and names its number.
"""

import asyncio
import base64
import functools
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.clock import Clock, to_millis
from tests.support.fakes.fake import Answers, Fake, answer_text

PLAYER = "T:_0123456789abcdef0123456789abcdef"
GAME_PLAYER = "G:1234567890"
BUNDLE = "com.example.game"
TEAM = "A1B2C3D4E5"
SALT = bytes.fromhex("0a1b2c3d")
PATH = "/public-key/gc-prod-{number}.cer"
CA_NAME = "Acme Code Signing CA"


class GameCenterFake(Fake):
    """`scenario` overrides that of every number; `headers` are of its certificates."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        # Keys are made before anybody waits for an answer: that may take a second.
        for make in _CERTIFICATES.values():
            make()
        self.clock = clock
        self.headers: dict[str, str] = {}
        self.is_asked_slowly = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get(PATH.replace("{number}", "{number:[0-9]+}"), self._answer)
        return app

    def settings(self, url: str) -> dict[str, str]:
        """All but whose certificates are trusted, which is a file: that of `ca_pem`."""
        return {
            "PROVIDERS": "game_center",
            "GAME_CENTER_URL": url,
            "GAME_CENTER_TEAM_ID": TEAM,
            "GAME_CENTER_BUNDLE_IDS": BUNDLE,
        }

    def credential(self, scenario: str = "ok", **changes: Any) -> dict[str, str]:  # noqa: ANN401 - any part
        """`order` and `time` say how its bytes are signed; a change to None leaves a part out."""
        order, time = changes.pop("order", "pbts"), changes.pop("time", ">Q")
        salt, at = changes.pop("salt", SALT), changes.pop("at", to_millis(self.clock.now()))
        who = {"team_player_id": PLAYER}
        if "game_player_id" in changes:
            who = {"game_player_id": changes["game_player_id"]}
        parts = {
            "bundle_id": BUNDLE,
            "public_key_url": self.url + PATH.format(number=number(scenario)),
            "timestamp": str(at),
            "salt": base64.b64encode(salt).decode(),
            **who,
            **changes,
        }
        player = parts.get("team_player_id") or parts.get("game_player_id") or ""
        seconds = time == "seconds"
        pieces = {
            "p": player.encode(),
            "b": (parts["bundle_id"] or "").encode(),
            "t": struct.pack(">Q", at // 1000) if seconds else struct.pack(time, at),
            "s": salt,
        }
        signed = b"".join(pieces[piece] for piece in order)
        signature = key("leaf").sign(signed, padding.PKCS1v15(), hashes.SHA256())
        signed_parts = {"signature": base64.b64encode(signature).decode(), **parts}
        return {name: value for name, value in signed_parts.items() if value is not None}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        asked = int(request.match_info["number"])
        scenario = self.scenario or (_NAMES[asked] if asked < len(_NAMES) else "http404")
        if scenario == "slow":
            self.is_asked_slowly.set()
        if scenario == "redirect":  # to a good one: whoever follows gets it
            elsewhere = request.path.replace(f"{asked}", f"{number('ok')}")
            return answer_text("", 302, Location=elsewhere)
        if scenario in _CERTIFICATES:
            body = _CERTIFICATES[scenario]()
            return web.Response(
                body=body, content_type="application/x-x509-ca-cert", headers=self.headers
            )
        known = await self.answer(scenario, request, _LONG)
        assert known, scenario
        return known


def number(scenario: str) -> int:
    """Of its certificate; another number is one that Apple does not have."""
    return _NAMES.index(scenario)


def ca_pem(name: str = "ca", *, until_year: int = 2036) -> bytes:
    """Of the CA that is trusted, or of another one, such as `other-ca`."""
    return _ca(name, until_year).public_bytes(Encoding.PEM)


@functools.cache
def key(name: str, size: int = 2048) -> rsa.RSAPrivateKey:
    """Finding one takes tenths of a second: one of each name for all tests."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=size)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _date(year: int) -> datetime:
    return datetime(year, 1, 2, tzinfo=UTC)


@functools.cache
def _ca(name: str, until_year: int) -> x509.Certificate:
    subject = _name(CA_NAME)  # all have the same one: a name says nothing
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key(name).public_key())
        .serial_number(1)
        .not_valid_before(_date(2021))
        .not_valid_after(_date(until_year))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key(name), hashes.SHA256())
    )


@functools.cache
def certificate(
    *,
    ca: str = "ca",
    issuer: str = CA_NAME,
    from_year: int = 2025,
    until_year: int = 2027,
    usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CODE_SIGNING,
    kind: str = "rsa",
    encoding: Encoding = Encoding.DER,
) -> bytes:
    keys: dict[str, Callable[[], rsa.RSAPublicKey | ec.EllipticCurvePublicKey]] = {
        "rsa": lambda: key("leaf").public_key(),
        "small": lambda: key("small", 1024).public_key(),
        "ec": lambda: ec.generate_private_key(ec.SECP256R1()).public_key(),
    }
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name("Apple Inc."))
        .issuer_name(_name(issuer))
        .public_key(keys[kind]())
        .serial_number(2)
        .not_valid_before(_date(from_year))
        .not_valid_after(_date(until_year))
    )
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(key(ca), hashes.SHA256()).public_bytes(encoding)


_CERTIFICATES: dict[str, Callable[[], bytes]] = {
    "ok": certificate,
    "other": lambda: certificate(until_year=2028),
    "pem": lambda: certificate(encoding=Encoding.PEM),
    "anyuse": lambda: certificate(usage=ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE),
    "nouse": lambda: certificate(usage=None),
    "server": lambda: certificate(usage=ExtendedKeyUsageOID.SERVER_AUTH),
    "unknownca": lambda: certificate(ca="other-ca"),
    "otherissuer": lambda: certificate(issuer="Symantec"),
    "itself": lambda: certificate(ca="leaf", issuer="Apple Inc."),
    "expired": lambda: certificate(from_year=2024, until_year=2026),
    "notyet": lambda: certificate(from_year=2027, until_year=2028),
    "small": lambda: certificate(kind="small"),
    "ec": lambda: certificate(kind="ec"),
    "html": lambda: b"<html>maintenance</html>",
    "cut": lambda: certificate()[:300],
    "empty": lambda: b"",
    "largest": lambda: _padded(10 * 1024 - 1),
    "big": lambda: _padded(10 * 1024),
}


def _padded(size: int) -> bytes:
    pem = certificate(encoding=Encoding.PEM)
    return pem + b"\n" * (size - len(pem))


def _long(status: int) -> Callable[[], web.StreamResponse]:
    """A page that is larger than any certificate may be."""
    return lambda: answer_text("<html>no</html>" + " " * 20_000, status)


_LONG: Answers = {f"http{status}": _long(status) for status in (403, 404, 410, 429, 503)}
_NAMES = [*_CERTIFICATES, "slow", "reset", "redirect", *_LONG]
