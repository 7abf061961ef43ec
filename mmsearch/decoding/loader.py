"""Pictures ready for the model: read, hashed, decoded and prepared in processes that may be killed.

:class:`Loader` is what ingest uses. No file can hang it or take it down: a picture that kills its worker, or takes too long, is
tried once more in a fresh one and then comes back as an error, and all others arrive exactly once.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.decoding.pool import Pool
from mmsearch.decoding.process import Task
from mmsearch.decoding.worker import Outcome, Settings, perform
from mmsearch.errors import ImageError, InputError, MMSearchError, UsageError
from mmsearch.images import MAX_MEGAPIXELS, Reason
from mmsearch.protocols import ImagePreparer
from mmsearch.types import ImageInfo

__all__ = ["Job", "Loaded", "Loader", "LoaderStats", "default_workers"]

WINDOW: Final = 256
"""Pictures on their way at most, waiting ones included: two batches of 128, so that none waits while the model runs one."""

WINDOW_BYTES: Final = 64 << 20
"""What the encoded bytes handed in by ``data``, and the pixels not yet taken, may hold of the main process's memory."""


class Job(NamedTuple):
    """One picture to load: an absolute ``path``, or the encoded ``data``. ``token`` comes back in :class:`Loaded`.

    ``expect``: sha256 digests for which the pixels are not needed, as the same bytes are known. It travels with every
    job: keep it to those that can be meant, such as the items of the same size.
    """

    token: Any
    path: str | None = None
    data: bytes | None = None
    expect: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a job: pixels and info, or an error, or only the digest where that was expected.

    ``pixels`` is the preparer's uint8 ``(h, w, 3)``; ``digest`` the sha256 of the file; ``size`` and ``mtime_ns`` are of
    the file as it was read (``mtime_ns`` is ``None`` for ``data``); ``seconds`` is how long a worker was busy with it.
    """

    token: Any
    digest: bytes | None
    pixels: NDArray[np.uint8] | None
    info: ImageInfo | None
    error: InputError | None
    size: int | None
    mtime_ns: int | None
    seconds: float


class LoaderStats(NamedTuple):
    """Where the time went, in seconds since the start. Small ``starved`` means that decoding is not the bottleneck.

    ``busy``: workers reading and decoding, summed over them; ``idle``: workers with nothing to do between two pictures
    (the consumer is slow); ``starved``: the consumer waiting for the next picture; ``restarts``: workers replaced.
    """

    loaded: int
    failed: int
    busy: float
    idle: float
    starved: float
    restarts: int


def default_workers() -> int:
    """As many workers as there are processors for this process; 0 where a Python program cannot be started."""
    if getattr(sys, "frozen", False) or not sys.executable:
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Loader:
    """A pool of decode workers for one preparer. Close it, or use it as a context manager; it may load many times.

    ``workers=0`` decodes in the calling thread: nothing to start for a handful of pictures, but neither a timeout nor a
    memory limit. Otherwise processes start as jobs come (0.15 s each, side by side), each held to ``memory_mb`` above
    what it needs itself and each picture to ``timeout`` seconds. Workers are programs of their own: the caller's main
    module is not imported again, and needs no ``__name__`` guard. ``preparer`` is pickled to them. What decoders print
    is dropped, unless ``MMSEARCH_WORKER_STDERR`` is set in the environment.

    >>> with Loader(preparer, workers=2) as loader:                    # doctest: +SKIP
    ...     for loaded in loader.load(Job(path, path) for path in paths):
    ...         print(loaded.token, loaded.error or loaded.pixels.shape)
    """

    def __init__(
        self,
        preparer: ImagePreparer,
        *,
        workers: int | None = None,
        max_megapixels: float = MAX_MEGAPIXELS,
        timeout: float = 60.0,
        memory_mb: int = 2048,
        gps: bool = False,
        window: int = WINDOW,
    ) -> None:
        if workers is not None and workers < 0 or window < 1 or timeout <= 0 or memory_mb < 1:
            raise UsageError("workers must be 0 or more; window, timeout and memory_mb must be positive")
        self.workers = default_workers() if workers is None else workers
        self._settings = Settings(preparer, max_megapixels, gps)
        self._limits = {"size": self.workers, "timeout": timeout, "memory_mb": memory_mb}
        self._window = window
        self._pool: Pool | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._loaded = self._failed = 0
        self._busy = self._starved = 0.0

    def load(self, jobs: Iterable[Job]) -> Iterator[Loaded]:
        """Each job's :class:`Loaded`, in the order in which they are done. ``jobs`` is read as results are taken.

        Raises :class:`MMSearchError` when workers cannot be started or the preparer cannot be sent to them. Leaving the
        iteration early drops what is on its way.
        """
        if self._closed:
            raise UsageError("this loader is closed")
        results = self._in_process(jobs) if self.workers == 0 else self._in_workers(jobs)
        for loaded in results:
            self._busy += loaded.seconds
            self._loaded += loaded.error is None
            self._failed += loaded.error is not None
            yield loaded

    def stats(self) -> LoaderStats:
        """Where the time went so far, over all loads."""
        idle, restarts = (self._pool.idle_seconds, self._pool.restarts) if self._pool else (0.0, 0)
        return LoaderStats(self._loaded, self._failed, self._busy, idle, self._starved, restarts)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that live now."""
        return self._pool.pids if self._pool else []

    def close(self) -> None:
        """End the workers. Idempotent; takes milliseconds."""
        self._closed = True
        if self._pool:
            self._pool.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _in_process(self, jobs: Iterable[Job]) -> Iterator[Loaded]:
        for job in jobs:
            began = time.perf_counter()
            try:
                outcome = perform(self._settings, job.path, job.data, job.expect)
            except MemoryError:
                message = "decoding needs more memory than there is"
                outcome = Outcome(None, None, None, ImageError(Reason.CRASHED, message), None, None)
            yield Loaded(job.token, *outcome, seconds=time.perf_counter() - began)

    def _in_workers(self, jobs: Iterable[Job]) -> Iterator[Loaded]:
        pool = self._started()
        sink: queue.SimpleQueue[tuple[Task, Outcome | MMSearchError, float]] = queue.SimpleQueue()
        left = threading.Event()
        source: Iterator[Job] | None = iter(jobs)
        waiting, held, window = 0, 0, self._window
        try:
            while True:
                # what is done goes first when the jobs come slowly, as long as the workers have enough in hand
                while source and waiting < window and held < WINDOW_BYTES and (sink.empty() or waiting < window // 2):
                    job = next(source, None)
                    if job is None:
                        source = None
                        break
                    pool.submit(Task(job.token, job.path, job.data, job.expect, sink, left.is_set))
                    waiting += 1
                    held += len(job.data or b"")
                if not waiting:
                    return
                task, outcome, seconds = self._next(sink)
                waiting -= 1
                held -= len(task.data or b"")
                if isinstance(outcome, MMSearchError):
                    raise outcome
                if outcome.pixels is not None:
                    window = min(self._window, max(4 * self.workers, WINDOW_BYTES // max(outcome.pixels.nbytes, 1)))
                yield Loaded(task.token, *outcome, seconds=seconds)
        finally:
            left.set()

    def _next(
        self, sink: queue.SimpleQueue[tuple[Task, Outcome | MMSearchError, float]]
    ) -> tuple[Task, Outcome | MMSearchError, float]:
        try:
            return sink.get_nowait()
        except queue.Empty:
            began = time.perf_counter()
            result = sink.get()
            self._starved += time.perf_counter() - began
            return result

    def _started(self) -> Pool:
        with self._lock:
            if self._pool is None:
                self._pool = Pool(self._settings, **self._limits)  # type: ignore[arg-type]
                weakref.finalize(self, self._pool.stop)
            return self._pool
