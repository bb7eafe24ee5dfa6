"""A token is a compact JWS in its one spelling, of 8 KiB at most."""

import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable

import pytest
import structlog
from joserfc import jwe
from joserfc.jwk import OctKey, RSAKey

from shared.auth import jws
from shared.auth.verifier import TokenVerifier
from tests.support import figures
from tests.support.issuer import Issuer
from tests.support.tokens import BASE64URL, HEADER, accept, encode, refuse, seal_text

FORMS: dict[str, Callable[[str], str]] = {
    "nothing": lambda _token: "",
    "dots": lambda _token: "..",
    "the scheme before it": lambda token: f"Bearer {token}",
    "space before": lambda token: f" {token}",
    "space after": lambda token: f"{token} ",
    "line end after": lambda token: f"{token}\n",
    "carriage return after": lambda token: f"{token}\r\n",
    "nul after": lambda token: f"{token}\0",
    "a space within": lambda token: f"{token[:50]} {token[50:]}",
    "a line end within": lambda token: f"{token[:50]}\n{token[50:]}",
    "padding": lambda token: f"{token}==",
    "padded header": lambda token: token.replace(".", "=.", 1),
    "percent": lambda token: token.replace(".", "%2E", 1),
    "question mark": lambda token: f"{token}?",
    "quotes": lambda token: f'"{token}"',
    "two parts": lambda token: token.rpartition(".")[0],
    "two parts and a dot": lambda token: token.rpartition(".")[0] + ".",
    "a leading dot": lambda token: f".{token}",
    "a fourth part": lambda token: f"{token}.AAAA",
    "twice": lambda token: f"{token}.{token}",
    "without a payload": lambda token: ".".join([*token.split(".")[:1], "", token.split(".")[2]]),
    "one character more": lambda token: f"{token}A",
    "one character less": lambda token: token[:-1],
    "full-width dots": lambda token: token.replace(".", "\N{FULLWIDTH FULL STOP}"),
    "a letter beyond ASCII": lambda token: f"{token[:-1]}\N{FULLWIDTH LATIN CAPITAL LETTER A}",
    "a lone surrogate": lambda token: f"{token[:-1]}\ud800",
}


@pytest.mark.parametrize("form", FORMS)
async def test_anything_but_a_compact_token_is_refused(
    verifier: TokenVerifier, issuer: Issuer, form: str
) -> None:
    with structlog.testing.capture_logs() as lines:
        await refuse(verifier, FORMS[form](issuer.token()))
    # Known by its look, but for what makes the signature another one.
    is_compact = form in ("one character more", "one character less")
    assert lines[0]["reason"] == ("signature" if is_compact else "not a compact JWS")


@pytest.mark.parametrize("flattened", [True, False])
async def test_a_token_in_the_json_serialization_is_refused(
    verifier: TokenVerifier, issuer: Issuer, *, flattened: bool
) -> None:
    protected, payload, signature = issuer.token().split(".")
    sealed = {"protected": protected, "signature": signature}
    body = (
        {"payload": payload, **sealed}
        if flattened
        else {
            "payload": payload,
            "signatures": [sealed],
        }
    )
    await refuse(verifier, json.dumps(body))


async def test_an_encrypted_token_is_refused(verifier: TokenVerifier, issuer: Issuer) -> None:
    token = jwe.encrypt_compact(
        {"alg": "dir", "enc": "A128GCM", "kid": "key-1"},
        json.dumps(issuer.claims()),
        OctKey.generate_key(128),
    )
    assert token.count(".") == 4
    await refuse(verifier, token)


def spellings(segment: str) -> list[str]:
    """Other last characters for the same bytes: base64 leaves the last bits of some unused."""
    padded = segment + "=" * (-len(segment) % 4)
    return [
        segment[:-1] + last
        for last in BASE64URL
        if last != segment[-1]
        and urlsafe_b64decode(segment[:-1] + last + "==") == urlsafe_b64decode(padded)
    ]


async def test_another_spelling_of_a_good_signature_is_refused(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    signed, _, signature = issuer.token().rpartition(".")
    others = spellings(signature)
    assert len(others) == 15
    for other in others:
        await refuse(verifier, f"{signed}.{other}")


@pytest.mark.parametrize("part", [0, 1])
async def test_another_spelling_of_header_or_claims_is_refused_even_if_it_is_what_was_signed(
    verifier: TokenVerifier, issuer: Issuer, signing_key: RSAKey, part: int
) -> None:
    parts = [encode(json.dumps(HEADER).encode()), encode(json.dumps(issuer.claims()).encode())]
    while len(parts[part]) % 4 == 0:  # spaces at the end change nothing but the length
        parts[part] = encode(urlsafe_b64decode(parts[part]) + b" ")
    await accept(verifier, seal_text(signing_key, ".".join(parts)))
    parts[part] = spellings(parts[part])[0]
    await refuse(verifier, seal_text(signing_key, ".".join(parts)))


async def test_a_token_of_8_kib_is_read_and_a_longer_one_refused(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    length = 8192 - len(issuer.token())
    tokens = [issuer.token(filler="x" * (length * 3 // 4 - 20 + n)) for n in range(40)]
    assert min(map(len, tokens)) <= 8192 < max(map(len, tokens))
    for token in tokens:
        await (accept if len(token) <= 8192 else refuse)(verifier, token)


HUGE = {
    "a million dots": "." * 1_000_000,
    "10 MB without a dot": "A" * 10_000_000,
    "10 MB and two dots": "A" * 9_999_998 + "..",
    "10 MB and many dots": "A.A." * 2_500_000,
    "10 MB of payload": f"{encode(json.dumps(HEADER).encode())}.{'A' * 10_000_000}.AAAA",
}


class NoKeys:
    async def key(self, key_id: str) -> None:
        raise AssertionError(key_id)


@pytest.mark.parametrize("size", HUGE)
async def test_a_huge_token_costs_less_than_5_ms(verifier: TokenVerifier, size: str) -> None:
    times = []
    for _ in range(5):
        started = time.process_time()
        await refuse(verifier, HUGE[size])
        with pytest.raises(jws.InvalidJws):
            await jws.verify(HUGE[size], NoKeys(), frozenset(("RS256",)))
        times.append(time.process_time() - started)
    figures.note(f"a huge token, {size}", CPU=f"{min(times) * 1e3:.3f} ms")
    assert min(times) < 0.005
