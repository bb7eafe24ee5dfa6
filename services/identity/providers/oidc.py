"""ID tokens of any OpenID Connect issuer, verified closed (OpenID Connect Core 1.0, 3.1.3.7).

What is trusted comes from the settings, never from the token or from a discovery document: an
issuer may change what that says, as Apple's did in June 2025, and its tokens not with it.
"""

import enum
import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from services.identity.models import ExternalIdentity
from services.identity.providers.connections import Connections
from services.identity.providers.shape import Platform, Refused, part
from shared import errors, strict_json
from shared.auth import jws
from shared.auth.jwk_set import THEIRS
from shared.auth.jwt_claims import (
    LEEWAY,
    ClaimSet,
    InvalidClaim,
    read_audiences,
    read_claims,
    read_date,
)
from shared.clock import to_millis
from shared.strict_json import JsonValue

_TYPES = ("", "jwt")  # an access token or a logout token says that it is one
_LONGEST_SUBJECT = 255
_LONGEST_EXTERNAL_ID = 256
_LONGEST_NONCE = 256
_LEEWAY = LEEWAY.total_seconds()


class Nonce(enum.Enum):
    """What the claim `nonce` must be of the raw nonce, which the client sends with the token."""

    OFF = "off"
    RAW = "raw"
    SHA256 = "sha256"
    """In lower-case hex."""
    ABSENT = "absent"
    """It must not be there: a token that has one is for a way in that looks at it."""


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """Which tokens of one issuer are taken.

    `issuers` are compared as text; all are names of one issuer. `name` is the way in, `provider`
    the space of ids and `scope` the part of it; with `scope_is_audience` that is whom the token is
    for. `authorized_parties` (`azp`) empty: it is looked at only where there are many audiences.
    `nonce_unless_unsupported`: a token without a nonce may say that its device has none.
    `raw_nonce_audiences`: whose clients do not hash it, whatever `nonce` says. `nonce_issued`: it
    must be one of ours, and is good once; also for a device that has none in its tokens.
    `needed_claims` must be there, whatever they say. `token_part` is the part of the credential,
    and `audience_claim` says whom the token is for: where it is another one than `aud`, that must
    not be there.
    """

    name: str
    provider: str
    issuers: tuple[str, ...]
    jwks_url: str
    audiences: frozenset[str]
    scope: str = ""
    scope_is_audience: bool = False
    algorithms: frozenset[str] = frozenset(("RS256",))
    nonce: Nonce = Nonce.OFF
    nonce_issued: bool = False
    nonce_unless_unsupported: bool = False
    raw_nonce_audiences: frozenset[str] = frozenset()
    max_age: timedelta = timedelta(hours=1)
    subject_claim: str = "sub"
    required_claims: Mapping[str, str] | None = None
    needed_claims: tuple[str, ...] = ()
    authorized_parties: frozenset[str] = frozenset()
    single_use: bool = True
    token_part: str = "id_token"  # noqa: S105 - the part's name
    audience_claim: str = "aud"
    details: tuple[str, ...] = ()
    """Claims that are handed on."""

    def open(self, connections: Connections) -> Platform:
        return OidcPlatform(self, connections, connections.keys(self.name, self.jwks_url))


class OidcPlatform:
    """The credential has `id_token` and, where the settings ask for one, `nonce`."""

    def __init__(
        self, settings: OidcSettings, connections: Connections, keys: jws.KeySource
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._clock = connections.clock
        self._nonces = connections.nonces
        # By the space of ids: two ways in may take the same token.
        self._used = connections.used(settings.provider)
        self._used_nonces = connections.used("nonce")

    @property
    def name(self) -> str:
        return self._settings.name

    async def verify(self, credential: Mapping[str, str]) -> ExternalIdentity:
        try:
            return await self._verify(credential)
        except (InvalidClaim, jws.InvalidJws) as invalid:
            reason = str(invalid)
        raise _invalid(reason)

    async def _verify(self, credential: Mapping[str, str]) -> ExternalIdentity:
        token = part(credential, self._settings.token_part)
        claims = await self._claims(token)
        audience = self._audience(claims)
        self._check_required(claims)
        self._check_time(claims)
        _check_access_token(claims, credential.get("access_token"))
        nonce = credential.get("nonce", "")
        self._check_nonce(claims, audience, nonce)
        if self._settings.nonce_issued:
            self._check_issued(nonce)
        identity = self._identity(claims, audience)
        if self._settings.single_use:
            # Without its signature: of an ES256 one somebody else can make another that holds.
            await self._used.claim(token.rpartition(".")[0])
        if self._settings.nonce_issued:
            await self._used_nonces.claim(nonce)
        return identity

    async def _claims(self, token: str) -> ClaimSet:
        signed = await jws.verify(token, self._keys, self._settings.algorithms, THEIRS)
        if signed.type.lower() not in _TYPES:
            raise _invalid("typ")
        return read_claims(signed.payload)

    def _audience(self, claims: ClaimSet) -> str:
        """Whom of ours the token is for."""
        ours, parties = self._settings.audiences, self._settings.authorized_parties
        if claims.get("iss") not in self._settings.issuers:
            raise Refused(errors.WrongAudience(), "iss")
        claim = self._settings.audience_claim
        try:
            audiences = read_audiences(claims, claim)
        except InvalidClaim:
            audiences = []
        if claim != "aud" and "aud" in claims:
            raise Refused(errors.WrongAudience(), "aud")
        # One that somebody else may take as well could have come from there.
        if not audiences or not ours.issuperset(audiences):
            raise Refused(errors.WrongAudience(), "aud")
        party = claims.get("azp")
        if parties and party not in parties:
            raise Refused(errors.WrongAudience(), "azp")
        if len(audiences) > 1 and party not in ours | parties:
            raise Refused(errors.WrongAudience(), "azp")
        return audiences[0]

    def _check_required(self, claims: ClaimSet) -> None:
        for name, value in (self._settings.required_claims or {}).items():
            if _text(claims.get(name)) != value:
                raise Refused(errors.WrongAudience(), "required_claim")
        if not all(claims.get(name) for name in self._settings.needed_claims):
            raise _invalid("needed_claim")
        # A security event (RFC 8417) and a logout token are signed with the same keys for us, too.
        if "events" in claims:
            raise _invalid("event")

    def _check_time(self, claims: ClaimSet) -> None:
        now = to_millis(self._clock.now()) / 1000
        issued = read_date(claims, "iat")
        valid_from = read_date(claims, "nbf") if "nbf" in claims else issued
        if max(issued, valid_from) > now + _LEEWAY:
            raise _invalid("not_yet_valid")
        expires = read_date(claims, "exp")
        if now >= expires + _LEEWAY:
            raise Refused(errors.ExpiredCredential(), "expired")
        oldest = issued + self._settings.max_age.total_seconds()
        if now >= oldest + _LEEWAY:
            raise Refused(errors.ExpiredCredential(), "too_old")

    def _check_nonce(self, claims: ClaimSet, audience: str, nonce: str) -> None:
        kind = self._settings.nonce
        if audience in self._settings.raw_nonce_audiences:
            kind = Nonce.RAW
        if kind is Nonce.OFF:
            return
        if kind is Nonce.ABSENT:
            if "nonce" in claims:
                raise _invalid("nonce")
            return
        if "nonce" not in claims and self._settings.nonce_unless_unsupported:
            if _text(claims.get("nonce_supported", False)) == "false":
                return
            raise _invalid("nonce")
        if not 0 < len(nonce) <= _LONGEST_NONCE:
            raise _invalid("nonce")
        raw = nonce.encode("utf-8", "surrogatepass")
        expected = hashlib.sha256(raw).hexdigest().encode() if kind is Nonce.SHA256 else raw
        claim = claims.get("nonce")
        if not isinstance(claim, str) or not hmac.compare_digest(claim.encode(), expected):
            raise _invalid("nonce")

    def _check_issued(self, nonce: str) -> None:
        expires_at = self._nonces.expires_at(nonce)
        if expires_at is None:
            raise _invalid("foreign_nonce")
        if self._clock.now() >= expires_at:
            raise Refused(errors.ExpiredCredential(), "nonce_expired")

    def _identity(self, claims: ClaimSet, audience: str) -> ExternalIdentity:
        settings = self._settings
        subject = claims.get(settings.subject_claim)
        if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
            raise _invalid("sub")
        scope = audience if settings.scope_is_audience else settings.scope
        external_id = f"{scope}:{subject}" if scope else subject
        if len(external_id) > _LONGEST_EXTERNAL_ID or not external_id.isprintable():
            raise _invalid("sub")
        details = {name: _text(claims[name]) for name in settings.details if name in claims}
        return ExternalIdentity(settings.provider, external_id, {"audience": audience, **details})


def _check_access_token(claims: ClaimSet, access_token: str | None) -> None:
    """Where one came with the ID token, and that says which, it must be that one (Core 3.1.3.8).

    Not where the access token is what is verified: that says nothing of another.
    """
    if access_token is None or "at_hash" not in claims:
        return
    half = hashlib.sha256(access_token.encode("utf-8", "surrogatepass")).digest()[:16]
    if claims["at_hash"] != urlsafe_b64encode(half).rstrip(b"=").decode():
        raise _invalid("at_hash")


def _invalid(reason: str) -> Refused:
    return Refused(errors.InvalidCredential(), reason)


def _text(value: JsonValue) -> str:
    """Booleans come as such and as text; both are the same claim."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else strict_json.dumps(value)
