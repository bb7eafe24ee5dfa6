"""Stand-ins of AWS behind real sockets."""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from shared import aws
from shared.aws import Client
from shared.dynamodb import TableDefinition, create_table
from shared.ids import new_id

DYNAMODB_LOCAL = os.environ.get("PLAYMESH_DYNAMODB_LOCAL")  # noqa: TID251 - of tests only
"""The folder of DynamoDB Local, where its tests are wanted."""

REAL_ACCOUNT = os.environ.get("PLAYMESH_TEST_AWS") == "1"  # noqa: TID251 - of tests only
"""Whether the tests are wanted that make and remove things in a real account."""


@contextlib.asynccontextmanager
async def client(service: str, endpoint: str, region: str = "eu-west-1") -> AsyncIterator[Client]:
    """A client that cannot reach the real AWS."""
    async with aws.client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ) as opened:
        yield opened


def environ(endpoint: str) -> dict[str, str]:
    """What a process needs that keeps everything in AWS, for which `endpoint` stands in."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "PLAYMESH_BACKEND": "aws",
        "PLAYMESH_JWKS_BUCKET": "playmesh-test",
        "PLAYMESH_SAVES_BUCKET": "playmesh-test-saves",
    }


_NOTHING: Mapping[str, Mapping[str, Any]] = {
    "get_item": {},
    "query": {"Items": []},
    "scan": {"Items": []},
}


class EventuallyConsistent:
    """Answers a read that does not ask for consistency as if nothing had been written yet.

    AWS may do so; its stand-ins never do. An index cannot be read otherwise, and AWS refuses to
    be asked for it, so what is read of one is answered as it is.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - boto3's
        operation = getattr(self._client, name)
        if name not in _NOTHING:
            return operation

        async def read(**parameters: object) -> Mapping[str, Any]:
            consistent, index = parameters.get("ConsistentRead"), parameters.get("IndexName")
            assert not (consistent and index), "AWS refuses it"
            answer: Mapping[str, Any] = await operation(**parameters)
            return answer if consistent or index else _NOTHING[name]

        return read


async def new_tables(client: Client, *definitions: TableDefinition) -> str:
    """Create tables, and answer the prefix that nobody else has."""
    prefix = f"test-{new_id()}-"
    for definition in definitions:
        await create_table(client, prefix, definition)
    return prefix


@contextlib.contextmanager
def moto() -> Iterator[str]:
    """The URL of a moto server."""
    app = _OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _OneAtATime:
    """moto checks a condition and writes in two steps, which two threads may interleave.

    In AWS no two writes of one item do.
    """

    def __init__(self, app: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]) -> None:
        self._app = app
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with self._lock:
            return list(self._app(environ, start_response))


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections, as AWS does

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - werkzeug's name
        pass


@contextlib.contextmanager
def dynamodb_local(folder: Path) -> Iterator[str]:
    """The URL of DynamoDB Local; before 2.2 it lacks ReturnValuesOnConditionCheckFailure."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(  # noqa: S603 - what the environment names
        [  # noqa: S607
            "java",
            "-Djava.library.path=DynamoDBLocal_lib",
            "-cp",
            "DynamoDBLocal.jar:DynamoDBLocal_lib/*",
            "com.amazonaws.services.dynamodbv2.local.main.ServerRunner",
            "-inMemory",
            "-port",
            str(port),
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _listens(port):
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise RuntimeError(f"DynamoDB Local ended with {process.wait(0.1)}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
