"""``mmsearch worker``: keep the model loaded, so that queries from the shell are answered at once."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time

import click

from mmsearch.cli import _warm
from mmsearch.cli._app import OK, App, Command, pass_app
from mmsearch.errors import LockedError, StorageError

IDLE = 900.0
_PATIENCE = 10.0


@click.command(cls=Command, short_help="Keep the model loaded, for queries that are answered at once.")
@click.option("--idle", type=click.FloatRange(1), default=IDLE, show_default=True, metavar="SECONDS",
              help="End when nobody has asked for so long.")
@click.option("--foreground", is_flag=True, help="Stay here instead of going to the background.")
@click.option("--stop", is_flag=True, help="End the worker that is running.")
@pass_app
def command(app: App, /, *, idle: float, foreground: bool, stop: bool) -> int:
    """Keep the model loaded in a process of its own, so that queries from the shell are answered at once.

    It listens on a socket that only you can open, runs "query", "similar", "why" and "status" for you, one at a time,
    and ends by itself. It holds the model's weights in memory: some 100 MB with mini.
    """
    if stop:
        app.say("stopped" if _stop() else "no warm worker is running")
    elif foreground:
        from mmsearch.cli import _worker

        _worker.serve(idle)
    else:
        if _is_running():
            raise LockedError("a warm worker is running already", hint="stop it: mmsearch worker --stop")
        start(idle)
        app.say(f"a warm worker is running; it ends after {idle:.0f} idle seconds, or by: mmsearch worker --stop")
    return OK


def start(idle: float) -> None:
    """Start a worker in the background, and wait until it listens."""
    process = launch(idle)
    until = time.monotonic() + _PATIENCE
    while not _is_running():
        if process.poll() is not None or time.monotonic() > until:
            raise StorageError("the warm worker did not start", hint="see why: mmsearch worker --foreground")
        time.sleep(0.02)


def launch(idle: float = IDLE) -> subprocess.Popen[bytes]:
    """Start a worker in the background. Where one is running already, the new one ends."""
    arguments = [sys.executable, "-m", "mmsearch", "worker", "--foreground", "--idle", str(idle)]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(arguments, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True, cwd="/")


def _is_running() -> bool:
    return _pid() is not None


def _stop() -> bool:
    pid = _pid()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
    return pid is not None


def _pid() -> int | None:
    """The process at the other end of the socket, if there is one."""
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(_warm.socket_path())
        except OSError:
            return None
        credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])
