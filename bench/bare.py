"""The limit of every request: an aiohttp handler that does nothing."""

import asyncio
import json

from aiohttp import web


async def _hello(_request: web.Request) -> web.Response:
    return web.json_response({"hello": "player"})


async def _serve() -> None:
    app = web.Application()
    app.router.add_get("/", _hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
