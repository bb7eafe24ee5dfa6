"""The two public documents: whom to trust, and with which keys (RFC 8414, RFC 7517)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from shared import errors, strict_json
from shared.keys.ports import PublishedSet


@dataclass(frozen=True, slots=True)
class WellKnown:
    """`published` answers the JWK Set as it is stored, None before the first key."""

    openid_configuration: bytes
    published: Callable[[], PublishedSet | None]
    max_age: timedelta

    @property
    def max_age_seconds(self) -> int:
        return int(self.max_age.total_seconds())

    def jwk_set(self) -> PublishedSet:
        """Raises Unavailable before the first key was published."""
        published = self.published()
        if published is None:
            raise errors.Unavailable("no key has been published yet")
        return published


def openid_configuration(issuer: str) -> bytes:
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
