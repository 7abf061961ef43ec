"""The warm worker: what comes through it is what comes without it, and nobody else gets in."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mmsearch import __version__
from mmsearch.cli import _warm


@pytest.fixture(scope="module")
def place(sealed_env: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The environment of a user with a worker; a short path, since sockets allow no long ones."""
    folder = Path(tempfile.mkdtemp(prefix="mmw"))
    env = {**sealed_env, "XDG_RUNTIME_DIR": str(folder)}
    arguments = [sys.executable, "-m", "mmsearch", "worker", "--foreground", "--idle", "60"]
    worker = subprocess.Popen(arguments, env=env, stderr=subprocess.DEVNULL)
    path = folder / "mmsearch" / f"worker-{__version__}.sock"
    for _ in range(500):
        if path.exists() or worker.poll() is not None:
            break
        time.sleep(0.02)
    yield {"XDG_RUNTIME_DIR": str(folder), "socket": str(path), "pid": str(worker.pid)}
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
    assert not path.exists()
    shutil.rmtree(folder)


def env_of(place: dict[str, str]) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": place["XDG_RUNTIME_DIR"]}


@pytest.mark.parametrize("arguments", [
    ("-q", "query", "a", "blue", "thing", "-0"),
    ("query", "red", "--where", "zzz ="),
    ("-q", "query", "red", "--where", "width > 1000", "--exit-code"),
    ("-q", "query", "-i", "-", "--top", "1"),
    ("similar", "red.png", "--json"),
    ("why", "nowhere.png", "red"),
])
def test_the_answer_is_the_same(library: Any, outside: Any, place: dict[str, str], arguments: tuple[str, ...]) -> None:
    picture = (library.photos / "red.png").read_bytes()
    cold = outside("-c", library.collection, *arguments, stdin=picture)
    warm = outside("-c", library.collection, *arguments, stdin=picture, env=env_of(place))
    assert (warm.code, warm.err) == (cold.code, cold.err)
    if "--json" in arguments:
        assert json.loads(warm.out)["hits"] == json.loads(cold.out)["hits"]
    else:
        assert warm.out == cold.out


def test_it_is_the_worker_that_answers(library: Any, outside: Any, place: dict[str, str]) -> None:
    os.kill(int(place["pid"]), signal.SIGSTOP)
    try:
        arguments = [sys.executable, "-m", "mmsearch", "-c", str(library.collection), "query", "red"]
        asking = subprocess.Popen(arguments, env={**os.environ, **env_of(place)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            asking.wait(1.5)
    finally:
        os.kill(int(place["pid"]), signal.SIGCONT)
    out, _ = asking.communicate(timeout=30)
    assert b"red.png" in out


def test_what_changes_things_is_not_for_the_worker() -> None:
    yes = [["query", "x"], ["-q", "-c", "index", "query", "x"], ["--collection=c", "similar", "x"], ["why", "a", "b"]]
    no = [["index", "query"], ["-c", "query", "index"], ["delete"], [], ["--help"], ["--version"], ["worker", "query"], ["-c"]]
    assert [_warm._is_for_worker(one) for one in yes] == [True] * len(yes)
    assert [_warm._is_for_worker(one) for one in no] == [False] * len(no)


def test_nonsense_on_the_socket_changes_nothing(library: Any, outside: Any, place: dict[str, str]) -> None:
    index = json.dumps({"argv": ["index", "/etc"], "cwd": "/", "env": {}}).encode()
    for data in (b"", b"\0", b"\xff\xff\xff\xff", b"\x02\0\0\0[]", len(index).to_bytes(4, "little") + index):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(place["socket"])
            if data:
                socket.send_fds(line, [data], [1, 1, 1])
            line.shutdown(socket.SHUT_WR)
            line.settimeout(20)
            assert line.recv(2) in (b"", b">")
    assert outside("-c", library.collection, "query", "red", "-f", "--top", "1", env=env_of(place)).out.endswith(b"red.png\n")
    assert oct(os.stat(place["socket"]).st_mode & 0o777) == "0o600"
    assert oct(os.stat(os.path.dirname(place["socket"])).st_mode & 0o777) == "0o700"


def test_a_second_one_is_refused(outside: Any, place: dict[str, str]) -> None:
    done = outside("worker", "--foreground", env=env_of(place))
    assert done.code == 5
    assert "running already" in done.err


def test_a_dead_ones_socket_is_no_obstacle(library: Any, outside: Any, tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="mmw"))
    path = folder / "mmsearch" / f"worker-{__version__}.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(str(path))
    env = {"XDG_RUNTIME_DIR": str(folder)}
    assert outside("-c", library.collection, "query", "red", "-f", "--top", "1", env=env).out.endswith(b"red.png\n")
    assert outside("worker", "--idle", "60", env=env).code == 0
    assert outside("-c", library.collection, "query", "red", "-f", "--top", "1", env=env).out.endswith(b"red.png\n")
    assert outside("worker", "--stop", env=env).err == "stopped\n"
    for _ in range(200):
        if not path.exists():
            break
        time.sleep(0.02)
    assert outside("worker", "--stop", env=env).err == "no warm worker is running\n"
    shutil.rmtree(folder)


def test_it_ends_by_itself(sealed_env: Mapping[str, str]) -> None:
    folder = tempfile.mkdtemp(prefix="mmw")
    arguments = [sys.executable, "-m", "mmsearch", "worker", "--foreground", "--idle", "1"]
    done = subprocess.run(arguments, env={**sealed_env, "XDG_RUNTIME_DIR": folder}, timeout=20, check=False)
    assert done.returncode == 0
    assert os.listdir(Path(folder) / "mmsearch") == [f"worker-{__version__}.sock.lock"]
    shutil.rmtree(folder)
