"""We never accept a token that two of three other verifiers refuse.

A thousand tokens, and 20,000 with PLAYMESH_TEST_LONG=1; joserfc and PyJWT are always asked, and
npm's jose where PLAYMESH_TEST_JOSE names the folder that it was installed in.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping

import structlog
from hypothesis import given, settings
from joserfc.jwk import RSAKey

from shared import errors
from shared.auth.verifier import TokenVerifier
from shared.clock import SystemClock, to_seconds
from tests.attacks import others
from tests.attacks.mutants import Keys, Mutant, forge, mutants
from tests.attacks.others import Question
from tests.support import figures
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer, ec_key
from tests.support.long import LONG
from tests.support.tokens import verifier_of

JOSE = os.environ.get("PLAYMESH_TEST_JOSE")  # noqa: TID251 - of tests only
TOKENS = 20_000 if LONG else 1000
OTHERS: dict[str, Callable[[Question], list[bool]]] = {
    "joserfc": others.joserfc,
    "PyJWT": others.pyjwt_,
    **({"jose": others.jose(JOSE)} if JOSE else {}),
}


async def is_accepted(verifier: TokenVerifier, token: str) -> bool:
    try:
        await verifier.verify(token)
    except errors.InvalidToken:
        return False
    return True


async def test_we_never_accept_what_two_others_refuse(
    signing_key: RSAKey, stranger: RSAKey
) -> None:
    keys = Keys(signing_key, ec_key("key-ec"), stranger)
    issuer = Issuer(ManualClock(SystemClock().now().replace(microsecond=0)), keys.rsa)
    issuer.published.append(keys.ec)
    now = to_seconds(issuer.clock.now())
    made: dict[str, Mutant] = {}

    @settings(max_examples=TOKENS, database=None)
    @given(mutants(now))
    def make(mutant: Mutant) -> None:
        made.setdefault(forge(mutant, issuer, keys), mutant)

    for algorithm in ("RS256", "ES256"):
        good = Mutant(algorithm, 0, [], [], "right", [])
        made[forge(good, issuer, keys)] = good
    while len(made) < TOKENS:  # some are the same token
        make()

    tokens = list(made)[:TOKENS]
    verifier = verifier_of(issuer)
    with structlog.testing.capture_logs() as lines:
        ours = [await is_accepted(verifier, token) for token in tokens]
    jwks = {"keys": [key.as_dict(private=False) for key in issuer.published]}
    question = Question(jwks, now, tokens)
    theirs = {name: verify(question) for name, verify in OTHERS.items()}
    answers = list(zip(*theirs.values(), strict=True))

    alone = [
        (made[token], token)
        for token, accepted, answer in zip(tokens, ours, answers, strict=True)
        if accepted and _is_refused(answer)
    ]
    tell(ours, theirs, Counter(line["reason"] for line in lines))
    assert alone == []
    assert ours[:2] == [True, True]
    assert set(answers[:2]) == {(True,) * len(OTHERS)}


def _is_refused(answer: tuple[bool, ...]) -> bool:
    return answer.count(False) >= 2


def tell(ours: list[bool], theirs: Mapping[str, list[bool]], reasons: Counter[str]) -> None:
    answers = list(zip(*theirs.values(), strict=True))
    refused = [answer for accepted, answer in zip(ours, answers, strict=True) if not accepted]
    accepted = [answer for accepted, answer in zip(ours, answers, strict=True) if accepted]
    figures.note(
        "mutated tokens",
        tokens=len(ours),
        accepted_by_us=sum(ours),
        **{f"by_{name}": sum(answer) for name, answer in theirs.items()},
        accepted_by_us_and_refused_by_one_other=sum(a.count(False) == 1 for a in accepted),
        by_more=sum(map(_is_refused, accepted)),
        refused_by_us_and_accepted_by_some=sum(map(any, refused)),
        by_all=sum(map(all, refused)),
        the_others_differ=sum(any(a) and not all(a) for a in answers),
    )
    figures.note("mutated tokens, our reasons", **dict(reasons.most_common()))
