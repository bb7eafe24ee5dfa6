"""The .p8 key with which a team signs what it says to Apple: from the environment, or a file."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.jwk import ECKey

from services.identity.providers.shape import Refused
from shared import errors
from shared.clock import Clock, to_seconds
from shared.env import Env

_log = structlog.get_logger()
_AUDIENCE = "https://appleid.apple.com"
_LIFETIME = 300
_LONGEST_FILE = 8192


@dataclass(frozen=True, slots=True)
class AppleKey:
    """`file` is read each time, so that a key is replaced without a restart, with `key_id` if the
    new one has another.
    """

    key_id: str
    team_id: str
    fixed: ECKey | None = field(default=None, repr=False)
    file: Path | None = None

    async def client_secret(self, client_id: str, clock: Clock) -> str:
        """One that says who of the team asks, good for five minutes. Raises Refused."""
        key = self.fixed or await asyncio.to_thread(_from_file, self.file)
        if key is None:
            _log.warning("provider.key_unreadable", file=self.file and self.file.name)
            raise Refused(errors.ProviderMisconfigured(), "no_key")
        now = to_seconds(clock.now())
        claims = {
            "iss": self.team_id,
            "iat": now,
            "exp": now + _LIFETIME,
            "aud": _AUDIENCE,
            "sub": client_id,
        }
        header = {"alg": "ES256", "kid": self.key_id}
        return jwt.encode(header, claims, key, algorithms=["ES256"])


def read_key(env: Env, team_id: str) -> AppleKey | None:
    """None where neither the key nor its id is set; half of it is a fault."""
    key_id = env.text("APPLE_KEY_ID", "")
    pem, file = env.text("APPLE_PRIVATE_KEY", ""), env.text("APPLE_PRIVATE_KEY_FILE", "")
    if not (key_id or pem or file):
        return None
    if not key_id:
        env.fault("APPLE_KEY_ID", "must be set, as there is a private key")
    fixed, path = _parse(pem), Path(file) if file else None
    if pem and file:
        env.fault(
            "APPLE_PRIVATE_KEY", f"must not be set together with {env.prefix}APPLE_PRIVATE_KEY_FILE"
        )
    elif path and _from_file(path) is None:
        env.fault("APPLE_PRIVATE_KEY_FILE", "cannot be read, or holds no PEM of a P-256 key")
    elif pem and fixed is None:
        env.fault("APPLE_PRIVATE_KEY", "is no PEM of a P-256 key")
    elif not pem and not path:
        env.fault(
            "APPLE_PRIVATE_KEY", f"must be set, or {env.prefix}APPLE_PRIVATE_KEY_FILE, or no key id"
        )
    return AppleKey(key_id, team_id, fixed, path)


def _from_file(path: Path | None) -> ECKey | None:
    try:
        with (path or Path()).open("rb") as file:
            return _parse(file.read(_LONGEST_FILE).decode("ascii"))
    except (OSError, ValueError):
        return None


def _parse(pem: str) -> ECKey | None:
    """Lines may end in the two characters that many a template makes of a line's end."""
    try:
        key = load_pem_private_key(pem.replace("\\n", "\n").encode(), password=None)
    except (ValueError, TypeError):  # the second where it is encrypted
        return None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        return None
    return ECKey.import_key(key)
