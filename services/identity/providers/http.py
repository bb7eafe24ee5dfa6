"""Calls to one platform: bounded in time, size and number, and silent about what they carry.

aiohttp's exceptions have the whole URL in them, and the request's headers. So none of them leaves
this module, neither as a cause nor as a context: a platform's key and a player's ticket are there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from aiohttp import hdrs
from prometheus_client import Counter

from services.identity.providers.breaker import CircuitBreaker
from services.identity.providers.shape import Refused, unavailable
from shared import errors, strict_json
from shared.http.client import Document, max_age
from shared.http.service_tokens import retry_after
from shared.ids import jitter
from shared.strict_json import JsonValue

TIMEOUT = aiohttp.ClientTimeout(total=5, connect=2)
_LARGEST = 64 * 1024
_PAUSE = 0.35
_JITTER = 0.4  # so from 0.21 to 0.49 s
_LONGEST_PAUSE = 2

CALLS = Counter("playmesh_provider_calls", "Calls to platforms.", ("provider", "outcome"))

Pause = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a platform that has understood us: `json` is None where a refusal's body is none.

    `document` is the body as it is, where that was asked for.
    """

    status: int
    json: JsonValue = field(repr=False)
    document: Document | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


class _Transient(Refused):
    """May be gone a moment later. `wait` is in seconds; 0 where the platform does not say."""

    def __init__(self, reason: str, *, wait: int = 0) -> None:
        super().__init__(errors.ProviderUnavailable(retry_after=max(1, wait)), reason)
        self.wait = wait


class _Unsent(_Transient):
    """There was no connection: nothing of the request has left."""


class Unanswered(_Transient):
    """The platform may have the request, and have done what it asks for.

    `asked_twice`: by aiohttp, if it was a GET.
    """

    def __init__(self, reason: str, *, asked_twice: bool = False) -> None:
        super().__init__(reason)
        self.asked_twice = asked_twice


class _Empty(Refused):
    """A good answer without a body."""

    def __init__(self) -> None:
        super().__init__(errors.ProviderUnavailable(), "no_json")


class ProviderHttp:
    """`base_url` is a setting, https or this machine; paths are ours and never a client's."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        name: str,
        base_url: str,
        breaker: CircuitBreaker,
        *,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._session = session
        self._name = name
        self._base_url = base_url
        self._breaker = breaker
        self._pause = pause

    async def get(
        self,
        path: str,
        *,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        again: Callable[[Answer], bool] = lambda _answer: False,
        down: Callable[[Answer], bool] = lambda _answer: False,
        document: int = 0,
    ) -> Answer:
        """What is read may be asked twice: once more where the first call came to nothing, or its
        answer is one that `again` says may be another a moment later.

        An answer that is `down` says that the platform takes nobody's calls, so it counts for the
        breaker: no client may be able to cause one by what it sends. `document` asks for what is
        no JSON, of so many bytes at most.

        Raises Refused, always as ProviderUnavailable: where there is no answer in time, for 3xx,
        429 and 5xx, where a good answer is no JSON, and for one that is `down`. Any other 4xx is
        answered.
        """

        async def call() -> Answer:
            return await self._call(
                hdrs.METH_GET, path, params=params, headers=headers, down=down, document=document
            )

        try:
            answer = await call()
            if not again(answer):
                return answer
            pause = 0
        except _Transient as trouble:
            pause = trouble.wait
            if pause > _LONGEST_PAUSE or (isinstance(trouble, Unanswered) and trouble.asked_twice):
                raise
        await self._pause(pause or _PAUSE * jitter(_JITTER))
        return await call()

    async def post_form(
        self, path: str, form: Mapping[str, str], *, may_be_empty: bool = False
    ) -> Answer:
        """What is good once, such as a code, arrives once at most: it is sent again only where no
        connection was made.

        Raises Refused as `get` does, and of these Unanswered where it may be used up by now. A
        good answer without a body is one where it `may_be_empty`.
        """

        async def call() -> Answer:
            return await self._call(hdrs.METH_POST, path, data=form, may_be_empty=may_be_empty)

        try:
            return await call()
        except _Unsent:
            await self._pause(_PAUSE * jitter(_JITTER))
        return await call()

    async def post_json(
        self,
        path: str,
        body: JsonValue,
        *,
        headers: Mapping[str, str],
        again: Callable[[Answer], bool] = lambda _answer: False,
        repeatable: bool = False,
        patient: bool = False,
    ) -> Answer:
        """Sent again where no connection was made, and where an answer is one that `again` says may
        be another a moment later; one that is `repeatable` also where no good answer has come.

        Its media type is among `headers`. `patient` gives it twice the time. Raises as `post_form`.
        """
        sent = strict_json.dumps(body).encode()

        async def call() -> Answer:
            return await self._call(
                hdrs.METH_POST, path, headers=headers, data=sent, patient=patient
            )

        pause = 0
        try:
            answer = await call()
            if not again(answer):
                return answer
        except _Transient as trouble:
            pause = trouble.wait
            if pause > _LONGEST_PAUSE or not (repeatable or isinstance(trouble, _Unsent)):
                raise
        await self._pause(pause or _PAUSE * jitter(_JITTER))
        return await call()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, str] | bytes | None = None,
        patient: bool = False,
        down: Callable[[Answer], bool] = lambda _answer: False,
        may_be_empty: bool = False,
        document: int = 0,
    ) -> Answer:
        async def call() -> Answer:
            outcome = await self._exchange(
                method, path, params, headers, data, document, patient=patient
            )
            if may_be_empty and isinstance(outcome, _Empty):
                outcome = Answer(HTTPStatus.OK, None)
            if isinstance(outcome, Answer) and down(outcome):
                outcome = unavailable("down")
            label = "answered" if isinstance(outcome, Answer) else outcome.reason
            CALLS.labels(self._name, label).inc()
            if isinstance(outcome, Refused):
                raise outcome
            return outcome

        return await self._breaker.run(call)

    async def _exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        data: Mapping[str, str] | bytes | None,
        document: int,
        *,
        patient: bool,
    ) -> Answer | Refused:
        """Answers a refusal, since one that is raised here would have aiohttp's as its context."""
        timeout = self._session.timeout
        if patient and timeout.total is not None:
            timeout = aiohttp.ClientTimeout(total=2 * timeout.total, connect=timeout.connect)
        try:
            async with self._session.request(
                method,
                self._base_url + path,
                params=params,
                headers=headers,
                data=data,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if trouble := _trouble(response):
                    return trouble
                if document and response.status != HTTPStatus.OK:
                    return Answer(response.status, None)  # whatever its page is like
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > (document or _LARGEST):
                        return unavailable("too_large")
                kept = max_age(response.headers)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _lost(error)
        if document:
            return Answer(response.status, None, Document(bytes(body), kept))
        return _parse(response, bytes(body))


def _lost(error: Exception) -> _Transient:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return _Unsent("timeout")
        case TimeoutError():
            return Unanswered("timeout")
        case aiohttp.ClientConnectorError():
            return _Unsent("connection")
        case aiohttp.ClientPayloadError():
            return Unanswered("connection")
        case _:
            # Where a connection breaks before the answer begins, aiohttp has read twice already.
            return Unanswered("connection", asked_twice=True)


def _parse(response: aiohttp.ClientResponse, body: bytes) -> Answer | Refused:
    """Whatever its Content-Type says."""
    try:
        return Answer(response.status, strict_json.loads(body), headers=response.headers)
    except ValueError:
        if response.status != HTTPStatus.OK:
            return Answer(response.status, None, headers=response.headers)
        return unavailable("no_json") if body else _Empty()


def _trouble(response: aiohttp.ClientResponse) -> Refused | None:
    status, headers = response.status, response.headers
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        reason = "http_429" if status == HTTPStatus.TOO_MANY_REQUESTS else "http_5xx"
        wait = retry_after(headers) if hdrs.RETRY_AFTER in headers else 0
        return _Transient(reason, wait=wait)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return unavailable("redirect")
    return None
