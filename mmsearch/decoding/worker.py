"""The process that decodes: ``python -m mmsearch.decoding.worker``, started by :mod:`mmsearch.decoding.pool` over two pipes.

Started as a program of its own, not by ``multiprocessing``: a spawned child would import the caller's ``__main__``
again (and run it, where it has no guard), a forked one would inherit threads and sockets. It imports neither torch nor
SQLAlchemy, holds no state worth saving, and may be killed at any moment. What it sends back is JSON and raw pixels,
never a pickle: a decoder that was taken over by a hostile file cannot run code in the parent.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import mmap
import os
import pickle
import signal
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import ImageError, InputError
from mmsearch.files import read_with_stat
from mmsearch.images import Reason, open_image
from mmsearch.protocols import ImagePreparer
from mmsearch.types import ImageInfo

FRAME: Final = struct.Struct("<QQ")
"""Before every message, both ways: the bytes of its head (pickle to the worker, JSON from it) and of its raw body."""

DEPTH: Final = 6
"""Tasks that a worker has in hand: one running, others so that it need not wait until its parent's thread looks again."""

SLOT_BYTES: Final = 1 << 20
"""Shared memory for the pixels of one task; touched only as far as used. Larger ones go through the pipe."""

_JSON: Final = json.JSONEncoder(separators=(",", ":"))  # one for all: dumps() with options builds one each time

OUT_OF_MEMORY: Final = 77
"""The exit status of a worker that met its memory limit: its heap is full of holes, so a fresh one does better."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker does to every picture."""

    preparer: ImagePreparer
    max_megapixels: float
    gps: bool


class Outcome(NamedTuple):
    """What became of one file: pixels and info, or an error, or neither where the digest was expected."""

    digest: bytes | None
    pixels: NDArray[np.uint8] | None
    info: ImageInfo | None
    error: InputError | None
    size: int | None
    mtime_ns: int | None


def perform(settings: Settings, path: bytes | str | None, data: bytes | None, expect: frozenset[bytes]) -> Outcome:
    """Read, hash, decode and prepare one picture. Raises only ``MemoryError``; all else is in the outcome."""
    digest, size, mtime_ns = None, None, None
    try:
        if data is None:
            data, size, mtime_ns = read_with_stat(os.fsdecode(path or b""))
        else:
            size = len(data)
        digest = hashlib.sha256(data).digest()
        if digest in expect:
            return Outcome(digest, None, None, None, size, mtime_ns)
        preparer = settings.preparer
        picture, info = open_image(data, max_megapixels=settings.max_megapixels, at_least=preparer.size, gps=settings.gps)
        return Outcome(digest, np.ascontiguousarray(preparer(picture)), info, None, size, mtime_ns)
    except InputError as error:
        return Outcome(digest, None, None, error, size, mtime_ns)
    except MemoryError:
        raise
    except Exception as error:  # the preparer is another's code
        text = f"cannot be prepared: {type(error).__name__}: {error}"
        return Outcome(digest, None, None, ImageError(Reason.CORRUPT, text), size, mtime_ns)


def main() -> None:
    """Serve one parent until its pipe closes. Never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    results = os.dup(1)
    os.dup2(2, 1)  # what a decoder's library prints must not end up between the messages
    try:
        config, _ = _receive()
        settings = _unpacked(config["settings"], results)
        _confine(int(config["memory_mb"]))
        _send(results, {"ready": os.getpid()})
        if not config["verbose"]:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.dup2(2, 1)
        _serve(results, _shared_memory(), settings, float(config["timeout"]))
    except (EOFError, BrokenPipeError):  # the parent is gone, or has enough
        os._exit(0)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def _unpacked(settings: bytes, results: int) -> Settings:
    try:
        unpacked: Settings = pickle.loads(settings)
    except Exception as error:
        _send(results, {"fatal": f"{type(error).__name__}: {error}"})
        os._exit(1)
    return unpacked


def _shared_memory() -> NDArray[np.uint8]:
    descriptor = int(sys.argv[1]) if len(sys.argv) > 1 else -1
    if descriptor < 0:
        return np.empty(0, dtype=np.uint8)
    with open(descriptor, "rb+", buffering=0) as memory:
        return np.frombuffer(mmap.mmap(memory.fileno(), DEPTH * SLOT_BYTES), dtype=np.uint8)


def _serve(results: int, memory: NDArray[np.uint8], settings: Settings, timeout: float) -> None:
    idle_since = 0.0
    for turn in itertools.count():
        task, data = _receive()
        began = time.perf_counter()
        # should the parent die while a decoder hangs, nobody else would end this process
        signal.setitimer(signal.ITIMER_REAL, timeout + 5)
        outcome = perform(settings, task["path"], data if task["inline"] else None, task["expect"])
        signal.setitimer(signal.ITIMER_REAL, 0)
        ended = time.perf_counter()
        head = {
            "id": task["id"],
            "digest": outcome.digest.hex() if outcome.digest else None,
            "info": outcome.info,
            "error": _plain(outcome.error),
            "stat": (outcome.size, outcome.mtime_ns),
            "seconds": ended - began,
            "idle": began - idle_since if idle_since else 0.0,
            "shape": outcome.pixels.shape if outcome.pixels is not None else None,
            "shared": 0,
        }
        idle_since = ended
        body = outcome.pixels
        if body is not None and body.nbytes <= min(SLOT_BYTES, memory.nbytes):
            start = turn % DEPTH * SLOT_BYTES
            memory[start : start + body.nbytes] = body.reshape(-1)
            head["shared"], body = body.nbytes, None
        _send(results, head, body)


def _plain(error: InputError | None) -> tuple[bool, str, str, str | None] | None:
    if error is None:
        return None
    return isinstance(error, ImageError), str(error.reason), error.message, error.hint


def _receive() -> tuple[dict[str, Any], bytes]:
    head_size, body_size = FRAME.unpack(_exactly(FRAME.size))
    head = pickle.loads(_exactly(head_size))
    return head, _exactly(body_size)


def _exactly(count: int) -> bytes:
    data = sys.stdin.buffer.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _send(descriptor: int, head: dict[str, Any], body: NDArray[np.uint8] | None = None) -> None:
    encoded = _JSON.encode(head).encode("ascii")
    raw = body.data.cast("B") if body is not None else memoryview(b"")
    parts = [memoryview(FRAME.pack(len(encoded), len(raw)) + encoded), raw]
    while parts:
        sent = os.writev(descriptor, parts)
        while parts and sent >= len(parts[0]):
            sent -= len(parts.pop(0))
        if parts:
            parts[0] = parts[0][sent:]


def _confine(memory_mb: int) -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # DATA, not AS: numpy's BLAS reserves address space that it never touches. What the process has now does not count.
        limit = _private_bytes() + (memory_mb << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")  # when the machine runs out of memory, the kernel should take this process first
    from PIL import AvifImagePlugin, Image

    Image.MAX_IMAGE_PIXELS = None  # this process is ours: the limit is judged by open_image
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def _private_bytes() -> int:
    with suppress(OSError), open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("VmData:"):
                return int(line.split()[1]) << 10
    return 64 << 20


if __name__ == "__main__":
    main()
