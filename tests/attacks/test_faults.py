"""Whatever breaks while a token is verified, nobody is let through (ASVS 16.5.3)."""

import gc
import sys
from types import FrameType

import pytest
import structlog
from joserfc.errors import BadSignatureError

from shared import errors
from shared.auth.claims import Claims
from shared.auth.verifier import TokenVerifier
from tests.support.issuer import Issuer, ec_key
from tests.support.tokens import keys_of, verifier_of

FAILURES = [
    LookupError(),
    ValueError(),
    TimeoutError(),
    RecursionError(),
    MemoryError(),
    BadSignatureError(),
    errors.NotFound(),
    errors.Forbidden(),
]


class Injector:
    """Raises `failure` in place of the call with this number, of all below `verify` itself."""

    def __init__(self, failure: Exception, number: int) -> None:
        self.failure = failure
        self.number = number
        self.calls = -1  # the first is `verify`

    def __call__(self, _frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            self.calls += 1
            if self.calls == self.number:
                raise self.failure  # whereupon Python forgets the injector


def verify(verifier: TokenVerifier, token: str, injector: Injector) -> Claims | Exception:
    """Without an event loop, in which other calls would be counted: the keys are there."""
    verification = verifier.verify(token)
    before = sys.gettrace()
    gc.disable()  # what others do at a collection is no call of ours
    with structlog.testing.capture_logs():
        sys.settrace(injector)
        try:
            verification.send(None)
        except StopIteration as finished:
            claims: Claims = finished.value
            return claims
        except Exception as error:  # noqa: BLE001 - its type is what is asked for
            return error
        finally:
            sys.settrace(before)
            gc.enable()
    raise AssertionError("the verification waits")


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
@pytest.mark.parametrize("seen", ["never", "before"])
async def test_an_exception_in_any_call_is_a_refusal_or_unavailable(
    issuer: Issuer, failure: Exception, algorithm: str, seen: str
) -> None:
    if algorithm == "ES256":
        issuer.key = ec_key("key-ec")
        issuer.published = [issuer.key]
    keys = keys_of(issuer)
    await keys.refresh()
    token = issuer.token()
    calls = 0
    while True:
        verifier = verifier_of(issuer, keys)
        if seen == "before":
            await verifier.verify(token)
        calls += 1
        injector = Injector(failure, calls)
        outcome = verify(verifier, token, injector)
        if injector.calls < calls:
            break
        assert isinstance(outcome, errors.InvalidToken | errors.Unavailable)
    assert isinstance(outcome, Claims)
    assert calls > (50 if seen == "never" else 3)
