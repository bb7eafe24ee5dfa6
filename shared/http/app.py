"""The application factory: every public listener of the mesh behaves the same at its edges."""

from collections.abc import Mapping

from aiohttp import web

from shared import errors
from shared.http.middleware import bounded, cors, observe
from shared.http.problems import Describe, problems


def new_app(
    *,
    largest_body: int,
    describe: Mapping[type[errors.PlaymeshError], Describe] | None = None,
    most_under_way: int = 256,
) -> web.Application:
    """`largest_body` is in bytes, after decompression; beyond it the answer is 413.

    Both together bound the memory that requests can take.
    """
    return web.Application(
        middlewares=[observe, cors, problems(describe), bounded(most_under_way)],
        client_max_size=largest_body,
    )
