"""The checker of histories accepts what one client after the other could have seen, and no more.

A line is an operation: when it was called and when it returned, what was asked, what was answered.
`5` is the value `{"n": 5}`, `@2` says that version 2 must be there, `?` that no answer came.
"""

import json
from typing import Any

import pytest

from tests.support.linearizability import Operation, violation
from tests.support.one_record import NOTHING, Answer, Ask, apply, text

GOOD = {
    "nothing at all": "",
    "one after the other": """
        0-1 put 5 -> 201 v1 5
        2-3 get -> 200 v1 5
        4-5 put 6 @1 -> 200 v2 6
        6-7 get -> 200 v2 6""",
    "a read beside a write sees what was before": """
        0-1 put 5 -> 201 v1 5
        2-5 put 6 -> 200 v2 6
        3-4 get -> 200 v1 5""",
    "a read beside a write sees what comes after": """
        0-1 put 5 -> 201 v1 5
        2-5 put 6 -> 200 v2 6
        3-4 get -> 200 v2 6""",
    "two reads beside a write see it come": """
        0-1 put 5 -> 201 v1 5
        2-9 put 6 -> 200 v2 6
        3-4 get -> 200 v1 5
        5-6 get -> 200 v2 6""",
    "the later of two calls may be done first": """
        0-9 put 5 -> 200 v2 5
        1-8 put 6 -> 201 v1 6
        10-11 get -> 200 v2 5""",
    "one of two that saw the same version wins": """
        0-1 put 5 -> 201 v1 5
        2-5 put 6 @1 -> 200 v2 6
        3-4 put 7 @1 -> 412 v2 6""",
    "one of two creations wins": """
        0-3 put 5 @none -> 201 v1 5
        1-2 put 6 @none -> 412 v1 5""",
    "increments at once": """
        0-9 add 1 -> 200 v3 3
        1-8 add 1 -> 201 v1 1
        2-7 add 1 -> 200 v2 2""",
    "a deletion counts as a version": """
        0-1 put 5 -> 201 v1 5
        2-3 delete -> 204
        4-5 get -> 404
        6-7 put 6 -> 201 v3 6""",
    "a deletion beside a read": """
        0-1 put 5 -> 201 v1 5
        2-5 delete -> 204
        3-4 get -> 200 v1 5""",
    "what is not there is not deleted, nor changed on a condition": """
        0-1 delete -> 404
        2-3 put 5 @any -> 412
        4-5 merge {"a":1} -> 404
        6-7 delete @1 -> 412""",
    "a write that was not answered has happened": """
        0-? put 5
        1-2 get -> 200 v1 5""",
    "a write that was not answered has not happened": """
        0-? put 5
        1-2 get -> 404
        3-4 put 6 @none -> 201 v1 6""",
    "a write that was not answered happens late": """
        0-? put 5
        1-2 get -> 404
        3-4 get -> 200 v1 5""",
    "of three that were not answered the second has happened": """
        0-? add 1
        0-? add 10
        0-? add 100
        5-6 get -> 200 v1 10""",
    "all that was not answered happened between two reads": """
        0-? add 1
        0-? add 10
        0-? add 100
        1-2 get -> 404
        5-6 get -> 200 v3 111""",
    "a condition that was not answered and did not hold": """
        0-1 put 5 -> 201 v1 5
        2-? put 6 @7
        3-4 get -> 200 v1 5""",
    "a highest score that is none changes nothing": """
        0-1 max 9 -> 201 v1 {"top":9}
        2-3 max 7 -> 200 v1 {"top":9}
        4-5 max 11 -> 200 v2 {"top":11}""",
    "a merge of what others changed meanwhile": """
        0-1 put 5 -> 201 v1 5
        2-5 merge {"by":"a"} -> 200 v3 {"n":6,"by":"a"}
        3-4 add 1 -> 200 v2 6""",
    "what touches in time may be either way round": """
        0-2 put 5 -> 200 v2 5
        2-3 put 6 -> 201 v1 6""",
}

BAD = {
    "a lost update": """
        0-1 put 5 -> 201 v1 5
        2-3 put 6 @1 -> 200 v2 6
        4-5 put 7 @1 -> 200 v3 7""",
    "two that saw the same version win": """
        0-1 put 5 -> 201 v1 5
        2-5 put 6 @1 -> 200 v2 6
        3-4 put 7 @1 -> 200 v2 7""",
    "two creations win": """
        0-3 put 5 @none -> 201 v1 5
        1-2 put 6 @none -> 201 v1 6""",
    "a stale read": """
        0-1 put 5 -> 201 v1 5
        2-3 put 6 -> 200 v2 6
        4-5 get -> 200 v1 5""",
    "a stale read of nothing": """
        0-1 put 5 -> 201 v1 5
        2-3 get -> 404""",
    "two reads beside a write see it go": """
        0-1 put 5 -> 201 v1 5
        2-9 put 6 -> 200 v2 6
        3-4 get -> 200 v2 6
        5-6 get -> 200 v1 5""",
    "a read from the future": """
        0-1 get -> 200 v1 5
        2-3 put 5 -> 201 v1 5""",
    "a read of what nobody wrote": """
        0-1 put 5 -> 201 v1 5
        2-3 get -> 200 v1 6""",
    "an increment that is done twice": """
        0-1 add 1 -> 201 v1 1
        2-3 add 1 -> 200 v3 3""",
    "an increment that is done twice and answered once": """
        0-1 put 0 -> 201 v1 0
        2-3 add 1 -> 200 v2 1
        4-5 get -> 200 v3 2""",
    "an increment that is lost": """
        0-3 add 1 -> 201 v1 1
        1-2 add 1 -> 201 v1 1
        4-5 get -> 200 v1 1""",
    "two increments with one answer": """
        0-1 put 0 -> 201 v1 0
        2-5 add 1 -> 200 v2 1
        3-4 add 1 -> 200 v2 1""",
    "a deletion that is undone": """
        0-1 put 5 -> 201 v1 5
        2-3 delete -> 204
        4-5 get -> 200 v1 5""",
    "a deletion that is undone by a late write": """
        0-1 put 5 -> 201 v1 5
        2-3 delete -> 204
        4-5 get -> 404
        6-7 get -> 200 v3 5""",
    "two deletions of one record": """
        0-1 put 5 -> 201 v1 5
        2-5 delete -> 204
        3-4 delete -> 204""",
    "a version that goes back": """
        0-1 put 5 -> 201 v1 5
        2-3 put 6 -> 200 v2 6
        4-5 put 7 -> 200 v2 7""",
    "a version that comes back after a deletion": """
        0-1 put 5 -> 201 v1 5
        2-3 delete -> 204
        4-5 put 6 -> 201 v1 6""",
    "a version that is skipped": """
        0-1 put 5 -> 201 v1 5
        2-3 put 6 -> 200 v3 6""",
    "a conflict with what was not yet there": """
        0-1 put 5 -> 201 v1 5
        2-3 put 6 @1 -> 412 v2 7
        4-5 put 7 -> 200 v2 7""",
    "a conflict though the condition holds": """
        0-1 put 5 -> 201 v1 5
        2-3 put 6 @1 -> 412 v1 5""",
    "a write that was not answered happens twice": """
        0-? add 1
        1-2 get -> 200 v1 1
        3-4 get -> 200 v2 2""",
    "a write that was not answered happens before it was asked for": """
        0-1 get -> 200 v1 5
        2-? put 5""",
    "a write that was not answered comes and goes": """
        0-? put 5
        1-2 get -> 200 v1 5
        3-4 get -> 404""",
    "a condition that was not answered and cannot have held": """
        0-1 put 5 -> 201 v1 5
        2-? put 6 @7
        3-4 get -> 200 v2 6""",
    "a highest score that goes down": """
        0-1 max 9 -> 201 v1 {"top":9}
        2-3 max 7 -> 200 v2 {"top":7}""",
    "a merge that loses what another changed": """
        0-1 put {"a":1} -> 201 v1 {"a":1}
        2-5 merge {"b":2} -> 200 v2 {"a":1,"b":2}
        3-4 merge {"c":3} -> 200 v3 {"a":1,"c":3}""",
    "a creation that was none": """
        0-1 put 5 -> 201 v1 5
        2-3 put 6 -> 201 v2 6""",
    "an order that only holds for each client": """
        0-1 put 5 -> 201 v1 5
        2-3 put 6 -> 200 v2 6
        4-9 get -> 200 v2 6
        5-6 get -> 200 v1 5""",
    "nothing in the middle": """
        0-1 put 5 -> 201 v1 5
        2-9 put 6 -> 200 v2 6
        3-4 get -> 404""",
}


def value(token: str) -> Any:  # noqa: ANN401 - JSON
    found = json.loads(token)
    return {"n": found} if isinstance(found, int) else found


def operation(line: str) -> Operation[Ask, Answer]:
    asked, _, answered = line.partition("->")
    times, kind, *rest = asked.split()
    called, _, returned = times.partition("-")
    only_if: int | str | None = None
    if rest and rest[-1].startswith("@"):
        condition = rest.pop()[1:]
        only_if = int(condition) if condition.isdigit() else condition
    argument = None
    if rest:
        argument = int(rest[0]) if kind in ("add", "max") else value(rest[0])
    ask = Ask(kind, argument, only_if)
    if not answered:
        return Operation(ask, float(called))
    status, *told = answered.split()
    version = int(told[0][1:]) if told else None
    answer = Answer(int(status), version, text(value(told[1])) if told else None)
    return Operation(ask, float(called), float(returned), answer)


def found_in(lines: str) -> str | None:
    history = [operation(line) for line in lines.splitlines() if line.strip()]
    return violation(history, apply, NOTHING)


@pytest.mark.parametrize("lines", GOOD.values(), ids=GOOD.keys())
def test_a_history_that_one_client_could_have_seen_is_accepted(lines: str) -> None:
    assert found_in(lines) is None


@pytest.mark.parametrize("lines", BAD.values(), ids=BAD.keys())
def test_a_history_that_no_single_client_could_have_seen_is_refused(lines: str) -> None:
    assert found_in(lines)


def test_what_is_told_of_a_violation_is_where_it_is() -> None:
    told = found_in(BAD["a stale read"])
    assert told
    assert told.startswith("after 2 of 3 operations, at (2, '{\"n\": 6}')")
    assert "kind='get'" in told


def test_hundreds_at_once_are_decided_since_no_state_is_looked_at_twice() -> None:
    """Also where none of them was answered: every order of as many would never end."""
    rivals = [_added(version) for version in range(1, 301)]
    assert violation(rivals, apply, NOTHING) is None
    puts: list[Operation[Ask, Answer]] = [Operation(Ask("put", {"n": 5}), 0.0) for _ in range(12)]
    read = Operation(Ask("get"), 2.0, 3.0, Answer(200, 12, text({"n": 5})))
    assert violation([*puts, read], apply, NOTHING) is None
    late = Operation(Ask("get"), 2.0, 3.0, Answer(200, 13, text({"n": 5})))
    assert violation([*puts, late], apply, NOTHING)


def _added(version: int) -> Operation[Ask, Answer]:
    answer = Answer(201 if version == 1 else 200, version, text({"n": version}))
    return Operation(Ask("add", 1), 0.0, 1.0, answer)
