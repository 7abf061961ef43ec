"""The workers as programs of their own: light, alone, and gone when their parent is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

from mmsearch.decoding.loader import Job, Loader
from mmsearch.errors import InputError

from .loading_help import gone, plain, wait_until


def test_workers_are_light_and_inherit_nothing(moody: object) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.set_inheritable(True)
        with Loader(moody, workers=1) as loader:  # type: ignore[arg-type]
            (loaded,) = loader.load([Job(0, data=plain("cyan"))])
    assert isinstance(loaded.error, InputError)
    seen = set(str(loaded.error).split())
    assert "PIL" in seen
    heavy = "torch open_clip torchvision timm sqlalchemy sqlglot faiss onnxruntime rich click multiprocessing pandas scipy"
    assert seen.isdisjoint(heavy.split())
    assert not any(name.startswith("socket:") for name in seen)


SCRIPT = """
import os, sys, time
from mmsearch.decoding.loader import Job, Loader
from mmsearch.preprocess import Preprocess

print("once", flush=True)
loader = Loader(Preprocess(32, 32), workers=2)
results = loader.load(Job(i, path) for i, path in enumerate(sys.argv[1:]))
first = next(results)
print(*loader.pids, flush=True)
"""


def test_a_main_program_without_a_guard_runs_once(tmp_path: Path, folder: list[str]) -> None:
    script = tmp_path / "main.py"
    script.write_text(SCRIPT + "print(1 + sum(1 for r in results if r.error is None))\n")
    done = subprocess.run([sys.executable, script, *folder[:50]], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    lines = done.stdout.split("\n")
    assert lines[0] == "once"
    assert lines[2] == "50"
    assert lines.count("once") == 1
    assert wait_until(lambda: all(gone(int(pid)) for pid in lines[1].split())), "closed at exit without being asked"


def test_workers_go_when_the_parent_is_killed(tmp_path: Path, folder: list[str]) -> None:
    script = tmp_path / "main.py"
    script.write_text(SCRIPT + "time.sleep(60)\n")
    parent = subprocess.Popen([sys.executable, script, *folder[:50]], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent:
        assert parent.stdout.readline() == "once\n"
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert pids
        assert not any(gone(pid) for pid in pids)
        parent.kill()
    assert wait_until(lambda: all(gone(pid) for pid in pids))


def test_ctrl_c_is_the_parents_to_answer(tmp_path: Path, folder: list[str]) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import os, signal\nsignal.signal(signal.SIGINT, lambda *_: os.write(1, b'asked\\n'))\n"
        + SCRIPT
        + textwrap.dedent("""
            pids = loader.pids
            sys.stdin.readline()
            print(1 + sum(1 for r in results if r.error is None), loader.stats().restarts, pids == loader.pids)
            loader.close()
            """)
    )
    pipe = subprocess.PIPE
    parent = subprocess.Popen([sys.executable, script, *folder], stdin=pipe, stdout=pipe, text=True, start_new_session=True)
    assert parent.stdout is not None
    with parent:
        assert parent.stdout.readline() == "once\n"
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        os.killpg(parent.pid, signal.SIGINT)  # what a terminal does
        assert all(os.getpgid(pid) != parent.pid for pid in pids)
        assert parent.stdout.readline() == "asked\n"
        output, _ = parent.communicate("go on\n", timeout=60)
    assert output == "200 0 True\n"


def test_a_worker_without_a_parent_ends(folder: list[str]) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "mmsearch.decoding.worker"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with worker:
        assert worker.wait(20) == 0
