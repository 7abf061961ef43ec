from __future__ import annotations

import errno
import os
import pickle
import sys
import time
from pathlib import Path

import pytest

import mmsearch.sources.files as files
from mmsearch.errors import InputError, SourceError, UsageError
from mmsearch.sources import Folder
from mmsearch.testing.sources import SourceConformance
from mmsearch.types import Asset, Kind


def fill(root: Path, *names: str) -> None:
    """Makes files that hold their own name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def ids(source: Folder) -> list[str]:
    return [asset.id for asset in source.scan()]


class TestConformance(SourceConformance):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Folder:
        fill(tmp_path, "b.jpg", "a/c.PNG", "notes.txt", "readme.md", ".hidden.jpg", "movie.mp4")
        return Folder(tmp_path)

    @pytest.fixture
    def expected(self) -> dict[str, tuple[Kind, bytes]]:
        return {
            "b.jpg": (Kind.IMAGE, b"b.jpg"),
            "notes.txt": (Kind.TEXT, b"notes.txt"),
            "readme.md": (Kind.TEXT, b"readme.md"),
            "a/c.PNG": (Kind.IMAGE, b"a/c.PNG"),
        }


class TestConformanceBelowARoot(SourceConformance):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Folder:
        fill(tmp_path, "out.jpg", "in/a.jpg", "in/deep/b.jpg", "inside.jpg")
        return Folder(tmp_path / "in", root=tmp_path)

    @pytest.fixture
    def expected(self) -> dict[str, tuple[Kind, bytes]]:
        return {"in/a.jpg": (Kind.IMAGE, b"in/a.jpg"), "in/deep/b.jpg": (Kind.IMAGE, b"in/deep/b.jpg")}


def test_order_is_files_then_folders_each_by_name(tmp_path: Path) -> None:
    fill(tmp_path, "b.jpg", "a/2.jpg", "a/1.jpg", "a/z/0.jpg", "c.jpg", "B.jpg", "0/x.jpg")
    assert ids(Folder(tmp_path)) == ["B.jpg", "b.jpg", "c.jpg", "0/x.jpg", "a/1.jpg", "a/2.jpg", "a/z/0.jpg"]


def test_an_asset_is_the_files_stat(tmp_path: Path) -> None:
    fill(tmp_path, "cat.jpg")
    os.utime(tmp_path / "cat.jpg", ns=(5, 1_234_567_890_123_456_789))
    assert list(Folder(tmp_path).scan()) == [Asset("cat.jpg", Kind.IMAGE, "cat.jpg", 7, 1_234_567_890_123_456_789)]


def test_suffixes_that_are_candidates(tmp_path: Path) -> None:
    wanted = ["a.jpg", "b.JPEG", "c.webp", "d.bmp", "e.TIFF", "f.avif", "g.heic", "h.CR2", "i.svg", "j.gif", "k.Md"]
    fill(tmp_path, *wanted, "x.mp4", "jpg", "y.jpg.part", "z", "w.", "v.pdf")
    assert ids(Folder(tmp_path)) == wanted
    assert ids(Folder(tmp_path, texts=False)) == wanted[:-1]


def test_hidden_files_on_request(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", ".b.jpg", ".c/d.jpg", ".mmsearch/thumbnails/e.jpg")
    assert ids(Folder(tmp_path)) == ["a.jpg"]
    assert ids(Folder(tmp_path, hidden=True)) == [".b.jpg", "a.jpg", ".c/d.jpg"]


def test_a_collection_inside_the_tree_is_not_indexed(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "shop/LOCK", "shop/catalog.db", "shop/vectors/1.f16", "shop/thumbnails/e.jpg", "shop/a.jpg")
    fill(tmp_path, "other/catalog.db", "other/b.jpg")
    assert ids(Folder(tmp_path)) == ["a.jpg", "other/b.jpg"]


def test_include_and_exclude(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "a.png", "2023/b.jpg", "2023/raw/c.jpg", "2024/d.png", "2024/raw/keep.jpg")
    assert ids(Folder(tmp_path, include=["*.png"])) == ["a.png", "2024/d.png"]
    assert ids(Folder(tmp_path, include=["2023/"])) == ["2023/b.jpg", "2023/raw/c.jpg"]
    assert ids(Folder(tmp_path, exclude=["raw/", "*.png"])) == ["a.jpg", "2023/b.jpg"]
    assert ids(Folder(tmp_path, include=["*.jpg", "!a.*"], exclude=["/2023"])) == ["2024/raw/keep.jpg"]
    assert ids(Folder(tmp_path, include="*.jpg", exclude=["*.jpg", "!keep.jpg"])) == ["2024/raw/keep.jpg"]
    assert ids(Folder(tmp_path / "2023", root=tmp_path, exclude=["/raw"])) == ["2023/b.jpg"]


def test_a_broken_pattern_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"exclude: .*'!'"):
        Folder(tmp_path, exclude=["!"])


def test_ignore_files_nest(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "a.png", "x/a.png", "x/keep.png", "x/y/a.png", "x/y/b.jpg", "cache/a.jpg", "x/cache/b.jpg")
    (tmp_path / ".mmsearchignore").write_text("# comment\n*.png\n/cache/\n\n")
    (tmp_path / "x/.mmsearchignore").write_text("!keep.png\ny/*.jpg\n")
    (tmp_path / "x/y/.mmsearchignore").write_text("!*.png\n")
    expected = ["x/keep.png", "x/y/a.png", "x/cache/b.jpg"]
    assert sorted(ids(Folder(tmp_path))) == sorted(["a.jpg", *expected])
    assert sorted(ids(Folder(tmp_path / "x", root=tmp_path))) == sorted(expected)
    assert ids(Folder(tmp_path / "x/y", root=tmp_path)) == ["x/y/a.png"]
    assert "a.png" in ids(Folder(tmp_path, exclude=["!a.png"]))


def test_what_lies_in_an_ignored_folder_cannot_be_brought_back(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "x/keep.jpg")
    (tmp_path / ".mmsearchignore").write_text("x/\n!x/keep.jpg\n")
    (tmp_path / "x/.mmsearchignore").write_text("!keep.jpg\n")
    assert ids(Folder(tmp_path)) == ["a.jpg"]


def test_a_broken_ignore_file_is_reported_and_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "x/b.jpg")
    (tmp_path / ".mmsearchignore").write_bytes(b"*.png\n!\n")
    (tmp_path / "x/.mmsearchignore").mkdir()
    source = Folder(tmp_path)
    assert ids(source) == ["a.jpg", "x/b.jpg"]
    assert [(p.path, p.reason) for p in source.problems] == [
        (".mmsearchignore", "bad_pattern"),
        ("x/.mmsearchignore", "not_regular"),
    ]
    assert source.complete


@pytest.mark.skipif(sys.platform != "linux", reason="names of arbitrary bytes")
def test_strange_names(tmp_path: Path) -> None:
    names = [b"-rf.jpg", b"new\nline.jpg", b"caf\xe9.jpg", b"caf\xc3\xa9.jpg", b"n" * 250 + b".jpg", b"tab\t'\".jpg"]
    names += [b"\xff/\xfe.txt", "日本語 😺.jpg".encode(), b"\\xe9.jpg", b" .jpg", b".jpg.jpg"]
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as stream:
            stream.write(name)
    source = Folder(tmp_path, hidden=True)
    assets = list(source.scan())
    assert sorted(os.fsencode(asset.path) for asset in assets) == sorted(names)
    for asset in assets:
        assert source.read(asset) == os.fsencode(asset.path)
        where = source.locate(asset)
        assert where is not None
        assert Path(where).read_bytes() == os.fsencode(asset.path)
        asset.id.encode()
        if asset.id != asset.path:
            assert b"\xe9" in os.fsencode(asset.path) or b"\xff" in os.fsencode(asset.path)
    assert len({asset.id for asset in assets}) == len(names)


def test_ids_of_names_that_are_not_utf8_stay_apart() -> None:
    assert files.item_id(os.fsdecode(b"caf\xe9.jpg")).startswith("caf\\xe9.jpg#")
    assert files.item_id("caf\\xe9.jpg") == "caf\\xe9.jpg"
    assert files.item_id(os.fsdecode(b"\xe9\\xe8")) != files.item_id(os.fsdecode(b"\\xe9\xe8"))


class TestLinks:
    def test_passed_over_by_default(self, tmp_path: Path) -> None:
        fill(tmp_path, "real/a.jpg")
        (tmp_path / "link.jpg").symlink_to("real/a.jpg")
        (tmp_path / "folder").symlink_to("real")
        (tmp_path / "broken.jpg").symlink_to("nowhere")
        source = Folder(tmp_path)
        assert ids(source) == ["real/a.jpg"]
        assert source.complete

    def test_loops_end(self, tmp_path: Path) -> None:
        fill(tmp_path, "top.jpg", "real/a.jpg", "real/deep/b.jpg")
        (tmp_path / "real/deep/up").symlink_to("../..")
        (tmp_path / "real/self").symlink_to(".")
        source = Folder(tmp_path, follow_symlinks=True)
        assert ids(source) == ["top.jpg", "real/a.jpg", "real/deep/b.jpg"]
        assert source.complete

    def test_real_names_win_and_outside_folders_are_walked_once(self, tmp_path: Path) -> None:
        fill(tmp_path, "in/z/a.jpg", "out/b.jpg", "out/sub/c.jpg")
        (tmp_path / "in/aa").symlink_to("z")
        (tmp_path / "in/l1").symlink_to("../out")
        (tmp_path / "in/l2").symlink_to("../out/sub")
        (tmp_path / "in/one.jpg").symlink_to("../out/b.jpg")
        source = Folder(tmp_path / "in", follow_symlinks=True)
        assets = {asset.id: asset for asset in source.scan()}
        assert list(assets) == ["one.jpg", "z/a.jpg", "l1/b.jpg", "l1/sub/c.jpg"]
        assert assets["one.jpg"].size == len("out/b.jpg")
        assert source.complete

    def test_a_root_that_is_a_link(self, tmp_path: Path) -> None:
        fill(tmp_path, "real/a.jpg")
        (tmp_path / "link").symlink_to("real")
        assert ids(Folder(tmp_path / "link")) == ["a.jpg"]

    def test_a_broken_link_may_be_a_disk_that_is_gone(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.jpg")
        (tmp_path / "usb").symlink_to("/nowhere/at/all")
        source = Folder(tmp_path, follow_symlinks=True)
        assert ids(source) == ["a.jpg"]
        assert not source.complete
        assert [(p.path, p.reason) for p in source.problems] == [("usb", "vanished")]


class TestComplete:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="nowhere") as caught:
            list(Folder(tmp_path / "nowhere").scan())
        assert caught.value.hint is not None

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.jpg")
        with pytest.raises(SourceError, match=r"a\.jpg"):
            list(Folder(tmp_path / "a.jpg").scan())

    def test_not_below_the_root(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="not below"):
            Folder(tmp_path, root=tmp_path / "sub")
        with pytest.raises(SourceError, match="not below"):
            Folder(tmp_path / "subway", root=tmp_path / "sub")

    @pytest.mark.parametrize("leftover", [None, ".Trash"])
    def test_nothing_there(self, tmp_path: Path, leftover: str | None) -> None:
        if leftover:
            (tmp_path / leftover).mkdir()
        source = Folder(tmp_path)
        assert ids(source) == []
        assert not source.complete
        assert [p.reason for p in source.problems] == ["empty"]

    def test_no_images_left_is_not_nothing_there(self, tmp_path: Path) -> None:
        fill(tmp_path, "movie.mp4")
        source = Folder(tmp_path)
        assert ids(source) == []
        assert source.complete

    @pytest.mark.parametrize(
        ("code", "reason", "tries"),
        [(errno.EACCES, "permission", 1), (errno.EIO, "io_error", 3), (errno.ESTALE, "io_error", 3)],
    )
    def test_a_folder_that_cannot_be_listed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str, tries: int
    ) -> None:
        fill(tmp_path, "a.jpg", "bad/b.jpg", "good/c.jpg")
        scandir, calls = os.scandir, []

        def broken(path: str) -> object:
            if path.endswith("/bad"):
                calls.append(path)
                raise OSError(code, os.strerror(code), path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", broken)
        monkeypatch.setattr(time, "sleep", lambda _: None)
        source = Folder(tmp_path)
        assert ids(source) == ["a.jpg", "good/c.jpg"]
        assert not source.complete
        assert [(p.path, p.reason) for p in source.problems] == [("bad", reason)]
        assert len(calls) == tries

    @pytest.mark.parametrize(("code", "whole"), [(errno.ENOENT, True), (errno.EACCES, False), (errno.EIO, False)])
    def test_a_file_that_cannot_be_asked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, whole: bool
    ) -> None:
        fill(tmp_path, "a.jpg", "b.jpg", "c.jpg")

        class Entry:
            def __init__(self, entry: os.DirEntry[str]) -> None:
                self.name, self.is_dir, self.is_symlink = entry.name, entry.is_dir, entry.is_symlink
                self.stat = self.fail if entry.name == "b.jpg" else entry.stat

            def fail(self, *, follow_symlinks: bool = True) -> os.stat_result:
                raise OSError(code, os.strerror(code))

        monkeypatch.setattr("mmsearch.sources.folder.list_folder", lambda path: list(map(Entry, files.list_folder(path))))
        for options in ({}, {"exclude": ["*.png"]}, {"follow_symlinks": True}):
            source = Folder(tmp_path, **options)
            assert ids(source) == ["a.jpg", "c.jpg"]
            assert source.complete is whole
            assert [p.path for p in source.problems] == ([] if whole else ["b.jpg"])

    def test_a_hiccup_is_got_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fill(tmp_path, "a/b.jpg")
        scandir, left = os.scandir, [OSError(errno.ESTALE, "stale"), OSError(errno.EIO, "io")]

        def broken(path: str) -> object:
            if path.endswith("/a") and left:
                raise left.pop()
            return scandir(path)

        monkeypatch.setattr(os, "scandir", broken)
        monkeypatch.setattr(time, "sleep", lambda _: None)
        source = Folder(tmp_path)
        assert ids(source) == ["a/b.jpg"]
        assert source.complete


def test_special_files_are_candidates_but_never_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe.txt")
    source = Folder(tmp_path)
    assets = list(source.scan())
    assert [asset.id for asset in assets] == ["pipe.jpg", "pipe.txt"]
    for asset in assets:
        with pytest.raises(InputError) as caught:
            source.read(asset)
        assert caught.value.reason == "not_regular"


def test_read_says_why_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a.jpg", "b.txt")
    source = Folder(tmp_path)
    image, text = source.scan()
    monkeypatch.setattr(files, "MAX_TEXT_BYTES", 3)
    assert source.read(image) == b"a.jpg"
    with pytest.raises(InputError) as caught:
        source.read(text)
    assert caught.value.reason == "too_large"
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(InputError) as caught:
        source.read(image)
    assert caught.value.reason == "vanished"
    (tmp_path / "a.jpg").mkdir()
    with pytest.raises(InputError) as caught:
        source.read(image)
    assert caught.value.reason == "not_regular"


def test_no_patterns_no_pathspec_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a scan is that of listing: nothing is matched where there is nothing to match."""
    import pathspec

    fill(tmp_path, *(f"{i % 10}/{i}.jpg" for i in range(200)))
    monkeypatch.setattr(pathspec.GitIgnoreSpec, "check_file", None)
    monkeypatch.setattr(pathspec.GitIgnoreSpec, "match_file", None)
    assert len(ids(Folder(tmp_path))) == 200


def test_pickles_after_a_scan(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    source = Folder(tmp_path, exclude=["*.png"])
    before = list(source.scan())
    copy = pickle.loads(pickle.dumps(source))
    assert list(copy.scan()) == before
    assert repr(copy) == f"Folder({str(tmp_path)!r})"
