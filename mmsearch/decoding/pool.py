"""The worker processes behind :class:`mmsearch.decoding.loader.Loader`: feeds them, takes their results, replaces the dead.

One thread owns the processes. The rest of the program hands tasks in through a deque and gets them back through each
task's sink, so that a slow consumer neither delays a timeout nor starves a worker.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import threading
import time
from collections import deque
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mmsearch.decoding.process import Task, Worker, WorkerDied
from mmsearch.decoding.worker import DEPTH, OUT_OF_MEMORY, Outcome, Settings
from mmsearch.errors import ImageError, InputError, MMSearchError
from mmsearch.images import Reason
from mmsearch.types import ImageInfo

TRIES: Final = 2
"""A picture over which this many workers died is given up."""

_NAP: Final = 0.005
_START_TIMEOUT: Final = 60.0
_START_FAILURES: Final = 3


class Pool:
    """Up to ``size`` workers, started as tasks come. :meth:`submit` from any thread; :meth:`stop` ends everything.

    ``idle_seconds`` is the time that workers had nothing in hand between two tasks, ``restarts`` how many died.
    """

    def __init__(self, settings: Settings, *, size: int, timeout: float, memory_mb: int) -> None:
        self._verbose = bool(os.environ.get("MMSEARCH_WORKER_STDERR"))
        config = {
            "settings": pickle.dumps(settings, protocol=5),
            "memory_mb": memory_mb,
            "timeout": timeout * TRIES,
            "verbose": self._verbose,
        }
        self._config = pickle.dumps(config, protocol=5)
        self._size, self._timeout, self._memory_mb = size, timeout, memory_mb
        self._backlog: deque[Task] = deque()
        self._again: deque[Task] = deque()  # met by a worker that died, or taken back for want of a free one
        self._workers: list[Worker] = []
        self._start_failures = 0
        self._broken: MMSearchError | None = None
        self._hungry, self._stopping = False, False
        self._pace = 0.0  # seconds that a picture takes, lately
        self.idle_seconds, self.restarts = 0.0, 0
        self._selector = selectors.DefaultSelector()
        self._wake_out, self._wake_in = os.pipe()
        for descriptor in (self._wake_out, self._wake_in):
            os.set_blocking(descriptor, False)
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="mmsearch-loader", daemon=True)
        self._thread.start()

    # --- called from outside ------------------------------------------------------------------------------------

    def submit(self, task: Task) -> None:
        """Queue a task. Raises the error that broke the pool, if one did."""
        self._backlog.append(task)
        if self._broken:
            raise self._broken
        if self._hungry:
            self._wake()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that live now."""
        return [worker.process.pid for worker in list(self._workers)]

    def stop(self) -> None:
        """Kill the workers and end the thread; whoever still waits gets an error. Idempotent; takes milliseconds."""
        with self._closing:
            if self._stopping:
                return
            self._stopping = True
            self._wake()
            self._thread.join(timeout=30)
            os.close(self._wake_in)
            os.close(self._wake_out)

    def _wake(self) -> None:
        self._hungry = False
        with contextlib.suppress(BlockingIOError):  # full: it wakes anyway
            os.write(self._wake_in, b"!")

    # --- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        error = MMSearchError("the loader was closed while pictures were on their way")
        try:
            while not self._stopping:
                self._dispatch()
                for key, _ in self._selector.select(self._patience()):
                    if key.data is None:
                        os.read(self._wake_out, 4096)
                    else:
                        self._converse(key.data)
                self._end_overdue()
                if self._again or self._backlog:
                    # All are busy: let some results gather. To wake for each costs the workers 5% where they have no
                    # processor to spare; half of what they have in hand still lies before them when this ends.
                    time.sleep(min(_NAP, DEPTH / 2 * self._pace))
        except MMSearchError as caught:
            error = caught
        except Exception as caught:  # a fault of ours must not leave the consumer waiting for ever
            error = MMSearchError(f"the decode pool failed: {type(caught).__name__}: {caught}")
        finally:
            self._broken = error
            left = [task for worker in self._workers for task in worker.tasks]
            for task in (*left, *self._again, *self._backlog):
                task.sink.put((task, error, 0.0))
            for worker in self._workers:
                worker.end()
            self._workers.clear()
            self._selector.close()

    def _dispatch(self) -> None:
        """Give tasks out evenly, starting one more worker while all that run are busy."""
        self._hungry = False
        while True:
            while task := self._next():
                free = self._free()
                if free is None:
                    self._again.appendleft(task)
                    return  # a result, or a death, comes back here
                free.give(task)
                self._push(free)
            self._hungry = True
            if not self._backlog:  # else one was submitted before the flag was up, and nobody will wake us for it
                return

    def _next(self) -> Task | None:
        while self._again or self._backlog:
            task = (self._again or self._backlog).popleft()
            if not task.cancelled():
                return task
        return None

    def _free(self) -> Worker | None:
        least = min(self._workers, key=lambda worker: len(worker.tasks), default=None)
        if len(self._workers) < self._size and (least is None or least.tasks):
            least = Worker(self._config, verbose=self._verbose)
            self._workers.append(least)
            self._selector.register(least.results_fd, selectors.EVENT_READ, least)
        return least if least is not None and len(least.tasks) < DEPTH else None

    def _push(self, worker: Worker) -> None:
        try:
            more = worker.send()
        except WorkerDied:
            return  # its other pipe tells
        watched = worker.tasks_fd in self._selector.get_map()
        if more and not watched:
            self._selector.register(worker.tasks_fd, selectors.EVENT_WRITE, worker)
        elif watched and not more:
            self._selector.unregister(worker.tasks_fd)

    def _converse(self, worker: Worker) -> None:
        if worker not in self._workers:
            return  # it died over an earlier event of the same round
        try:
            for head, body in worker.receive():
                self._take(worker, head, body)
            self._push(worker)
        except (WorkerDied, ValueError, KeyError, TypeError, IndexError):  # ended, or does not speak our language
            self._bury(worker, Reason.CRASHED)

    def _take(self, worker: Worker, head: dict[str, Any], body: NDArray[np.uint8]) -> None:
        worker.since = time.monotonic()
        if not worker.ready:
            if "fatal" in head:
                hint = "define it in a module that can be imported, or use workers=0"
                raise MMSearchError(f"the decode workers cannot load the preparer: {head['fatal']}", hint=hint)
            worker.ready, self._start_failures = bool(head["ready"]), 0
            return
        if worker.tasks[0].number != head["id"]:
            raise WorkerDied
        outcome = _outcome(head, body)
        self.idle_seconds += float(head["idle"])
        task = worker.tasks.popleft()
        self._pace += 0.1 * (float(head["seconds"]) - self._pace)
        task.sink.put((task, outcome, float(head["seconds"])))

    def _patience(self) -> float | None:
        deadlines = [self._deadline(worker) for worker in self._workers if worker.tasks or not worker.ready]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _deadline(self, worker: Worker) -> float:
        return worker.since + (self._timeout if worker.ready else _START_TIMEOUT)

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            if (worker.tasks or not worker.ready) and now > self._deadline(worker):
                self._bury(worker, Reason.TIMEOUT)

    def _bury(self, worker: Worker, reason: Reason) -> None:
        """End a worker; its tasks go back to the front, but for the one it was at when that has killed too many."""
        self._workers.remove(worker)
        for descriptor in (worker.results_fd, worker.tasks_fd):
            with contextlib.suppress(KeyError):
                self._selector.unregister(descriptor)
        status = worker.end()
        self.restarts += 1
        tasks = list(worker.tasks)
        if not worker.ready:
            self._start_failures += 1
            if self._start_failures >= _START_FAILURES:
                self._again.extendleft(reversed(tasks))
                message = f"the decode workers cannot start (exit status {status}): {worker.last_words}"
                raise MMSearchError(message, hint="use workers=0 to decode in this process")
        elif tasks:
            tasks[0].tries += 1
            if tasks[0].tries >= TRIES:
                task = tasks.pop(0)
                task.sink.put((task, _nothing(ImageError(reason, self._obituary(reason, status))), 0.0))
        self._again.extendleft(reversed(tasks))

    def _obituary(self, reason: Reason, status: int | None) -> str:
        if reason is Reason.TIMEOUT:
            return f"decoding took longer than {self._timeout:g} s, {TRIES} times"
        if status == OUT_OF_MEMORY:
            return f"decoding needs more memory than the {self._memory_mb} MB that a worker may have"
        how = f"signal {signal.Signals(-status).name}" if status is not None and status < 0 else f"status {status}"
        return f"the decoder died of it {TRIES} times ({how})"


def _nothing(error: InputError) -> Outcome:
    return Outcome(None, None, None, error, None, None)


def _outcome(head: dict[str, Any], body: NDArray[np.uint8]) -> Outcome:
    # built field by field out of JSON: the worker is not trusted
    digest = bytes.fromhex(head["digest"]) if head["digest"] else None
    size, mtime_ns = head["stat"]
    pixels = body.reshape(head["shape"]) if head["shape"] is not None else None
    info, error = None, None
    if head["info"] is not None:
        width, height, taken, exif = head["info"]
        info = ImageInfo(int(width), int(height), taken, exif)
    if head["error"] is not None:
        of_image, reason, message, hint = head["error"]
        error = (ImageError if of_image else InputError)(str(reason), str(message), hint=hint)
    return Outcome(digest, pixels, info, error, size, mtime_ns)
