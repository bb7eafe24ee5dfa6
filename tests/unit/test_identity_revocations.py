"""The list of what is refused, when there is more than it can hold."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from structlog.testing import capture_logs

from services.identity.models import Account, Ban, Mark, Session, SessionKey
from services.identity.ports import AccountStore, SessionStore
from services.identity.revocations import Revocations
from shared.auth.revocations import MOST_MARKS, parse, session_mark, subject_mark
from shared.ids import new_id
from tests.support.clock import ManualClock

LIFETIME = timedelta(minutes=19)
CLOCK = ManualClock()
NOW = CLOCK.now()
SESSION = Session(
    key=SessionKey(new_id(), new_id()),
    device=None,
    counter=1,
    created_at=NOW,
    refreshed_at=NOW,
    idle_expires_at=NOW + LIFETIME,
    absolute_expires_at=NOW + LIFETIME,
    ended_at=NOW,
    ended_reason="signed_out",
)


@dataclass
class Lately:
    """Both stores, of which only what has happened lately is asked."""

    banned: Sequence[Account] = ()
    ended: Sequence[SessionKey] = field(default_factory=list)

    async def marked_since(self, mark: Mark, _moment: datetime, *, limit: int) -> Sequence[Account]:
        return self.banned[:limit] if mark is Mark.BANNED else ()

    async def ended_since(self, _moment: datetime, *, limit: int) -> Sequence[SessionKey]:
        return self.ended[:limit]


def session() -> SessionKey:
    return SessionKey(new_id(), new_id())


def banned() -> Account:
    return Account(new_id(), NOW, None, seen_at=NOW, bans=(Ban("cheating", NOW),))


async def listed(stores: Lately) -> tuple[frozenset[str], list[str]]:
    """The marks, and what the log says."""
    revocations = Revocations(
        cast("SessionStore", stores), cast("AccountStore", stores), LIFETIME, CLOCK
    )
    with capture_logs() as logs:
        await revocations.refresh()
    return parse(revocations.published().document), [str(line["event"]) for line in logs]


async def test_a_list_that_is_just_full_is_no_news() -> None:
    marks, events = await listed(Lately(ended=[session() for _ in range(MOST_MARKS)]))
    assert (len(marks), events) == (MOST_MARKS, [])


async def test_of_too_many_ended_sessions_the_first_are_left_out_and_the_operator_is_told() -> None:
    sessions = [session() for _ in range(MOST_MARKS + 1)]
    marks, events = await listed(Lately(ended=sessions))
    assert (len(marks), events) == (MOST_MARKS, ["revocations.too_many"])
    assert session_mark(sessions[0].session_id) in marks
    assert session_mark(sessions[-1].session_id) not in marks


async def test_bans_do_not_make_room_for_sessions() -> None:
    player = banned()
    marks, _ = await listed(Lately([player], [session() for _ in range(MOST_MARKS)]))
    assert subject_mark(player.user_id) in marks
