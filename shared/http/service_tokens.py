"""Tokens for calls from one service to another, from the token endpoint of identity.

The request path never waits while a token holds: it is renewed ahead of its end, by one request
however many callers there are, and a token endpoint that is away is noticed only when the last
token has expired.
"""

import asyncio
import math
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote_plus

import aiohttp
import structlog
from aiohttp import hdrs

from shared import errors, strict_json
from shared.clock import Clock, SystemClock
from shared.http.client import is_tamper_proof

_log = structlog.get_logger()

_TIMEOUT = aiohttp.ClientTimeout(total=2, connect=1)
_LARGEST = 64 * 1024
_BEARER = re.compile(r"[!-~]{1,8192}")
_ERROR_NAME = re.compile(r"[a-z_]{1,40}")
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# Parts of a token's life, and seconds before its end: whichever comes first, but not at once where
# a token lives for little more than those seconds.
_RENEWED_AFTER = 0.8
_RENEWED_AHEAD = 60.0
_NEVER_RENEWED_BEFORE = 0.5
_LONGEST_PAUSE = 60
_PAUSE_AFTER_REFUSAL = 10  # what was refused once will be again, until somebody changes a setting
_COOL_DOWN = 30.0


class TokenSource(Protocol):
    """Whoever may issue tokens itself need not ask for them over HTTP."""

    async def token(self, audience: str, scope: str) -> str:
        """A bearer token that `audience` takes now. Raises Unavailable."""
        ...

    def forget(self, token: str) -> None:
        """Its target has refused it. The next one may be the same, where it is too new to blame."""
        ...


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """RFC 6749 section 4.4, with the header of section 2.3.1."""

    client_id: str
    secret: str = field(repr=False)

    async def parameters(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.secret)}"
        basic = f"Basic {b64encode(pair.encode()).decode()}"
        return {"grant_type": "client_credentials"}, {hdrs.AUTHORIZATION: basic}


@dataclass(frozen=True, slots=True)
class TokenFile:
    """RFC 7523 section 2.1: the token of a Kubernetes service account, projected into a file.

    It is read for each request, since the kubelet replaces it.
    """

    path: Path

    async def parameters(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        try:
            assertion = (await asyncio.to_thread(self.path.read_text, "ascii")).strip()
        except (OSError, ValueError):
            raise errors.Unavailable(f"cannot read the file {self.path.name}") from None
        return {"grant_type": _JWT_BEARER, "assertion": assertion}, {}


class _Slot:
    """The token for one audience and scope, by the monotonic clock."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.expires_at = 0.0
        self.renew_at = 0.0
        self.ask_at = 0.0  # not before: the last request has failed
        self.forgotten_at = -_COOL_DOWN
        self.in_flight: asyncio.Task[None] | None = None

    def holds(self, now: float) -> bool:
        return self.token is not None and now < self.expires_at


class ServiceTokens:
    """A TokenSource that asks `token_url`, such as `https://id.example.com/oauth2/token`.

    It keeps one token for each audience and scope, which are the program's, never a client's.
    `session` is the caller's, and is closed after `close`. Raises ValueError where the credential
    would cross a network in plain http; `allow_http` says that the network between is trusted.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        token_url: str,
        credential: ClientSecret | TokenFile,
        *,
        clock: Clock | None = None,
        allow_http: bool = False,
    ) -> None:
        if not allow_http and not is_tamper_proof(token_url):
            raise ValueError(
                "token_url must be https, or http to this machine;"
                " allow_http=True says that the network between is trusted"
            )
        self._session = session
        self._token_url = token_url
        self._credential = credential
        self._clock = clock or SystemClock()
        self._slots: dict[tuple[str, str], _Slot] = {}

    async def token(self, audience: str, scope: str) -> str:
        """The token at hand, or the one that a request brings; Unavailable where neither holds."""
        slot = self._slots.setdefault((audience, scope), _Slot())
        now = self._clock.monotonic()
        if slot.in_flight is None and now >= max(slot.renew_at, slot.ask_at):
            # It survives its callers: cancelling one of them does not fail the others.
            slot.in_flight = asyncio.create_task(self._renew(slot, audience, scope))
        if slot.in_flight is not None and not slot.holds(now):
            await asyncio.wait((slot.in_flight,))
            now = self._clock.monotonic()
        if slot.token is None or not slot.holds(now):
            pause = max(1, math.ceil(slot.ask_at - now))
            raise errors.Unavailable("no service token is at hand", retry_after=pause)
        return slot.token

    def forget(self, token: str) -> None:
        """At most once in 30 s: a target that refuses every token must not cost one each time."""
        now = self._clock.monotonic()
        for slot in self._slots.values():
            if slot.token == token and now >= slot.forgotten_at + _COOL_DOWN:
                slot.token, slot.renew_at, slot.forgotten_at = None, now, now

    async def close(self) -> None:
        """End what is under way."""
        tasks = [slot.in_flight for slot in self._slots.values() if slot.in_flight is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _renew(self, slot: _Slot, audience: str, scope: str) -> None:
        asked_at = self._clock.monotonic()
        try:
            token, life = await self._ask(audience, scope)
        except errors.Unavailable as error:
            slot.ask_at = self._clock.monotonic() + error.retry_after
            _log.warning("service_token.failed", audience=audience, reason=str(error))
        except Exception:  # noqa: BLE001 - a bug of ours, too, must back off
            slot.ask_at = self._clock.monotonic() + 1
            _log.exception("service_token.failed", audience=audience)
        else:
            renew_after = min(_RENEWED_AFTER * life, life - _RENEWED_AHEAD)
            slot.token, slot.expires_at = token, asked_at + life
            slot.renew_at = asked_at + max(_NEVER_RENEWED_BEFORE * life, renew_after)
        finally:
            slot.in_flight = None

    async def _ask(self, audience: str, scope: str) -> tuple[str, int]:
        """A token and the seconds that it lives. Raises Unavailable."""
        form, headers = await self._credential.parameters()
        form = {**form, "resource": audience, "scope": scope}
        try:
            async with self._session.post(
                self._token_url,
                data=form,
                headers=headers,
                allow_redirects=False,
                timeout=_TIMEOUT,
            ) as response:
                body = await _read(response)
                if response.status != 200:  # noqa: PLR2004 - HTTP 200
                    raise _refusal(response, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Its own message has the URL, and its request the credential.
            reason = f"the token endpoint cannot be reached: {type(error).__name__}"
            raise errors.Unavailable(reason) from None
        return _issued(body)


def retry_after(headers: Mapping[str, str]) -> int:
    """Whole seconds that the other side asks for, at most a minute; 1 where it does not say.

    RFC 9110 section 10.2.3 has whole ones only; Discord asks for fractions, too.
    """
    value = headers.get(hdrs.RETRY_AFTER, "")
    asks = re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", value)
    seconds = math.ceil(float(value)) if asks else 1
    return min(max(1, seconds), _LONGEST_PAUSE)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _LARGEST:
            raise errors.Unavailable("the token endpoint answered too much")
    return bytes(body)


def _refusal(response: aiohttp.ClientResponse, body: bytes) -> errors.Unavailable:
    """Its name of RFC 6749 section 5.2 is for the log; its description may quote anything."""
    name = _members(body).get("error")
    told = f", {name}" if isinstance(name, str) and _ERROR_NAME.fullmatch(name) else ""
    return errors.Unavailable(
        f"the token endpoint answered {response.status}{told}",
        retry_after=_PAUSE_AFTER_REFUSAL if name else retry_after(response.headers),
    )


def _issued(body: bytes) -> tuple[str, int]:
    members = _members(body)
    token, kind, life = (members.get(one) for one in ("access_token", "token_type", "expires_in"))
    if not isinstance(token, str) or not _BEARER.fullmatch(token):
        raise errors.Unavailable("the token endpoint answered no token")
    # A token of a kind that one does not know must not be used (RFC 6749 section 7.1).
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise errors.Unavailable("the token endpoint answered another kind of token")
    if type(life) is not int or life < 1:
        raise errors.Unavailable("the token endpoint answered a token without a life")
    return token, life


def _members(body: bytes) -> Mapping[str, strict_json.JsonValue]:
    try:
        value = strict_json.loads(body)
    except ValueError:
        value = None
    return value if isinstance(value, Mapping) else {}
