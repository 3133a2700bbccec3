"""Runs the server with uvicorn until it is told to stop, and lets requests under way end first."""

from __future__ import annotations

import gc
import logging
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from t5g.server.app import Server

if TYPE_CHECKING:
    from t5g.model import Model
    from t5g.server.settings import Settings

_PATIENCE = 3  # seconds for answers to go out after requests were stopped


class _Uvicorn(uvicorn.Server):
    """Takes signals as a wish to end: no new requests, time for the others, and then the truth for those."""

    def __init__(self, config: uvicorn.Config, server: Server, tell: Callable[[str], None]) -> None:
        super().__init__(config)
        self._server = server
        self._tell = tell

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        for listener in getattr(self, "servers", []):
            for one in listener.sockets:
                host, port = one.getsockname()[:2]
                self._tell(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        engine = self._server.engine
        if self.should_exit:  # for the second time: at once
            engine.stop_all()
            return
        engine.drain()
        self.should_exit = True

    async def shutdown(self, sockets: Any = None) -> None:
        import asyncio

        self._server.engine.drain()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._server.settings.shutdown_seconds, self._server.engine.stop_all)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def serve(
    model: Model, settings: Settings, port: int, *, log_requests: bool = True, tell: Callable[[str], None]
) -> None:
    """Serve a model until SIGTERM or SIGINT.

    Parameters
    ----------
    model, settings
        As in :class:`t5g.server.app.Server`.
    port
        0: one that is free.
    log_requests
        Whether each request has its line on standard error.
    tell
        Is told where the server listens.
    """
    _log_to_stderr(log_requests)
    listener = _bound(settings.host, port)
    server = Server(model, settings)
    config = uvicorn.Config(
        server.app,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(settings.shutdown_seconds) + _PATIENCE,
    )
    gc.freeze()  # what is there by now stays: to look through it again and again would only stop requests
    try:
        _Uvicorn(config, server, tell).run(sockets=[listener])
    finally:
        listener.close()
        server.engine.close()


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"cannot listen on {host}, port {port}: {reason}. Choose another --host or --port."
        raise OSError(message) from None
    return listener


def _log_to_stderr(requests: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name, level in (
        ("t5g.server", logging.WARNING),
        ("t5g.server.access", logging.INFO if requests else logging.WARNING),
        ("uvicorn.error", logging.CRITICAL),
    ):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.propagate = False
        logger.handlers = [handler]
