"""Reading files that are not files, are gone, or lie on a failing disk."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from mmsearch import files
from mmsearch.errors import InputError
from mmsearch.files import read_file, read_with_stat


def reason(path: str | Path, **options: int) -> str:
    with pytest.raises(InputError) as caught:
        read_file(path, **options)
    return caught.value.reason


def test_bytes_and_stat_belong_together(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc" * 1000)
    os.utime(path, ns=(5, 1_600_000_000_123_456_789))
    assert read_with_stat(path) == (b"abc" * 1000, 3000, path.stat().st_mtime_ns)
    path.write_bytes(b"")
    assert read_file(str(path)) == b""


@pytest.mark.parametrize("name", [b"\xff\xfe.jpg", b"a\nb", b"-rf", b"x" * 255, "\u00fc".encode()])
def test_any_name(tmp_path: Path, name: bytes) -> None:
    path = os.fsencode(tmp_path) + b"/" + name
    with open(path, "wb") as stream:
        stream.write(b"here")
    assert read_file(os.fsdecode(path)) == b"here"


@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_not_opened_for_long(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason(tmp_path / "pipe.jpg") == "not_regular"
    assert reason(tmp_path) == "not_regular"
    assert reason("/dev/null") == "not_regular"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert reason(tmp_path / "s") == "not_regular"


def test_a_pipe_somebody_writes_to_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    opened = threading.Event()

    def write() -> None:
        descriptor = os.open(path, os.O_RDWR)
        opened.set()
        os.write(descriptor, b"secret")
        done.wait(10)
        os.close(descriptor)

    done = threading.Event()
    thread = threading.Thread(target=write)
    thread.start()
    opened.wait(10)
    assert reason(path) == "not_regular"
    done.set()
    thread.join()


def test_gone_denied_and_looping(tmp_path: Path) -> None:
    assert reason(tmp_path / "never") == "vanished"
    (tmp_path / "file").write_bytes(b"x")
    assert reason(tmp_path / "file" / "below") == "vanished"
    (tmp_path / "loop").symlink_to("loop")
    assert reason(tmp_path / "loop") == "vanished"
    (tmp_path / "dangling").symlink_to("nowhere")
    assert reason(tmp_path / "dangling") == "vanished"
    assert reason("nul\0inside") == "vanished"
    assert reason(tmp_path / ("x" * 300)) == "io_error"


@pytest.mark.parametrize(("number", "word"), [(errno.EACCES, "permission"), (errno.EPERM, "permission")])
def test_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, word: str) -> None:
    monkeypatch.setattr(os, "open", _failing(number, times=1))  # root may read everything
    assert reason(tmp_path / "a") == word


def _failing(number: int, *, times: int) -> Any:
    real, calls = os.open, iter(range(100))

    def fake(*args: Any, **options: Any) -> int:
        if next(calls) < times:
            raise OSError(number, os.strerror(number))
        return real(*args, **options)

    return fake


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_passing_fault_is_tried_three_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(files, "_PAUSES", (0.0, 0.0))
    path = tmp_path / "a"
    path.write_bytes(b"here")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", _failing(number, times=2))
        assert read_file(path) == b"here"
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", _failing(number, times=3))
        assert reason(path) == "io_error"


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with open(path, "wb") as stream:
        stream.truncate(10 << 30)
    assert reason(path) == "too_large"
    path.write_bytes(b"12345")
    assert reason(path, max_bytes=4) == "too_large"
    assert read_file(path, max_bytes=5) == b"12345"


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_a_file_that_does_not_know_its_size() -> None:
    assert b"Name:" in read_file("/proc/self/status")
