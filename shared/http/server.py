"""A process's life: two listeners, ready when it can serve, finished when what it began is."""

import asyncio
import signal
from collections.abc import Callable, Sequence

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.settings import ServerSettings

_log = structlog.get_logger()

Ready = Callable[[], str | None]
"""None when the service can do its work, otherwise the reason why not."""

# aiohttp spends this time twice, waiting and then cancelling; Kubernetes grants 30 s in all.
_SHUTDOWN_TIMEOUT = 10.0
_KEEPALIVE = 75.0  # longer than a load balancer's idle time-out, or it answers 502
_BACKLOG = 1024


async def serve(app: web.Application, settings: ServerSettings, *, ready: Sequence[Ready]) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests that are under way.

    Liveness touches nothing; readiness asks `ready`, which must be local (no store, no network).
    Raises OSError where a port cannot be had.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def not_stopping() -> str | None:
        return "stopping" if stopping.is_set() else None

    admin = _runner(admin_app([not_stopping, *ready]))
    public = _runner(app)
    try:
        await public.setup()
        await admin.setup()
        port = await _listen(public, settings.host, settings.port)
        admin_port = await _listen(admin, settings.host, settings.admin_port)
        _log.info("listening", host=settings.host, port=port, admin_port=admin_port)
        await stopping.wait()
        _log.info("stopping")
    finally:
        await public.cleanup()
        await admin.cleanup()
        _log.info("stopped")


def admin_app(ready: Sequence[Ready]) -> web.Application:
    """For probes and scrapers, on a listener of its own: nothing of it is public."""

    async def livez(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        reasons = [reason for check in ready if (reason := check())]
        if reasons:
            return web.Response(status=503, text="".join(f"{reason}\n" for reason in reasons))
        return web.Response(text="ok\n")

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app


def _runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=_KEEPALIVE,
        shutdown_timeout=_SHUTDOWN_TIMEOUT,
    )


async def _listen(runner: web.AppRunner, host: str, port: int) -> int:
    site = web.TCPSite(runner, host, port, backlog=_BACKLOG)
    await site.start()
    bound: int = runner.addresses[-1][1]
    return bound
