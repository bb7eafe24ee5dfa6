"""The key ring and the public documents as JSON, and the ring back."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared import strict_json
from shared.clock import from_iso, to_iso
from shared.keys.models import IllegalMoveError, KeyRing, KeyState, SigningKey


def render_ring(ring: KeyRing) -> bytes:
    """The private document: whoever reads it can sign."""
    body = {
        "rotation_requested": ring.rotation_requested,
        "keys": [
            {
                "alg": key.algorithm,
                "state": key.state.value,
                "public_jwk": key.public_jwk,
                "private_jwk": key.private_jwk,
                "created_at": to_iso(key.created_at),
                "published_at": _iso(key.published_at),
                "activated_at": _iso(key.activated_at),
                "retires_at": _iso(key.retires_at),
                "revoked_at": _iso(key.revoked_at),
            }
            for key in ring.keys
        ],
    }
    return strict_json.dumps(body).encode()


def parse_ring(document: bytes) -> KeyRing:
    """Raises ValueError, without a word of the content, where the document is no ring."""
    try:
        body: Any = strict_json.loads(document)
        return KeyRing(
            keys=tuple(_key(entry) for entry in body["keys"]),
            rotation_requested=bool(body["rotation_requested"]),
        )
    except (AttributeError, IllegalMoveError, KeyError, TypeError, ValueError):
        raise ValueError("the key ring document is damaged") from None


def render_jwk_set(ring: KeyRing) -> bytes:
    """The public document of RFC 7517 section 5: public members only."""
    return strict_json.dumps({"keys": ring.public_jwks()}).encode()


def render_openid_configuration(issuer: str) -> bytes:
    """Where everything is (RFC 8414 section 2), for API Gateway's authorizers among others."""
    body = {
        "issuer": issuer,
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "token_endpoint": f"{issuer}/oauth2/token",
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "scopes_supported": ["guest", "authenticated"],
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }
    return strict_json.dumps(body).encode()


def _key(entry: Mapping[str, Any]) -> SigningKey:
    return SigningKey(
        key_id=entry["public_jwk"]["kid"],
        algorithm=entry["alg"],
        state=KeyState(entry["state"]),
        public_jwk=entry["public_jwk"],
        private_jwk=entry["private_jwk"],
        created_at=from_iso(entry["created_at"]),
        published_at=_moment(entry["published_at"]),
        activated_at=_moment(entry["activated_at"]),
        retires_at=_moment(entry["retires_at"]),
        revoked_at=_moment(entry.get("revoked_at")),  # a ring of an earlier version has none
    )


def _iso(moment: datetime | None) -> str | None:
    return to_iso(moment) if moment else None


def _moment(text: str | None) -> datetime | None:
    return from_iso(text) if text else None
