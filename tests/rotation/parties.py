"""Who takes part in a simulated mesh: the real parts, each with the life that a process has."""

import random  # noqa: TID251 - seeded: a simulation can be run again
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import timedelta

from services.identity.access_tokens import AccessTokens
from services.keyrotator.rotator import Rotator
from shared import errors
from shared.auth.jwks_client import JwksClient
from shared.auth.jwt_claims import LEEWAY
from shared.auth.verifier import Expectations, TokenVerifier
from shared.clock import Clock
from shared.http.client import Document
from shared.ids import new_id
from shared.keys.ports import KeyRingStore, PublicDocumentStore
from shared.keys.signer import Signer, SignerPolicy
from tests.rotation.worlds import POLICY
from tests.support.calls import header_of
from tests.support.interruptions import Crash, Interruption, When
from tests.support.issuer import AUDIENCE, ISSUER

MAX_AGE = 60.0
TTL = 300.0
KEY_REFRESH = 60.0
TOKEN_TTL = 900.0
ACCEPTED_FOR = TOKEN_TTL + LEEWAY.total_seconds()

_WRITES = frozenset(("replace", "publish"))
_MOST_WRITES = 4
_SIGNER = SignerPolicy(
    known_after=timedelta(seconds=MAX_AGE + TTL),
    token_lifetime=timedelta(seconds=ACCEPTED_FOR),
)
_EXPECTED = Expectations(
    issuer=ISSUER,
    player_audience=AUDIENCE,
    service_audience=None,
    longest_lifetime=timedelta(seconds=TOKEN_TTL),
)


class RotatorProcess:
    """Dies at one of its writes, or the reply to that is lost; or when it is killed before."""

    def __init__(
        self, ring: KeyRingStore, public: PublicDocumentStore, clock: Clock, dice: random.Random
    ) -> None:
        self._ring = ring
        self._public = public
        self._clock = clock
        self._dice = dice
        self.rotator: Rotator | None = None
        self.up_at = 0.0
        """When it comes up again, as long as it is down."""

    def start(self) -> None:
        bad_luck = Interruption(
            _WRITES,
            at=self._dice.randint(1, _MOST_WRITES),
            when=self._dice.choice(list(When)),
            loss=lambda: errors.Unavailable("the reply was lost"),
        )
        ring, public = bad_luck.around(self._ring), bad_luck.around(self._public)
        self.rotator = Rotator(ring, public, POLICY, self._clock)

    async def tick(self) -> bool:
        """Whether it has survived."""
        assert self.rotator
        try:
            await self.rotator.tick()
        except errors.Unavailable:
            return True
        except Crash:
            return False
        return True


class Identity:
    """Signs, and is the origin of the JWK Set."""

    def __init__(self, ring: KeyRingStore, public: PublicDocumentStore, clock: Clock) -> None:
        self._ring = ring
        self._public = public
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        self.signer = Signer(self._ring, self._public, _SIGNER, self._clock)
        self._tokens = AccessTokens(
            self.signer, ISSUER, AUDIENCE, timedelta(seconds=TOKEN_TTL), self._clock
        )

    def issue(self) -> str:
        return self._tokens.for_player(new_id(), session_id=new_id(), scope="guest")

    def signs_with(self) -> str:
        """The id of the key that a token of this moment has."""
        key_id: str = header_of(self.signer.sign({}, typ="at+jwt"))["kid"]
        return key_id

    def jwk_set(self) -> bytes:
        assert self.signer.published
        return self.signer.published.document


class Edge:
    """One of a CDN's: keeps an answer for as long as it may, whichever identity gave it."""

    def __init__(self, origin: Callable[[], bytes], clock: Clock) -> None:
        self._origin = origin
        self._clock = clock
        self._held = b""
        self._until = 0.0

    def get(self) -> bytes:
        if self._clock.monotonic() >= self._until:
            self.fetch(MAX_AGE)
        return self._held

    def fetch(self, keep: float) -> None:
        self._held = self._origin()
        self._until = self._clock.monotonic() + keep


class Verifier:
    """Ours refreshes as JwksClient asks for; a stranger keeps every set for the full TTL.

    What an unknown key makes the client fetch is what it has already: that path is for the
    unforeseen, so no rotation may need it. `rescues` counts how often it was tried.
    """

    def __init__(self, edge: Edge, clock: Clock, *, is_ours: bool) -> None:
        self._edge = edge
        self._is_ours = is_ours
        self._is_due = False
        self._held = Document(b"", None)
        self._refresh_at = 0.0
        self._clock = clock
        self.client = JwksClient(self._fetch, ttl=TTL, clock=clock)
        self.tokens = TokenVerifier(self.client, _EXPECTED, clock)
        self.kind = "ours" if is_ours else "strangers"
        self.rescues = 0

    async def refresh(self) -> None:
        self._is_due = True
        assert await self.client.refresh()
        self._is_due = False
        self._refresh_at = self._clock.monotonic() + self.delay()

    async def refresh_if_old(self) -> None:
        if self._clock.monotonic() >= self._refresh_at:
            await self.refresh()

    def delay(self) -> float:
        """Seconds from a refresh to the next."""
        return self.client.delay() if self._is_ours else TTL

    def known(self) -> AbstractSet[str]:
        return self.client._keys.keys()

    async def _fetch(self) -> Document:
        if self._is_due:
            self._held = Document(self._edge.get(), MAX_AGE if self._is_ours else None)
        else:
            self.rescues += 1
        return self._held
