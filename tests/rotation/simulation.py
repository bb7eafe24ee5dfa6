"""Weeks of a mesh in seconds: every event is simulated that can make a difference.

The mesh takes naps. It may when no store has changed for half an hour, which is longer than every
cache and every token lasts, when nobody is going to disturb it, and when a rehearsal shows that a
rotator would still do nothing at the end: what is due stays due, so it would do nothing before the
end either. Meanwhile all caches hold the same set, so only those refreshes are simulated that a
check comes after. That they do hold the same is asserted.
"""

import math
import random  # noqa: TID251 - seeded: a simulation can be run again
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from joserfc.jwk import ECKey

from services.keyrotator.rotator import Rotator
from shared import errors
from shared.auth.jwk_set import parse_jwk_set
from tests.rotation.parties import (
    ACCEPTED_FOR,
    KEY_REFRESH,
    MAX_AGE,
    TTL,
    Edge,
    Identity,
    RotatorProcess,
    Verifier,
)
from tests.rotation.timeline import Timeline
from tests.rotation.worlds import POLICY
from tests.support.calls import header_of
from tests.support.clock import ManualClock
from tests.support.interruptions import Crash
from tests.support.issuer import Issuer
from tests.support.memory_stores import MemoryKeyRingStore, MemoryPublicDocumentStore

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

REFUSED_AFTER = {
    "ours": POLICY.revocation.total_seconds(),
    "strangers": KEY_REFRESH + MAX_AGE + TTL,
}
"""Seconds from a key's removal until the last verifier of a kind must refuse it.

Ours by what an operator who revokes a key is told. A stranger's set may come from an identity that
was about to refresh, through an edge that has kept it to the end, and is kept to the end again.
"""

_SETTLED = 30 * MINUTE
_NAPS = 6 * HOUR, HOUR, 10 * MINUTE  # the shortest outlasts all that is repeated while awake
_TOKEN_IN_SLEEP = 2 * HOUR
_ROTATORS, _IDENTITIES, _EDGES = 5, 3, 4
_TICK = 60.0
_UP = 10 * MINUTE, 3 * DAY
_DOWN = MINUTE, 2 * DAY
_LONGEST_OUTAGE = DAY
_IDENTITY_DIES = 1 / 20  # at a refresh
_BUSY = 15 * MINUTE  # after a change


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated, in seconds since the start.

    `rotations` and `revocations` are an operator's; from `outage` on, all rotators are down for
    six days. A token is issued every `pace` seconds after a change, far fewer in between.
    """

    seed: int
    days: int
    verifiers: int
    pace: float
    rotations: Sequence[float] = ()
    revocations: Sequence[float] = ()
    outage: float | None = None


def _none_yet() -> dict[str, float]:
    return dict.fromkeys(REFUSED_AFTER, 0.0)


@dataclass
class Life:
    """What became of a key: moments of the simulation; the last signature is the last possible."""

    published: float
    first_signature: float | None = None
    last_signature: float | None = None
    removed: float | None = None
    is_revoked: bool = False
    last_acceptance: dict[str, float] = field(default_factory=_none_yet)
    """Seconds from the removal, by kind of verifier."""


@dataclass
class Findings:
    tokens: int = 0
    checks: int = 0
    restarts: int = 0
    crashes: int = 0
    refused: int = 0
    """Tokens that identity issued with a key that nobody revoked."""
    rescued: int = 0
    """Such tokens that had a verifier look for a key beside its schedule."""
    refused_as_revoked: int = 0
    accepted_late: int = 0
    slowest_to_learn: dict[str, float] = field(default_factory=_none_yet)
    """Seconds from a key's publication, by kind of verifier."""
    keys: dict[str, Life] = field(default_factory=dict)

    @property
    def last_acceptance(self) -> Mapping[str, float]:
        lives = self.keys.values()
        return {kind: max(life.last_acceptance[kind] for life in lives) for kind in REFUSED_AFTER}

    @property
    def rotations(self) -> int:
        return sum(life.first_signature is not None for life in self.keys.values()) - 1


class Simulation:
    def __init__(self, plan: Plan) -> None:
        random.seed(plan.seed)  # for the jitter of the code under test
        self.found = Findings()
        self._plan = plan
        self._dice = dice = random.Random(plan.seed)  # noqa: S311 - decides nothing secret
        self._time = Timeline()
        self._clock = clock = self._time.clock
        self._ring = ring = MemoryKeyRingStore()
        self._public = public = MemoryPublicDocumentStore()
        self._rotators = [RotatorProcess(ring, public, clock, dice) for _ in range(_ROTATORS)]
        self._identities = [Identity(ring, public, clock) for _ in range(_IDENTITIES)]
        self._edges = [Edge(self._origin, clock) for _ in range(_EDGES)]
        self._verifiers = [
            Verifier(self._edges[number // 2 % _EDGES], clock, is_ours=number % 2 == 0)
            for number in range(plan.verifiers)
        ]
        self._stolen: dict[str, Issuer] = {}
        self._document: bytes | None = None
        self._version: str | None = None
        self._changed_at = 0.0
        self._is_awake = False

    async def run(self) -> Findings:
        await Rotator(self._ring, self._public, POLICY, self._clock).tick()
        self._look_at_stores()
        for process in self._rotators:
            await self._start(process)
        for identity in self._identities:
            await identity.signer.refresh()
        for moment in self._plan.rotations:
            self._time.at(moment, self._rotate)
        for moment in self._plan.revocations:
            self._time.at(moment, self._revoke)
        if self._plan.outage is not None:
            self._time.at(self._plan.outage, self._stop_all)
        self._time.at(0, self._go_on)
        await self._time.run(self._plan.days * DAY)
        return self.found

    # Asleep and awake

    async def _go_on(self) -> None:
        nap = await self._nap()
        if nap and self._is_awake:
            self._fall_asleep()
        elif not nap and not self._is_awake:
            await self._wake_up()
        if nap and self._dice.random() < nap / _TOKEN_IN_SLEEP:
            self._time.after(self._dice.uniform(0, nap), self._issue)
        self._time.after(nap or min(_NAPS), self._go_on)

    async def _nap(self) -> float | None:
        """For how long the mesh may sleep; None: it must be awake."""
        if self._time.now - self._changed_at < _SETTLED:
            return None
        for nap in _NAPS:
            end = self._time.now + nap
            if not self._is_disturbed_before(end) and await self._is_idle_until(end):
                return nap
        return None

    def _is_disturbed_before(self, end: float) -> bool:
        deeds = (*self._plan.rotations, *self._plan.revocations)
        return any(self._time.now <= moment < end for moment in deeds)

    async def _is_idle_until(self, end: float) -> bool:
        if not any(process.rotator or process.up_at <= end for process in self._rotators):
            return True
        clock = ManualClock(self._clock.now())
        clock.advance(end - self._time.now)
        ring = MemoryKeyRingStore(self._ring.stored)
        public = MemoryPublicDocumentStore(self._public.published)
        await Rotator(ring, public, POLICY, clock).tick()
        return ring.stored is self._ring.stored and public.published is self._public.published

    def _fall_asleep(self) -> None:
        self._is_awake = False
        assert self._public.published
        document = self._public.published.document
        known = parse_jwk_set(document).keys()
        late = sum(identity.jwk_set() != document for identity in self._identities)
        late += sum(verifier.known() != known for verifier in self._verifiers)
        assert not late, f"{late} have not got the set of half an hour ago"

    async def _wake_up(self) -> None:
        """Everybody at a random phase of a cache that holds what it held when it fell asleep."""
        self._is_awake = True
        for process in self._rotators:
            if process.rotator:
                self._keep_ticking(process, process.rotator, self._dice.uniform(0, _TICK))
        for identity in self._identities:
            await identity.signer.refresh()
            self._keep_refreshing_identity(identity, self._dice.uniform(0, KEY_REFRESH))
        for edge in self._edges:
            edge.fetch(self._dice.uniform(0, MAX_AGE))
        for verifier in self._verifiers:
            await verifier.refresh()
            self._keep_refreshing(verifier, self._dice.uniform(0, verifier.delay()))
        await self._keep_issuing()

    # Rotators and their operator

    async def _start(self, process: RotatorProcess) -> None:
        process.start()
        rotator = process.rotator
        assert rotator

        async def die() -> None:
            if process.rotator is rotator:
                self._let_die(process)

        self._time.after(self._between(*_UP), die)
        if self._is_awake:
            self._keep_ticking(process, rotator, 0)

    def _let_die(self, process: RotatorProcess) -> None:
        down = self._between(*_DOWN)
        is_last = not any(other.rotator for other in self._rotators if other is not process)
        self._stop(process, min(down, _LONGEST_OUTAGE) if is_last else down)

    def _stop(self, process: RotatorProcess, down: float) -> None:
        self.found.restarts += 1
        process.rotator = None
        process.up_at = up_at = round(self._time.now + down, 3)

        async def come_up() -> None:
            if process.rotator is None and process.up_at == up_at:
                await self._start(process)

        self._time.at(up_at, come_up)

    async def _stop_all(self) -> None:
        for process in self._rotators:
            self._stop(process, 6 * DAY)

    def _keep_ticking(self, process: RotatorProcess, rotator: Rotator, after: float) -> None:
        async def tick() -> None:
            if self._is_awake and process.rotator is rotator:
                await self._tick(process)
                self._keep_ticking(process, rotator, _TICK * self._dice.uniform(0.9, 1.1))

        self._time.after(after, tick)

    async def _tick(self, process: RotatorProcess) -> None:
        if not await process.tick():
            self.found.crashes += 1
            self._let_die(process)
        self._look_at_stores()

    async def _rotate(self) -> None:
        await self._operate(lambda rotator: rotator.request_rotation())

    async def _revoke(self) -> None:
        assert self._ring.stored
        assert self._ring.stored.ring.active
        key_id = self._ring.stored.ring.active.key_id
        self.found.keys[key_id].is_revoked = True
        await self._operate(lambda rotator: rotator.revoke(key_id))
        assert self.found.keys[key_id].removed == self._time.now, "the revoked key is published"

    async def _operate(self, deed: Callable[[Rotator], Awaitable[object]]) -> None:
        """As an operator who asks one rotator after the other until one has answered."""
        for process in self._rotators:
            if process.rotator is None:
                await self._start(process)
            assert process.rotator
            try:
                await deed(process.rotator)
            except Crash:
                self.found.crashes += 1
                self._let_die(process)
            except errors.Unavailable:
                pass
            else:
                self._look_at_stores()
                return
        raise AssertionError("no rotator answers")

    def _look_at_stores(self) -> None:
        stored, published = self._ring.stored, self._public.published
        if stored and stored.version != self._version:
            self._version = stored.version
            self._changed_at = self._time.now
            for key in stored.ring.keys:
                if key.private_jwk and key.key_id not in self._stolen:
                    stolen = ECKey.import_key(dict(key.private_jwk))
                    self._stolen[key.key_id] = Issuer(self._clock, stolen)
        if published and published.document != self._document:
            self._document = published.document
            self._changed_at = self._time.now
            self._note_keys(parse_jwk_set(published.document))

    def _note_keys(self, public: Mapping[str, object]) -> None:
        for key_id in reversed(list(public)):  # the oldest first
            self.found.keys.setdefault(key_id, Life(published=self._time.now))
        for key_id, life in self.found.keys.items():
            if key_id not in public and life.removed is None:
                life.removed = self._time.now
                self._use_stolen(key_id)

    # Identities

    def _origin(self) -> bytes:
        return self._dice.choice(self._identities).jwk_set()

    def _keep_refreshing_identity(self, identity: Identity, after: float) -> None:
        is_restart = self._dice.random() < _IDENTITY_DIES

        async def refresh() -> None:
            if not self._is_awake:
                return
            self._note_signature(identity.signs_with())
            if is_restart:
                self.found.restarts += 1
                identity.restart()
            await identity.signer.refresh()
            self._note_signature(identity.signs_with())
            self._keep_refreshing_identity(identity, KEY_REFRESH)

        self._time.after(self._dice.uniform(0, after) if is_restart else after, refresh)

    def _note_signature(self, key_id: str) -> None:
        life = self.found.keys[key_id]
        life.last_signature = self._time.now
        if life.first_signature is None:
            life.first_signature = self._time.now

    async def _keep_issuing(self) -> None:
        if self._is_awake:
            await self._issue()
            is_busy = self._time.now - self._changed_at < _BUSY
            pace = self._plan.pace if is_busy else 10 * self._plan.pace
            self._time.after(self._dice.uniform(0, 2 * pace), self._keep_issuing)

    async def _issue(self) -> None:
        """A token that three verifiers get to see, now and again, and until the last moment."""
        identity = self._dice.choice(self._identities)
        if not self._is_awake:
            await identity.signer.refresh()
        token = identity.issue()
        self.found.tokens += 1
        key_id: str = header_of(token)["kid"]
        self._note_signature(key_id)
        gone = math.floor(self._time.now) + ACCEPTED_FOR
        panel = self._dice.sample(self._verifiers, 3)
        for moment in (
            self._time.now,
            self._dice.uniform(self._time.now, gone),
            self._dice.uniform(self._time.now, gone),
            gone - 60 - self._dice.uniform(0.001, 1),
            gone - self._dice.uniform(0.001, 1),
        ):
            self._plan_check(moment, self._dice.choice(panel), token, key_id)

    # Verifiers

    def _keep_refreshing(self, verifier: Verifier, after: float) -> None:
        async def refresh() -> None:
            if not self._is_awake:
                return
            before = verifier.known()
            await verifier.refresh()
            for key_id in verifier.known() - before:
                took = self._time.now - self.found.keys[key_id].published
                slowest = self.found.slowest_to_learn
                slowest[verifier.kind] = max(slowest[verifier.kind], took)
            self._keep_refreshing(verifier, verifier.delay())

        self._time.after(after, refresh)

    def _plan_check(self, moment: float, verifier: Verifier, token: str, key_id: str) -> None:
        async def check() -> None:
            rescues = verifier.rescues
            is_accepted = await self._is_accepted(verifier, token, key_id)
            if self.found.keys[key_id].is_revoked:
                self.found.refused_as_revoked += not is_accepted
            else:
                self.found.refused += not is_accepted
                self.found.rescued += verifier.rescues - rescues

        self._time.at(moment, check)

    async def _is_accepted(self, verifier: Verifier, token: str, key_id: str) -> bool:
        if not self._is_awake:
            await verifier.refresh_if_old()
        self.found.checks += 1
        try:
            await verifier.tokens.verify(token)
        except errors.InvalidToken:
            return False
        life, kind = self.found.keys[key_id], verifier.kind
        if life.removed is not None:
            late = self._time.now - life.removed
            life.last_acceptance[kind] = late
            self.found.accepted_late += late > REFUSED_AFTER[kind]
        return True

    def _use_stolen(self, key_id: str) -> None:
        """Somebody who has a key that was removed tries it on everybody, until all refuse it."""
        token = self._stolen[key_id].token()
        until = self._time.now + max(REFUSED_AFTER.values()) + MINUTE

        def try_again(verifier: Verifier, after: float) -> None:
            async def attempt() -> None:
                is_accepted = await self._is_accepted(verifier, token, key_id)
                if self._time.now < until:
                    try_again(verifier, self._dice.uniform(0, 10 if is_accepted else 120))

            self._time.after(after, attempt)

        for verifier in self._verifiers:
            try_again(verifier, self._dice.uniform(0, 10))

    def _between(self, least: float, most: float) -> float:
        """Minutes as likely as days."""
        return math.exp(self._dice.uniform(math.log(least), math.log(most)))
