"""The way to the warm worker: a process that has everything loaded and answers queries for the command line.

Nothing but the standard library is imported here, and of that little: this runs before anything else, and who has no
worker pays for one look at a file name. The worker's side is ``_worker.py``.

A request is four bytes of length and JSON (``argv cwd env``), with stdin, stdout and stderr as passed descriptors. The
answer is ``>`` when the work begins and then one byte, the exit code.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

COMMANDS = ("query", "similar", "why", "status")
"""What may be asked of a worker: commands that only read."""
STARTED = b">"
_FLAGS = ("-q", "--quiet", "--offline", "--debug")
_LOST = "error: the warm worker ended before it answered\nhint:  run it again\n"


def socket_path() -> str:
    """Where this user's worker of this version listens. The folder is the user's alone."""
    from mmsearch import __version__

    base = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "mmsearch", f"worker-{__version__}.sock")


def ask(arguments: Sequence[str]) -> int | None:
    """Have the worker run a command. ``None``: there is no worker, or it does not do this; the caller runs it."""
    path = socket_path()
    if not os.path.exists(path) or not _is_for_worker(arguments):
        return None
    import json
    import socket

    request = {"argv": list(arguments), "cwd": os.getcwd(), "env": dict(os.environ)}
    data = json.dumps(request).encode()
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(path)
            socket.send_fds(line, [len(data).to_bytes(4, "little")], [0, 1, 2])
            line.sendall(data)
            if line.recv(1) != STARTED:
                return None
            code = line.recv(1)
    except OSError:  # nobody listens, or a descriptor is closed
        return None
    except KeyboardInterrupt:
        return 130
    if not code:
        os.write(2, _LOST.encode())
        return 1
    return code[0]


def _is_for_worker(arguments: Sequence[str]) -> bool:
    """Whether the command, which stands behind the common options, is one that a worker runs."""
    rest = iter(arguments)
    for argument in rest:
        if argument in ("-c", "--collection"):
            next(rest, None)
        elif argument not in _FLAGS and not argument.startswith("--collection="):
            return argument in COMMANDS
    return False
