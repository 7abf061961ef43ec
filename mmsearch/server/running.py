"""Runs an application: one process, until it is told to end, and then what is in hand is finished first."""

from __future__ import annotations

import asyncio
import errno
import gc
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
SETTLE_AGAIN = (10.0, 50.0)
"""Seconds from one :func:`settle` to the next after that at the start: the first queries load more."""


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


def settle() -> None:
    """Takes all that is loaded now out of the garbage collector's sight, for the life of the process.

    Modules, schemas and the model are some 200,000 objects that stay to the end. Looking through them again and again held up
    every request for tens of milliseconds: without that a service under load spent 7% less CPU, and its p99 halved. What is
    garbage already is collected first; objects without circles among them are freed as before.
    """
    gc.collect()
    gc.freeze()


class Server(uvicorn.Server):
    """Says that it ends before it ends, so that streams close and load balancers look elsewhere."""

    owns_process = False
    """Whether the process is there for this server alone: then it settles, and the process for query pictures is started before
    the first of them comes.
    """

    def __init__(self, config: uvicorn.Config, service: Service, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._service, self._started = service, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.owns_process:
            settle()
            self._settling = asyncio.create_task(_settle_again())
            self._warming = asyncio.create_task(self._service.run(self._service.pictures.warm_up))
        if self.started:
            self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._service.drain()
        await super().shutdown(sockets)


async def _settle_again() -> None:
    for seconds in SETTLE_AGAIN:
        await asyncio.sleep(seconds)
        settle()


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
    server.owns_process = True
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve([place]))
    return server.started
