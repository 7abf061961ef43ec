"""The loader: what comes back for each job, and how jobs are taken."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmsearch.decoding.loader import Job, Loader
from mmsearch.errors import MMSearchError, UsageError
from mmsearch.images import open_image

from .image_samples import encode, exif_block, noise, smooth
from .loading_help import PREPARE, by_token, gone, plain, wait_until


@pytest.mark.parametrize("workers", [0, 2])
def test_pixels_info_digest_and_stat_are_those_of_the_file(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "ü\udcff\n.jpg"
    block = exif_block(6)
    data = encode(smooth(300, 200), "JPEG", exif=block)
    path.write_bytes(data)
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    picture, info = open_image(data, at_least=PREPARE.size)
    with Loader(PREPARE, workers=workers) as loader:
        found = by_token(loader.load([Job("path", str(path)), Job("data", data=data)]))
    for loaded in found.values():
        assert loaded.error is None
        assert loaded.pixels is not None
        assert (loaded.pixels == PREPARE(picture)).all()
        assert loaded.pixels.shape == (32, 32, 3)
        assert loaded.info == info
        assert (info.width, info.height) == (200, 300)
        assert loaded.digest == hashlib.sha256(data).digest()
        assert loaded.size == len(data)
        assert loaded.seconds > 0
    assert found["path"].mtime_ns == path.stat().st_mtime_ns
    assert found["data"].mtime_ns is None


@pytest.mark.parametrize("workers", [0, 1])
def test_expected_bytes_are_hashed_and_not_decoded(workers: int) -> None:
    data, other = encode(noise(), "PNG"), b"no image at all"
    digests = [hashlib.sha256(d).digest() for d in (data, other)]
    jobs = [
        Job(0, data=data, expect=frozenset(digests)),
        Job(1, data=other, expect=frozenset(digests)),
        Job(2, data=data, expect=frozenset([bytes(32)])),
    ]
    with Loader(PREPARE, workers=workers) as loader:
        found = by_token(loader.load(jobs))
    assert [found[i].digest for i in range(3)] == [digests[0], digests[1], digests[0]]
    assert [found[i].pixels is None for i in range(3)] == [True, True, False]
    assert [found[i].error for i in range(3)] == [None, None, None]
    assert found[0].info is None


@pytest.mark.parametrize("workers", [0, 2])
def test_each_bad_file_has_its_own_error(tmp_path: Path, workers: int) -> None:
    good = encode(smooth(), "JPEG")
    pipe, text, cut = tmp_path / "pipe.jpg", tmp_path / "text.jpg", tmp_path / "cut.jpg"
    os.mkfifo(pipe)
    text.write_bytes(b"<html>")
    cut.write_bytes(good[:-20])
    jobs = [Job(p.name, str(p)) for p in (pipe, text, cut, tmp_path, tmp_path / "never.jpg")]
    jobs += [Job("device", "/dev/zero"), Job("nul", "a\0b"), Job("good", data=good), Job("empty", data=b"")]
    with Loader(PREPARE, workers=workers) as loader:
        found = by_token(loader.load(jobs))
    reasons = {token: loaded.error and str(loaded.error.reason) for token, loaded in found.items()}
    assert reasons == {
        "pipe.jpg": "not_regular",
        "text.jpg": "not_image",
        "cut.jpg": "truncated",
        tmp_path.name: "not_regular",
        "never.jpg": "vanished",
        "device": "not_regular",
        "nul": "vanished",
        "good": None,
        "empty": "not_image",
    }
    assert found["cut.jpg"].digest == hashlib.sha256(good[:-20]).digest()
    assert found["cut.jpg"].size == len(good) - 20


def test_megapixels_gps_and_hints_travel(tmp_path: Path) -> None:
    with Loader(PREPARE, workers=1, max_megapixels=0.001) as loader:
        (loaded,) = loader.load([Job(0, data=encode(noise(), "PNG"))])
    assert loaded.error is not None
    assert loaded.error.reason == "too_large"
    assert loaded.error.hint == "raise the limit with --max-megapixels"


def test_workers_that_cannot_start_are_an_error_with_their_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho the interpreter is broken >&2\nexit 9\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with Loader(PREPARE, workers=2) as loader:
        with pytest.raises(MMSearchError, match="the interpreter is broken"):
            list(loader.load(Job(i, data=b"") for i in range(10)))
        with pytest.raises(MMSearchError):
            list(loader.load([Job(0, data=b"")]))


def test_a_preparer_that_cannot_be_imported_is_an_error_with_a_hint(moody: object) -> None:
    module = sys.modules["moody_preparer"]
    folder = os.path.dirname(str(module.__file__))
    sys.path.remove(folder)
    try:
        with Loader(moody, workers=1) as loader, pytest.raises(MMSearchError, match="preparer") as caught:  # type: ignore[arg-type]
            list(loader.load([Job(0, data=plain("white"))]))
    finally:
        sys.path.insert(0, folder)
    assert caught.value.hint is not None
    assert "workers=0" in caught.value.hint


def test_an_iteration_left_early_leaves_nothing_behind(folder: list[str]) -> None:
    with Loader(PREPARE, workers=2) as loader:
        for loaded in loader.load(Job(("first", path), path) for path in folder):
            assert loaded.error is None
            break
        found = by_token(loader.load(Job(("second", path), path) for path in folder[:30]))
    assert set(found) == {("second", path) for path in folder[:30]}


def test_two_threads_may_load_at_once(folder: list[str]) -> None:
    found: list[set[object]] = [set(), set()]

    def work(which: int) -> None:
        found[which] = set(by_token(loader.load(Job((which, path), path) for path in folder[:60])))

    with Loader(PREPARE, workers=2) as loader:
        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [{(i, path) for path in folder[:60]} for i in range(2)]


def test_jobs_are_pulled_as_results_are_taken(folder: list[str]) -> None:
    pulled = 0

    def jobs() -> Iterator[Job]:
        nonlocal pulled
        for path in folder:
            pulled += 1
            yield Job(path, path)

    taken = most = 0
    with Loader(PREPARE, workers=2, window=16) as loader:
        for _ in loader.load(jobs()):
            taken += 1
            most = max(most, pulled - taken)
    assert taken == pulled == 200
    assert most <= 16


def test_slow_jobs_do_not_hold_results_back(folder: list[str]) -> None:
    first = threading.Event()

    def jobs() -> Iterator[Job]:
        yield Job(0, folder[0])
        assert first.wait(30) or True
        yield Job(1, folder[1])

    with Loader(PREPARE, workers=1, window=1) as loader:
        results = loader.load(jobs())
        assert next(results).token == 0
        first.set()
        assert [loaded.token for loaded in results] == [1]


def test_an_error_of_the_jobs_reaches_the_caller(folder: list[str]) -> None:
    def jobs() -> Iterator[Job]:
        yield Job(0, folder[0])
        raise OSError("the scan broke")

    with Loader(PREPARE, workers=1) as loader, pytest.raises(OSError, match="the scan broke"):
        list(loader.load(jobs()))


def test_closing_ends_the_processes_and_whoever_waits(moody: object) -> None:
    loader = Loader(moody, workers=2)  # type: ignore[arg-type]
    caught: list[BaseException] = []

    def work() -> None:
        try:
            list(loader.load([Job(0, data=plain("red"))]))
        except MMSearchError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert wait_until(lambda: len(loader.pids) == 1)
    pids = loader.pids
    loader.close()
    loader.close()
    thread.join(10)
    assert not thread.is_alive()
    assert "closed" in str(caught[0])
    assert wait_until(lambda: all(gone(pid) for pid in pids))
    with pytest.raises(UsageError, match="closed"):
        list(loader.load([]))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_nothing_is_left_open(folder: list[str]) -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(2):
        with Loader(PREPARE, workers=1) as loader:
            list(loader.load(Job(path, path) for path in folder[:6]))
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_no_jobs_start_no_process() -> None:
    with Loader(PREPARE, workers=2) as loader:
        assert list(loader.load([])) == []
        assert loader.pids == []


@pytest.mark.parametrize("wrong", [{"workers": -1}, {"window": 0}, {"timeout": 0.0}, {"memory_mb": 0}])
def test_senseless_limits_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Loader(PREPARE, **wrong)  # type: ignore[arg-type]


def test_stats_tell_who_waits(folder: list[str]) -> None:
    with Loader(PREPARE, workers=1, window=4) as loader:
        for _ in loader.load(Job(path, path) for path in folder[:30]):
            time.sleep(0.02)
        slow_consumer = loader.stats()
    assert slow_consumer.loaded == 30
    assert slow_consumer.idle > slow_consumer.busy
    with Loader(PREPARE, workers=1) as loader:
        list(loader.load(Job(path, path) for path in folder))
        fast_consumer = loader.stats()
    assert fast_consumer.starved > 0.2 * fast_consumer.busy
    with Loader(PREPARE, workers=1) as loader:
        list(loader.load([Job(0, data=b"x")]))
        assert loader.stats().failed == 1


def test_pixels_of_other_shapes_come_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shapes_preparer.py").write_text(
        "import numpy as np\nclass Whole:\n    size = (1, 1)\n    def __call__(self, image):\n"
        "        return np.asarray(image)[:, ::-1]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import shapes_preparer  # type: ignore[import-not-found]

    pictures = [noise(w, h, w) for w, h in ((1, 1), (700, 900), (3, 1000), (1200, 800))]
    with Loader(shapes_preparer.Whole(), workers=2) as loader:
        found = by_token(loader.load(Job(i, data=encode(p, "PNG")) for i, p in enumerate(pictures)))
    for i, picture in enumerate(pictures):
        got = found[i].pixels
        assert got is not None
        assert (got == np.asarray(picture)[:, ::-1]).all()
