"""A family of refresh tokens in the plainest words, and any sequence of uses on it and a store."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.identity.models import Outcome, Session, SessionKey
from services.identity.ports import SessionStore
from shared import errors
from shared.ids import new_id

OpenStore = Callable[[], AbstractAsyncContextManager[SessionStore]]

MILLISECOND = timedelta(milliseconds=1)
GRACE = timedelta(seconds=60)
IDLE = timedelta(days=7)
ABSOLUTE = timedelta(days=30)

families = st.integers(0, 1)
"""Two, so that what is done to the one is seen not to touch the other."""
pauses = st.sampled_from([0, 1, 29_999, 60_000, 60_001, 900_000]).map(lambda ms: ms * MILLISECOND)


@dataclass
class Family:
    """Of all tokens that were given, one is live; as long as it is known who has it."""

    key: SessionKey
    live: int
    live_since: datetime
    idle_until: datetime
    until: datetime
    answered_again: int = 0
    over_since: datetime | None = None
    why: str | None = None

    def lives(self, now: datetime) -> bool:
        return self.why is None and now < self.idle_until and now < self.until

    def present(self, token: int, now: datetime) -> tuple[str, int | None]:
        """What comes of it, and the token that is given."""
        if self.why is not None:
            return f"SessionEnded: {self.why}", None
        if not self.lives(now) or token > self.live:
            return "InvalidRefreshToken", None
        if token == self.live:
            self.live += 1
            self.live_since = now
            self.idle_until = now + IDLE
            self.answered_again = 0
            return "advanced", self.live
        if token == self.live - 1 and now <= self.live_since + GRACE:
            if self.answered_again == 10:
                return "TooManyRequests", None
            self.answered_again += 1
            return "replayed", self.live
        self.end(now, "refresh_reused")
        return "RefreshTokenReused", None

    def end(self, now: datetime, why: str) -> None:
        if self.why is None:
            self.over_since, self.why = now, why


class SessionStoreMachine(RuleBasedStateMachine):
    """Every answer of the store is the model's."""

    def __init__(self, open_store: OpenStore) -> None:
        super().__init__()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.families: list[Family] = []
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.store = self.runner.run(self.stack.enter_async_context(open_store()))

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    @initialize()
    def begin(self) -> None:
        self.families = [self.open(), self.open()]

    @rule(which=families)
    def log_in(self, which: int) -> None:
        self.families[which] = self.open()

    @rule(
        which=families,
        what=st.sampled_from(["grace", "grace", "idle limit", "absolute limit"]),
        milliseconds=st.integers(-1, 1),
    )
    def wait(self, which: int, what: str, milliseconds: int) -> None:
        """Until the moment at which something is over, or one just beside it."""
        family = self.families[which]
        over = {
            "grace": family.live_since + GRACE,
            "idle limit": family.idle_until,
            "absolute limit": family.until,
        }[what]
        self.now = max(self.now, over + milliseconds * MILLISECOND)

    @rule(which=families, times=st.integers(1, 12), pause=pauses)
    def refresh(self, which: int, times: int, pause: timedelta) -> None:
        """A client that does what it should."""
        for _ in range(times):
            self.present(which, 0)
        self.now += pause

    @rule(which=families, times=st.integers(1, 12))
    def ask_again(self, which: int, times: int) -> None:
        for _ in range(times):
            self.present(which, 1)

    @rule(which=families, back=st.integers(-2, 4))
    def present(self, which: int, back: int) -> None:
        """The token `back` before the live one; below zero one that was not given yet."""
        family = self.families[which]
        token = max(1, family.live - back)
        expected = family.present(token, self.now)
        assert self.runner.run(self.redeem(family.key, token)) == expected

    @rule(which=families, why=st.sampled_from(["signed_out", "ended_by_operator"]))
    def end(self, which: int, why: str) -> None:
        family = self.families[which]
        family.end(self.now, why)
        ended = self.runner.run(self.end_in_store(family.key, why))
        assert (ended.ended_at, ended.ended_reason) == (family.over_since, family.why)
        assert ended.counter == family.live

    @invariant()
    def exactly_one_token_is_live(self) -> None:
        for family in self.families:
            session = self.runner.run(self.get(family.key))
            live = [
                token
                for token in range(1, family.live + 3)
                if session.outcome(token, now=self.now, grace=GRACE) is Outcome.ADVANCED
            ]
            assert live == ([family.live] if family.lives(self.now) else [])
            assert session.counter == family.live
            assert session.replays == family.answered_again
            assert (session.ended_at, session.ended_reason) == (family.over_since, family.why)
            assert session.expires_at == min(family.idle_until, family.until)

    def open(self) -> Family:
        family = Family(
            key=SessionKey("a" * 32, new_id()),
            live=1,
            live_since=self.now,
            idle_until=self.now + IDLE,
            until=self.now + ABSOLUTE,
        )
        session = Session(
            key=family.key,
            device=None,
            counter=family.live,
            created_at=self.now,
            refreshed_at=self.now,
            idle_expires_at=family.idle_until,
            absolute_expires_at=family.until,
        )

        async def create() -> None:
            await self.store.create(session)

        self.runner.run(create())
        return family

    async def get(self, key: SessionKey) -> Session:
        session = await self.store.get(key)
        assert session is not None
        return session

    async def end_in_store(self, key: SessionKey, why: str) -> Session:
        session = await self.store.end(key, now=self.now, reason=why)
        assert session is not None
        return session

    async def redeem(self, key: SessionKey, token: int) -> tuple[str, int | None]:
        try:
            redeemed = await self.store.redeem(
                key, counter=token, now=self.now, idle_expires_at=self.now + IDLE, grace=GRACE
            )
        except errors.SessionEnded as ended:
            return f"SessionEnded: {ended.reason}", None
        except errors.PlaymeshError as refusal:
            return type(refusal).__name__, None
        return redeemed.outcome.value, redeemed.session.counter
