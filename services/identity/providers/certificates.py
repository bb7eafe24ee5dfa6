"""Certificates that a platform signs with: fetched by their number, judged once, and kept."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.identity.providers.http import Answer, ProviderHttp
from services.identity.providers.shape import Refused
from shared import errors
from shared.clock import Clock

_LARGEST = 10 * 1024 - 1
_SHORTEST_TTL, _TTL, _LONGEST_TTL = 300.0, 3600.0, 24 * 3600.0
_REFUSAL_TTL, _TROUBLE_TTL = 300.0, 60.0
_RENEWAL_PAUSE = 60.0
_AT_ONCE = 8
_SMALLEST_KEY = 2048
_TROUBLE = errors.ProviderUnavailable
_FOR_CODE = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}

Chain = tuple[x509.Certificate, x509.Certificate]
"""A certificate and the one that has issued it."""


@dataclass(frozen=True, slots=True)
class _Bad:
    error: type[errors.InvalidCredential | errors.ProviderUnavailable]
    reason: str


@dataclass(frozen=True, slots=True)
class _Kept:
    """By the monotonic clock: until `fresh_until` nobody asks again; until `good_until` what is
    there is better than trouble.
    """

    outcome: Chain | _Bad
    fresh_until: float
    good_until: float

    def is_good(self, now: float) -> bool:
        return isinstance(self.outcome, tuple) and now < self.good_until


class Certificates:
    """`anchors` are those that may have issued one. `path` makes a number a path at the platform.

    A certificate is kept for as long as the platform says, five minutes at least and a day at most,
    and for that day while the platform is in trouble. That there is none, or a bad one, is kept for
    five minutes; that the platform made no sense, for one. So whoever comes with whatever numbers,
    the platform is asked for each once in a minute at most, and no more is kept than there are
    numbers: that these are few is up to the caller.
    """

    def __init__(
        self,
        http: ProviderHttp,
        path: Callable[[int], str],
        anchors: Sequence[x509.Certificate],
        clock: Clock,
    ) -> None:
        self._http = http
        self._path = path
        self._anchors = anchors
        self._clock = clock
        self._kept: dict[int, _Kept] = {}
        # All platforms share the connections that there are.
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def key(self, number: int) -> RSAPublicKey:
        """The key of a certificate that holds now. Raises Refused."""
        kept = self._fresh(number)
        if kept is None:
            async with self._turns:
                kept = self._fresh(number) or await self._renewed(number)
        if isinstance(kept.outcome, _Bad):
            raise Refused(kept.outcome.error(), kept.outcome.reason)
        now = self._clock.now()
        for certificate in kept.outcome:
            if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
                raise Refused(errors.InvalidCredential(), "certificate_dates")
        key = kept.outcome[0].public_key()
        if not isinstance(key, RSAPublicKey) or key.key_size < _SMALLEST_KEY:
            raise Refused(errors.InvalidCredential(), "certificate_key")
        return key

    def _fresh(self, number: int) -> _Kept | None:
        kept = self._kept.get(number)
        return kept if kept and self._clock.monotonic() < kept.fresh_until else None

    async def _renewed(self, number: int) -> _Kept:
        asked_at = self._clock.monotonic()
        old = self._kept.get(number)
        if old and not old.is_good(asked_at):
            old = None
        if old:
            # One asks, and the others do not wait for it.
            fresh_until = min(asked_at + _RENEWAL_PAUSE, old.good_until)
            self._kept[number] = replace(old, fresh_until=fresh_until)
        try:
            answer = await self._http.get(
                self._path(number), params={}, headers={}, document=_LARGEST
            )
        except Refused:
            if old is None:
                raise
            return old
        new = self._judged(answer, asked_at)
        if old and isinstance(new.outcome, _Bad) and new.outcome.error is _TROUBLE:
            return old
        self._kept[number] = new
        return new

    def _judged(self, answer: Answer, asked_at: float) -> _Kept:
        document = answer.document
        outcome = _chain(document.body, self._anchors) if document else _missing(answer.status)
        if isinstance(outcome, _Bad):
            ttl = _TROUBLE_TTL if outcome.error is _TROUBLE else _REFUSAL_TTL
        elif document is None or document.max_age is None:
            ttl = _TTL
        else:
            ttl = min(_LONGEST_TTL, max(_SHORTEST_TTL, document.max_age))
        return _Kept(outcome, asked_at + ttl, asked_at + _LONGEST_TTL)


def _missing(status: int) -> _Bad:
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return _Bad(errors.InvalidCredential, "no_certificate")
    return _Bad(_TROUBLE, f"http_{status}")


def _chain(body: bytes, anchors: Sequence[x509.Certificate]) -> Chain | _Bad:
    """Of DER or PEM. There is nothing in between: whoever has issued it must be an anchor."""
    try:
        certificate = _parse(body)
        usage = _usage(certificate)
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension):
        return _Bad(_TROUBLE, "malformed")
    for anchor in anchors:
        if _has_issued(anchor, certificate):
            if usage is not None and not _FOR_CODE & set(usage):
                return _Bad(errors.InvalidCredential, "certificate_usage")
            return certificate, anchor
    return _Bad(errors.InvalidCredential, "certificate_issuer")


def _parse(body: bytes) -> x509.Certificate:
    if body.lstrip().startswith(b"-----BEGIN"):
        return x509.load_pem_x509_certificate(body)
    return x509.load_der_x509_certificate(body)


def _usage(certificate: x509.Certificate) -> x509.ExtendedKeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _has_issued(anchor: x509.Certificate, certificate: x509.Certificate) -> bool:
    """By name and signature."""
    try:
        certificate.verify_directly_issued_by(anchor)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
