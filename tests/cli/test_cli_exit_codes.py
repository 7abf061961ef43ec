"""Every exit code, provoked; and what is said along with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mmsearch.collection import Collection
from mmsearch.store import Store


def lines(done: Any) -> list[str]:
    """The error's lines; never more than three."""
    found = [line for line in done.err.splitlines() if not line.startswith(("8 images", "making", "indexing"))]
    assert 1 <= len(found) <= 3, done.err
    assert found[0].startswith("error: ")
    assert "Traceback" not in done.err
    return found


def test_0_also_when_nothing_is_found(ask: Any) -> None:
    done = ask("query", "red", "--where", "width > 9999")
    assert (done.code, done.out) == (0, b"")
    assert done.err.endswith("nothing found\n")
    assert ask("query", "red", "--where", "width > 9999", "--jsonl").out == b""


def test_1_when_nothing_is_found_and_asked_for(ask: Any) -> None:
    assert ask("query", "red", "--where", "width > 9999", "--exit-code").code == 1
    assert ask("query", "red", "--exit-code").code == 0
    assert ask("similar", "red.png", "--where", "width > 9999", "--exit-code").code == 1


def test_1_for_an_item_that_is_not_there(ask: Any, library: Any) -> None:
    done = ask("similar", "nothing")
    assert (done.code, lines(done)[0]) == (1, "error: no item has the id 'nothing'")
    assert ask("query", "--like", "nothing").code == 1
    skipped = ask("similar", library.photos / "cut.png")
    assert (skipped.code, "mmsearch query -i" in lines(skipped)[1]) == (1, True)


def test_1_for_a_picture_that_is_none(ask: Any, library: Any) -> None:
    done = ask("query", "-i", library.photos / "page.jpg")
    assert done.code == 1
    assert f"the picture {library.photos}/page.jpg: " in lines(done)[0]
    piped = ask("query", "-i", "-", stdin=b"nonsense")
    assert (piped.code, "the picture on stdin: " in lines(piped)[0]) == (1, True)
    cropped = ask("query", "-i", library.photos / "cut.png", "--crop", "0,0,1,0.5")
    assert (cropped.code, "cut.png: " in lines(cropped)[0]) == (1, True)


@pytest.mark.parametrize(("args", "says"), [
    (["query"], "say what to look for"),
    (["query", "red", "-k", "0"], "-k"),
    (["query", "red", "--nonsense"], "No such option"),
    (["nonsense"], "No such command"),
    (["query", "red", "--where", "price <"], ""),
    (["query", "red", "--where", "price < :p"], "p"),
    (["query", "red", "--where", "1 = 1; drop table item"], ""),
    (["query", "red", "-", "red"], "cancel"),
    (["index"], "say what to index"),
    (["index", "/nowhere/at/all"], "there is no file or folder"),
    (["index", ".", "--batch-size", "many"], "--batch-size"),
    (["index", ".", "-0"], "--files-from"),
    (["index", ".", "--model", "toy", "--device", "abacus"], "no device is called 'abacus'"),
    (["config", "set", "device", "abacus"], "no device is called 'abacus'"),
    (["config", "set", "device"], "give a value, or --unset"),
    (["root", "move", "nothing", "."], "nothing"),
    (["root", "remove", "nothing", "--yes"], "nothing"),
])
def test_2_for_wrong_usage(ask: Any, args: list[str], says: str) -> None:
    done = ask(*args)
    assert done.code == 2, done.err
    assert says in " ".join(lines(done))


def test_2_for_a_bad_config_file(inside: Any, tmp_path: Path) -> None:
    file = tmp_path / "home" / ".config" / "mmsearch" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('model = "toy"\ncolour = "red"\n')
    done = inside("status")
    assert done.code == 2
    assert lines(done)[0] == f"error: {file}, line 2: there is no setting 'colour'"


def test_3_for_skipped_files_under_strict(inside: Any, photos: Path) -> None:
    assert inside("index", photos, "-c", "c", "--model", "toy", "--strict").code == 3
    again = inside("index", photos, "-c", "c", "--strict")
    assert (again.code, "3 skipped as before" in again.err) == (3, True)
    for name in ("empty.jpg", "page.jpg", "cut.png"):
        (photos / name).unlink()
    assert inside("index", photos, "-c", "c", "--strict").code == 0


def test_4_for_a_disk_that_refuses(ask: Any, inside: Any, photos: Path, tmp_path: Path) -> None:
    full = ask("query", "red", "--html", "/dev/full")
    assert (full.code, lines(full)[0]) == (4, "error: the page /dev/full cannot be written: No space left on device")
    (tmp_path / "file").touch()
    assert inside("index", photos, "-c", "file/c", "--model", "toy").code == 4


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_4_when_nothing_can_be_written_to_stdout(library: Any, sealed_env: Mapping[str, str], form: list[str]) -> None:
    command = [sys.executable, "-m", "mmsearch.cli", "query", "red", "-q", "-c", str(library.collection), *form]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=dict(sealed_env), timeout=60, check=False)
    assert done.returncode == 4
    assert done.stderr.startswith(b"error: No space left on device\n")


def test_4_when_the_disk_is_full_and_old_data_stays(inside: Any, photos: Path, stripes: Any,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    assert inside("index", photos, "-c", "c", "--model", "toy").code == 0
    stripes(photos / "more.png", "blue", "green", "red")

    def refuse(*args: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        done = inside("index", photos, "-c", "c")
    assert done.code == 4, done.err
    assert "space" in lines(done)[0].lower()
    assert inside("query", "red", "-c", "c", "--jsonl", "-k", "1").lines[0]["id"] == "red.png"
    assert inside("index", photos, "-c", "c", "--json").json["sources"][0]["added"] == 1


def test_5_beside_another_writer(inside: Any, photos: Path) -> None:
    assert inside("index", photos, "-c", "c", "--model", "toy").code == 0
    store = Store.open(Path("c"))
    with store.writer():
        for command in (["index", str(photos)], ["compact"], ["index", str(photos), "--wait", "0.2"]):
            done = inside(*command, "-c", "c")
            assert done.code == 5, done.err
            assert str(os.getpid()) in " ".join(lines(done))
        assert inside("query", "red", "-c", "c").code == 0
    store.close()
    assert inside("index", photos, "-c", "c").code == 0


def test_6_without_a_collection(inside: Any) -> None:
    for command in ("status", "verify", "repair", "compact", "failures"):
        done = inside(command, "-c", "nowhere")
        assert done.code == 6
        assert "there is no collection at" in lines(done)[0]
    done = inside("query", "red")
    assert (done.code, "your default collection" in lines(done)[0]) == (6, True)


def test_6_for_another_model(ask: Any, library: Any, inside: Any) -> None:
    done = ask("index", library.photos, "--model", "toy:32")
    assert done.code == 6
    assert lines(done)[0].count("fingerprint") + lines(done)[0].count("(") >= 2


def test_6_for_a_damaged_collection(inside: Any, photos: Path) -> None:
    assert inside("index", photos, "-c", "c", "--model", "toy").code == 0
    [segment] = Path("c/vectors").glob("*.f16")
    data = bytearray(segment.read_bytes())
    data[5] ^= 0xFF
    segment.write_bytes(bytes(data))
    done = inside("verify", "-c", "c")
    assert done.code == 6
    assert "error" in done.out.decode()
    assert done.err == "something is wrong; mend it with: mmsearch repair -c c\n"
    assert inside("repair", "-c", "c").code == 0
    assert inside("verify", "-c", "c").code == 0
    assert inside("index", photos, "-c", "c", "--json").json["sources"][0]["added"] > 0
    assert inside("query", "red", "-c", "c", "--jsonl", "-k", "1").lines[0]["id"] == "red.png"
    Path("c/catalog.db").write_bytes(b"not a database" * 100)
    assert inside("status", "-c", "c").code == 6


SLOW = """
import sys, time
from mmsearch.encoders.toy import ToyEncoder
fast = ToyEncoder.encode_images
def slow(self, batch):
    time.sleep(0.1)
    return fast(self, batch)
ToyEncoder.encode_images = slow
from mmsearch.cli import main
sys.exit(main())
"""


def test_130_after_a_clean_commit(sealed_env: Mapping[str, str], inside: Any, stripes: Any, tmp_path: Path) -> None:
    photos, collection = tmp_path / "photos", tmp_path / "c"
    for at in range(80):
        stripes(photos / f"{at:03}.png", *["red", "blue", "green"][: 1 + at % 3], size=30 + at)
    command = [sys.executable, "-c", SLOW, "index", str(photos), "-c", str(collection), "--model", "toy",
               "--batch-size", "4"]
    with subprocess.Popen(command, env=dict(sealed_env), stderr=subprocess.PIPE, start_new_session=True) as process:
        deadline = time.monotonic() + 30
        while not (Collection.exists(collection) and _count(collection)):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the decoders get it too
        assert process.stderr
        said = process.stderr.read().decode()
        assert process.wait(30) == 130, said
    assert said.splitlines()[-1] == "interrupted: what was done is kept, and the same command goes on from there"
    assert "Traceback" not in said
    done = _count(collection)
    assert 0 < done < 80
    assert inside("verify", "-c", collection).code == 0
    report = inside("index", photos, "-c", collection, "--json").json["sources"][0]
    assert (report["added"], report["unchanged"]) == (80 - done, done)


def _count(path: Path) -> int:
    with Collection.open(path) as collection:
        return len(collection)


def test_an_unexpected_error_is_one_line(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("boom\nand more")

    monkeypatch.setattr(Collection, "status", broken)
    done = ask("status")
    assert done.code == 1
    assert lines(done) == ["error: unexpected RuntimeError: boom and more", "hint:  run again with --debug and report it"]
    told = ask("status", "--debug")
    assert told.code == 1
    assert "Traceback (most recent call last)" in told.err
