"""Assertions: the tokens of a Kubernetes cluster's service accounts (RFC 7523 section 3).

Every refusal is the same InvalidGrant: what was wrong is for our log, not for whoever is trying.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from shared import errors
from shared.auth import jws
from shared.auth.jwt_claims import InvalidClaim, read_audiences, read_claims, read_lifetime
from shared.clock import Clock
from shared.strict_json import JsonValue

_log = structlog.get_logger()

_ALGORITHMS = frozenset(("RS256", "ES256"))
# An access token of ours is an `at+jwt`: whoever holds one must not get another by it.
_TYPES = ("", "jwt")
_SUBJECT = re.compile(r"system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})")
_LONGEST_LIFETIME = timedelta(hours=24)  # of what EKS issues for an audience of one's own


@dataclass(frozen=True, slots=True)
class AssertionVerifier:
    """`keys` are those of the one cluster that is trusted, and of nobody else."""

    keys: jws.KeySource
    issuer: str
    audience: str
    clock: Clock

    async def service_account(self, assertion: str) -> str:
        """`<namespace>/<name>` of the account that the assertion was made out to.

        Raises InvalidGrant; Unavailable where the cluster's keys have never been seen. A bug of
        ours, too, is Unavailable: it must not let anybody through.
        """
        try:
            signed = await jws.verify(assertion, self.keys, _ALGORITHMS)
            return self._account(signed)
        except (InvalidClaim, jws.InvalidJws) as reason:
            _log.info("assertion.refused", reason=str(reason))
            raise errors.InvalidGrant from None
        except errors.Unavailable:
            raise
        except Exception as error:
            _log.exception("assertion.verification_failed")
            raise errors.Unavailable from error

    def _account(self, signed: jws.Signed) -> str:
        if signed.type.lower() not in _TYPES:
            raise jws.InvalidJws("typ")
        claims = read_claims(signed.payload)
        if claims.get("iss") != self.issuer:
            raise InvalidClaim("iss")
        if self.audience not in read_audiences(claims):
            raise InvalidClaim("aud")
        read_lifetime(claims, self.clock.now(), _LONGEST_LIFETIME)
        subject = claims.get("sub")
        match = _SUBJECT.fullmatch(subject) if isinstance(subject, str) else None
        if match is None:
            raise InvalidClaim("sub")
        namespace, name = match.groups()
        if "kubernetes.io" in claims and _bound_to(claims["kubernetes.io"]) != (namespace, name):
            raise InvalidClaim("kubernetes.io")
        return f"{namespace}/{name}"


def _bound_to(value: JsonValue) -> tuple[JsonValue, JsonValue]:
    """Namespace and account, as Kubernetes says them a second time."""
    account = value.get("serviceaccount") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(account, Mapping):
        raise InvalidClaim("kubernetes.io")
    return value.get("namespace"), account.get("name")
