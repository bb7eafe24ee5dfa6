"""Assertions: the tokens of a Kubernetes cluster's service accounts (RFC 7523 section 3).

Every refusal is the same InvalidGrant: what was wrong is for our log, not for whoever is trying.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from shared import errors, strict_json
from shared.auth import jws
from shared.auth.verifier import LEEWAY
from shared.clock import Clock, to_millis
from shared.strict_json import JsonValue

_log = structlog.get_logger()

_ALGORITHMS = frozenset(("RS256", "ES256"))
# An access token of ours is an `at+jwt`: whoever holds one must not get another by it.
_TYPES = ("", "jwt")
_SUBJECT = re.compile(r"system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})")
_LONGEST_LIFETIME = timedelta(hours=24)  # of what EKS issues for an audience of one's own


class _Refused(Exception):
    pass


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
        except (_Refused, jws.InvalidJws) as reason:
            _log.info("assertion.refused", reason=str(reason))
            raise errors.InvalidGrant from None
        except errors.Unavailable:
            raise
        except Exception as error:
            _log.exception("assertion.verification_failed")
            raise errors.Unavailable from error

    def _account(self, signed: jws.Signed) -> str:
        if signed.type.lower() not in _TYPES:
            raise _Refused("typ")
        claims = _object(signed.payload)
        if claims.get("iss") != self.issuer:
            raise _Refused("iss")
        if self.audience not in _audiences(claims):
            raise _Refused("aud")
        self._check_time(claims)
        subject = claims.get("sub")
        match = _SUBJECT.fullmatch(subject) if isinstance(subject, str) else None
        if match is None:
            raise _Refused("sub")
        namespace, name = match.groups()
        if "kubernetes.io" in claims and _bound_to(claims["kubernetes.io"]) != (namespace, name):
            raise _Refused("kubernetes.io")
        return f"{namespace}/{name}"

    def _check_time(self, claims: Mapping[str, JsonValue]) -> None:
        now = to_millis(self.clock.now()) / 1000
        leeway = LEEWAY.total_seconds()
        issued, expires = _moment(claims, "iat"), _moment(claims, "exp")
        if now >= expires + leeway:
            raise _Refused("expired")
        if max(issued, _moment(claims, "nbf")) > now + leeway:
            raise _Refused("not yet valid")
        if not 0 < expires - issued <= _LONGEST_LIFETIME.total_seconds():
            raise _Refused("lifetime")


def _object(payload: bytes) -> Mapping[str, JsonValue]:
    try:
        value = strict_json.loads(payload)
    except ValueError:
        value = None
    if not isinstance(value, Mapping):
        raise _Refused("claims are no JSON object")
    return value


def _audiences(claims: Mapping[str, JsonValue]) -> list[str]:
    value = claims.get("aud")
    values = value if isinstance(value, list) else [value]
    texts = [one for one in values if isinstance(one, str)]
    if len(texts) != len(values):
        raise _Refused("aud")
    return texts


def _moment(claims: Mapping[str, JsonValue], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < 2**40:  # a bool is an int to isinstance
        raise _Refused(name)
    return value


def _bound_to(value: JsonValue) -> tuple[JsonValue, JsonValue]:
    """Namespace and account, as Kubernetes says them a second time."""
    account = value.get("serviceaccount") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(account, Mapping):
        raise _Refused("kubernetes.io")
    return value.get("namespace"), account.get("name")
