"""A service of your own beside the mesh: a chat that takes the mesh's word for who is speaking.

    python -m examples.chat                 while `make run` runs in another terminal

It listens on 8090, its probes and metrics on 9090. Its settings are the mesh's: PLAYMESH_ISSUER,
PLAYMESH_JWKS_URL, PLAYMESH_PORT and so on.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from aiohttp import web

from shared import process
from shared.auth.middleware import CLAIMS, JWKS_CLIENT, public, require_scope, trust
from shared.env import Env
from shared.http.app import new_app
from shared.http.bodies import read_object
from shared.http.responses import json_response
from shared.http.server import serve
from shared.settings import ServerSettings, TrustSettings

MESSAGES = web.AppKey("MESSAGES", list[dict[str, str]])

routes = web.RouteTableDef()


@routes.get("/about")
@public
async def about(request: web.Request) -> web.Response:
    return json_response({"messages": len(request.app[MESSAGES])})


@routes.post("/messages")
async def say(request: web.Request) -> web.Response:
    text = (await read_object(request)).text("text", longest=500)
    message = {"from": request[CLAIMS].subject, "text": text}
    messages = request.app[MESSAGES]
    messages.append(message)
    del messages[:-100]
    return json_response(message, status=201)


@routes.get("/messages")
async def listen(request: web.Request) -> web.Response:
    return json_response({"messages": request.app[MESSAGES]})


@routes.delete("/messages")
@require_scope("chat:moderate")
async def wipe(request: web.Request) -> web.Response:
    request.app[MESSAGES].clear()
    return web.Response(status=204)


@dataclass(frozen=True)
class Settings:
    server: ServerSettings
    trust: TrustSettings

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        env = Env(environ)
        settings = cls(
            server=ServerSettings.read(env, port=8090, admin_port=9090),
            trust=TrustSettings.read(env),
        )
        env.check()
        return settings


async def run(settings: Settings) -> None:
    app = new_app(largest_body=4096)
    app[MESSAGES] = []
    app.add_routes(routes)
    trust(app, service="chat", **asdict(settings.trust))
    await serve(app, settings.server, ready=[app[JWKS_CLIENT].not_ready])


if __name__ == "__main__":
    sys.exit(process.run("chat", Settings.from_env, lambda settings: settings.server, run))
