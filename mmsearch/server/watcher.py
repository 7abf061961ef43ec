"""Looks now and then whether the collection has changed, by whomever: for metrics, for live progress, for the switch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import Any

from mmsearch.errors import MMSearchError
from mmsearch.server.live import Live
from mmsearch.server.logs import event
from mmsearch.server.metrics import Metrics


class Watcher:
    """Polls the collection every ``seconds`` and tells those who listen."""

    def __init__(self, live: Live, metrics: Metrics, seconds: float) -> None:
        self._live, self._metrics, self._seconds = live, metrics, seconds
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._generation = -1
        self._stopping = False
        self.now: dict[str, Any] = {}
        """The status that was seen last, as JSON."""

    async def start(self, executor: Executor) -> None:
        """Look once, then go on looking until :meth:`stop`."""
        self._executor = executor
        await self._look()
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop looking; those who listen come to their end."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
        async with self._changed:
            self._changed.notify_all()

    async def changes(self) -> AsyncIterator[dict[str, Any]]:
        """The status now, and again each time it changes; ``{}`` every 15 s in which nothing did."""
        seen: dict[str, Any] = {}

        def news() -> bool:
            return self.now is not seen or self._stopping

        while not self._stopping:
            if self.now is not seen:
                seen = self.now
                yield seen
            try:
                async with asyncio.timeout(15), self._changed:
                    await self._changed.wait_for(news)
            except TimeoutError:
                yield {}

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self._look()
            except (MMSearchError, OSError) as error:  # a collection that is just being replaced
                event("watch failed", level=logging.WARNING, error=str(error))

    async def _look(self) -> None:
        fresh = await asyncio.get_running_loop().run_in_executor(self._executor, self._read)
        if fresh is not None:
            async with self._changed:
                self.now = fresh
                self._changed.notify_all()

    def _read(self) -> dict[str, Any] | None:
        """The status if it is another than the one known."""
        if self._live.check():
            self._metrics.switched.inc()
            self._generation = -1
            event("switched to another collection")
        with self._live.use() as collection:
            generation, writing = collection.generation, collection.is_being_written()
            if generation == self._generation and writing == self.now.get("writing"):
                return None
            status = collection.status()
        self._generation = generation
        for kind, number in (("image", status.images), ("text", status.texts)):
            self._metrics.items.labels(kind).set(number)
        if status.updated is not None:
            self._metrics.updated.set(status.updated)
        return {
            "v": 1,
            "images": status.images,
            "texts": status.texts,
            "failures": status.failures,
            "bytes": status.bytes,
            "updated": status.updated,
            "generation": generation,
            "writing": writing,
            "rate": self._pace(status.images + status.texts, writing),
            "index": status.index,
            "reason": status.reason,
            "model": status.info.model,
            "dim": status.info.dim,
            "fingerprint": status.info.fingerprint,
        }

    def _pace(self, items: int, writing: bool) -> float | None:
        """Items a second that a running writer adds, ``None`` where none runs."""
        now = time.monotonic()
        before, self._last = getattr(self, "_last", (now, items)), (now, items)
        if not writing or now <= before[0]:
            return None
        return round(max(0.0, (items - before[1]) / (now - before[0])), 1)
