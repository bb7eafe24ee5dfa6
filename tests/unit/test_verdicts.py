"""A token that was verified once is remembered no longer than it would be verified again."""

from collections.abc import Collection

import pytest
import structlog
from joserfc.jwk import ECKey, RSAKey
from prometheus_client import REGISTRY

from shared import errors
from shared.auth.revocations import session_mark, subject_mark
from shared.auth.verifier import TokenVerifier
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer, ec_key
from tests.support.tokens import SERVICE_AUDIENCE, accept, keys_of, refuse, verifier_of


async def test_a_token_seen_before_is_refused_when_it_has_expired(
    verifier: TokenVerifier, issuer: Issuer, clock: ManualClock
) -> None:
    token = issuer.token()
    claims = await accept(verifier, token)
    clock.advance(900 + 59)
    assert await accept(verifier, token) == claims
    clock.advance(1)
    await refuse(verifier, token)


async def test_a_token_seen_before_is_refused_when_its_key_has_left_the_set(
    issuer: Issuer,
) -> None:
    keys = keys_of(issuer)
    verifier = verifier_of(issuer, keys)
    token = issuer.token()
    await accept(verifier, token)

    issuer.published = [ec_key("key-2")]
    await keys.refresh()

    await refuse(verifier, token)


async def test_a_token_seen_before_is_refused_when_its_key_was_replaced_under_the_same_id(
    issuer: Issuer, stranger: RSAKey
) -> None:
    keys = keys_of(issuer)
    verifier = verifier_of(issuer, keys)
    token = issuer.token()
    await accept(verifier, token)

    issuer.published = [stranger]
    await keys.refresh()

    await refuse(verifier, token)


async def test_no_more_tokens_are_remembered_than_the_bound(
    issuer: Issuer, elliptic_key: ECKey
) -> None:
    issuer.published = [elliptic_key]
    verifier = verifier_of(issuer)
    tokens = [issuer.token(key=elliptic_key, jti=str(number)) for number in range(10_050)]
    for token in tokens:
        await accept(verifier, token)
    assert len(verifier._verdicts) == 10_000
    await accept(verifier, tokens[0])


# What was taken back


class TakenBack:
    """Revocations at hand; they may be out of reach, too."""

    def __init__(self) -> None:
        self.marks: set[str] = set()
        self.failure: Exception | None = None

    def refuses(self, marks: Collection[str]) -> bool:
        if self.failure is not None:
            raise self.failure
        return not self.marks.isdisjoint(marks)


@pytest.fixture
def taken_back() -> TakenBack:
    return TakenBack()


@pytest.fixture
def revoking(issuer: Issuer, taken_back: TakenBack) -> TokenVerifier:
    return verifier_of(issuer, None, taken_back)


MARKS = {
    "its session": session_mark("session-1"),
    "its player": subject_mark("0123456789abcdef0123456789abcdef"),
}


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
async def test_a_token_seen_before_is_refused_while_it_is_taken_back_and_no_longer(
    revoking: TokenVerifier, issuer: Issuer, taken_back: TakenBack, mark: str
) -> None:
    token = issuer.token()
    claims = await accept(revoking, token)
    taken_back.marks = {mark}
    await refuse(revoking, token)
    await refuse(revoking, token)
    taken_back.marks = set()
    assert await accept(revoking, token) == claims


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
async def test_a_token_not_seen_before_is_refused_while_it_is_taken_back_and_no_longer(
    revoking: TokenVerifier, issuer: Issuer, taken_back: TakenBack, mark: str
) -> None:
    token = issuer.token()
    taken_back.marks = {mark}
    await refuse(revoking, token)
    taken_back.marks = set()
    await accept(revoking, token)


async def test_the_tokens_of_other_sessions_and_players_hold(
    revoking: TokenVerifier, issuer: Issuer, taken_back: TakenBack
) -> None:
    taken_back.marks = {session_mark("session-1"), subject_mark("a" * 32)}
    await accept(revoking, issuer.token(sid="session-2", sub="b" * 32))
    # A session's mark is no subject's, nor the other way round.
    await accept(revoking, issuer.token(sid="a" * 32, sub="session-1"))


async def test_a_service_is_taken_back_by_its_subject(
    revoking: TokenVerifier, issuer: Issuer, taken_back: TakenBack
) -> None:
    token = issuer.service_token("moderator", audience=SERVICE_AUDIENCE, scope="chat")
    await accept(revoking, token)
    taken_back.marks = {subject_mark("service:moderator")}
    await refuse(revoking, token)


async def test_a_token_that_was_taken_back_is_told_and_counted_as_such(
    revoking: TokenVerifier, issuer: Issuer, taken_back: TakenBack
) -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("playmesh_revoked_tokens_total") or 0.0

    taken_back.marks = {session_mark("session-1")}
    before = count()
    with structlog.testing.capture_logs() as lines:
        await refuse(revoking, issuer.token())
        await refuse(revoking, issuer.token())
        await refuse(revoking, issuer.token(aud="other"))
    assert [one["reason"] for one in lines] == ["revoked", "revoked", "aud"]
    assert count() - before == 2


async def test_a_token_that_does_not_hold_is_refused_for_that_and_nobody_is_asked(
    revoking: TokenVerifier, issuer: Issuer, taken_back: TakenBack
) -> None:
    taken_back.failure = AssertionError("asked")
    await refuse(revoking, issuer.token(aud="other"))


@pytest.mark.parametrize("failure", [errors.Unavailable(retry_after=3), LookupError("a bug")])
async def test_where_it_cannot_be_known_nobody_is_let_in_seen_before_or_not(
    revoking: TokenVerifier, issuer: Issuer, taken_back: TakenBack, failure: Exception
) -> None:
    seen = issuer.token()
    await accept(revoking, seen)
    taken_back.failure = failure
    for token in (seen, issuer.token()):
        with pytest.raises(errors.Unavailable):
            await revoking.verify(token)
    taken_back.failure = None
    await accept(revoking, seen)
