"""Access tokens: JWTs of the profile of RFC 9068, for players and for services."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from shared.auth.claims import SERVICE_PREFIX
from shared.clock import Clock, to_seconds
from shared.ids import new_id


class TokenSigner(Protocol):
    def require_key(self) -> None:
        """Raises Unavailable where `sign` would: asked before anything is consumed or made."""
        ...

    def sign(self, claims: Mapping[str, object], *, typ: str) -> str:
        """A compact JWS. Raises Unavailable as long as there is no key."""
        ...


@dataclass(frozen=True, slots=True)
class AccessTokens:
    """Issues tokens that live `ttl`. `player_client` is the client id of the game itself."""

    signer: TokenSigner
    issuer: str
    audience: str
    ttl: timedelta
    clock: Clock
    player_client: str = "game"

    def require_key(self) -> None:
        self.signer.require_key()

    def for_player(
        self, user_id: str, *, session_id: str, scope: str, bans: Sequence[str] = ()
    ) -> str:
        """`bans` are the parts of the game that the player is kept from, for services to honour."""
        return self._issue(
            subject=user_id,
            audience=self.audience,
            client_id=self.player_client,
            scope=scope,
            more={"sid": session_id, **({"bans": sorted(bans)} if bans else {})},
        )

    def for_service(self, client_id: str, *, audience: str, scope: str) -> str:
        return self._issue(
            subject=SERVICE_PREFIX + client_id,
            audience=audience,
            client_id=client_id,
            scope=scope,
            more={},
        )

    @property
    def expires_in(self) -> int:
        """Seconds."""
        return int(self.ttl.total_seconds())

    def _issue(
        self,
        *,
        subject: str,
        audience: str,
        client_id: str,
        scope: str,
        more: Mapping[str, object],
    ) -> str:
        now = to_seconds(self.clock.now())
        claims = {
            "iss": self.issuer,
            "sub": subject,
            "aud": audience,
            "exp": now + self.expires_in,
            "nbf": now,
            "iat": now,
            "jti": new_id(),
            "client_id": client_id,
            "scope": scope,
            **more,
        }
        return self.signer.sign(claims, typ="at+jwt")
