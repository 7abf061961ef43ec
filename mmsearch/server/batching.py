"""Many queries at the same time become one call: the model and the index do sixteen for little more than one.

Nothing waits for company: a worker that is free takes what is there. Batches form by themselves while it is busy.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mmsearch.server.errors import busy
from mmsearch.server.metrics import Metrics

Call = TypeVar("Call")
Answer = TypeVar("Answer")


class CallerGone(Exception):
    """Whoever asked has hung up; there is nobody to answer."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[Call]):
    call: Call
    answer: asyncio.Future[Any]
    since: float

    def leave(self) -> None:
        """The caller has gone."""
        if not self.answer.done():
            self.answer.set_exception(CallerGone())


class Batcher(Generic[Call, Answer]):
    """Collects calls and hands them to ``run``, in a thread, up to ``batch`` at a time.

    ``run`` returns an answer or an exception for each call. At most ``queue`` calls wait; one more is refused with 503. A
    call whose caller has gone leaves the queue. Lives in one event loop, from :meth:`start` to :meth:`stop`.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Call]], Sequence[Answer | Exception]],
        *,
        batch: int,
        queue: int,
        workers: int,
        metrics: Metrics,
    ) -> None:
        self._run, self._batch, self._limit, self._metrics = run, batch, queue, metrics
        self._waiting: deque[_Entry[Call]] = deque()
        self._there = asyncio.Event()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="mmsearch-search")
        self._workers, self._tasks = workers, set[asyncio.Task[None]]()
        self._stopping = False

    def start(self) -> None:
        """Begin to work."""
        self._tasks = {asyncio.create_task(self._work()) for _ in range(self._workers)}

    async def stop(self) -> None:
        """Answer what is waiting, then end."""
        self._stopping = True
        self._there.set()
        await asyncio.gather(*self._tasks)
        self._pool.shutdown()

    async def ask(
        self, call: Call, watch: Callable[[Callable[[], None]], Callable[[], None]]
    ) -> tuple[Answer, dict[str, object]]:
        """The answer to one call, and what to note of it in the log (batch size, milliseconds in the queue).

        ``watch`` is given what to call when the caller leaves, and returns what ends that watch; once the caller has left,
        :class:`CallerGone` is raised. Raises what the call raised.
        """
        if len(self._waiting) >= self._limit or self._stopping:
            self._metrics.refused.inc()
            raise busy("too many queries are waiting")
        entry = _Entry(call, asyncio.get_running_loop().create_future(), time.perf_counter())
        self._waiting.append(entry)
        self._metrics.queue.set(len(self._waiting))
        self._there.set()
        stop = watch(entry.leave)
        try:
            answer: tuple[Answer, dict[str, object]] = await entry.answer
            return answer
        except (CallerGone, asyncio.CancelledError) as error:
            if isinstance(error, CallerGone):
                self._metrics.left.inc()
            if entry in self._waiting:
                self._waiting.remove(entry)
                self._metrics.queue.set(len(self._waiting))
            raise
        finally:
            stop()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._there.wait()
            entries = self._take()
            if not entries:
                if self._stopping:
                    return
                self._there.clear()
                continue
            began = time.perf_counter()
            try:
                answers = await loop.run_in_executor(self._pool, self._run, [entry.call for entry in entries])
            except Exception as error:
                answers = [error] * len(entries)
            self._metrics.batch.observe(len(entries))
            self._metrics.batch_seconds.observe(time.perf_counter() - began)
            for entry, answer in zip(entries, answers, strict=True):
                waited = began - entry.since
                self._metrics.waiting.observe(waited)
                if entry.answer.done():
                    continue
                if isinstance(answer, Exception):
                    entry.answer.set_exception(answer)
                else:
                    entry.answer.set_result((answer, {"batch": len(entries), "queue_ms": round(waited * 1000, 2)}))

    def _take(self) -> list[_Entry[Call]]:
        taken: list[_Entry[Call]] = []
        while self._waiting and len(taken) < self._batch:
            entry = self._waiting.popleft()
            if not entry.answer.done():
                taken.append(entry)
        self._metrics.queue.set(len(self._waiting))
        return taken
