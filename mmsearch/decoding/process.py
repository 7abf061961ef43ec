"""One decode worker as its parent sees it: a process, a pipe of tasks, a pipe of results, shared memory for pixels.

Measured for 224x224x3 (150 kB), CPU on either side: 6 µs through shared memory, 15-34 µs through a pipe of 1 MiB, 34-90 µs
through one of the usual 64 KiB. The memory has no name (``memfd``), so a killed process leaves nothing behind; where the
system has none, or a picture is larger than its slot, the pixels follow through the pipe.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import mmap
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mmsearch.decoding.worker import DEPTH, FRAME, SLOT_BYTES, Outcome
from mmsearch.errors import MMSearchError

_PIPE_BYTES: Final = 1 << 18
_MAX_MESSAGE: Final = 1 << 30
_PACKAGE_FOLDER: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_SECRETS: Final = {"MMSEARCH_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN"}
"""What a decoder has no use for, and a hostile file that takes one over would."""
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
    """One process, its two pipes and its memory, as the pool's thread sees them."""

    def __init__(self, config: bytes, *, verbose: bool) -> None:
        memory_fd, self._slots = _shared_memory()
        child_in, self.tasks_fd = os.pipe()
        self.results_fd, child_out = os.pipe()
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed by end()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", "-m", "mmsearch.decoding.worker", str(memory_fd)],
                pass_fds=[memory_fd] if memory_fd >= 0 else [],
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
            for descriptor in (child_in, child_out, memory_fd):
                if descriptor >= 0:
                    os.close(descriptor)
        for descriptor in (self.tasks_fd, self.results_fd):
            os.set_blocking(descriptor, False)
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self.ready, self.last_words = False, ""
        self.tasks: deque[Task] = deque()
        self.since = time.monotonic()
        self._outbox: deque[memoryview] = deque([memoryview(FRAME.pack(len(config), 0) + config)])
        self._inbox = bytearray()
        self._answered = 0

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

    def receive(self) -> list[tuple[dict[str, Any], NDArray[np.uint8]]]:
        """The messages that have come whole, each with its pixels. Raises :class:`WorkerDied` at the end of the pipe."""
        try:
            chunk = os.read(self.results_fd, _PIPE_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:
            raise WorkerDied from error
        if not chunk:
            raise WorkerDied
        self._inbox += chunk
        messages = []
        while len(self._inbox) >= FRAME.size:
            head_size, body_size = FRAME.unpack_from(self._inbox)
            end = FRAME.size + head_size + body_size
            if end > _MAX_MESSAGE:
                raise WorkerDied
            if len(self._inbox) < end:
                break
            head = json.loads(self._inbox[FRAME.size : FRAME.size + head_size])
            messages.append((head, self._pixels(head, self._inbox[end - body_size : end])))
            del self._inbox[:end]
        return messages

    def _pixels(self, head: dict[str, Any], body: bytearray) -> NDArray[np.uint8]:
        if "id" not in head or not head["shared"]:
            self._answered += "id" in head
            return np.frombuffer(body, dtype=np.uint8)
        # tasks are answered in order and at most DEPTH are in hand, so nobody writes to this slot now
        start = self._answered % DEPTH * SLOT_BYTES
        self._answered += 1
        return self._slots[start : start + min(int(head["shared"]), SLOT_BYTES)].copy()

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


def _shared_memory() -> tuple[int, NDArray[np.uint8]]:
    if not hasattr(os, "memfd_create"):
        return -1, np.empty(0, dtype=np.uint8)
    descriptor = os.memfd_create("mmsearch-pixels")
    try:
        os.ftruncate(descriptor, DEPTH * SLOT_BYTES)
        return descriptor, np.frombuffer(mmap.mmap(descriptor, DEPTH * SLOT_BYTES), dtype=np.uint8)
    except OSError:
        os.close(descriptor)
        raise


def _environment() -> dict[str, str]:
    # the parent's own import path, so that the same mmsearch and the preparer's module are found; '' (the folder that the
    # caller happens to stand in, full of strangers' files) is left out on purpose
    return {
        **{name: value for name, value in os.environ.items() if name not in _SECRETS},
        "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), _PACKAGE_FOLDER]),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
