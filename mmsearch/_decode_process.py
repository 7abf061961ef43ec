"""One decode worker as its parent sees it: a process, a pipe of tasks, a pipe of results.

Pixels come through a pipe of 1 MiB. Measured for 224x224x3 (150 kB): 15-34 µs of CPU on either side; 6 µs by shared memory,
34-90 µs through a pipe of the usual 64 KiB. Against 4 ms of decoding that is 1%, and a pipe leaves nothing behind after a kill.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mmsearch._decode_worker import FRAME, Outcome
from mmsearch.errors import MMSearchError

_PIPE_BYTES: Final = 1 << 20
_MAX_HEAD: Final = 16 << 20
_MAX_BODY: Final = 1 << 30
_NUMBERS = itertools.count()


@dataclass(eq=False, slots=True)
class Task:
    """One picture on its way. What becomes of it is put into ``sink`` exactly once: (task, outcome or error, busy seconds).

    ``token`` is the caller's and never leaves this process; a task whose ``cancelled()`` is true is dropped when met.
    """

    token: Any
    path: str | None
    data: bytes | None
    expect: frozenset[bytes]
    sink: queue.SimpleQueue[tuple[Task, Outcome | MMSearchError, float]]
    cancelled: Callable[[], bool]
    tries: int = 0
    number: int = field(default_factory=_NUMBERS.__next__)

    def frame(self) -> list[memoryview]:
        """The message that hands this task to a worker."""
        path = None if self.path is None else os.fsencode(self.path)
        fields = {"id": self.number, "path": path, "inline": self.data is not None, "expect": self.expect}
        head, body = pickle.dumps(fields, protocol=5), self.data or b""
        return [memoryview(FRAME.pack(len(head), len(body)) + head), memoryview(body)]


class WorkerDied(Exception):
    """Raised inside the pool's thread only: the process ended, or talks nonsense."""


class Worker:
    """One process and its two pipes, as the pool's thread sees them."""

    def __init__(self, config: bytes, *, verbose: bool) -> None:
        child_in, self.tasks_fd = os.pipe()
        self.results_fd, child_out = os.pipe()
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed by end()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", "-m", "mmsearch._decode_worker"],
                stdin=child_in,
                stdout=child_out,
                stderr=None if verbose else self.stderr,
                env=_environment(),
                process_group=0,  # Ctrl-C in the terminal reaches the parent alone
            )
        except BaseException:
            for descriptor in (self.tasks_fd, self.results_fd):
                os.close(descriptor)
            self.stderr.close()
            raise
        finally:
            os.close(child_in)
            os.close(child_out)
        for descriptor in (self.tasks_fd, self.results_fd):
            os.set_blocking(descriptor, False)
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self.ready, self.last_words = False, ""
        self.tasks: deque[Task] = deque()
        self.since = time.monotonic()
        self._outbox: deque[memoryview] = deque([memoryview(FRAME.pack(len(config), 0) + config)])
        self._inbox = _frames(self.results_fd)

    def give(self, task: Task) -> None:
        """Queue one more task for the worker; :meth:`send` brings it on its way."""
        if not self.tasks:
            self.since = time.monotonic()
        self.tasks.append(task)
        self._outbox.extend(part for part in task.frame() if part)

    def send(self) -> bool:
        """Write what the pipe takes now. Returns whether something is left. Raises :class:`WorkerDied`."""
        while self._outbox:
            try:
                sent = os.write(self.tasks_fd, self._outbox[0])
            except BlockingIOError:
                return True
            except OSError as error:
                raise WorkerDied from error
            rest = self._outbox.popleft()[sent:]
            if rest:
                self._outbox.appendleft(rest)
        return False

    def receive(self) -> Iterator[tuple[dict[str, Any], NDArray[np.uint8]]]:
        """The messages that have come whole. Raises :class:`WorkerDied` at the end of the pipe."""
        while (message := next(self._inbox)) is not None:
            yield message

    def end(self) -> int | None:
        """Kill it, close the pipes, and return its exit status (negative: the signal), or ``None`` if it does not go."""
        self.process.kill()
        os.close(self.tasks_fd)
        os.close(self.results_fd)
        with self.stderr:
            self.stderr.seek(0)
            self.last_words = self.stderr.read()[-2000:].decode("utf-8", "replace").strip()
        try:
            return self.process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:  # stuck in the kernel on a dead network mount
            return None


def _frames(descriptor: int) -> Iterator[tuple[dict[str, Any], NDArray[np.uint8]] | None]:
    """Messages as they come; ``None`` whenever the pipe is empty."""
    while True:
        sizes = bytearray(FRAME.size)
        yield from _fill(descriptor, memoryview(sizes))
        head_size, body_size = FRAME.unpack(sizes)
        if head_size > _MAX_HEAD or body_size > _MAX_BODY:
            raise WorkerDied
        head, body = bytearray(head_size), np.empty(body_size, dtype=np.uint8)
        yield from _fill(descriptor, memoryview(head))
        yield from _fill(descriptor, body.data)
        yield json.loads(head.decode("utf-8", "surrogatepass")), body


def _fill(descriptor: int, view: memoryview) -> Iterator[None]:
    while view:
        try:
            got = os.readv(descriptor, [view])
        except BlockingIOError:
            yield None
            continue
        except OSError as error:
            raise WorkerDied from error
        if not got:
            raise WorkerDied
        view = view[got:]


def _environment() -> dict[str, str]:
    # the parent's own import path, so that the same mmsearch and the preparer's module are found; '' (the folder of photos that the
    # caller may stand in) is left out on purpose
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
