"""What a terminal gets, through a pseudo-terminal: progress, pictures, colours; and who gets none of it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mmsearch.cli import _progress
from mmsearch.types import Progress

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
MAIN = "import sys; from mmsearch.cli import main; sys.exit(main())"


def terminal(command: list[str], env: Mapping[str, str], *, columns: int = 100, keyboard: bool = True,
             answers: Mapping[bytes, bytes] | None = None) -> tuple[int, str]:
    """Runs a command on a terminal that answers as told; gives the exit code and all that was written."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, columns * 8, 640))
    env = {**env, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    process = subprocess.Popen(command, stdin=theirs if keyboard else subprocess.DEVNULL, stdout=theirs, stderr=theirs,
                               env=env, start_new_session=True)
    os.close(theirs)
    written = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 0.1)[0]:
            continue
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        written += data
        for question, answer in (answers or {}).items():
            if question in data:
                os.write(ours, answer)
    os.close(ours)
    return process.wait(10), written.decode()


def query(library: Any, *args: str) -> list[str]:
    return [sys.executable, "-c", MAIN, "query", "red", "-c", str(library.collection), *args]


def test_progress_is_drawn_with_rate_and_bottleneck(sealed_env: Mapping[str, str], photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAIN, "index", str(photos), "-c", str(tmp_path / "c"), "--model", "toy"]
    code, written = terminal(command, sealed_env)
    assert code == 0
    plain = CONTROL.sub("", written)
    assert "12/12" in plain
    assert re.search(r"\d/s", plain)
    assert "9 added, 3 skipped" in plain
    assert "\x1b[?25h" in written  # the cursor is shown again


def test_a_table_fits_the_terminal(sealed_env: Mapping[str, str], library: Any) -> None:
    code, written = terminal(query(library, "-k", "50"), sealed_env, columns=40)
    assert code == 0
    lines = CONTROL.sub("", written).splitlines()[1:]
    assert len(lines) == 10
    assert max(map(len, lines)) <= 40
    assert any("…" in line and line.rstrip().endswith(".png") for line in lines)
    assert "\x1b[3" not in written  # NO_COLOR is set


def test_colours_where_nobody_forbids_them(sealed_env: Mapping[str, str], library: Any) -> None:
    env = {name: value for name, value in sealed_env.items() if name != "NO_COLOR"}
    assert "\x1b[36m" in terminal(query(library, "-k", "1"), env)[1]


def test_pictures_by_sixel(sealed_env: Mapping[str, str], library: Any) -> None:
    code, written = terminal(query(library, "-k", "1", "-p"), sealed_env, answers={b"\x1b[c": b"\x1b[?62;4;22c"})
    assert code == 0
    assert "\x1bP" in written
    assert "red.png" in written


@pytest.mark.parametrize("keyboard", [True, False])
def test_pictures_by_half_cells(sealed_env: Mapping[str, str], library: Any, keyboard: bool) -> None:
    code, written = terminal(query(library, "-k", "1", "-p"), sealed_env, keyboard=keyboard)
    assert code == 0
    assert written.count("\x1b[38;2;220;20;20;48;2;220;20;20m▀") >= 12 * 20  # red, NO_COLOR or not
    assert "red.png" in written


def test_no_pictures_in_a_pipe(ask: Any) -> None:
    done = ask("query", "red", "-p", "-k", "1")
    assert (done.code, "\x1b" in done.out.decode(), "▀" in done.out.decode()) == (0, False, False)
    assert "pictures are shown on a terminal only" in done.err
    assert "red.png" in done.out.decode()


@pytest.mark.parametrize(("waits", "says"), [
    ({}, []), ({"encode": 0.01, "decode": 0.02}, ["decode and encode are in balance"]),
    ({"encode": 0.6, "decode": 0.0}, ["decode is the bottleneck", "encode waits 60%"]),
    ({"encode": 0.1, "decode": 0.4}, ["encode is the bottleneck", "decode waits 40%"]),
])
def test_the_bottleneck_is_who_is_waited_for(waits: dict[str, float], says: list[str]) -> None:
    assert _progress.bottleneck(Progress(1, 2, 0, "index", 1.0, waits)) == says


def test_numbers_of_progress() -> None:
    at = Progress(1200, 5000, 3, "index", 40.0, {"encode": 0.5})
    assert _progress.numbers(at) == "1,200/5,000"
    assert _progress.tail(at) == "40/s · 1 min 35 s left · 3 skipped · decode is the bottleneck · encode waits 50%"
    assert _progress.tail(at, 30) == "40/s · 1 min 35 s left"
    assert _progress.tail(at, 3) == ""
    assert _progress.numbers(Progress(7, None, 0, "scan", 0.0, {})) == "7 files"
    assert _progress.tail(Progress(7, None, 0, "scan", 2.5, {})) == "2.5/s"
