"""Puts an application together."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from mmsearch import __version__
from mmsearch.collection import Collection
from mmsearch.server import documentation, errors
from mmsearch.server.gate import Gate
from mmsearch.server.live import Live
from mmsearch.server.options import Options
from mmsearch.server.routes import ROUTERS
from mmsearch.server.service import Service
from mmsearch.server.shortway import ShortWay

__all__ = ["create_app"]

_NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False}
"""FastAPI would look in the environment for somebody who wants spans, at every request; ``/metrics`` tells what is counted here."""


def create_app(collection: Collection | str | os.PathLike[str], options: Options) -> FastAPI:
    """An ASGI application that serves one collection.

    From a path, the collection is opened here and closed with the application, and switched when another takes its place
    (:class:`mmsearch.server.live.Live`); one that is open already stays the caller's. Many applications may live in one
    process. Raises what :meth:`Collection.open` raises.
    """
    service = Service(Live(collection), options)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="mmsearch",
        version=__version__,
        description=documentation.ABOUT,
        lifespan=life,
        docs_url=None,  # those pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        responses=documentation.PROBLEMS,
        telemetry=_NO_TELEMETRY,
    )
    app.state.service = service
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    documentation.install(app)
    app.add_middleware(ShortWay)
    app.add_middleware(Gate, options=options, door=service.door, metrics=service.metrics)
    return app
