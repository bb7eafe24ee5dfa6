"""A DynamoDB whose replies to writes get lost, and whose client then sends them again."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from shared.aws import Client

_WRITES = ("put_item", "update_item", "delete_item", "batch_write_item", "transact_write_items")

Meanwhile = Callable[[], Awaitable[object]]


class SentTwice:
    """Every write is done, its reply lost, and the same call done again, as botocore does.

    `meanwhile` is done in between, for the next write only; with `among`, for the next of these.
    """

    def __init__(self, client: Client, among: Collection[str] = _WRITES) -> None:
        self._client = client
        self._among = among
        self.meanwhile: Meanwhile | None = None
        self.writes = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        operation = getattr(self._client, name)
        if name not in _WRITES:
            return operation

        async def twice(**parameters: object) -> Mapping[str, Any]:
            self.writes += 1
            meanwhile = None
            if name in self._among:
                meanwhile, self.meanwhile = self.meanwhile, None
            await asyncio.gather(operation(**parameters), return_exceptions=True)
            if meanwhile:
                await meanwhile()
            answer: Mapping[str, Any] = await operation(**parameters)
            return answer

        return twice


class NeverAnswers:
    """Every write is done, and no attempt gets a reply."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        operation = getattr(self._client, name)
        if name not in _WRITES:
            return operation

        async def lost(**parameters: object) -> Mapping[str, Any]:
            await operation(**parameters)
            raise ReadTimeoutError(endpoint_url="http://dynamodb")

        return lost


class Interrupted:
    """`meanwhile` is done just before the next `operation`; with `crash` that never happens.

    After a crash nothing reaches the store any more: who wrote is gone.
    """

    def __init__(self, client: Client, operation: str) -> None:
        self._client = client
        self._operation = operation
        self.meanwhile: Meanwhile | None = None
        self.crash = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        operation = getattr(self._client, name)
        if name != self._operation:
            return operation

        async def interrupted(**parameters: object) -> Mapping[str, Any]:
            if self.crash:
                raise EndpointConnectionError(endpoint_url="http://dynamodb")
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile:
                await meanwhile()
            answer: Mapping[str, Any] = await operation(**parameters)
            return answer

        return interrupted


class Contended:
    """The first `times` transactions are cancelled for `reason`; the others are done.

    With `done_before` the first was done nevertheless, and its reply lost: what is cancelled is
    its second attempt.
    """

    def __init__(
        self, client: Client, times: int, reason: str, *, done_before: bool = False
    ) -> None:
        self._client = client
        self._times = times
        self._reason = reason
        self._done_before = done_before
        self.transactions = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        return getattr(self._client, name)

    async def transact_write_items(self, **parameters: object) -> Mapping[str, Any]:
        self.transactions += 1
        if self._done_before and self.transactions == 1:
            await self._client.transact_write_items(**parameters)
        if self.transactions <= self._times:
            refusal = {
                "Error": {"Code": "TransactionCanceledException", "Message": self._reason},
                "CancellationReasons": [{"Code": self._reason}, {"Code": "None"}],
            }
            raise ClientError(refusal, "TransactWriteItems")
        answer: Mapping[str, Any] = await self._client.transact_write_items(**parameters)
        return answer


class LosesReplies:
    """Every `every`-th write is done, and its reply lost for good."""

    def __init__(self, client: Client, every: int) -> None:
        self._client = client
        self._every = every
        self._writes = 0
        self.lost = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        operation = getattr(self._client, name)
        if name not in _WRITES:
            return operation

        async def write(**parameters: object) -> Mapping[str, Any]:
            self._writes += 1
            loses = self._writes % self._every == 0
            answer: Mapping[str, Any] = await operation(**parameters)
            if loses:
                self.lost += 1
                raise ReadTimeoutError(endpoint_url="http://dynamodb")
            return answer

        return write
