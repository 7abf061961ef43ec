"""Runs an application: one process, until it is told to end, and then what is in hand is finished first."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from mmsearch.errors import UsageError
from mmsearch.server.protocol import Protocol
from mmsearch.server.service import Service

DRAIN_SECONDS = 30
"""How long requests in hand may take when the service ends."""
CONNECTIONS = 1024


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises :class:`UsageError` that names the trouble."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
    except OSError as error:
        server.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} of {host} is taken", hint="name another with --port, or 0 for a free one") from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise UsageError(f"port {port} needs more rights", hint="ports from 1024 on are free to use") from None
        raise UsageError(f"cannot listen on {host}: {error.strerror or error}", hint="--host 127.0.0.1 is this machine") from None
    except (OverflowError, UnicodeError):
        server.close()
        raise UsageError(f"cannot listen on {host} port {port}") from None
    return server


class Server(uvicorn.Server):
    """Says that it ends before it ends, so that streams close and load balancers look elsewhere."""

    warms = False
    """Whether the process for query pictures is started before the first of them comes."""

    def __init__(self, config: uvicorn.Config, service: Service, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._service, self._started = service, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._started()
        if self.started and self.warms:
            self._warming = asyncio.create_task(self._service.run(self._service.pictures.warm_up))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._service.drain()
        await super().shutdown(sockets)


def make(app: FastAPI, *, started: Callable[[], None] = lambda: None) -> Server:
    """The server of an application, not running yet. ``started`` is called when it answers."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        http=Protocol,
        proxy_headers=False,  # who asks is who connects; a header may say anything
    )
    return Server(config, app.state.service, started)


def serve(app: FastAPI, place: socket.socket, *, started: Callable[[], None] = lambda: None) -> bool:
    """Serve on a bound socket until SIGTERM or SIGINT. Returns whether it came up."""
    server = make(app, started=started)
    server.warms = True
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve([place]))
    return server.started
