"""Whether what many clients saw of one thing could have happened one after the other.

A history is linearizable when every operation can be given a moment between its call and its
return, so that the answers are those of a single client that does them in this order (Herlihy and
Wing 1990). The search is Wing and Gong's (1993), which tries every order that the times allow; it
remembers, as Lowe (2017), what was done and what that made, and never goes on from there twice.

Linearizability is local: a history of many things is so where that of each of them is.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")
State = TypeVar("State", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Operation(Generic[Ask, Answer]):
    """One that nobody heard of again has no `returned` and no `answer`.

    It may have happened at any time since, or never.
    """

    ask: Ask
    called: float
    returned: float = math.inf
    answer: Answer | None = None


def violation(
    history: Iterable[Operation[Ask, Answer]],
    apply: Callable[[State, Ask], tuple[State, Answer]],
    start: State,
) -> str | None:
    """None where the history is linearizable, else how far it is at most.

    `apply` tells what one operation, alone, makes of the thing and answers.
    """
    search = _Search(sorted(history, key=lambda one: one.called), apply)
    return search.violation(start)


class _Search(Generic[Ask, Answer, State]):
    """What was done is a number whose bits are the places of the operations."""

    def __init__(
        self,
        operations: Sequence[Operation[Ask, Answer]],
        apply: Callable[[State, Ask], tuple[State, Answer]],
    ) -> None:
        self._operations = operations
        self._apply = apply
        self._answered = sum(
            1 << place for place, one in enumerate(operations) if one.answer is not None
        )

    def violation(self, start: State) -> str | None:
        seen = {(0, start)}
        open_ends = [(0, start)]
        furthest = (0, start)
        while open_ends:
            done, state = open_ends.pop()
            if done & self._answered == self._answered:
                return None
            if done.bit_count() > furthest[0].bit_count():
                furthest = done, state
            for end in self._next(done, state):
                if end not in seen:
                    seen.add(end)
                    open_ends.append(end)
        return self._describe(*furthest)

    def _next(self, done: int, state: State) -> Iterable[tuple[int, State]]:
        # The last is tried first: what returned early most likely was early.
        for place in sorted(self._possible(done), key=self._by_return, reverse=True):
            one = self._operations[place]
            after, answer = self._apply(state, one.ask)
            if one.answer is None or one.answer == answer:
                yield done | 1 << place, after

    def _possible(self, done: int) -> list[int]:
        """Those that may be next: no other that is still to be done returned before its call."""
        found = []
        earliest = math.inf
        first = (~done & (done + 1)).bit_length() - 1
        for place in range(first, len(self._operations)):
            if done >> place & 1:
                continue
            one = self._operations[place]
            if one.called > earliest:
                break
            found.append(place)
            earliest = min(earliest, one.returned)
        return [place for place in found if self._operations[place].called <= earliest]

    def _by_return(self, place: int) -> float:
        return self._operations[place].returned

    def _describe(self, done: int, state: State) -> str:
        stuck = "\n".join(f"  {self._operations[place]}" for place in self._possible(done))
        return (
            f"after {done.bit_count()} of {len(self._operations)} operations, at {state},"
            f" none of these can be next:\n{stuck}"
        )
