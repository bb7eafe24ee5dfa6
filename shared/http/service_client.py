"""Calls to another service of the mesh, as this service and not as a player."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from shared import errors, strict_json
from shared.http.client import is_tamper_proof
from shared.http.service_tokens import TokenSource, retry_after
from shared.strict_json import JsonValue

_WITHIN = 2.0
# An answer may be a long one, but must not pause for longer than this.
_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=1, sock_read=10)
_LARGEST = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes = field(repr=False)

    def json(self) -> JsonValue:
        """Raises Unavailable where it is none."""
        try:
            return strict_json.loads(self.body)
        except ValueError:
            raise errors.Unavailable("the other service answered no JSON") from None


@dataclass(frozen=True, slots=True)
class Stream:
    """`chunks` can be read once; it raises Unavailable where the answer breaks off."""

    status: int
    headers: CIMultiDictProxy[str]
    chunks: AsyncIterator[bytes] = field(repr=False)


class ServiceClient:
    """Calls `base_url` with tokens for `audience` that carry `scope`.

    What the other service says about the request is the caller's business: 2xx, 304 and 4xx are
    answered as they come. That it cannot be reached, is overloaded, redirects, or takes no token
    of ours is Unavailable, with the other side's Retry-After; the message has its host and the
    path, never a query or a token. Raises ValueError as ServiceTokens does.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        tokens: TokenSource,
        base_url: str,
        audience: str,
        scope: str,
        *,
        allow_http: bool = False,
    ) -> None:
        if not allow_http and not is_tamper_proof(base_url):
            raise ValueError(
                "base_url must be https, or http to this machine;"
                " allow_http=True says that the network between is trusted"
            )
        self._session = session
        self._tokens = tokens
        self._base_url = base_url.rstrip("/")
        self._audience = audience
        self._scope = scope

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: JsonValue = None,
        headers: Mapping[str, str] | None = None,
        within: float = _WITHIN,
        largest: int = _LARGEST,
    ) -> Reply:
        """The whole answer, of at most `largest` bytes, `within` so many seconds.

        `path` begins with a slash and is percent-encoded; the query is in `params`.
        """
        try:
            async with asyncio.timeout(within):
                response = await self._answer(method, path, params, json, headers)
                async with response:
                    body = bytearray()
                    async for chunk in _chunks(response):
                        body += chunk
                        if len(body) > largest:
                            raise errors.Unavailable(f"{self._name(path)} answered too much")
                    return Reply(response.status, response.headers, bytes(body))
        except TimeoutError:
            raise errors.Unavailable(f"{self._name(path)} took too long") from None

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: JsonValue = None,
        headers: Mapping[str, str] | None = None,
        within: float = _WITHIN,
    ) -> AsyncIterator[Stream]:
        """An answer that begins `within` so many seconds and may go on for as long as it takes."""
        try:
            async with asyncio.timeout(within):
                response = await self._answer(method, path, params, json, headers)
        except TimeoutError:
            raise errors.Unavailable(f"{self._name(path)} took too long") from None
        async with response:
            yield Stream(response.status, response.headers, _chunks(response))

    async def _answer(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        json: JsonValue,
        headers: Mapping[str, str] | None,
    ) -> aiohttp.ClientResponse:
        # Without the slash it could go on with the host's name; a query would be in messages.
        if not path.startswith("/") or "?" in path or "#" in path:
            raise ValueError("a path begins with a slash and has no query")
        data = None if json is None else strict_json.dumps(json).encode()

        async def send(token: str) -> aiohttp.ClientResponse:
            merged = CIMultiDict(headers or {})
            merged[hdrs.AUTHORIZATION] = f"Bearer {token}"
            if data is not None:
                merged.setdefault(hdrs.CONTENT_TYPE, "application/json")
            try:
                return await self._session.request(
                    method,
                    self._base_url + path,
                    params=params,
                    data=data,
                    headers=merged,
                    allow_redirects=False,
                    timeout=_TIMEOUT,
                )
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                # Its own message has the URL, and its request the token.
                reason = f"{self._name(path)} cannot be reached: {type(error).__name__}"
                raise errors.Unavailable(reason) from None

        token = await self._tokens.token(self._audience, self._scope)
        response = await send(token)
        if response.status == HTTPStatus.UNAUTHORIZED:
            # Nothing was done, so that even a write may be sent again.
            response.release()
            self._tokens.forget(token)
            another = await self._tokens.token(self._audience, self._scope)
            if another == token:
                raise errors.Unavailable(f"{self._name(path)} refuses our token")
            response = await send(another)
        if not _is_answer(response.status):
            response.release()
            raise errors.Unavailable(
                f"{self._name(path)} answered {response.status}",
                retry_after=retry_after(response.headers),
            )
        return response

    def _name(self, path: str) -> str:
        return f"{URL(self._base_url).host}{path}"


def _is_answer(status: int) -> bool:
    ours = (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS)
    return (status // 100 in (2, 4) and status not in ours) or status == HTTPStatus.NOT_MODIFIED


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = f"{response.url.host}{response.url.path} broke off: {type(error).__name__}"
        raise errors.Unavailable(reason) from None
