"""What all routes of one application share: the collection, the queue of queries, threads for the rest, the counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from fastapi import Request
from PIL.Image import Image

from mmsearch.collection import Collection
from mmsearch.server import fetching
from mmsearch.server.auth import Doorkeeper, Scope
from mmsearch.server.batching import Batcher
from mmsearch.server.errors import Problem
from mmsearch.server.live import Live, warm_up
from mmsearch.server.metrics import Metrics
from mmsearch.server.options import Options
from mmsearch.server.pictures import Box, Pictures
from mmsearch.server.queries import Call
from mmsearch.server.searcher import Found, answer_all
from mmsearch.server.watcher import Watcher

P = ParamSpec("P")
T = TypeVar("T")

IO_THREADS = 4


class Service:
    """One application's parts; made by :func:`mmsearch.server.create_app`, begun and ended with it."""

    def __init__(self, live: Live, options: Options) -> None:
        self.live, self.options = live, options
        self.metrics = Metrics()
        self.door = Doorkeeper(options.tokens)
        self.pictures = Pictures(options.limits)
        self.watcher = Watcher(live, self.metrics, options.watch_seconds)
        self.ready = False
        self.streams = 0
        self._io = ThreadPoolExecutor(IO_THREADS, thread_name_prefix="mmsearch-io")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="mmsearch-write")

    async def start(self) -> None:
        """Begin: the first query's costs are paid here."""
        limits = self.options.limits
        self.heavy = asyncio.Semaphore(1)
        """For what takes long: it must not take all threads."""
        self.searches: Batcher[Call, Found] = Batcher(
            self._answer, batch=limits.batch, queue=limits.queue, workers=self.options.workers, metrics=self.metrics
        )
        self.searches.start()
        with self.live.use() as collection:
            await self.run(warm_up, collection)
        await self.watcher.start(self._io)
        self.ready = True

    async def drain(self) -> None:
        """Say that the end is near: not ready any more, streams end, what is in hand goes on."""
        self.ready = False
        await self.watcher.stop()

    async def stop(self) -> None:
        """Answer what waits, then close everything."""
        await self.drain()
        await self.searches.stop()
        self._io.shutdown()
        self._writer.shutdown()
        self.pictures.close()
        self.live.close()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something that reads files or the catalogue, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._io, partial(function, *args, **kwargs))

    async def write(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something that writes: one at a time, in the order they came."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, partial(function, *args, **kwargs))

    def with_collection(self, function: Callable[[Collection], T]) -> T:
        """What ``function`` makes of the collection, which stays open meanwhile. For :meth:`run`."""
        with self.live.use() as collection:
            return function(collection)

    async def picture(self, data: bytes, crop: Box | None = None) -> Image:
        """A query picture, decoded."""
        return await self.run(self.pictures.open, data, crop)

    async def fetch(self, url: str) -> bytes:
        """A picture from elsewhere. Raises :class:`Problem` 403 unless fetching is switched on."""
        if not self.options.allow_fetch:
            raise Problem(403, "this service fetches nothing", hint="send the picture itself, or serve with --allow-fetch")
        return await fetching.fetch(url, max_bytes=self.options.limits.image_bytes)

    def _answer(self, calls: Sequence[Call]) -> Sequence[Found | Exception]:
        with self.live.use() as collection:
            return answer_all(collection, calls)


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    found: Service = request.app.state.service
    return found


def writing(request: Request) -> Service:
    """The service, for a request that changes something. Raises :class:`Problem` 403."""
    service = service_of(request)
    if service.options.read_only:
        raise Problem(403, "this service is read-only")
    if request.scope.get("mmsearch.scope", Scope.NONE) < Scope.WRITE:
        raise Problem(403, "this token may only read", hint="use the token for writing")
    return service
